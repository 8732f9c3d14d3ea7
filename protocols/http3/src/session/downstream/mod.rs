//! HTTP/3 for clients: one endpoint of QUIC on each worker, a connection with many streams, an exchange for each.
//!
//! `endpoint` lets connections begin, on a `socket` that sorts datagrams by worker (`identity`, `common`); `serve` is a
//! connection, `life` what becomes of it, `request` a stream and `stream` how the exchange sees it. `wire` is where `h3` meets
//! `quinn`, and where what a client does is counted. Start at [`serve_datagrams`].

mod address;
mod client;
mod common;
mod endpoint;
mod identity;
mod life;
mod queue;
mod quic;
mod request;
mod serve;
mod socket;
mod stats;
mod stream;
mod tokens;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_http::service::{Handle, ServiceHandle};
use portcullis_net::SocketAddress;
use portcullis_stats::Counter;

use crate::config::Http3Config;

pub use common::Common;
pub use endpoint::serve_datagrams;
pub use stats::Http3Stats;

/// What a listener serves HTTP/3 with, on one worker.
pub struct Session {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The worker's number.
    pub worker: usize,
    /// The service of the listener, as reloads make it.
    pub service: ServiceHandle,
    /// What a client may use of a connection, as reloads make it.
    pub config: Handle<Http3Config>,
    /// The counters of the listener.
    pub stats: Http3Stats,
    /// Counts connections.
    pub connections: Counter,
    /// What the workers of the listener have in common.
    pub common: Arc<Common>,
}

/// An address as rules know it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddress::canonical(address).ip().unwrap_or(address)
}
