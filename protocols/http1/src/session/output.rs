//! What waits to be written on one connection.
//!
//! Heads, chunk framing and small pieces are copied together, so that they leave in one write; one large piece at
//! a time is kept as it is and leaves with what stands before and behind it in one vectored write. Once all is
//! written, its buffer serves other connections. Not a stream: it writes to the one it is given. Start at [`Output::push_data`] and [`Output::poll_flush`].

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use portcullis_net::Stream;

/// Bytes waiting to be written.
#[derive(Default)]
pub(crate) struct Output {
    before: Vec<u8>,
    /// How much of `before` is written.
    written: usize,
    large: Bytes,
    behind: Vec<u8>,
    total: u64,
}

/// Pieces up to this are copied behind what already waits: a copy costs less than another vector.
const SMALL: usize = 8 * 1024;

/// What a queue allocates at first: a head with a small body.
const FIRST: usize = 1024;

/// Buffers up to this go from queue to queue.
const LENT: usize = 4 * FIRST;

/// Copied bytes that may wait before the queue is full.
const HIGH_WATER: usize = 32 * 1024;

impl Output {
    /// Lets `write` append head or framing bytes.
    pub(crate) fn push_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.large.is_empty() {
            if self.before.capacity() == 0 {
                self.before = first();
            }
            write(&mut self.before)
        } else {
            write(&mut self.behind)
        }
    }

    /// Queues a piece of a body.
    pub(crate) fn push_data(&mut self, data: Bytes) {
        if self.large.is_empty() && data.len() > SMALL {
            self.large = data;
        } else {
            self.push_with(|buffer| buffer.extend_from_slice(&data));
        }
    }

    /// Whether no more should be queued before something was written.
    pub(crate) fn is_full(&self) -> bool {
        !self.large.is_empty() || self.before.len() - self.written >= HIGH_WATER
    }

    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.before.len() == self.written && self.large.is_empty() && self.behind.is_empty()
    }

    /// Bytes written over the connection's life.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Gives the memory back. Only while nothing waits.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.before = Vec::new();
            self.behind = Vec::new();
            self.written = 0;
        }
    }

    /// Writes until nothing waits or the peer takes no more.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut Stream,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = match self.poll_write(stream, task) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            self.total += written as u64;
            if written == self.before.len() && self.large.is_empty() && self.behind.is_empty() {
                // As nearly always: all of it at once.
                give_back(&mut self.before);
                self.written = 0;
                break;
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, stream: &mut Stream, task: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let before = self.before.get(self.written..).unwrap_or_default();
        if self.large.is_empty() && self.behind.is_empty() {
            return stream.poll_write(task, before);
        }
        let slices = [
            IoSlice::new(before),
            IoSlice::new(&self.large),
            IoSlice::new(&self.behind),
        ];
        stream.poll_write_vectored(task, &slices)
    }

    fn advance(&mut self, written: usize) {
        let from_before = written.min(self.before.len() - self.written);
        self.written += from_before;
        let from_large = (written - from_before).min(self.large.len());
        self.large.advance(from_large);
        let from_behind = written - from_before - from_large;
        if self.written == self.before.len() && self.large.is_empty() {
            self.before.clear();
            std::mem::swap(&mut self.before, &mut self.behind);
            self.written = from_behind;
            if self.written == self.before.len() {
                self.before.clear();
                self.written = 0;
            }
        }
    }
}

thread_local! {
    /// The buffer of the queue that was emptied last, which most often serves the next one, while it is in the processor's
    /// cache.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer for a queue that has none.
fn first() -> Vec<u8> {
    let spare = SPARE.take();
    if spare.capacity() == 0 {
        // Not `reserve`, which is made for buffers that grow.
        return Vec::with_capacity(FIRST);
    }
    spare
}

/// Empties the buffer of a queue that was written. Another queue may have it then, unless it has grown: a queue that needs a
/// large one will need it again.
fn give_back(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() <= LENT {
        SPARE.set(std::mem::take(buffer));
    }
}
