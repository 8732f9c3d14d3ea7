//! What sentinels say of a primary and its replicas, and what servers say of their own role.
//!
//! As the documentation of Redis has it ("High availability with Redis Sentinel", "Guidelines for Redis clients with support
//! for Redis Sentinel"). It connects to nobody and believes nobody: a sentinel may be behind, so that a primary is used only
//! once it says itself that it is one. Who asks, and whom, is the session's.
//!
//! Start at [`Answer::read`], then [`News::read`] and [`Role::read`].

mod answer;
mod news;
mod role;

pub use answer::{Answer, AnswerError, MOST_REPLICAS, MOST_SENTINELS, others};
pub use news::{CHANNELS, News};
pub use role::Role;
