//! A connected socket, encrypted or not, read and written with as few system calls and as little memory as possible.
//!
//! Reads go through a buffer that belongs to the worker, so a connection that waits holds none. It does not buffer
//! writes and sets no deadlines; what TLS adds is in [`crate::tls`]. Start at [`Stream::poll_read`].

mod again;
mod async_io;
mod detached;
mod idle;
mod scratch;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncWrite as _, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::SocketAddress;
use crate::tls::TlsStream;

pub use detached::Detached;
pub use idle::Idle;
pub(crate) use scratch::{SCRATCH, SCRATCH_BYTES, deliver};

/// A connected socket of this worker.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// TLS over one of the others, after its handshake.
    Tls(Box<TlsStream>),
}

/// Does the same with whatever plain socket it is, and something else with TLS.
macro_rules! on_socket {
    ($stream:expr, $socket:ident => $body:expr, $tls:ident => $encrypted:expr) => {
        match $stream {
            Stream::Tcp($socket) => $body,
            Stream::Unix($socket) => $body,
            Stream::Tls($tls) => $encrypted,
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
    /// `limit` of 0 counts as 1, since `Ok(0)` means the end. TLS can be read by records only, so some of them may wait
    /// here instead: at most 16 KiB more than were asked for, and no less than 4 KiB at a time.
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_read_at_most(
        &mut self,
        cx: &mut Context<'_>,
        dst: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        if let Self::Tls(tls) = self {
            return polled(tls.receive(Some(cx), dst, limit));
        }
        loop {
            // Asked first: most questions come while there is nothing.
            ready!(self.poll_read_ready(cx))?;
            let read = self.receive_into(dst, limit);
            if !is_not_now(&read) {
                return Poll::Ready(read);
            }
        }
    }

    /// One read of at most `limit` bytes, appended to `dst`.
    fn receive_into(&self, dst: &mut BytesMut, limit: usize) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            let count = self.receive(scratch, limit)?;
            deliver(scratch, dst);
            Ok(count)
        })
    }

    /// Reads what is there into the worker's buffer, at most `limit` bytes. Without a task it does not wait either, but
    /// nobody is woken.
    pub(crate) fn fill(
        &mut self,
        task: Option<&mut Context<'_>>,
        scratch: &mut BytesMut,
        limit: usize,
    ) -> io::Result<usize> {
        let Some(task) = task else {
            return self.receive(scratch, limit);
        };
        loop {
            tried(self.poll_read_ready(task))?;
            let read = self.receive(scratch, limit);
            if !is_not_now(&read) {
                return read;
            }
        }
    }

    /// One read of at most `limit` bytes, appended to `scratch`, if the runtime has heard that there may be something.
    /// A short one has emptied the socket: that is noted, and saves asking once more.
    fn receive(&self, scratch: &mut BytesMut, limit: usize) -> io::Result<usize> {
        if self.is_encrypted() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        scratch.reserve(SCRATCH_BYTES);
        let limit = limit.clamp(1, SCRATCH_BYTES);
        let window = scratch.spare_capacity_mut().get_mut(..limit);
        let window = window.unwrap_or_default();
        let mut short = None;
        let read = self.try_io(Interest::READABLE, || {
            // The kernel itself: the C library's `recv` adds what only threads that may be cancelled need.
            let (_, count) = rustix::net::recv(self.as_fd(), window, RecvFlags::empty())?;
            if count == 0 || count == limit {
                return Ok(count);
            }
            short = Some(count);
            Err(io::ErrorKind::WouldBlock.into())
        });
        let count = short.map_or(read, Ok)?;
        let length = scratch.len() + count;
        // SAFETY: the kernel has written so many bytes behind those that were there.
        #[allow(unsafe_code)]
        unsafe {
            scratch.set_len(length);
        }
        Ok(count)
    }

    /// Writes what the kernel takes, as [`fill`](Self::fill) reads.
    pub(crate) fn drain(
        &mut self,
        task: Option<&mut Context<'_>>,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        on_socket!(
            self,
            socket => match task {
                Some(task) => tried(Pin::new(socket).poll_write_vectored(task, slices)),
                None => socket.try_write_vectored(slices),
            },
            tls => tls.send(task, slices)
        )
    }

    /// One write of what the kernel takes. As in [`receive`](Self::receive), a short one is noted.
    fn transmit(&self, data: &[u8]) -> io::Result<usize> {
        let count = rustix::net::send(self.as_fd(), data, SendFlags::NOSIGNAL)?;
        if count != 0 && count < data.len() {
            let full = || Err(io::ErrorKind::WouldBlock.into());
            // The answer is the one just given.
            let _: io::Result<()> = self.try_io(Interest::WRITABLE, full);
        }
        Ok(count)
    }

    /// Reads what is there and appends it to `dst`, without waiting. `Ok(0)` is the peer's end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, else as [`poll_read`](Self::poll_read).
    pub fn try_read_into(&mut self, dst: &mut BytesMut) -> io::Result<usize> {
        if let Self::Tls(tls) = self {
            return tls.receive(None, dst, SCRATCH_BYTES);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let count = self.fill(None, scratch, SCRATCH_BYTES)?;
            deliver(scratch, dst);
            Ok(count)
        })
    }

    /// Writes as much of `data` as the kernel takes. Who gets less, or has to wait, goes on with the rest: TLS counts
    /// the last byte of what it encrypted only when all of it is with the kernel.
    ///
    /// # Errors
    /// The connection broke; see [`is_reset`].
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if let Self::Tls(tls) = self {
            return polled(tls.send(Some(cx), &[IoSlice::new(data)]));
        }
        // The kernel is asked first: there nearly always is room.
        let written = self.transmit(data);
        if !is_not_now(&written) {
            return Poll::Ready(written);
        }
        loop {
            ready!(self.poll_write_ready(cx))?;
            let written = self.try_io(Interest::WRITABLE, || self.transmit(data));
            if !is_not_now(&written) {
                return Poll::Ready(written);
            }
        }
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
        polled(self.drain(Some(cx), slices))
    }

    /// As [`poll_write`](Self::poll_write), without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes nothing now, else as [`poll_write`](Self::poll_write).
    pub fn try_write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Self::Tls(tls) = self {
            return tls.send(None, &[IoSlice::new(data)]);
        }
        self.transmit(data)
    }

    /// As [`poll_write_vectored`](Self::poll_write_vectored), without waiting.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.drain(None, slices)
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
        on_socket!(self, socket => socket.poll_read_ready(cx), tls => tls.poll_read_ready(cx))
    }

    /// Ready when a write would not wait. May be ready in vain.
    ///
    /// # Errors
    /// As [`poll_read_ready`](Self::poll_read_ready).
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(
            self,
            socket => socket.poll_write_ready(cx),
            tls => tls.socket().poll_write_ready(cx)
        )
    }

    /// Ends our direction (FIN, and close_notify before it); reading goes on. Doing it twice, or after the peer has gone,
    /// is no error.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match on_socket!(
            self,
            socket => Pin::new(socket).poll_shutdown(cx),
            tls => tls.poll_shutdown(cx)
        ) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                Poll::Ready(Ok(()))
            }
            ready => ready,
        }
    }

    /// Makes the close a reset instead of an orderly end, so that the peer learns that data was lost. Best effort: a Unix
    /// socket has no reset.
    pub fn reset_on_close(&self) {
        match self {
            // Fails only on a socket that is dead already.
            Self::Tcp(socket) => {
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            }
            Self::Unix(_) => {}
            Self::Tls(tls) => tls.reset_on_close(),
        }
    }

    /// Closes with a reset: [`reset_on_close`](Self::reset_on_close), now.
    pub fn abort(self) {
        self.reset_on_close();
    }

    /// The far end's address.
    ///
    /// # Errors
    /// The peer has gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddress> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map(SocketAddress::canonical),
            Self::Unix(_) => Ok(SocketAddress::Unix),
            Self::Tls(tls) => tls.socket().peer_addr(),
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
            Self::Tls(tls) => tls.socket().local_addr(),
        }
    }

    /// Whether what the socket carries is not what is read and written here.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that both ends agreed on by ALPN (RFC 7301): `h2`, `http/1.1`. `None` without TLS or agreement.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(tls) => tls.connection().alpn_protocol(),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The certificate that the far end has shown, in DER form (what RFC 5929 section 4 hashes). `None` without TLS, or if it
    /// showed none. In a session that was taken up again it is the one of that session.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(tls) => tls
                .connection()
                .peer_certificates()?
                .first()
                .map(|der| &**der),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Runs a system call of the caller's if the socket is ready for it, and notes that it is not if the call says
    /// `WouldBlock`.
    pub(crate) fn try_io<T>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        on_socket!(
            self,
            socket => socket.try_io(interest, call),
            tls => tls.socket().try_io(interest, call)
        )
    }
}

/// The socket itself: with TLS its bytes are not those of the conversation.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on_socket!(self, socket => socket.as_fd(), tls => tls.socket().as_fd())
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

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Self {
        Self::Tls(Box::new(stream))
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

/// Whether nothing was there, or nothing was taken.
fn is_not_now<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// "Not now" as the runtime says it.
pub(crate) fn polled<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    if is_not_now(&result) {
        Poll::Pending
    } else {
        Poll::Ready(result)
    }
}

/// "Not now" as the kernel says it.
fn tried<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests;
