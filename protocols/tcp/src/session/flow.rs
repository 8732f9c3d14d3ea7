//! One direction of a relay: copied at first, spliced in the kernel once it has moved enough.
//!
//! Splicing costs two more system calls for the first bytes and saves two copies of all the others, so short
//! exchanges are copied. Whether the end is passed on is for [`crate::machine`] to say. Start at [`Flow::poll`].

use std::task::{Context as Task, Poll};
use std::time::Instant;

use bytes::BytesMut;
use portcullis_net::{SpliceDirection, SpliceError, Stream};

use super::copy::{Copier, Failure, Filters};

/// Bytes that a direction has moved when it is worth splicing.
const WORTH_SPLICING: u64 = 64 * 1024;

/// One direction of a relay.
#[derive(Debug)]
pub(super) struct Flow {
    carrier: Carrier,
    /// Bytes moved by the carrier before this one.
    before: u64,
    /// The kernel has not refused to splice these sockets.
    may_splice: bool,
}

#[derive(Debug)]
enum Carrier {
    Copy(Copier),
    Splice(SpliceDirection),
}

impl Flow {
    /// `prefix` is written first.
    pub(super) fn new(prefix: BytesMut) -> Self {
        Self {
            carrier: Carrier::Copy(Copier::new(prefix)),
            before: 0,
            may_splice: true,
        }
    }

    /// Bytes that were written.
    pub(super) const fn moved(&self) -> u64 {
        self.before
            + match &self.carrier {
                Carrier::Copy(copier) => copier.moved(),
                Carrier::Splice(splice) => splice.moved(),
            }
    }

    /// Until when filters hold bytes, if they do.
    pub(super) const fn held_until(&self) -> Option<Instant> {
        match &self.carrier {
            Carrier::Copy(copier) => copier.held_until(),
            Carrier::Splice(_) => None,
        }
    }

    /// Whether the kernel carries the bytes.
    #[cfg(test)]
    pub(super) const fn is_spliced(&self) -> bool {
        matches!(self.carrier, Carrier::Splice(_))
    }

    /// Moves what there is. Ready when `from` has ended and everything it sent is written.
    pub(super) fn poll(
        &mut self,
        task: &mut Task<'_>,
        from: &mut Stream,
        to: &mut Stream,
        filters: &mut Filters<'_>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            match &mut self.carrier {
                Carrier::Copy(copier) => {
                    let polled = copier.poll(task, from, to, filters);
                    if polled.is_ready() || !self.is_worth_splicing(filters) {
                        return polled;
                    }
                    self.switch(Carrier::Splice(SpliceDirection::new()));
                }
                Carrier::Splice(splice) => match splice.poll(task, from, to) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(SpliceError::Unsupported)) => {
                        self.may_splice = false;
                        self.switch(Carrier::Copy(Copier::new(BytesMut::new())));
                    }
                    Poll::Ready(Err(SpliceError::Read(error))) => {
                        return Poll::Ready(Err(Failure::Read(error)));
                    }
                    Poll::Ready(Err(SpliceError::Write(error))) => {
                        return Poll::Ready(Err(Failure::Write(error)));
                    }
                },
            }
        }
    }

    fn is_worth_splicing(&self, filters: &Filters<'_>) -> bool {
        let Carrier::Copy(copier) = &self.carrier else {
            return false;
        };
        self.may_splice
            && copier.moved() >= WORTH_SPLICING
            && copier.is_empty()
            && !filters.inspect()
    }

    fn switch(&mut self, carrier: Carrier) {
        self.before = self.moved();
        self.carrier = carrier;
    }
}
