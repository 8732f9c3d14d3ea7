//! A connected socket, read and written with as few system calls and as little memory as possible.
//!
//! Reads go through a buffer that belongs to the worker, so a connection that waits holds none. It does not buffer
//! writes and sets no deadlines. Start at [`Stream::poll_read`].

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::SocketAddress;

/// The most that one read takes: what a fast sender has waiting, without spoiling the processor's cache. More than
/// 64 KiB, so that a message whose body has that popular size comes in one read with its head.
const SCRATCH_BYTES: usize = 80 * 1024;

/// Up to this a read is copied out of the worker's buffer into an allocation of its own size; a larger one takes the
/// buffer along. Bounds the memory that a kept piece can hold in vain to four times its size.
const COPY_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A connected socket of this worker.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

/// Does the same with whatever socket it is.
macro_rules! on_socket {
    ($stream:expr, $socket:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($socket) => $body,
            Stream::Unix($socket) => $body,
        }
    };
}

impl Stream {
    /// Reads what is there, up to 80 KiB, and appends it to `dst`. `Ok(0)` is the peer's end.
    ///
    /// # Errors
    /// The connection broke; see [`is_reset`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        dst: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_at_most(cx, dst, SCRATCH_BYTES)
    }

    /// As [`poll_read`](Self::poll_read), but leaves all behind `limit` bytes in the kernel, where it holds the peer back. A
    /// `limit` of 0 counts as 1, since `Ok(0)` means the end.
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_read_at_most(
        &mut self,
        cx: &mut Context<'_>,
        dst: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.reserve(SCRATCH_BYTES);
            let mut window = (&mut *scratch).limit(limit.clamp(1, SCRATCH_BYTES));
            // This read knows that a short one has emptied the socket, and saves asking once more.
            let count =
                on_socket!(self, socket => ready!(pin!(socket.read_buf(&mut window)).poll(cx)))?;
            deliver(scratch, dst);
            Poll::Ready(Ok(count))
        })
    }

    /// Reads what is there and appends it to `dst`, without waiting. `Ok(0)` is the peer's end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, else as [`poll_read`](Self::poll_read).
    pub fn try_read_into(&self, dst: &mut BytesMut) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.reserve(SCRATCH_BYTES);
            let mut window = (&mut *scratch).limit(SCRATCH_BYTES);
            let count = on_socket!(self, socket => socket.try_read_buf(&mut window))?;
            deliver(scratch, dst);
            Ok(count)
        })
    }

    /// Writes as much of `data` as the kernel takes.
    ///
    /// # Errors
    /// The connection broke; see [`is_reset`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => Pin::new(socket).poll_write(cx, data))
    }

    /// As [`poll_write`](Self::poll_write), from several places in one system call.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => Pin::new(socket).poll_write_vectored(cx, slices))
    }

    /// As [`poll_write`](Self::poll_write), without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes nothing now, else as [`poll_write`](Self::poll_write).
    pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
        on_socket!(self, socket => socket.try_write(data))
    }

    /// As [`poll_write_vectored`](Self::poll_write_vectored), without waiting.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        on_socket!(self, socket => socket.try_write_vectored(slices))
    }

    /// Writes all of `data`.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub async fn write_all(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let written = std::future::poll_fn(|cx| self.poll_write(cx, data)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            data = data.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// As [`poll_read`](Self::poll_read).
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub async fn read(&mut self, dst: &mut BytesMut) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, dst)).await
    }

    /// Ready when a read would not wait: there are bytes, an end or an error. May be ready in vain.
    ///
    /// # Errors
    /// The runtime is going away.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => socket.poll_read_ready(cx))
    }

    /// Ready when a write would not wait. May be ready in vain.
    ///
    /// # Errors
    /// As [`poll_read_ready`](Self::poll_read_ready).
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => socket.poll_write_ready(cx))
    }

    /// Ends our direction (FIN); reading goes on. Doing it twice, or after the peer has gone, is no error.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match on_socket!(self, socket => Pin::new(socket).poll_shutdown(cx)) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }

    /// Makes the close a reset instead of an orderly end, so that the peer learns that data was lost. Best effort: a Unix
    /// socket has no reset.
    pub fn reset_on_close(&self) {
        if let Self::Tcp(socket) = self {
            // Fails only on a socket that is dead already.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Closes with a reset: [`reset_on_close`](Self::reset_on_close), now.
    pub fn abort(self) {
        self.reset_on_close();
    }

    /// Whether an idle connection can be used again: the kernel knows of no end, no error and no byte that nobody
    /// asked for. One system call, whatever the runtime has heard so far.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(
            rustix::net::recv(self.as_fd(), &mut byte, flags),
            Err(rustix::io::Errno::WOULDBLOCK)
        )
    }

    /// The far end's address.
    ///
    /// # Errors
    /// The peer has gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddress> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map(SocketAddress::canonical),
            Self::Unix(_) => Ok(SocketAddress::Unix),
        }
    }

    /// Our end's address.
    ///
    /// # Errors
    /// The system has none for this socket.
    pub fn local_addr(&self) -> io::Result<SocketAddress> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(SocketAddress::canonical),
            Self::Unix(_) => Ok(SocketAddress::Unix),
        }
    }

    /// Runs a system call of the caller's if the socket is ready for it, and notes that it is not if the call says
    /// `WouldBlock`.
    pub(crate) fn try_io<T>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        on_socket!(self, socket => socket.try_io(interest, call))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on_socket!(self, socket => socket.as_fd())
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

/// Whether an error of a stream says that the peer has cut the connection rather than ended it. A reset that comes
/// after the peer's orderly end shows as a broken pipe.
#[must_use]
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// Moves what was read to the caller's buffer and leaves the worker's empty.
fn deliver(scratch: &mut BytesMut, dst: &mut BytesMut) {
    if scratch.len() > COPY_BYTES && dst.is_empty() {
        *dst = scratch.split();
    } else {
        dst.extend_from_slice(scratch);
        scratch.clear();
    }
}

#[cfg(test)]
mod tests;
