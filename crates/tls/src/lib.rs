//! The TLS ClientHello: a pure codec for routing without termination.
//!
//! It reads what a client says in the clear before it is answered: the name of the server that it wants, the
//! protocols that it would speak, the versions that it knows. It is no TLS: it answers nothing, derives no key and
//! judges no cipher suite; that is for the endpoint that the connection goes to. It has no socket and no clock.
//!
//! Start at [`ClientHelloDecoder`], then [`ClientHello`] for what is read.

mod decoder;
mod error;
mod grammar;
mod limits;
mod message;
mod name;

pub use decoder::{ClientHelloDecoder, message_length, sniff};
pub use error::ClientHelloError;
pub use limits::ClientHelloLimits;
pub use message::{Alpn, ClientHello, ProtocolVersion, Versions};
