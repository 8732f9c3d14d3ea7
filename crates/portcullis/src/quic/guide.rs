//! Where a client's packets go: by their connection ids, or by the first message of TLS in them.
//!
//! What connection ids say is common to all workers of a listener, since a client that changes its address may come to another
//! one. Start at [`QuicGuide`].

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_cluster::Cluster;
use portcullis_config::BuildError;
use portcullis_filter::Random;
use portcullis_proxy::ListenerContext;
use portcullis_quic::steering::{
    HelloId, Opening as QuicOpening, Reply, Steering, Target, UnknownReason, Verdict,
};
use portcullis_tcp::route::Opening;
use portcullis_tcp::{Route, RouteTable, choose_route};
use portcullis_udp::session::{Choice, Guidance, Guide, Lane};

use super::config::{QuicConfig, Unreadable};

/// Leads the packets of one listener on one worker.
pub(super) struct QuicGuide {
    steering: Arc<Known>,
    routes: RouteTable,
    clusters: Vec<Rc<Cluster>>,
    unreadable: Unreadable,
    random: Rc<Random>,
    /// What is being chosen for, until the answer comes.
    pending: RefCell<Option<Pending>>,
}

/// What all workers know of the connections of a listener. The lock is held for one datagram.
struct Known(Mutex<Steering>);

/// Something whose endpoint is being chosen.
enum Pending {
    /// A connection whose ClientHello was read.
    Hello(HelloId),
    /// A datagram that nobody knew.
    Unknown(SocketAddr, Bytes),
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Steering> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QuicGuide {
    pub(super) fn new(
        config: &QuicConfig,
        routes: RouteTable,
        cx: &ListenerContext,
    ) -> Result<Self, BuildError> {
        let seed = cx.worker.random.next();
        let steering = cx.common(|| Known(Mutex::new(Steering::new(config.steering, seed))));
        steering.lock().set_config(config.steering);
        let names = config.routes.iter().flat_map(|route| &route.clusters);
        Ok(Self {
            steering,
            routes,
            clusters: names
                .map(|(name, _)| cx.cluster(name))
                .collect::<Result<_, _>>()?,
            unreadable: config.unreadable,
            random: Rc::clone(&cx.worker.random),
            pending: RefCell::default(),
        })
    }

    fn choose(&self, route: &Route, server_name: Option<&str>, pending: Pending) -> Guidance {
        self.pending.replace(Some(pending));
        Guidance::Choose(Box::new(Choice {
            cluster: Rc::clone(route.clusters.pick(self.random.next())),
            route: route.name.clone(),
            server_name: server_name.map(Arc::from),
            opening: 0,
        }))
    }

    fn on_opening(&self, opening: &QuicOpening) -> Guidance {
        let said = Opening::Hello(&opening.hello);
        let Some(route) = choose_route(&self.routes, said) else {
            self.steering.lock().refuse(opening.id);
            return Guidance::Drop("no_route");
        };
        self.choose(route, said.server_name(), Pending::Hello(opening.id))
    }

    fn on_unknown(&self, from: SocketAddr, datagram: &[u8], reason: UnknownReason) -> Guidance {
        // Versions that nobody reads come here only where they are to be routed.
        let is_routed = reason == UnknownReason::Version || self.unreadable == Unreadable::Route;
        let route = choose_route(&self.routes, Opening::Plain).filter(|_| is_routed);
        match route {
            Some(route) => {
                let pending = Pending::Unknown(from, Bytes::copy_from_slice(datagram));
                self.choose(route, None, pending)
            }
            None => Guidance::Drop(reason.label()),
        }
    }
}

impl Guide for QuicGuide {
    fn clusters(&self) -> Box<dyn Iterator<Item = Rc<Cluster>> + '_> {
        Box::new(self.clusters.iter().cloned())
    }

    fn on_client(&self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Guidance {
        let mut answer = BytesMut::new();
        let verdict = self
            .steering
            .lock()
            .on_client(now, from, datagram, &mut answer);
        match verdict {
            Verdict::To(target) => Guidance::To(target.0),
            Verdict::Opening(opening) => self.on_opening(&opening),
            Verdict::Held => Guidance::Held,
            Verdict::Answer => Guidance::Answer(answer.into()),
            Verdict::Unknown(reason) => self.on_unknown(from, datagram, reason),
            Verdict::Drop(reason) => Guidance::Drop(reason.label()),
        }
    }

    fn on_chosen(&self, now: Instant, _: u64, lane: Lane, send: &mut dyn FnMut(&[u8])) {
        let target = Target(lane);
        match self.pending.take() {
            Some(Pending::Hello(id)) => {
                let held = self.steering.lock().assign(now, id, target);
                for datagram in &held {
                    send(datagram);
                }
            }
            Some(Pending::Unknown(from, datagram)) => {
                let held = self.steering.lock().adopt(now, from, &datagram, target);
                for datagram in &held {
                    send(datagram);
                }
                send(&datagram);
            }
            None => {}
        }
    }

    fn on_refused(&self, _: u64) {
        if let Some(Pending::Hello(id)) = self.pending.take() {
            self.steering.lock().refuse(id);
        }
    }

    fn on_server(
        &self,
        now: Instant,
        lane: Lane,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), &'static str> {
        match self
            .steering
            .lock()
            .on_server(now, Target(lane), to, datagram)
        {
            Reply::Send => Ok(()),
            Reply::Drop(reason) => Err(reason.label()),
        }
    }

    fn on_lane_gone(&self, lane: Lane) {
        self.steering.lock().forget(Target(lane));
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.steering.lock().poll_timeout()
    }

    fn on_timeout(&self, now: Instant) {
        self.steering.lock().handle_timeout(now);
    }
}
