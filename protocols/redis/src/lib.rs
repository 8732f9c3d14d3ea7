//! Redis: any client over a server or shards of several, on few connections that all clients share.
//!
//! It is no database: it knows as much of a command as routing and limits need, and sends the very bytes on. Everything
//! but the feature `session` is pure: no socket, no clock, no runtime.
//!
//! Start at [`RedisConfig`] for what can be set, [`machine`] for what becomes of a command, and `Redis` for how the gateway
//! runs it. Below them: [`request`] for what clients send, [`reply`] for where a server's replies begin and end, [`message`]
//! for a reply that is opened, [`encoder`] for what the gateway says itself, [`command`] for what a command is, [`hash`] for
//! where a key lives, [`cluster`] and [`sentinel`] for what a Redis Cluster and sentinels say of servers, [`renaming`] for what
//! keys are called upstream, and [`acl`] for who may do what.

pub mod acl;
pub mod chain;
pub mod cluster;
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
pub mod renaming;
pub mod reply;
pub mod request;
pub mod route;
pub mod script;
pub mod sentinel;
#[cfg(feature = "session")]
mod session;
pub mod sketch;
pub mod slow_log;

pub use chain::RedisMessages;
pub use config::RedisConfig;
#[cfg(feature = "session")]
pub use session::{Redis, RedisServer};
