//! HTTP/3 over real connections: the downstream session and the upstream connections.
//!
//! What a request means is `portcullis-http`'s. Start at [`downstream`] for what clients get, at [`upstream`] for what is asked of
//! endpoints.

pub mod downstream;
mod quic;
pub mod upstream;
