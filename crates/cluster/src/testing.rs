//! What the tests of this crate share: time, endpoints and clusters without a configuration file.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_config::{Diagnostics, Source};
use portcullis_stats::{Registry, Shard};

use crate::{
    ClusterConfig, ClusterShared, EndpointSet, LocalEndpoint, ResolvedAddress, ResolvedEndpoint,
};

/// An arbitrary origin; tests move time themselves.
#[allow(clippy::disallowed_methods)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn shard() -> Shard {
    Registry::new(1).shard(0)
}

/// A configuration from YAML or JSON, without [`ClusterConfig::check`].
pub(crate) fn config(text: &str) -> Arc<ClusterConfig> {
    let (config, diagnostics) = read(text);
    Arc::new(config.unwrap_or_else(|| panic!("{}", diagnostics.render(false))))
}

/// What was read, and what was wrong.
pub(crate) fn read(text: &str) -> (Option<ClusterConfig>, Diagnostics) {
    let source = Source::new("test.yaml", text);
    let mut diagnostics = Diagnostics::new(&source);
    let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
    (node.read(&mut diagnostics), diagnostics)
}

/// Endpoints on consecutive addresses.
pub(crate) fn resolved(weights: &[u32]) -> Vec<ResolvedEndpoint> {
    let endpoint = |(number, &weight): (u8, &u32)| {
        let address = format!("10.0.0.{number}:80");
        ResolvedEndpoint {
            name: address.as_str().into(),
            address: ResolvedAddress::Socket(address.parse().unwrap()),
            weight,
            role: None,
        }
    };
    (1..).zip(weights).map(endpoint).collect()
}

pub(crate) fn local_endpoints(weights: &[u32]) -> Rc<[Rc<LocalEndpoint>]> {
    let shard = shard();
    let set = EndpointSet::new(resolved(weights), true);
    let local = |endpoint| Rc::new(LocalEndpoint::new(Arc::clone(endpoint), &shard));
    set.endpoints().iter().map(local).collect()
}

/// A cluster of endpoints of weight 1; `settings` are further keys of its configuration, as JSON.
pub(crate) fn shared(count: usize, settings: &str) -> Arc<ClusterShared> {
    let endpoints = resolved(&vec![1; count]);
    ClusterShared::new("api", config(&cluster_json(settings)), endpoints, start())
}

pub(crate) fn cluster_json(settings: &str) -> String {
    let comma = if settings.is_empty() { "" } else { "," };
    format!("{{\"endpoints\": [\"10.0.0.1:80\"]{comma} {settings}}}")
}
