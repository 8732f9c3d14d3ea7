//! A connection's bytes on their way to and from `h2`, under the eyes of the guard.
//!
//! `h2` owns what it reads from and writes to, and says nothing about it; so both ends hold the same [`Wire`]: `h2`
//! through [`GuardedIo`], the session directly, to ask what has passed and what went wrong. Once the guard has refused
//! something, reading stops for good *without waking anybody*: whoever drives `h2` asks [`Wire::failed`] after every
//! turn, and ends the connection. Not a buffer: bytes go from the socket to `h2` and back. Start at [`Wire::new`].

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use portcullis_net::{Stream, clock};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::guard::{FrameCounts, Guard, GuardError, Progress};

/// One connection's socket and guard, shared by `h2` and the session.
pub(crate) struct Wire {
    inner: RefCell<Inner>,
}

struct Inner {
    stream: Stream,
    /// Bytes that were read before `h2` took over.
    prefix: BytesMut,
    guard: Guard,
    read_at: Instant,
    written: u64,
}

impl Wire {
    /// A connection on which `prefix` has been read and nothing of it looked at by the guard.
    pub(crate) fn new(stream: Stream, prefix: BytesMut, guard: Guard) -> Rc<Self> {
        Rc::new(Self {
            inner: RefCell::new(Inner {
                stream,
                prefix,
                guard,
                read_at: clock::now(),
                written: 0,
            }),
        })
    }

    /// The end that `h2` gets.
    pub(crate) fn io(self: &Rc<Self>) -> GuardedIo {
        GuardedIo(Rc::clone(self))
    }

    /// What the guard has refused, if anything: to be asked after every turn of `h2`.
    pub(crate) fn failed(&self) -> Option<GuardError> {
        self.inner.borrow().guard.failed()
    }

    /// Frames since the last call, for counters.
    pub(crate) fn take_frames(&self) -> FrameCounts {
        self.inner.borrow_mut().guard.take_frames()
    }

    /// Bytes of DATA that have passed.
    pub(crate) fn progress(&self) -> Progress {
        self.inner.borrow().guard.streams_progress()
    }

    /// Since when a header block of the peer has been incomplete.
    pub(crate) fn block_open_since(&self) -> Option<Instant> {
        self.inner.borrow().guard.block_open_since()
    }

    /// A piece of content of so many bytes was taken off a stream; `last` if the stream has ended with it.
    pub(crate) fn on_consumed(&self, length: usize, last: bool) {
        self.inner.borrow_mut().guard.handle_consumed(length, last);
    }

    /// When bytes last came from the peer; at first, when the connection began.
    pub(crate) fn read_at(&self) -> Instant {
        self.inner.borrow().read_at
    }

    /// Bytes written over the connection's life.
    pub(crate) fn written(&self) -> u64 {
        self.inner.borrow().written
    }

    /// Whether the kernel knows of no end, no error and no byte that was not read. One system call.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inner.borrow_mut().stream.is_alive()
    }

    /// Makes the close a reset, for a peer that takes nothing any more.
    pub(crate) fn reset_on_close(&self) {
        self.inner.borrow().stream.reset_on_close();
    }

    /// Reads and drops what the peer still sends, once `h2` is done: unread bytes would turn the close into a reset, and
    /// that would overtake our GOAWAY. Ready at the end, after an error, or when `bound` bytes were dropped.
    pub(crate) fn poll_discard(&self, task: &mut Context<'_>, bound: &mut usize) -> Poll<()> {
        let stream = &mut self.inner.borrow_mut().stream;
        while *bound > 0 {
            let mut dropped = BytesMut::new();
            match ready!(stream.poll_read(task, &mut dropped)) {
                Ok(0) | Err(_) => break,
                Ok(count) => *bound = bound.saturating_sub(count),
            }
        }
        Poll::Ready(())
    }
}

impl Inner {
    fn poll_read(
        &mut self,
        task: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.guard.failed().is_some() {
            return Poll::Pending;
        }
        let before = target.filled().len();
        if self.prefix.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(task, target))?;
        } else {
            let count = self.prefix.len().min(target.remaining());
            target.put_slice(&self.prefix.split_to(count));
            if self.prefix.is_empty() {
                self.prefix = BytesMut::new();
            }
        }
        let now = clock::now();
        self.read_at = now;
        let bytes = target.filled().get(before..).unwrap_or_default();
        if self.guard.handle_received(now, bytes).is_err() {
            target.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what the kernel has taken: so many bytes from the front of `slices`.
    fn on_written(&mut self, slices: &[IoSlice<'_>], count: usize) {
        self.written += count as u64;
        let now = clock::now();
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.len());
            let bytes = slice.get(..taken).unwrap_or_default();
            // A refusal is remembered, and whoever drives the connection asks for it.
            let _ = self.guard.handle_sent(now, bytes);
            left -= taken;
        }
    }
}

/// What `h2` reads from and writes to.
pub(crate) struct GuardedIo(Rc<Wire>);

impl AsyncRead for GuardedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.inner.borrow_mut().poll_read(task, target)
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.inner.borrow_mut();
        let count = ready!(inner.stream.poll_write(task, bytes))?;
        inner.on_written(&[IoSlice::new(bytes)], count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.inner.borrow_mut();
        let count = ready!(inner.stream.poll_write_vectored(task, slices))?;
        inner.on_written(slices, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.inner.borrow_mut().stream).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.inner.borrow_mut().stream.poll_shutdown(task)
    }
}
