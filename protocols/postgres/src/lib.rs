//! Postgres: a codec, authentication for both sides, SQL classification, pools, and the session that joins them.
//!
//! It is no database and plans no query: it knows as much of SQL as routing, limits and pooling need, and sends the rest
//! on unopened. Everything but `session` (feature of that name) is pure: no socket, no clock, no runtime.
//!
//! Start at [`frame`] for what the wire has, [`message`] for what messages say, [`sql`] for what a statement does,
//! [`auth`] for who may come in, [`pool`] for who gets a server connection.

pub mod auth;
pub mod encoder;
pub mod error;
pub mod frame;
pub mod limits;
pub mod message;
pub mod pool;
pub mod sql;
pub mod sqlstate;
pub mod startup;
