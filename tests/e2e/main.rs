//! The gateway over real sockets: one module per protocol, one test per promise.

// Helpers of tests are not seen as tests by these lints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod http_framing;
mod http_targets;
mod smoke;
mod support;
