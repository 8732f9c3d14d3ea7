//! The session over real sockets: the only room of this crate that waits.
//!
//! ```text
//! server ─▶ client (one task each) ─▶ reach ─▶ upstream ─▶ shard ─▶ link (one task for each upstream connection)
//!              ▲                                 members               │ (nodes of a Redis Cluster)
//!              │                                 followed              │ (what sentinels say)
//!              │                                 group                 │ (reads from replicas)
//!              └───────────── cell: replies, written at once ◀─────────┘
//! ```
//!
//! What a command becomes and whose a reply is, is [`crate::machine`]'s. Start at [`Redis`], then `client` for a client's
//! task and `link` for the other side.

mod cell;
mod client;
mod cluster;
mod control;
mod demoted;
mod discovery;
mod followed;
mod following;
mod foreign;
mod group;
mod health;
mod inquiry;
mod judge;
mod keys;
mod link;
mod mailbox;
mod members;
mod mirror;
mod open;
mod pending;
mod reach;
mod receiver;
mod rights;
mod scripts;
mod server;
mod shard;
mod shared;
mod slow;
mod spare;
mod stats;
mod tally;
mod tracked;
mod upstream;
mod way;
mod written;

pub use server::{Redis, RedisServer};
