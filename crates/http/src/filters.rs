//! The filters of HTTP, by name: those that every protocol shares, and HTTP's own, one file each.
//!
//! Not the chain: that is `portcullis_filter`'s. Start at [`http_filters`].

pub mod access;
pub mod access_log;
pub mod buffer;
pub mod cors;
pub mod fault;
pub mod headers;
#[cfg(test)]
mod tests;

use portcullis_filter::FilterRegistry;
use portcullis_filter::filters::{Concurrency, RateLimit};

pub use access::{Allow, Deny};
pub use access_log::AccessLog;
pub use buffer::Buffer;
pub use cors::Cors;
pub use fault::Fault;
pub use headers::Headers;

use crate::message::Http;

/// Every filter that an HTTP listener or route may list.
#[must_use]
pub fn http_filters() -> FilterRegistry<Http> {
    FilterRegistry::new("http")
        .with::<RateLimit<Http>>()
        .with::<Concurrency<Http>>()
        .with::<Allow>()
        .with::<Deny>()
        .with::<Headers>()
        .with::<Cors>()
        .with::<Buffer>()
        .with::<Fault>()
        .with::<AccessLog>()
}
