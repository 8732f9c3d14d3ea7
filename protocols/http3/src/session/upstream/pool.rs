//! The HTTP/3 connections of one worker to one cluster: few, shared by all requests.
//!
//! A request gets a place on a connection that has room. If none has, it waits for a place in order of arrival, and a
//! connection is opened, one at a time for each endpoint: requests that come together share one. It balances nothing: the
//! exchange names the endpoint. Start at [`pool_of`].

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_cluster::{Cluster, Endpoint, EndpointId, IdleCount};
use portcullis_filter::Connection as ClientConnection;
use portcullis_http::stream::{BoxedUpstream, ConnectFailure, Connecting, UpstreamPool};
use portcullis_net::clock;
use portcullis_stats::Shard;

use super::dial;
use super::driver::{self, Opened, Opening};
use super::link::{Due, Link, Place, Terms};
use super::stats::UpstreamStats;
use super::stream::Upstream;
use portcullis_net::waiting::Ticket;

/// How often connections are looked at by the clock.
const SWEEP: Duration = Duration::from_secs(1);

/// The connections of one worker to one cluster.
pub struct Pool {
    me: Weak<Self>,
    cluster: Rc<Cluster>,
    stats: Rc<UpstreamStats>,
    lanes: RefCell<BTreeMap<EndpointId, Lane>>,
    /// What other workers know of those that are idle.
    pub(super) idle: IdleCount,
}

/// A request that waits for a place.
type Waiting = portcullis_net::waiting::Waiting<Result<Place, ConnectFailure>>;

/// What there is for one endpoint.
#[derive(Default)]
struct Lane {
    links: Vec<Rc<Link>>,
    /// Whether a connection is being opened.
    opening: bool,
    waiting: VecDeque<Rc<Waiting>>,
}

/// The HTTP/3 pool of a cluster on this worker: one, however many listeners use the cluster. `shard` makes its counters.
#[must_use]
pub fn pool_of(cluster: &Rc<Cluster>, shard: &Shard) -> Rc<Pool> {
    let shared = cluster.extension::<PoolSlot>(PoolSlot::default);
    let mut slot = shared.0.borrow_mut();
    if let Some(pool) = slot.upgrade() {
        return pool;
    }
    let pool = Pool::new(Rc::clone(cluster), shard);
    *slot = Rc::downgrade(&pool);
    pool
}

/// Where a cluster keeps its pool. Weak, since the pool holds the cluster.
#[derive(Default)]
struct PoolSlot(RefCell<Weak<Pool>>);

impl Pool {
    fn new(cluster: Rc<Cluster>, shard: &Shard) -> Rc<Self> {
        let shard = shard.scoped(&[("cluster", cluster.name())]);
        let pool = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            idle: cluster.count_idle(),
            cluster,
            stats: Rc::new(UpstreamStats::new(shard)),
            lanes: RefCell::default(),
        });
        portcullis_net::spawn_local(sweep(Rc::downgrade(&pool)));
        pool
    }

    /// A connection begins: it is served from here on.
    fn start(&self, opened: Opened) {
        let link = Rc::clone(&opened.link);
        self.stats.connections.inc();
        let mut lanes = self.lanes.borrow_mut();
        lanes
            .entry(link.terms.endpoint)
            .or_default()
            .links
            .push(Rc::clone(&link));
        drop(lanes);
        link.note();
        portcullis_net::spawn_local(driver::drive(opened));
    }

    /// A place in the order of arrival, on whatever connection has room first.
    async fn wait(&self, id: EndpointId) -> Result<BoxedUpstream, ConnectFailure> {
        // Lets connections hear first what the kernel has to say about them.
        tokio::task::yield_now().await;
        let waiting = Rc::new(Waiting::default());
        self.lanes
            .borrow_mut()
            .entry(id)
            .or_default()
            .waiting
            .push_back(Rc::clone(&waiting));
        let ticket = Ticket::new(waiting, |waiting| self.forget(id, waiting));
        self.serve(id);
        let patience = self.cluster.config().connect_timeout.get();
        let deadline = clock::now().checked_add(patience);
        match ticket.outcome(deadline).await {
            Some(place) => Ok(Box::new(Upstream::new(place?))),
            None if self.is_opening(id) => Err(ConnectFailure::TimedOut),
            None => Err(ConnectFailure::Limited),
        }
    }

    fn forget(&self, id: EndpointId, waiting: &Rc<Waiting>) {
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&id) {
            lane.waiting.retain(|other| !Rc::ptr_eq(other, waiting));
        }
    }

    /// Gives places to those who wait, and opens a connection for those who are left.
    fn serve(&self, id: EndpointId) {
        let now = clock::now();
        loop {
            let (waiting, place) = {
                let mut lanes = self.lanes.borrow_mut();
                let Some(lane) = lanes.get_mut(&id) else {
                    return;
                };
                if lane.waiting.is_empty() {
                    return;
                }
                let link = lane.links.iter().find(|link| link.has_room(now));
                let Some(place) = link.and_then(|link| Place::new(Rc::clone(link))) else {
                    break;
                };
                (lane.waiting.pop_front(), place)
            };
            // Outside of the borrow: whoever gets it may drop it at once.
            if let Some(waiting) = waiting {
                waiting.resolve(Ok(place));
            }
        }
        if self.wants_connection(id, now)
            && let Err(failure) = self.open(id)
            && !self.has_connection(id)
        {
            self.fail(id, failure);
        }
    }

    /// Whether there is, or will be, a connection on which a place may become free.
    fn has_connection(&self, id: EndpointId) -> bool {
        let lanes = self.lanes.borrow();
        lanes
            .get(&id)
            .is_some_and(|lane| lane.opening || lane.links.iter().any(|link| link.is_open()))
    }

    fn is_opening(&self, id: EndpointId) -> bool {
        let lanes = self.lanes.borrow();
        lanes.get(&id).is_some_and(|lane| lane.opening)
    }

    /// Whether more wait than what is under way will take.
    fn wants_connection(&self, id: EndpointId, now: Instant) -> bool {
        let lanes = self.lanes.borrow();
        let Some(lane) = lanes.get(&id) else {
            return false;
        };
        let most = self
            .cluster
            .with_config(|config| config.http.max_connections_per_endpoint)
            .map_or(usize::MAX, |most| most.get() as usize);
        let open = lane.links.iter().filter(|link| link.is_open()).count();
        // A peer may allow no stream for a while. Another connection would be told the same.
        if lane.opening || open >= most || lane.links.iter().any(|l| l.is_closed_to_streams()) {
            return false;
        }
        let soon: usize = lane.links.iter().map(|link| link.replenishing(now)).sum();
        lane.waiting.len() > soon
    }

    /// Begins to open a connection.
    fn open(&self, id: EndpointId) -> Result<(), ConnectFailure> {
        let endpoints = self.cluster.endpoints();
        let known = endpoints.iter().find(|endpoint| endpoint.id() == id);
        let endpoint = Arc::clone(known.ok_or(ConnectFailure::Unreachable)?.endpoint());
        // Connections that are idle make room.
        let own = || self.idle.take_place();
        let permit = self.cluster.try_connection_before_idle(own);
        self.pay();
        let permit = permit.map_err(|_| ConnectFailure::Limited)?;
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&id) {
            lane.opening = true;
        }
        let pool = Weak::clone(&self.me);
        let cluster = Rc::clone(&self.cluster);
        let config = cluster.config();
        let opening = Opening {
            pool: Weak::clone(&pool),
            terms: Terms::new(&endpoint, &config, Rc::clone(&self.stats)),
            permit,
        };
        portcullis_net::spawn_local(async move {
            let opened = match dial::dial(&*cluster, &endpoint, &config.http).await {
                Ok(dialled) => opening.begin(dialled).await,
                Err(failure) => Err(failure),
            };
            if let Some(pool) = pool.upgrade() {
                pool.on_opened(id, opened);
            }
        });
        Ok(())
    }

    fn on_opened(&self, id: EndpointId, opened: Result<Opened, ConnectFailure>) {
        self.lanes.borrow_mut().entry(id).or_default().opening = false;
        match opened {
            Ok(opened) => {
                self.start(opened);
                self.serve(id);
            }
            Err(failure) => self.fail(id, failure),
        }
    }

    /// Nobody will open a connection for those who wait.
    fn fail(&self, id: EndpointId, failure: ConnectFailure) {
        let waiting = self
            .lanes
            .borrow_mut()
            .get_mut(&id)
            .map(|lane| std::mem::take(&mut lane.waiting));
        for waiting in waiting.into_iter().flatten() {
            waiting.resolve(Err(failure));
        }
    }

    /// A stream has ended, or may be opened: its place is for whoever waits longest.
    pub(super) fn on_room(&self, link: &Rc<Link>) {
        if link.is_idle() && link.is_open() && self.has_enough_idle(link) {
            link.retire();
        }
        self.serve(link.terms.endpoint);
        self.pay();
    }

    /// Closes those that have been idle for longest, for places that were taken.
    fn pay(&self) {
        while self.idle.owes() {
            let lanes = self.lanes.borrow();
            let links = lanes.values().flat_map(|lane| &lane.links);
            let spare = links.filter(|link| link.is_spare());
            let oldest = spare.min_by_key(|link| link.idle_since()).map(Rc::clone);
            drop(lanes);
            let Some(link) = oldest else { return };
            link.retire();
        }
    }

    /// Whether as many other connections to the endpoint are idle as may be kept.
    fn has_enough_idle(&self, link: &Rc<Link>) -> bool {
        let lanes = self.lanes.borrow();
        let Some(lane) = lanes.get(&link.terms.endpoint) else {
            return false;
        };
        let idle = lane
            .links
            .iter()
            .filter(|other| other.is_idle() && other.is_open())
            .count();
        lane.waiting.is_empty() && idle > self.cluster.config().pool.max_idle
    }

    /// A connection has ended.
    pub(super) fn on_ended(&self, link: &Rc<Link>) {
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&link.terms.endpoint) {
            lane.links.retain(|other| !Rc::ptr_eq(other, link));
        }
        self.serve(link.terms.endpoint);
    }

    fn on_tick(&self, now: Instant) {
        self.cluster.refresh(now);
        let due = Due::of(&self.cluster.config());
        let mut waited_for = Vec::new();
        self.lanes.borrow_mut().retain(|id, lane| {
            let belongs = self.cluster.has_endpoint(*id);
            for link in &lane.links {
                if !belongs {
                    link.retire();
                }
                link.on_tick(&due, now);
            }
            if !lane.waiting.is_empty() {
                waited_for.push(*id);
            }
            lane.opening || !lane.links.is_empty() || !lane.waiting.is_empty()
        });
        self.pay();
        // A connection that was told to go makes room for another one, and tells nobody.
        for id in waited_for {
            self.serve(id);
        }
    }
}

impl Drop for Pool {
    /// Nobody opens streams any more; those that are open end in peace.
    fn drop(&mut self) {
        for link in self.lanes.get_mut().values().flat_map(|lane| &lane.links) {
            link.retire();
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        portcullis_net::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.on_tick(clock::now());
    }
}

impl UpstreamPool for Pool {
    fn take(&self, endpoint: &Endpoint, careful: bool, now: Instant) -> Option<BoxedUpstream> {
        let link = {
            let lanes = self.lanes.borrow();
            let lane = lanes.get(&endpoint.id())?;
            if !lane.waiting.is_empty() {
                return None;
            }
            Rc::clone(lane.links.iter().find(|link| link.has_room(now))?)
        };
        if careful && !link.is_surely_there(now) {
            return None;
        }
        Some(Box::new(Upstream::new(Place::new(link)?)))
    }

    fn connect<'a>(&'a self, endpoint: &'a Endpoint, _: &'a ClientConnection) -> Connecting<'a> {
        Box::pin(self.wait(endpoint.id()))
    }
}
