//! Clients over server connections through the real relays, with every other part a model: the first law, tried.
//!
//! Each client has a twin: a server of its own that gets the same messages and nothing else. What the client hears through the
//! gateway must be what its twin says, message by message, and its parameters must be its twin's. Whenever a connection is
//! handed on, nothing of the client before may be in it. Choices come from a seed or from a fuzzer's bytes, and decide
//! what is said, where bytes are cut, in which order they arrive, and what breaks. Start at [`site::run`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs
#![allow(clippy::unnecessary_wraps, clippy::wrong_self_convention)] // as their neighbours have it

pub mod client;
pub mod model;
pub mod script;
pub mod site;
pub mod state;
