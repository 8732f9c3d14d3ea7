//! The protocols of this binary: the only list of them.
//!
//! A new protocol is a dependency in `Cargo.toml` and a line here; a feature too, where it can be left out. Nothing else in this
//! crate names one. Start at [`registry`].

#[cfg(feature = "postgres")]
use portcullis_postgres::Postgres;
use portcullis_proxy::Registry;
#[cfg(feature = "redis")]
use portcullis_redis::Redis;
use portcullis_tcp::Tcp;
#[cfg(feature = "udp")]
use portcullis_udp::session::Udp;

use crate::http::Http;
#[cfg(feature = "quic")]
use crate::quic::Quic;

/// The protocols, by the name that a listener's `protocol` gives them.
#[must_use]
pub fn registry() -> Registry {
    let registry = Registry::new().with::<Tcp>();
    #[cfg(feature = "udp")]
    let registry = registry.with::<Udp>();
    #[cfg(feature = "quic")]
    let registry = registry.with::<Quic>();
    let registry = registry.with::<Http>();
    #[cfg(feature = "postgres")]
    let registry = registry.with_control::<Postgres>();
    #[cfg(feature = "redis")]
    let registry = registry.with_control::<Redis>();
    registry
}

/// Whether this is the name of a protocol that could be here and was left out when the binary was built.
#[must_use]
pub fn is_left_out(name: &str) -> bool {
    match name {
        "udp" => !cfg!(feature = "udp"),
        "quic" => !cfg!(feature = "quic"),
        "postgres" => !cfg!(feature = "postgres"),
        "redis" => !cfg!(feature = "redis"),
        _ => false,
    }
}
