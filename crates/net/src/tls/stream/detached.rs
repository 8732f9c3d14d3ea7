//! An encrypted stream without its runtime. Start at [`TlsStream::detach`].

use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr;

use bytes::BytesMut;
use rustls::Connection;

use super::TlsStream;
use crate::stream::Detached;

/// What an encrypted stream is, with its socket on no runtime.
pub(crate) struct DetachedTls {
    socket: Detached,
    rest: Rest,
}

/// All of a [`TlsStream`] but its socket.
struct Rest {
    connection: Connection,
    plain: BytesMut,
    fault: Option<rustls::Error>,
    ended: bool,
    owes: bool,
    closing: bool,
    aborted: Cell<bool>,
}

impl TlsStream {
    /// See [`crate::Stream::detach`].
    pub(crate) fn detach(self) -> io::Result<DetachedTls> {
        let whole = ManuallyDrop::new(self);
        let Self {
            socket,
            connection,
            plain,
            fault,
            ended,
            owes,
            closing,
            aborted,
        } = &*whole;
        // SAFETY: each field is read once, from a reference to it, and nobody sees or drops `whole` afterwards: it is what
        // the compiler does itself when a type has no `Drop`. Ours only says goodbye to the peer, which must not happen.
        #[allow(unsafe_code)]
        let (socket, rest) = unsafe {
            let rest = Rest {
                connection: ptr::read(connection),
                plain: ptr::read(plain),
                fault: ptr::read(fault),
                aborted: ptr::read(aborted),
                ended: *ended,
                owes: *owes,
                closing: *closing,
            };
            (ptr::read(socket), rest)
        };
        let socket = socket.detach()?;
        Ok(DetachedTls { socket, rest })
    }
}

impl DetachedTls {
    /// See [`Detached::attach`].
    pub(crate) fn attach(self) -> io::Result<TlsStream> {
        let Rest {
            connection,
            plain,
            fault,
            ended,
            owes,
            closing,
            aborted,
        } = self.rest;
        Ok(TlsStream {
            socket: self.socket.attach()?,
            connection,
            plain,
            fault,
            ended,
            owes,
            closing,
            aborted,
        })
    }
}

impl std::fmt::Debug for DetachedTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DetachedTls")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
