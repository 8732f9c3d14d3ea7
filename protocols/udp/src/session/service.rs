//! What all flows of one listener on one worker share that were opened under one configuration.
//!
//! A reload makes another one; flows keep theirs. Start at [`Service`].

use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{Cluster, ClusterConfig};
use portcullis_config::{BuildError, TargetAddress};
use portcullis_filter::{FilterChain, Random};
use portcullis_limit::{ConcurrencyLimiter, Seed};
use portcullis_net::limits::ConnectionLimit;
use portcullis_proxy::{ClusterMistake, ListenerContext};

use super::guide::Guide;
use super::stats::UdpStats;
use crate::config::FlowConfig;
use crate::message::UdpMessages;

/// Where flows go.
#[derive(Clone)]
pub enum Destination {
    /// All of them to one cluster.
    Cluster(Rc<Cluster>),
    /// Where a guide says.
    Guided(Rc<dyn Guide>),
}

/// What a service is made of that the listener's protocol knows.
pub struct ServiceParts {
    /// Where flows go.
    pub destination: Destination,
    /// How they are kept.
    pub flows: FlowConfig,
    /// The filters.
    pub chain: FilterChain<UdpMessages>,
}

/// What all flows share that were opened under one configuration.
pub struct Service {
    pub(super) listener: Arc<str>,
    pub(super) destination: Destination,
    pub(super) flows: FlowConfig,
    pub(super) chain: FilterChain<UdpMessages>,
    pub(super) stats: UdpStats,
    pub(super) random: Rc<Random>,
    pub(super) seed: Seed,
    pub(super) counts: Counts,
}

/// Flows, counted over all workers.
pub(super) struct Counts {
    pub(super) open: Arc<AllFlows>,
    pub(super) of_sources: Arc<ConcurrencyLimiter>,
}

impl Service {
    /// The service of one listener on one worker.
    #[must_use]
    pub fn new(parts: ServiceParts, cx: &ListenerContext) -> Self {
        let ServiceParts {
            destination,
            flows,
            chain,
        } = parts;
        let most = flows.limits.flows.get() as u64;
        let open = cx.common(|| AllFlows(ConnectionLimit::new(None)));
        open.0.set(Some(most));
        let per_source = flows.limits.flows_per_source.get() as u64;
        let key = format!("flows per source {} {per_source}", cx.path());
        let sources = || ConcurrencyLimiter::keyed(per_source);
        Self {
            listener: Arc::clone(&cx.listener),
            destination,
            stats: UdpStats::new(&cx.stats),
            random: Rc::clone(&cx.worker.random),
            seed: cx.worker.seed.clone(),
            counts: Counts {
                open,
                of_sources: cx.worker.shared.of(key, sources),
            },
            flows,
            chain,
        }
    }

    pub(super) fn guide(&self) -> Option<&Rc<dyn Guide>> {
        match &self.destination {
            Destination::Guided(guide) => Some(guide),
            Destination::Cluster(_) => None,
        }
    }
}

/// All flows of a listener, for [`ListenerContext::common`]: it is there as long as a service holds it.
pub(super) struct AllFlows(pub(super) Arc<ConnectionLimit>);

/// Why datagrams cannot be sent to a cluster: its settings may be for connections only.
#[must_use]
pub fn cluster_mistakes(name: &str, cluster: &ClusterConfig) -> Vec<ClusterMistake> {
    let mut mistakes = Vec::new();
    let mut refuse = |span, what: &str, help| {
        mistakes.push(ClusterMistake {
            span,
            message: format!("cluster '{name}' has {what}, which datagrams cannot be sent with"),
            help,
        });
    };
    if cluster.tls.is_some() {
        let help = "leave `tls` out: what clients encrypted goes on as it is";
        refuse(None, "`tls`", help);
    }
    if cluster.proxy_protocol.is_some() {
        let help = "leave `proxy_protocol` out: its header is for connections";
        refuse(None, "`proxy_protocol`", help);
    }
    for endpoint in cluster.endpoints.iter() {
        if matches!(endpoint.address, TargetAddress::Unix(_)) {
            let help = "write `host:port`";
            refuse(Some(endpoint.span), "a Unix socket", help);
        }
    }
    mistakes
}

/// Whether datagrams can be sent to a cluster, for whoever builds without having read.
///
/// # Errors
/// The first of [`cluster_mistakes`].
pub fn check_cluster(cluster: &Cluster, path: &str) -> Result<(), BuildError> {
    let mistakes = cluster.with_config(|config| cluster_mistakes(cluster.name(), config));
    match mistakes.into_iter().next() {
        None => Ok(()),
        Some(mistake) => Err(BuildError::new(path, mistake.message)),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::{Diagnostics, Source, load};

    use super::*;

    #[test]
    fn clusters_that_datagrams_cannot_be_sent_to_are_found() {
        let rows: [(&str, &str, &[&str]); 5] = [
            ("addresses", "endpoints: [\"a:1\", \"10.0.0.1:1\"]", &[]),
            ("TLS", "endpoints: [\"a:1\"]\ntls: {}", &["`tls`"]),
            (
                "a header",
                "endpoints: [\"a:1\"]\nproxy_protocol: v2",
                &["`proxy_protocol`"],
            ),
            (
                "a Unix socket",
                "endpoints: [\"a:1\", \"unix:/b\"]",
                &["a Unix socket"],
            ),
            (
                "all of it",
                "endpoints: [\"unix:/b\"]\ntls: { sni: b }\nproxy_protocol: v1",
                &["`tls`", "`proxy_protocol`", "a Unix socket"],
            ),
        ];
        for (name, text, expected) in rows {
            let source = Source::new("test.yaml", text.to_owned());
            let mut errors = Diagnostics::new(&source);
            let root = load(&source, &|_| None, &mut errors).unwrap();
            let cluster: ClusterConfig = root.read(&mut errors).unwrap();
            let mistakes = cluster_mistakes("a", &cluster);
            assert_eq!(mistakes.len(), expected.len(), "{name}: {mistakes:?}");
            for (mistake, what) in mistakes.iter().zip(expected) {
                assert!(mistake.message.contains(what), "{name}: {mistake:?}");
            }
        }
    }
}
