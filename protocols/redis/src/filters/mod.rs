//! The filters of Redis, by name: those that every protocol shares, and its own.
//!
//! Not the chain: that is `portcullis_filter`'s. Start at [`registry`].

mod access_log;
mod deny;
mod fault;

use portcullis_filter::FilterRegistry;
use portcullis_filter::filters::{Allow, Concurrency, RateLimit};

pub use access_log::AccessLog;
pub use deny::{Deny, DenyConfig};
pub use fault::{AbortConfig, Fault};

use crate::chain::RedisMessages;

/// Every filter that a Redis listener may list.
#[must_use]
pub fn registry() -> FilterRegistry<RedisMessages> {
    FilterRegistry::new("redis")
        .with::<Allow>()
        .with::<Deny>()
        .with::<RateLimit<RedisMessages>>()
        .with::<Concurrency<RedisMessages>>()
        .with::<Fault>()
        .with::<AccessLog>()
}
