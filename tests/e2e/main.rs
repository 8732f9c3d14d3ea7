//! The gateway over real sockets: one module per protocol, one test per promise.

// Helpers of tests are not seen as tests by these lints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod cluster;
mod http_bodies;
mod http_flow;
mod http_framing;
mod http_hops;
mod http_retries;
mod http_routes;
mod http_targets;
mod http_tunnels;
mod http_upstream;
mod smoke;
mod support;
