//! The filters of Postgres, by name: those that every protocol shares, and its own.
//!
//! Not the chain: that is `portcullis_filter`'s. Start at [`registry`].

use portcullis_filter::FilterRegistry;
use portcullis_filter::filters::{Concurrency, RateLimit};

use crate::request::PostgresMessages;

/// Every filter that a Postgres listener may list.
#[must_use]
pub fn registry() -> FilterRegistry<PostgresMessages> {
    FilterRegistry::new("postgres")
        .with::<RateLimit<PostgresMessages>>()
        .with::<Concurrency<PostgresMessages>>()
}
