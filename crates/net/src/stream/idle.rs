//! Connections that nobody is to speak on: whether that is so.
//!
//! Nothing is read here but one byte that stays in the kernel. Start at [`Stream::idle_state`].

use std::io;
use std::os::fd::AsFd as _;

use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::Stream;

/// What there is to say of a connection that nobody is to speak on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idle {
    /// Nothing has come.
    Quiet,
    /// Something has come that nobody asked for.
    Bytes,
    /// The peer has ended it, or it broke.
    Ended,
}

impl Stream {
    /// Whether an idle connection can be used again: the kernel knows of no end, no error and no byte that nobody
    /// asked for. One system call, whatever the runtime has heard so far. TLS looks into what has come: a session
    /// ticket is no reason to close.
    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        if let Self::Tls(tls) = self {
            return tls.is_alive();
        }
        idle(self.peek()) == Idle::Quiet
    }

    /// As [`is_alive`](Self::is_alive) without a system call while the runtime has heard of nothing, and with the
    /// difference between bytes and an end. What has come since the worker last waited for events is not seen yet: good
    /// for looking at many, or often; whoever is about to send something that cannot be sent twice asks `is_alive`.
    pub fn idle_state(&mut self) -> Idle {
        if let Self::Tls(tls) = self {
            return tls.idle_state();
        }
        idle(self.try_io(Interest::READABLE, || self.peek()))
    }

    /// Whether the kernel has a byte, and leaves it there.
    pub(super) fn peek(&self) -> io::Result<usize> {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let (count, _) = rustix::net::recv(self.as_fd(), &mut byte, flags)?;
        Ok(count)
    }
}

/// What a read without waiting says of a connection that is to be silent.
fn idle(read: io::Result<usize>) -> Idle {
    match read {
        Ok(0) => Idle::Ended,
        Ok(_) => Idle::Bytes,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Quiet,
        Err(_) => Idle::Ended,
    }
}
