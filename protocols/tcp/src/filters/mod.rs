//! The filters of TCP, by name: those that every protocol shares, and `bandwidth` and `access_log`.
//!
//! Not the chain: that is `portcullis_filter`'s. Start at [`registry`].

mod access_log;
mod bandwidth;

use portcullis_filter::FilterRegistry;
use portcullis_filter::filters::{Allow, Concurrency, Deny, RateLimit};

pub use access_log::AccessLog;
pub use bandwidth::{Bandwidth, BandwidthConfig, Direction, Per};

use crate::message::TcpMessages;

/// Every filter that a TCP listener may list.
#[must_use]
pub fn registry() -> FilterRegistry<TcpMessages> {
    FilterRegistry::new("tcp")
        .with::<Allow>()
        .with::<Deny>()
        .with::<RateLimit<TcpMessages>>()
        .with::<Concurrency<TcpMessages>>()
        .with::<Bandwidth>()
        .with::<AccessLog>()
}
