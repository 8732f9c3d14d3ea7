//! Who may do what: users, passwords and rules in the syntax of Redis ACLs, enforced by the gateway.
//!
//! It keeps no sessions and logs nothing, and it is not the server's ACL. A server asks a user's rules for each command that a
//! script calls; the gateway cannot look inside, so that a script may do whatever the gateway's own user upstream may: who may
//! not do everything is to run none unless the operator trusts them ([`User::is_unrestricted`], [`User::names`]; it is
//! [`Client::admit`](crate::machine::Client::admit) that refuses). What `KEYS`, `SCAN` and `RANDOMKEY` show of keys that a user may
//! not open is as open here as it is in Redis. Rules are read once, when the configuration is; a check allocates nothing.
//!
//! Start at [`User::parse`] and [`User::may`]; [`Users`] finds a user by name and password; [`Glob`] is the matching of
//! patterns.

mod denied;
mod glob;
mod password;
mod rules;
mod selector;
mod user;
mod users;

pub use denied::Denied;
pub use glob::{Glob, PatternTooLong};
pub use rules::{RuleError, RulesError};
pub use user::User;
pub use users::{NO_AUTHENTICATION, Users, WRONG_PASSWORD};
