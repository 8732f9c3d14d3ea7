//! The conversation of a client with its server connections, without a socket.
//!
//! `relay/cases.rs`, `relay/pipelines.rs` and `relay/reading.rs` say what the rules are, one by one; `relay/sim` tries them all at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test fails loudly

#[path = "relay/cases.rs"]
mod cases;
#[path = "relay/pipelines.rs"]
mod pipelines;
#[path = "relay/reading.rs"]
mod reading;
#[path = "relay/sim/mod.rs"]
mod sim;
#[path = "relay/sim_tests.rs"]
mod sim_tests;
#[path = "relay/talk.rs"]
mod talk;
