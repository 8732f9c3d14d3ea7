//! Redis: the wire format of RESP2 and RESP3, for both directions.
//!
//! It is no database: it knows as much of a command as routing and limits need, and sends the very bytes on. Everything
//! but the feature `session` is pure: no socket, no clock, no runtime.
//!
//! Start at [`request`] for what clients send, [`reply`] for where a server's replies begin and end, [`message`] for a reply
//! that is opened, and [`encoder`] for what the gateway says itself.

pub mod acl;
pub mod chain;
pub mod command;
pub mod config;
pub mod encoder;
pub mod error;
pub mod filters;
mod grammar;
pub mod hash;
pub mod limits;
pub mod machine;
pub mod message;
pub mod reply;
pub mod request;
pub mod route;
#[cfg(feature = "session")]
mod session;

pub use chain::RedisMessages;
pub use config::RedisConfig;
#[cfg(feature = "session")]
pub use session::{Redis, RedisServer};
