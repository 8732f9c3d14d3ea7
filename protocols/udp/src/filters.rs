//! The filters of UDP, by name: `allow`, `deny` and `concurrency`, which every protocol shares, and those that are about
//! datagrams.
//!
//! Not the chain: that is `portcullis_filter`'s. Start at [`registry`].

mod access_log;
mod fault;
mod rate_limit;
#[cfg(test)]
mod tests;

use portcullis_filter::FilterRegistry;
use portcullis_filter::filters::{Allow, Concurrency, Deny};

pub use access_log::AccessLog;
pub use fault::{Fault, FaultConfig};
pub use rate_limit::{Counted, RateLimit, RateLimitConfig};

use crate::message::UdpMessages;

/// Every filter that a UDP listener may list.
#[must_use]
pub fn registry() -> FilterRegistry<UdpMessages> {
    registry_of("udp")
}

/// The same, for a protocol whose datagrams are proxied as those of UDP.
#[must_use]
pub fn registry_of(protocol: &'static str) -> FilterRegistry<UdpMessages> {
    FilterRegistry::new(protocol)
        .with::<Allow>()
        .with::<Deny>()
        .with::<RateLimit>()
        .with::<Concurrency<UdpMessages>>()
        .with::<Fault>()
        .with::<AccessLog>()
}

/// Which direction a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both directions.
    Both,
    /// From clients to endpoints.
    Up,
    /// From endpoints to clients.
    Down,
}

impl Direction {
    const fn interest(self) -> portcullis_filter::Interest {
        use portcullis_filter::Interest as I;
        match self {
            Self::Both => I::REQUEST_DATA.and(I::RESPONSE_DATA),
            Self::Up => I::REQUEST_DATA,
            Self::Down => I::RESPONSE_DATA,
        }
    }
}
