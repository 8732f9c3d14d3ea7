//! The filters of Postgres, by name: those that every protocol shares, and its own.
//!
//! Not the chain: that is `portcullis_filter`'s. Start at [`registry`].

mod access_log;
mod fault;
mod query_timeout;
mod result_limit;
mod rules;
mod slow_log;
#[cfg(test)]
pub(crate) mod testing;

use portcullis_filter::FilterRegistry;
use portcullis_filter::filters::{Concurrency, RateLimit};

pub use access_log::AccessLog;
pub use fault::{AbortConfig, Fault, SqlStateText};
pub use query_timeout::{QueryTimeout, QueryTimeoutConfig, QueryTimeoutFilter};
pub use result_limit::{ResultLimit, ResultLimitConfig};
pub use rules::{Allow, AllowConfig, ClientRules, Deny, DenyConfig, WhoConfig};
pub use slow_log::{SlowLog, SlowLogConfig};

use crate::request::PostgresMessages;

/// Every filter that a Postgres listener may list.
#[must_use]
pub fn registry() -> FilterRegistry<PostgresMessages> {
    FilterRegistry::new("postgres")
        .with::<Allow>()
        .with::<Deny>()
        .with::<RateLimit<PostgresMessages>>()
        .with::<Concurrency<PostgresMessages>>()
        .with::<QueryTimeoutFilter>()
        .with::<ResultLimit>()
        .with::<Fault>()
        .with::<SlowLog>()
        .with::<AccessLog>()
}
