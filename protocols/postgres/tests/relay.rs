//! The conversation of a client with its server connections, without a socket.
//!
//! `relay/cases.rs` says what the rules are, one by one.

#[path = "relay/cases.rs"]
mod cases;
#[path = "relay/talk.rs"]
mod talk;
