//! The gateway over real sockets: one module per protocol, one test per promise.

// Helpers of tests are not seen as tests by these lints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod access_log;
mod admin;
mod cluster;
mod detect;
mod dns;
mod drain;
mod examples;
mod faults;
mod grpc;
mod http2;
mod http2_attacks;
mod http2_life;
mod http2_tunnels;
mod http2_upstream;
mod http2_upstream_attacks;
mod http2_upstream_peers;
mod http2_upstream_tunnels;
mod http3;
mod http3_upstream;
mod http_bodies;
mod http_corners;
mod http_filters;
mod http_flow;
mod http_framing;
mod http_hops;
mod http_pool;
mod http_retries;
mod http_routes;
mod http_targets;
mod http_timeouts;
mod http_tunnels;
mod http_upstream;
mod logs;
mod matrix;
mod peers;
mod postgres;
mod python;
mod quic;
mod redis;
mod redis_commands;
mod reload;
mod smoke;
mod support;
mod tcp;
mod tcp_filters;
mod tcp_proxy_header;
mod tcp_sni;
mod tls;
mod tls_upstream;
mod udp;
mod udp_attacks;
