//! The HTTP/3 connections of one worker to one cluster: few, shared by all requests.
//!
//! A request gets a place on a connection that has room. If none has, it waits for a place in order of arrival, and a
//! connection is opened, one at a time for each endpoint: requests that come together share one. It balances nothing: the
//! exchange names the endpoint. Start at [`pool_of`].

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use portcullis_cluster::{Cluster, Endpoint, EndpointId, Lanes, NoPlace};
use portcullis_filter::Connection as ClientConnection;
use portcullis_http::stream::{BoxedUpstream, ConnectFailure, Connecting, UpstreamPool};
use portcullis_http::upstream_stats::{UpstreamCounters, UpstreamStats};
use portcullis_net::clock;
use portcullis_net::waiting::Ticket;
use portcullis_stats::Shard;

use super::dial;
use super::driver::{self, Opened, Opening};
use super::link::{Link, Place, Terms};
use super::stream::Upstream;

/// How often connections are looked at by the clock.
const SWEEP: Duration = Duration::from_secs(1);

/// What the counters are called.
const COUNTERS: UpstreamCounters = UpstreamCounters {
    connections: "portcullis_http3_upstream_connections_total",
    connections_help: "HTTP/3 connections opened to endpoints.",
    streams: "portcullis_http3_upstream_streams_total",
    resets: "portcullis_http3_upstream_resets_total",
    unprocessed: "portcullis_http3_upstream_unprocessed_total",
    cuts: "portcullis_http3_upstream_cuts_total",
    cuts_help: "HTTP/3 connections ended for what their endpoint did, by reason.",
};

/// The connections of one worker to one cluster.
pub struct Pool {
    me: Weak<Self>,
    stats: Rc<UpstreamStats>,
    lanes: Lanes<Link, Waiting>,
}

/// A request that waits for a place.
type Waiting = portcullis_net::waiting::Waiting<Result<Place, ConnectFailure>>;

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
            stats: Rc::new(UpstreamStats::new(shard, &COUNTERS)),
            lanes: Lanes::new(cluster),
        });
        portcullis_net::spawn_local(sweep(Rc::downgrade(&pool)));
        pool
    }

    /// A connection begins: it is served from here on.
    fn start(&self, opened: Opened) {
        self.stats.connections.inc();
        self.lanes.add(&opened.link);
        portcullis_net::spawn_local(driver::drive(opened));
    }

    /// A place in the order of arrival, on whatever connection has room first.
    async fn wait(&self, id: EndpointId) -> Result<BoxedUpstream, ConnectFailure> {
        // Lets connections hear first what the kernel has to say about them.
        tokio::task::yield_now().await;
        let waiting = Rc::new(Waiting::default());
        self.lanes.push(id, Rc::clone(&waiting));
        let ticket = Ticket::new(waiting, |waiting| self.lanes.forget(id, waiting));
        self.serve(id);
        let patience = self.lanes.cluster().config().connect_timeout.get();
        let deadline = clock::now().checked_add(patience);
        match ticket.outcome(deadline).await {
            Some(place) => Ok(Box::new(Upstream::new(place?))),
            None => Err(self.lanes.reason(id).into()),
        }
    }

    /// Gives places to those who wait, and opens connections for those who are left.
    fn serve(&self, id: EndpointId) {
        let now = clock::now();
        while let Some((waiting, place)) = self.lanes.next(id, now) {
            waiting.resolve(Ok(place));
        }
        while self.lanes.wants_connection(id, now) {
            if let Err(reason) = self.open(id) {
                if !self.lanes.has_connection(id) {
                    self.fail(id, reason.into());
                }
                return;
            }
        }
    }

    /// Begins to open a connection.
    fn open(&self, id: EndpointId) -> Result<(), NoPlace> {
        let (endpoint, permit) = self.lanes.open(id)?;
        let pool = Weak::clone(&self.me);
        let cluster = Rc::clone(self.lanes.cluster());
        let config = cluster.config();
        let idle = Rc::clone(self.lanes.idle());
        let opening = Opening {
            pool: Weak::clone(&pool),
            terms: Terms::new(&endpoint, &config, idle, Rc::clone(&self.stats)),
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
        let still_opening = self.lanes.on_opened(id);
        match opened {
            Ok(opened) => {
                self.start(opened);
                self.serve(id);
            }
            Err(failure) if !still_opening => self.fail(id, failure),
            Err(_) => {}
        }
    }

    /// Nobody will open a connection for those who wait.
    fn fail(&self, id: EndpointId, failure: ConnectFailure) {
        for waiting in self.lanes.give_up(id) {
            waiting.resolve(Err(failure));
        }
    }

    /// A stream has ended, or may be opened: its place is for whoever waits longest.
    pub(super) fn on_room(&self, link: &Link) {
        self.lanes.on_place_free(link);
        self.serve(link.terms.endpoint);
        self.lanes.pay();
    }

    /// A connection has ended.
    pub(super) fn on_ended(&self, link: &Rc<Link>) {
        self.lanes.remove(link);
        self.serve(link.terms.endpoint);
    }

    fn on_tick(&self, now: Instant) {
        for id in self.lanes.on_tick(now) {
            self.serve(id);
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
        let link = self.lanes.find(endpoint.id(), now)?;
        if careful && !link.is_surely_there(now) {
            return None;
        }
        Some(Box::new(Upstream::new(Place::new(link)?)))
    }

    fn connect<'a>(&'a self, endpoint: &'a Endpoint, _: &'a ClientConnection) -> Connecting<'a> {
        Box::pin(self.wait(endpoint.id()))
    }
}
