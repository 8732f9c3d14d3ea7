//! Postgres: a codec, authentication for both sides, SQL classification, pools, and the session that joins them.
//!
//! It is no database and plans no query: it knows as much of SQL as routing, limits and pooling need, and sends the rest
//! on unopened. Everything but `session` (feature of that name) is pure: no socket, no clock, no runtime.
//!
//! Start at [`frame`] for what the wire has, [`message`] for what messages say, [`sql`] for what a statement does,
//! [`auth`] for who may come in, [`pool`] for who gets a server connection, [`machine`] for what is said and owed, and
//! `Postgres` for how the gateway runs all of it.

pub mod auth;
pub mod config;
pub mod console;
pub mod encoder;
pub mod error;
pub mod filters;
pub mod frame;
pub mod limits;
pub mod machine;
pub mod message;
pub mod pool;
pub mod reject;
pub mod request;
pub mod roles;
pub mod route;
#[cfg(feature = "session")]
mod session;
pub mod sql;
pub mod sqlstate;
pub mod startup;
pub mod stats;

pub use config::PostgresConfig;
pub use request::{PostgresMessages, Record, ResultPiece, StatementRequest};
#[cfg(feature = "session")]
pub use session::{Postgres, PostgresServer};
