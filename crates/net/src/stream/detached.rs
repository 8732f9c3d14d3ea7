//! A stream on its way from one worker to another: connected, and watched by no runtime.
//!
//! It only waits here: nothing is read or written, and nothing that comes is noticed before it is attached. Start at
//! [`Stream::detach`].

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::Stream;
use crate::tls::DetachedTls;

/// A connected stream that belongs to no worker. Dropping it closes the connection; TLS ends without a word then.
#[derive(Debug)]
pub struct Detached(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<DetachedTls>),
}

impl Stream {
    /// Takes the stream off this worker's runtime, so that another can [attach](Detached::attach) it. What was decrypted
    /// and not yet asked for goes along, and so does what is encrypted and not yet written.
    ///
    /// # Errors
    /// The runtime does not let go of it. The connection is closed then.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached(match self {
            Self::Tcp(socket) => Kind::Tcp(socket.into_std()?),
            Self::Unix(socket) => Kind::Unix(socket.into_std()?),
            Self::Tls(tls) => Kind::Tls(Box::new(tls.detach()?)),
        }))
    }
}

impl Detached {
    /// Makes it a stream of this worker. To be called on its runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the socket. The connection is closed then.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self.0 {
            Kind::Tcp(socket) => tokio::net::TcpStream::from_std(socket)?.into(),
            Kind::Unix(socket) => tokio::net::UnixStream::from_std(socket)?.into(),
            Kind::Tls(tls) => tls.attach()?.into(),
        })
    }
}

#[cfg(test)]
mod tests;
