//! How a flow begins: room, filters, an endpoint, a socket.
//!
//! Nothing waits: a datagram that cannot be passed on at once is lost, and the client will say it again. Start at
//! [`Hub::open`].

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_cluster::{Cluster, EndpointId, Outcome, PickContext, Picked, ResolvedAddress};
use portcullis_filter::Context;
use portcullis_limit::{KeyBuilder, Permit};
use portcullis_net::datagram::{DatagramSocket, Run};
use portcullis_net::limits::{ConnectionPermit, LimitReached};
use portcullis_net::{Datagrams, clock, spawn_local};
use tokio::sync::Notify;

use super::flow::{Held, OpenFlow, reason};
use super::guide::Lane;
use super::hub::Hub;
use super::service::Service;
use crate::config::Hash;
use crate::machine::{FlowKey, Refusal, source, source_hash};
use crate::message::{FlowOpening, Record};

/// How many endpoints are tried for a flow: nothing was sent to those that there is no way to.
const ATTEMPTS: usize = 3;

/// A client that a flow is to be opened for.
#[derive(Debug, Clone)]
pub(super) struct Newcomer {
    pub(super) client: SocketAddr,
    /// Which of the machine's addresses it speaks with.
    pub(super) local: Option<IpAddr>,
    pub(super) route: Option<Arc<str>>,
    pub(super) server_name: Option<Arc<str>>,
}

impl Newcomer {
    /// Whoever has sent these datagrams.
    pub(super) const fn of(run: &Run<'_>) -> Self {
        Self {
            client: run.from,
            local: run.to,
            route: None,
            server_name: None,
        }
    }
}

/// Where a flow goes.
pub(super) enum Goal<'g> {
    /// To an endpoint of this cluster.
    Cluster(&'g Rc<Cluster>),
    /// To this endpoint of it.
    Endpoint(Rc<Cluster>, Picked),
}

impl Hub {
    /// Opens a flow. The error is the `reason` label.
    pub(super) fn open(
        self: &Rc<Self>,
        service: &Rc<Service>,
        newcomer: &Newcomer,
        goal: Goal<'_>,
        lane_of: impl FnOnce(&Rc<Cluster>, &Picked) -> Lane,
    ) -> Result<Rc<OpenFlow>, &'static str> {
        let now = clock::now();
        let client = newcomer.client;
        if self.is_stopping() {
            return Err("draining");
        }
        let mut cx = self.context(service, newcomer, now);
        let mut opening = FlowOpening {
            server_name: newcomer.server_name.clone(),
        };
        let asked = service.chain.on_request_at_once(&mut opening, &mut cx);
        asked.map_err(|stop| reason(&stop))?;
        let (open, source_permit) = self.room(service, client)?;
        let permits = self.limits.acquire().map_err(LimitReached::label)?;
        let (cluster, picked, socket) = match goal {
            Goal::Cluster(cluster) => {
                let (picked, socket) = self.reach(service, cluster, client, now)?;
                (Rc::clone(cluster), picked, socket)
            }
            Goal::Endpoint(cluster, picked) => {
                let socket = self.connect(&picked)?;
                (cluster, picked, socket)
            }
        };
        let upstream = cluster
            .try_connection()
            .map_err(|_| "upstream_connection_limit")?;
        let lane = lane_of(&cluster, &picked);
        // A client may begin several conversations with one endpoint: it tells them apart.
        let key = FlowKey { client, lane };
        if let Some(flow) = self.find_by_key(&key) {
            return Ok(flow);
        }
        let record = Record {
            server_name: newcomer.server_name.clone(),
            cluster: Some(cluster.name().into()),
            endpoint: Some(Arc::clone(picked.label())),
            ..Record::new(clock::wall(), now)
        };
        let id = self.flows.borrow_mut().open(now, key);
        let flow = Rc::new(OpenFlow {
            id,
            client,
            lane,
            service: Rc::clone(service),
            cluster,
            picked,
            socket,
            local: Cell::new(newcomer.local),
            cx: RefCell::new(cx),
            record: RefCell::new(record),
            has_answered: Cell::new(false),
            over: Notify::new(),
            held: RefCell::new(Some(Held {
                _open: open,
                _source: source_permit,
                _permits: permits,
                _upstream: upstream,
                _active: self.listener.admit(),
            })),
        });
        service.stats.on_opened();
        self.insert(&flow);
        spawn_local(Rc::clone(&flow).run(Rc::clone(self)));
        Ok(flow)
    }

    fn context(&self, service: &Service, newcomer: &Newcomer, now: Instant) -> Context {
        let local = newcomer
            .local
            .map(|ip| SocketAddr::new(ip, self.address.port()));
        let local = local.or_else(|| (!self.address.ip().is_unspecified()).then_some(self.address));
        let connection = Datagrams::facts(&service.listener, newcomer.client, local, now);
        let mut cx = Context::new(Rc::new(connection), now);
        cx.route.clone_from(&newcomer.route);
        cx
    }

    /// Room in the table, in that of all workers, and for this source.
    fn room(
        &self,
        service: &Service,
        client: SocketAddr,
    ) -> Result<(ConnectionPermit, Permit), &'static str> {
        let mut key = KeyBuilder::new(&service.seed);
        match source(client.ip()) {
            IpAddr::V4(address) => key.write(&address.octets()),
            IpAddr::V6(address) => key.write(&address.octets()),
        }
        let of_source = service.counts.of_sources.try_acquire(Some(key.finish()));
        let of_source = of_source.ok_or(Refusal::SourceFull.label())?;
        let mut open = service.counts.open.0.acquire();
        let room = self.flows.borrow().room(client, open.is_none());
        if let Some(oldest) = room.map_err(Refusal::label)? {
            self.close(oldest, "evicted");
            open = open.or_else(|| service.counts.open.0.acquire());
        }
        Ok((open.ok_or(Refusal::TableFull.label())?, of_source))
    }

    /// An endpoint of the cluster that there is a way to.
    fn reach(
        &self,
        service: &Service,
        cluster: &Rc<Cluster>,
        client: SocketAddr,
        now: Instant,
    ) -> Result<(Picked, DatagramSocket), &'static str> {
        let hash = match service.flows.hash {
            Hash::SourceIp => Some(source_hash(client, false)),
            Hash::SourcePort => Some(source_hash(client, true)),
            Hash::Off => None,
        };
        let mut tried: Vec<EndpointId> = Vec::new();
        let mut failed = None;
        while tried.len() < ATTEMPTS {
            let cx = PickContext {
                now,
                random: service.random.next(),
                hash,
                tried: &tried,
                accept: None,
            };
            let picked = match cluster.pick(&cx) {
                Ok(picked) => picked,
                // That there is nothing else to try is not why the first failed.
                Err(error) => return Err(failed.unwrap_or_else(|| error.label())),
            };
            match self.connect(&picked) {
                Ok(socket) => return Ok((picked, socket)),
                Err(reason @ "local_exhaustion") => return Err(reason),
                Err(reason) => {
                    let outcome = Outcome::Failure(reason);
                    cluster.on_done(&picked, outcome, std::time::Duration::ZERO, now);
                    tried.push(picked.id());
                    failed = Some(reason);
                }
            }
        }
        Err(failed.unwrap_or("unreachable"))
    }

    fn connect(&self, picked: &Picked) -> Result<DatagramSocket, &'static str> {
        let ResolvedAddress::Socket(address) = picked.address() else {
            return Err("not_datagrams");
        };
        self.socket.connect(*address).map_err(|error| {
            use std::io::ErrorKind as K;
            match error.kind() {
                K::HostUnreachable | K::NetworkUnreachable => "unreachable",
                _ => "local_exhaustion",
            }
        })
    }
}
