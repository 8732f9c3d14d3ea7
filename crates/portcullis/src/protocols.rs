//! The protocols of this binary: the only list of them.
//!
//! A new protocol is a dependency in `Cargo.toml` and a line here. Nothing else in this crate names one. Start at
//! [`registry`].

use portcullis_postgres::Postgres;
use portcullis_proxy::Registry;
use portcullis_redis::Redis;
use portcullis_tcp::Tcp;
use portcullis_udp::session::Udp;

use crate::http::Http;
use crate::quic::Quic;

/// The protocols, by the name that a listener's `protocol` gives them.
#[must_use]
pub fn registry() -> Registry {
    Registry::new()
        .with::<Tcp>()
        .with::<Udp>()
        .with::<Quic>()
        .with::<Http>()
        .with_control::<Postgres>()
        .with_control::<Redis>()
}
