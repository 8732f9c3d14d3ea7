//! Bytes from one socket to another without passing through this process.
//!
//! One direction of a relay, through a pipe that the worker lends while bytes are in motion; an idle relay holds
//! none. It does not close anything and has no deadline: the session looks at [`SpliceDirection::moved`] for progress. Start at
//! [`SpliceDirection::poll`].

mod pipe;

use std::io;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use tokio::io::Interest;

use crate::Stream;
use pipe::Pipe;

/// The most that one call is asked to move. The pipe's slots bound it in practice.
const CALL_BYTES: usize = 1024 * 1024;

/// How often the pipe is filled before other sessions get their turn.
const ROUNDS: usize = 8;

/// One direction of a relay between two sockets.
#[derive(Debug, Default)]
pub struct SpliceDirection {
    pipe: Option<Pipe>,
    buffered: usize,
    moved: u64,
    ended: bool,
}

/// Why a direction cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError {
    /// The kernel cannot do it for these sockets, or there is no descriptor for a pipe. No byte is lost: go on by
    /// copying.
    #[error("bytes have to be copied")]
    Unsupported,
    /// Reading failed; see [`crate::is_reset`].
    #[error("read: {0}")]
    Read(#[source] io::Error),
    /// Writing failed; see [`crate::is_reset`].
    #[error("write: {0}")]
    Write(#[source] io::Error),
}

impl SpliceDirection {
    /// Nothing moved yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves what there is from `from` to `to`. Ready when `from` has ended and all its bytes are with `to`: the
    /// caller ends `to`'s direction then. Always give it the same two sockets.
    ///
    /// # Errors
    /// See [`SpliceError`]; which side broke is in it.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
    ) -> Poll<Result<(), SpliceError>> {
        // Both directions have to pass through this process: the kernel would carry ciphertext.
        if from.is_encrypted() || to.is_encrypted() {
            return Poll::Ready(Err(SpliceError::Unsupported));
        }
        for _ in 0..ROUNDS {
            ready!(self.poll_drain(cx, to))?;
            if self.ended {
                self.release();
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(cx, from) {
                Poll::Ready(filled) => filled?,
                Poll::Pending => {
                    self.release();
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Bytes that have reached `to`'s socket since the beginning.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether `from` has ended; bytes may still be under way.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Fills the pipe, which must be empty: then "would block" can only be said of the socket.
    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream) -> Poll<Result<(), SpliceError>> {
        loop {
            ready!(from.poll_read_ready(cx)).map_err(SpliceError::Read)?;
            if self.pipe.is_none() {
                self.pipe = Pipe::borrow();
            }
            let Some(pipe) = &self.pipe else {
                return Poll::Ready(Err(SpliceError::Unsupported));
            };
            let mut taken = 0;
            let result = from.try_io(Interest::READABLE, || {
                let count = splice(from.as_fd(), pipe.input(), CALL_BYTES)?;
                taken = count;
                // Every slot holds a byte at least. With fewer bytes than slots the pipe was not full, so the socket
                // is empty; saying so saves a call that would only find that out.
                if count > 0 && count < pipe.slots() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            self.buffered = taken;
            return match result {
                Ok(()) if taken == 0 => {
                    self.ended = true;
                    Poll::Ready(Ok(()))
                }
                Ok(()) => Poll::Ready(Ok(())),
                Err(_) if taken > 0 => Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if is_unsupported(&error) => Poll::Ready(Err(SpliceError::Unsupported)),
                Err(error) => Poll::Ready(Err(SpliceError::Read(error))),
            };
        }
    }

    /// Empties the pipe.
    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<Result<(), SpliceError>> {
        while let (1.., Some(pipe)) = (self.buffered, &self.pipe) {
            ready!(to.poll_write_ready(cx)).map_err(SpliceError::Write)?;
            let buffered = self.buffered;
            let result = to.try_io(Interest::WRITABLE, || {
                Ok(splice(pipe.output(), to.as_fd(), buffered)?)
            });
            match result {
                Ok(0) => {
                    return Poll::Ready(Err(SpliceError::Write(io::ErrorKind::WriteZero.into())));
                }
                Ok(count) => {
                    self.buffered = self.buffered.saturating_sub(count);
                    self.moved += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(SpliceError::Write(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the pipe back to the worker if it is empty; one with bytes in it stays, or is closed with the
    /// direction.
    fn release(&mut self) {
        if self.buffered == 0
            && let Some(pipe) = self.pipe.take()
        {
            pipe.give_back();
        }
    }
}

impl Drop for SpliceDirection {
    fn drop(&mut self) {
        self.release();
    }
}

fn splice(
    from: std::os::fd::BorrowedFd<'_>,
    to: std::os::fd::BorrowedFd<'_>,
    count: usize,
) -> Result<usize, Errno> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        match rustix::pipe::splice(from, None, to, None, count, flags) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests;
