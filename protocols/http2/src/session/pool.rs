//! The HTTP/2 connections of one worker to one cluster: few, shared by all requests.
//!
//! A request gets a place on a connection that has room. If none has, it waits for a place in order of arrival, and a
//! connection is opened unless enough are under way: requests that come together share one. It balances nothing: the
//! exchange names the endpoint. Start at [`pool_of`].

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_cluster::{Cluster, ConnectionPermit, Endpoint, EndpointId, IdleCount};
use portcullis_filter::Connection as ClientConnection;
use portcullis_http::stream::{BoxedUpstream, ConnectFailure, Connecting, UpstreamPool};
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{Stream, clock};
use portcullis_stats::Shard;

use super::driver::{self, Opened, Opening};
use super::link::{Due, Link, Place, Terms};
use super::upstream::Upstream;
use super::upstream_stats::UpstreamStats;
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
    /// Connections being opened.
    opening: usize,
    waiting: VecDeque<Rc<Waiting>>,
    /// Streams that the last connection allowed; `None` as long as there was none.
    capacity: Option<usize>,
}

/// The HTTP/2 pool of a cluster on this worker: one, however many listeners use the cluster. `shard` makes its counters.
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

    /// Connects to an endpoint that may choose between HTTP/2 and HTTP/1 by ALPN: what it chose is a property of the stream.
    ///
    /// # Errors
    /// No connection could be made.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        client: &ClientConnection,
    ) -> Result<(Stream, ConnectionPermit), ConnectFailure> {
        let permit = self.permit()?;
        let offer = AlpnOffer::AnyHttp;
        let stream = driver::connect(&self.cluster, endpoint, offer, Some(client)).await?;
        Ok((stream, permit))
    }

    /// Makes a connection of a stream on which the peer has agreed to HTTP/2, and gives a request a place on it. `permit` is
    /// its place within the cluster's limit.
    ///
    /// # Errors
    /// The peer does not speak HTTP/2, or not in time.
    pub async fn adopt(
        &self,
        stream: Stream,
        endpoint: &Endpoint,
        permit: ConnectionPermit,
    ) -> Result<BoxedUpstream, ConnectFailure> {
        let opening = self.opening(endpoint, permit);
        let opened = opening.begin(stream, &self.cluster.config().http).await?;
        let place = Place::new(self.start(opened));
        Ok(Box::new(Upstream::new(place)))
    }

    /// A connection begins: it is driven from here on.
    fn start(&self, opened: Opened) -> Rc<Link> {
        let link = Rc::clone(&opened.link);
        self.stats.connections.inc();
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.entry(link.terms.endpoint).or_default();
        lane.capacity = Some(link.capacity());
        lane.links.push(Rc::clone(&link));
        drop(lanes);
        link.note();
        portcullis_net::spawn_local(driver::drive(opened));
        link
    }

    fn opening(&self, endpoint: &Endpoint, permit: ConnectionPermit) -> Opening {
        let config = self.cluster.config();
        let most_requests = if self.speaks_for_one_client() {
            1
        } else {
            config
                .pool
                .max_requests
                .map_or(u64::MAX, std::num::NonZeroU64::get)
        };
        Opening {
            pool: Weak::clone(&self.me),
            terms: Terms::new(endpoint, &config, most_requests, Rc::clone(&self.stats)),
            permit,
            deadline: clock::now().checked_add(config.connect_timeout.get()),
        }
    }

    /// Whether each connection begins with a PROXY header: it was opened in the name of one client, and a request of
    /// another one on it would be taken for the first one's.
    fn speaks_for_one_client(&self) -> bool {
        self.cluster
            .with_config(|config| config.proxy_protocol.is_some())
    }

    /// A connection of its own, for one request.
    async fn connect_alone(
        &self,
        endpoint: &Endpoint,
        client: &ClientConnection,
    ) -> Result<BoxedUpstream, ConnectFailure> {
        let permit = self.permit()?;
        let offer = AlpnOffer::Http2;
        let stream = driver::connect(&self.cluster, endpoint, offer, Some(client)).await?;
        self.adopt(stream, endpoint, permit).await
    }

    /// A place within the cluster's limit, for which connections that are idle make room.
    fn permit(&self) -> Result<ConnectionPermit, ConnectFailure> {
        let permit = self
            .cluster
            .try_connection_before_idle(|| self.idle.take_place());
        self.pay();
        permit.map_err(|_| ConnectFailure::Limited)
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

    /// Gives places to those who wait, and opens connections for those who are left.
    fn serve(&self, id: EndpointId) {
        loop {
            let (waiting, link) = {
                let mut lanes = self.lanes.borrow_mut();
                let Some(lane) = lanes.get_mut(&id) else {
                    return;
                };
                if lane.waiting.is_empty() {
                    return;
                }
                let Some(link) = lane.links.iter().find(|link| link.has_room()) else {
                    break;
                };
                let link = Rc::clone(link);
                (lane.waiting.pop_front(), link)
            };
            // Outside of the borrow: whoever gets it may drop it at once.
            if let Some(waiting) = waiting {
                waiting.resolve(Ok(Place::new(link)));
            }
        }
        while self.wants_connection(id) {
            if let Err(failure) = self.open(id) {
                if !self.has_connection(id) {
                    self.fail(id, failure);
                }
                return;
            }
        }
    }

    /// Whether there is, or will be, a connection on which a place may become free.
    fn has_connection(&self, id: EndpointId) -> bool {
        let lanes = self.lanes.borrow();
        lanes
            .get(&id)
            .is_some_and(|lane| lane.opening > 0 || lane.links.iter().any(|link| link.is_open()))
    }

    fn is_opening(&self, id: EndpointId) -> bool {
        self.lanes
            .borrow()
            .get(&id)
            .is_some_and(|lane| lane.opening > 0)
    }

    /// Whether more wait than the connections under way will take.
    fn wants_connection(&self, id: EndpointId) -> bool {
        let config = self.cluster.config();
        let lanes = self.lanes.borrow();
        let Some(lane) = lanes.get(&id) else {
            return false;
        };
        let each = lane
            .capacity
            .unwrap_or_else(|| config.http.max_streams.get() as usize)
            .max(1);
        let open = lane.links.iter().filter(|link| link.is_open()).count();
        let most = config
            .http
            .max_connections_per_endpoint
            .map_or(usize::MAX, |most| most.get() as usize);
        // RFC 9113 section 6.5.2: a peer may allow no stream for a while. Another connection would be told the same.
        if lane.links.iter().any(|link| link.is_closed_to_streams()) {
            return false;
        }
        lane.waiting.len() > lane.opening.saturating_mul(each) && open + lane.opening < most
    }

    /// Begins to open a connection.
    fn open(&self, id: EndpointId) -> Result<(), ConnectFailure> {
        let endpoints = self.cluster.endpoints();
        let known = endpoints.iter().find(|endpoint| endpoint.id() == id);
        let endpoint = Arc::clone(known.ok_or(ConnectFailure::Unreachable)?.endpoint());
        let permit = self.permit()?;
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&id) {
            lane.opening += 1;
        }
        let pool = Weak::clone(&self.me);
        let cluster = Rc::clone(&self.cluster);
        let opening = self.opening(&endpoint, permit);
        portcullis_net::spawn_local(async move {
            let offer = AlpnOffer::Http2;
            let opened = match driver::connect(&cluster, &endpoint, offer, None).await {
                Ok(stream) => opening.begin(stream, &cluster.config().http).await,
                Err(failure) => Err(failure),
            };
            if let Some(pool) = pool.upgrade() {
                pool.on_opened(id, opened);
            }
        });
        Ok(())
    }

    fn on_opened(&self, id: EndpointId, opened: Result<Opened, ConnectFailure>) {
        let still_opening = {
            let mut lanes = self.lanes.borrow_mut();
            let lane = lanes.entry(id).or_default();
            lane.opening = lane.opening.saturating_sub(1);
            lane.opening
        };
        match opened {
            Ok(opened) => {
                self.start(opened);
                self.serve(id);
            }
            Err(failure) if still_opening == 0 => self.fail(id, failure),
            Err(_) => {}
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

    /// A stream has ended: its place is for whoever waits longest.
    pub(super) fn on_place_free(&self, link: &Rc<Link>) {
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
            lane.opening > 0 || !lane.links.is_empty() || !lane.waiting.is_empty()
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
        // A reload may have switched it on over connections that have no header.
        if self.speaks_for_one_client() {
            return None;
        }
        let link = {
            let lanes = self.lanes.borrow();
            let lane = lanes.get(&endpoint.id())?;
            if !lane.waiting.is_empty() {
                return None;
            }
            Rc::clone(lane.links.iter().find(|link| link.has_room())?)
        };
        if careful && !link.is_surely_there(now) {
            return None;
        }
        Some(Box::new(Upstream::new(Place::new(link))))
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        client: &'a ClientConnection,
    ) -> Connecting<'a> {
        if self.speaks_for_one_client() {
            Box::pin(self.connect_alone(endpoint, client))
        } else {
            Box::pin(self.wait(endpoint.id()))
        }
    }
}
