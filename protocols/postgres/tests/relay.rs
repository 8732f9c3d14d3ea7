//! The conversation of a client with its server connections, without a socket.
//!
//! `relay/cases.rs` and `relay/pipelines.rs` say what the rules are, one by one.

#[path = "relay/cases.rs"]
mod cases;
#[path = "relay/pipelines.rs"]
mod pipelines;
#[path = "relay/talk.rs"]
mod talk;
