//! Redis: the wire format of RESP2 and RESP3, for both directions.
//!
//! It is no database: it knows as much of a command as routing and limits need, and sends the very bytes on. Everything
//! but the feature `session` is pure: no socket, no clock, no runtime.
//!
//! Start at [`request`] for what clients send, [`reply`] for where a server's replies begin and end, [`message`] for a reply
//! that is opened, [`encoder`] for what the gateway says itself, [`command`] for what a command is, [`hash`] for
//! where a key lives, and [`acl`] for who may do what.

pub mod acl;
pub mod command;
pub mod encoder;
pub mod error;
mod grammar;
pub mod hash;
pub mod limits;
pub mod message;
pub mod reply;
pub mod request;
