//! Redis: the command table, hashing and access rules.
//!
//! Nothing here has a socket or a clock. Start at [`command`] for what a command is, [`hash`] for where a key lives, and
//! [`acl`] for who may do what.

pub mod acl;
pub mod command;
pub mod hash;
