//! Where connections come from: a listening socket, or a test's script.
//!
//! Accepted sockets belong to no runtime yet, so that they can still go to another worker. Start at [`SocketSource`].

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SocketFlags, accept_with, acceptfrom_with, recv};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::listen::ListenerSocket;
use crate::{SocketAddress, Stream};

/// A connected socket that no runtime watches.
#[derive(Debug)]
pub(super) enum AcceptedSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AcceptedSocket {
    /// Makes it a stream of this worker.
    pub(super) fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => tokio::net::TcpStream::from_std(socket)?.into(),
            Self::Unix(socket) => tokio::net::UnixStream::from_std(socket)?.into(),
        })
    }

    /// Closes it without serving it. What the client has sent already is read first, since closing over unread bytes
    /// would be a reset.
    pub(super) fn refuse(self) {
        let mut dropped = [0_u8; REFUSED_BYTES];
        // Whether there was anything does not matter.
        let _ = match &self {
            Self::Tcp(socket) => recv(socket, &mut dropped, RecvFlags::DONTWAIT),
            Self::Unix(socket) => recv(socket, &mut dropped, RecvFlags::DONTWAIT),
        };
    }
}

/// More than a first request or hello has. Whoever sends more at once may be reset.
const REFUSED_BYTES: usize = 8 * 1024;

/// Gives connections, one after another.
pub(super) trait AcceptSource {
    /// The next connection and its peer.
    fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(AcceptedSocket, SocketAddress)>>;
}

/// A listening socket, watched by the worker's runtime.
pub(super) struct SocketSource(AsyncFd<ListenerSocket>);

impl SocketSource {
    pub(super) fn new(socket: ListenerSocket) -> io::Result<Self> {
        // Accepting through tokio's listeners would tie each connection to this worker's runtime.
        // SAFETY: the socket owns its descriptor, which is open, and whichever variant it is, it always gives that one. Nothing
        // here replaces it: the source only lends it out by shared reference, and closes it by being dropped.
        #[allow(unsafe_code)]
        let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(watched?))
    }
}

impl AcceptSource for SocketSource {
    fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(AcceptedSocket, SocketAddress)>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            if let Ok(result) = guard.try_io(|socket| accept(socket.get_ref())) {
                return Poll::Ready(result);
            }
        }
    }
}

fn accept(socket: &ListenerSocket) -> io::Result<(AcceptedSocket, SocketAddress)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match socket {
        ListenerSocket::Tcp(socket) => {
            let (accepted, peer) = acceptfrom_with(socket, flags)?;
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
            let accepted = AcceptedSocket::Tcp(accepted.into());
            Ok((accepted, SocketAddress::canonical(peer)))
        }
        ListenerSocket::Unix(socket) => {
            let accepted = accept_with(socket, flags)?;
            let accepted = AcceptedSocket::Unix(accepted.into());
            Ok((accepted, SocketAddress::Unix))
        }
    }
}
