//! `protocol: quic`: QUIC is routed by what its clients ask for, and not ended here.
//!
//! Reading packets and knowing connection ids is `portcullis-quic`'s, sockets and flows are `portcullis-udp`'s, and the rules are
//! those of TLS that is not ended, as `portcullis-tcp` has them; here the three are joined. Start at [`Quic`].

mod config;
mod guide;

use std::rc::Rc;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{BuildError, Node};
use portcullis_net::{Datagrams, Downstream};
use portcullis_proxy::{ClusterMistake, ListenerContext, Protocol, ReadContext, Server, Transport};
use portcullis_tcp::build_routes;
use portcullis_udp::session::{
    Destination, Service, ServiceParts, UdpServer, check_cluster, cluster_mistakes,
};
use serde_json::Value;

use config::QuicConfig;
use guide::QuicGuide;

/// The protocol `quic`.
pub(crate) struct Quic;

impl Protocol for Quic {
    const NAME: &'static str = "quic";
    type Config = QuicConfig;
    type Server = QuicServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<QuicConfig> {
        QuicConfig::read(raw, cx)
    }

    fn schema() -> Value {
        QuicConfig::schema()
    }

    fn transport(_: &QuicConfig) -> Transport {
        Transport::Datagrams
    }

    fn cluster_mistakes(
        config: &QuicConfig,
        name: &str,
        cluster: &ClusterConfig,
    ) -> Vec<ClusterMistake> {
        let mut used = config.routes.iter().flat_map(|route| &route.clusters);
        if used.any(|(used, _)| &**used == name) {
            cluster_mistakes(name, cluster)
        } else {
            Vec::new()
        }
    }

    fn build(config: &QuicConfig, cx: &ListenerContext) -> Result<QuicServer, BuildError> {
        let path = format!("{}.filters", cx.path());
        for (name, _) in config.routes.iter().flat_map(|route| &route.clusters) {
            check_cluster(&*cx.cluster(name)?, &cx.path())?;
        }
        let guide = QuicGuide::new(config, build_routes(&config.routes, cx)?, cx)?;
        let parts = ServiceParts {
            destination: Destination::Guided(Rc::new(guide)),
            flows: config.flows.clone(),
            chain: config.filters.build(&cx.filters(&path))?,
        };
        Ok(QuicServer(UdpServer::new(Service::new(parts, cx))))
    }
}

/// QUIC, configured for one listener on one worker.
pub(crate) struct QuicServer(UdpServer);

impl Server for QuicServer {
    /// There are no connections.
    fn serve(self: Rc<Self>, _: Downstream) -> impl Future<Output = ()> + 'static {
        std::future::ready(())
    }

    fn serve_datagrams(self: Rc<Self>, datagrams: Datagrams) -> impl Future<Output = ()> + 'static {
        self.0.serve_all(datagrams)
    }

    fn on_replaced(&self, successor: &Rc<Self>) {
        self.0.replace(&successor.0);
    }
}
