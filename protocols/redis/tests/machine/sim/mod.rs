//! Clients over shards, through the real machines: each hears its own, in order, one answer for each command.
//!
//! Each client has a twin, a server of its own that gets the same commands and nothing else. As long as nothing breaks, what the
//! client hears must be what its twin says, byte for byte. Where connections break it must be its own: every value carries the
//! number of the client that wrote it, and ECHO in between shows that no answer is missing and none too many. Whenever a
//! connection is handed on, nothing of the client before may be in it. Choices come from a seed or from a fuzzer's bytes, and
//! decide what is said, where bytes are cut, in which order they arrive, and what breaks. Start at [`site::run`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs
#![allow(clippy::cast_possible_wrap, clippy::needless_for_each)] // small numbers; one line each

pub mod client;
pub mod gateway;
pub mod model;
pub mod script;
pub mod site;
pub mod twin;
