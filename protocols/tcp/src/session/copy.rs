//! One direction through this process: read, let filters see it, write.
//!
//! It holds at most one piece at a time, and none while nothing moves: a reader that is slow holds its writer back
//! through the kernel. Start at [`Copier::poll`].

use std::io;
use std::task::{Context as Task, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use portcullis_filter::{Context, FilterChain, Interest};
use portcullis_net::Stream;

use super::server::reason;
use crate::machine::Side;
use crate::message::TcpMessages;

/// How many pieces are moved before other sessions get their turn.
const MOVES: usize = 16;

/// The largest and the smallest piece. Small ones keep a slow limit smooth: see [`Copier::on_held`].
const LARGEST: usize = 64 * 1024;
const SMALLEST: usize = 1024;

/// Pieces that would be held for longer than this are made smaller.
const LONG_HOLD: Duration = Duration::from_millis(100);

/// Why a direction cannot go on.
#[derive(Debug)]
pub(super) enum Failure {
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write(io::Error),
    /// A filter stopped the bytes.
    Stopped(&'static str),
}

/// The filters as one direction sees them.
pub(super) struct Filters<'s> {
    pub(super) chain: &'s FilterChain<TcpMessages>,
    pub(super) cx: &'s mut Context,
    pub(super) from: Side,
}

impl Filters<'_> {
    /// Whether any filter wants to see the bytes.
    pub(super) const fn inspect(&self) -> bool {
        let wanted = match self.from {
            Side::Downstream => Interest::REQUEST_DATA,
            Side::Upstream => Interest::RESPONSE_DATA,
        };
        self.chain.interest().includes(wanted)
    }

    /// Shows them a piece. The answer is until when it is to be held.
    fn hold(&mut self, data: &mut Bytes, last: bool) -> Result<Option<Instant>, Failure> {
        let held = match self.from {
            Side::Downstream => self.chain.hold_request_data(data, last, self.cx),
            Side::Upstream => self.chain.hold_response_data(data, last, self.cx),
        };
        held.map_err(|stop| Failure::Stopped(reason(&stop)))
    }
}

/// One direction through this process.
#[derive(Debug)]
pub(super) struct Copier {
    /// What was read and not yet written.
    pending: Bytes,
    /// The filters have not seen it.
    unseen: bool,
    held_until: Option<Instant>,
    piece: usize,
    ended: bool,
    moved: u64,
}

impl Copier {
    /// `prefix`, which was read before, is written first.
    pub(super) fn new(prefix: BytesMut) -> Self {
        Self {
            unseen: !prefix.is_empty(),
            pending: prefix.freeze(),
            held_until: None,
            piece: LARGEST,
            ended: false,
            moved: 0,
        }
    }

    /// Bytes that were written.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Until when the filters hold the piece that was read.
    pub(super) const fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Whether no byte is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && !self.ended
    }

    /// Moves what there is. Ready when `from` has ended and everything it sent is written; pending with
    /// [`Copier::held_until`] when only time is waited for. The answer to "again at once?" is the waker's.
    pub(super) fn poll(
        &mut self,
        task: &mut Task<'_>,
        from: &mut Stream,
        to: &mut Stream,
        filters: &mut Filters<'_>,
    ) -> Poll<Result<(), Failure>> {
        for _ in 0..MOVES {
            if self.unseen {
                self.show(filters)?;
            }
            if self.held_until.is_some_and(|until| until > filters.cx.now) {
                return Poll::Pending;
            }
            self.held_until = None;
            ready!(self.poll_write(task, to))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_fill(task, from)).map_err(Failure::Read)?;
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was read.
    fn poll_write(&mut self, task: &mut Task<'_>, to: &mut Stream) -> Poll<Result<(), Failure>> {
        while !self.pending.is_empty() {
            match ready!(to.poll_write(task, &self.pending)) {
                Ok(0) => return Poll::Ready(Err(Failure::Write(io::ErrorKind::WriteZero.into()))),
                Ok(count) => {
                    self.pending.advance(count);
                    self.moved += count as u64;
                }
                Err(error) => return Poll::Ready(Err(Failure::Write(error))),
            }
        }
        // Gives the memory back before waiting for more.
        self.pending = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Reads the next piece, or learns of the end.
    fn poll_fill(&mut self, task: &mut Task<'_>, from: &mut Stream) -> Poll<io::Result<()>> {
        let mut piece = BytesMut::new();
        let count = ready!(from.poll_read_at_most(task, &mut piece, self.piece))?;
        self.ended = count == 0;
        self.unseen = true;
        self.pending = piece.freeze();
        Poll::Ready(Ok(()))
    }

    /// Shows the filters what was read.
    fn show(&mut self, filters: &mut Filters<'_>) -> Result<(), Failure> {
        self.unseen = false;
        if filters.inspect() {
            self.held_until = filters.hold(&mut self.pending, self.ended)?;
            self.on_held(filters.cx.now);
        }
        Ok(())
    }

    /// Adapts the size of pieces to how long they are held: a slow limit trickles instead of coming in gusts, and a
    /// fast one does not pay for small reads.
    fn on_held(&mut self, now: Instant) {
        let held = self
            .held_until
            .map(|until| until.saturating_duration_since(now));
        self.piece = match held {
            Some(held) if held > LONG_HOLD => (self.piece / 2).max(SMALLEST),
            Some(_) => self.piece,
            None => (self.piece * 2).min(LARGEST),
        };
    }
}
