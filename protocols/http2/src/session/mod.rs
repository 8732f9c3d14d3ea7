//! HTTP/2 over real connections: the downstream session and the upstream connections.
//!
//! `h2` drives the frames, with the guard between it and the socket. What a request means is `portcullis-http`'s.
//! Here is only what HTTP/2 is between the three: one connection, many streams. Start at [`io`] for how bytes pass.

mod driver;
mod fields;
mod io;
mod link;
mod pool;
mod upstream;
mod upstream_stats;
mod waiting;
pub(crate) mod websocket;

pub use pool::{Pool, pool_of};
