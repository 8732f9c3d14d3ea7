//! HTTP/3 (RFC 9114): sessions over QUIC, downstream and upstream.
//!
//! QUIC is driven by `quinn`, frames and QPACK by `h3`; here is what joins them to `portcullis-http`, and the bounds on what
//! a peer may cost. Start at `session`; [`frames`] is what every byte of a stream passes.

pub mod frames;
#[cfg(feature = "session")]
pub mod session;
