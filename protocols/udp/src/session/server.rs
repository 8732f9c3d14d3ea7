//! The protocol `udp`, and its server on each worker.
//!
//! Start at [`UdpServer`].

use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{BuildError, Node};
use portcullis_net::{Datagrams, Downstream};
use portcullis_proxy::{ClusterMistake, ListenerContext, Protocol, ReadContext, Server, Transport};
use serde_json::Value;

use super::hub;
use super::service::{Destination, Service, ServiceParts, check_cluster, cluster_mistakes};
use crate::config::UdpConfig;

/// The protocol `udp`.
#[derive(Debug, Clone, Copy)]
pub struct Udp;

impl Protocol for Udp {
    const NAME: &'static str = "udp";
    type Config = UdpConfig;
    type Server = UdpServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<UdpConfig> {
        UdpConfig::read(raw, cx)
    }

    fn schema() -> Value {
        UdpConfig::schema()
    }

    fn transport(_: &UdpConfig) -> Transport {
        Transport::Datagrams
    }

    fn cluster_mistakes(
        config: &UdpConfig,
        name: &str,
        cluster: &ClusterConfig,
    ) -> Vec<ClusterMistake> {
        if config.cluster == name {
            cluster_mistakes(name, cluster)
        } else {
            Vec::new()
        }
    }

    fn build(config: &UdpConfig, cx: &ListenerContext) -> Result<UdpServer, BuildError> {
        let path = format!("{}.filters", cx.path());
        let cluster = cx.cluster(&config.cluster)?;
        check_cluster(&cluster, &cx.path())?;
        let parts = ServiceParts {
            destination: Destination::Cluster(cluster),
            flows: config.flows.clone(),
            chain: config.filters.build(&cx.filters(&path))?,
        };
        Ok(UdpServer::new(Service::new(parts, cx)))
    }
}

/// UDP, configured for one listener on one worker.
///
/// All servers of a line of successors share one slot: the task that has the sockets finds every later service through it.
pub struct UdpServer(RefCell<Rc<Slot>>);

/// Where the service for the next flow is.
pub(super) type Slot = RefCell<Rc<Service>>;

impl UdpServer {
    /// A server of flows.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self(RefCell::new(Rc::new(RefCell::new(Rc::new(service)))))
    }

    /// Makes flows from now on go by what `successor` was built from.
    pub fn replace(&self, successor: &Self) {
        let slot = Rc::clone(&self.0.borrow());
        let service = Rc::clone(&successor.0.borrow().borrow());
        slot.replace(service);
        successor.0.replace(slot);
    }

    /// Serves the datagrams of the listener.
    pub fn serve_all(&self, datagrams: Datagrams) -> impl Future<Output = ()> + use<> {
        hub::serve(datagrams, Rc::clone(&self.0.borrow()))
    }
}

impl Server for UdpServer {
    /// There are no connections.
    fn serve(self: Rc<Self>, _: Downstream) -> impl Future<Output = ()> + 'static {
        ready(())
    }

    fn serve_datagrams(self: Rc<Self>, datagrams: Datagrams) -> impl Future<Output = ()> + 'static {
        self.serve_all(datagrams)
    }

    fn on_replaced(&self, successor: &Rc<Self>) {
        self.replace(successor);
    }
}
