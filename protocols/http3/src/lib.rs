//! HTTP/3 (RFC 9114): sessions over QUIC, downstream and upstream.
//!
//! QUIC is driven by `quinn`, frames and QPACK by `h3`; here is what joins them to `portcullis-http`, and the bounds on what
//! a peer may cost. Start at [`config`] and `session`; [`guard`] is what the frames of clients pass, [`frames`] those of
//! endpoints.

pub mod config;
pub mod frames;
pub mod guard;
#[cfg(feature = "session")]
pub mod session;

pub use config::Http3Config;
