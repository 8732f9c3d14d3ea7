//! The filters in chains as they are configured, without sockets: an exchange is played by hand.

mod calls;
mod health;
mod play;
mod web;

use super::grpc_filters;
use portcullis_http::filters::http_filters;

#[test]
fn every_filter_is_registered_beside_those_of_http() {
    let registry = grpc_filters(http_filters());
    let names: Vec<&str> = registry.names().collect();
    for name in ["grpc", "grpc_web", "grpc_health", "cors", "rate_limit"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}
