//! HTTP/2 over real connections: the downstream session and the upstream connections.
//!
//! `h2` drives the frames, with the guard between it and the socket. What a request means is `portcullis-http`'s.
//! Here is only what HTTP/2 is between the three: one connection, many streams. Start at [`serve`];
//! [`pool_of`] is the other side, and `io` is how bytes pass on both.

mod common;
mod downstream;
mod driver;
mod io;
mod life;
mod link;
mod pool;
mod queue;
mod request;
mod serve;
mod stats;
mod tunnel;
mod upstream;
pub(crate) mod websocket;

use std::sync::Arc;

use portcullis_http::service::ServiceHandle;
use portcullis_net::DrainSignal;

use crate::config::Http2Config;

pub use pool::{Pool, pool_of};
pub use serve::serve;
pub use stats::Http2Stats;

/// What a downstream session needs besides its connection.
pub struct Session {
    /// The service of the listener, as reloads make it.
    pub service: ServiceHandle,
    /// Tells the session to finish.
    pub drain: DrainSignal,
    /// What a client may use of a connection.
    pub config: Arc<Http2Config>,
    /// The counters of the listener.
    pub stats: Http2Stats,
}
