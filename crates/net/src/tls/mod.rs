//! TLS, with rustls: what it makes of a socket.
//!
//! Whatever terminates or originates TLS makes a [`TlsStream`] here, and sessions see a [`crate::Stream`] like any
//! other. Cryptography, records and certificates are rustls's; this room decides who is trusted, which files that
//! comes from, and when bytes move. Start at [`TlsStream`].

mod certificates;
mod client_identity;
pub mod config;
mod handshake;
pub mod server;
mod stream;
pub mod upstream;
mod verify;

pub use certificates::{Certificate, TlsFileError};
pub use client_identity::identify;
pub use handshake::TlsRefusal;
pub(crate) use handshake::{accept, accept_and_remember};
pub use portcullis_filter::SanPattern;
pub(crate) use stream::DetachedTls;
pub use stream::{HandshakeError, TlsStream};
pub use upstream::AlpnOffer;
