//! TLS, with rustls: what it makes of a socket.
//!
//! Whatever terminates or originates TLS makes a [`TlsStream`] here, and sessions see a [`crate::Stream`] like any
//! other. Cryptography, records and certificates are rustls's; this room decides who is trusted, which files that
//! comes from, and when bytes move. Start at [`TlsStream`].

mod stream;

pub use stream::{HandshakeError, TlsStream};
