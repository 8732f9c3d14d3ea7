//! What all flows of one listener on one worker share that were opened under one configuration.
//!
//! A reload makes another one; flows keep theirs. Start at [`Service`].

use std::rc::Rc;
use std::sync::Arc;

use portcullis_cluster::{Cluster, ResolvedAddress};
use portcullis_config::BuildError;
use portcullis_filter::{FilterChain, Random};
use portcullis_limit::{ConcurrencyLimiter, Seed};
use portcullis_net::limits::ConnectionLimit;
use portcullis_proxy::ListenerContext;

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

/// Whether datagrams can be sent to a cluster: its settings may be for connections only.
///
/// # Errors
/// What stands against it.
pub fn check_cluster(cluster: &Cluster, path: &str) -> Result<(), BuildError> {
    let what = cluster.with_config(|config| {
        let is_unix = |endpoint: &Rc<portcullis_cluster::LocalEndpoint>| {
            matches!(endpoint.address(), ResolvedAddress::Unix(_))
        };
        if config.tls.is_some() {
            Some("tls")
        } else if config.proxy_protocol.is_some() {
            Some("proxy_protocol")
        } else if cluster.endpoints().iter().any(is_unix) {
            Some("a Unix socket")
        } else {
            None
        }
    });
    match what {
        None => Ok(()),
        Some(what) => Err(BuildError::new(
            path,
            format!(
                "cluster '{}' has {what}, which datagrams cannot be sent with",
                cluster.name()
            ),
        )),
    }
}
