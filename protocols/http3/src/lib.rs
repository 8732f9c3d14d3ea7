//! HTTP/3 (RFC 9114): sessions over QUIC, downstream and upstream.
//!
//! QUIC is driven by `quinn`, frames and QPACK by `h3`; here is what joins them to `portcullis-http`, and the bounds on what
//! a peer may cost. No codec of its own. Start at `session`.

#[cfg(feature = "session")]
pub mod session;
