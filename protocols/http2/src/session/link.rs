//! One connection to an endpoint, as the pool and the streams on it see it: whether it takes another stream, and why it
//! ended.
//!
//! Not its input and output: those are moved by its [driver](super::driver). Start at [`Link`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use portcullis_cluster::{
    ClusterConfig, Endpoint, EndpointId, IdleCount, LinkState, SharedLink, UpstreamKeepAlive,
};
use portcullis_http::upstream_stats::UpstreamStats;

use super::io::Wire;
use super::pool::Pool;

/// What the number of streams that a peer allows is before it has said so.
pub(super) const UNSAID: usize = usize::MAX - 1;

/// How long a connection that is to be closed may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

/// Streams that may be opened in the life of a connection (RFC 9113 section 5.1.1), with some to spare.
const MOST_REQUESTS: u64 = (1 << 30) - 1024;

/// What a connection is made for.
pub(super) struct Terms {
    /// The endpoint.
    pub(super) endpoint: EndpointId,
    /// The endpoint as an authority.
    pub(super) authority: Arc<str>,
    /// Whether the connection is encrypted.
    pub(super) is_secure: bool,
    /// Streams at once.
    pub(super) most_streams: usize,
    /// Streams in all.
    pub(super) most_requests: u64,
    /// Counts those of the pool that are idle.
    pub(super) idle: Rc<IdleCount>,
    /// The cluster's counters.
    pub(super) stats: Rc<UpstreamStats>,
}

impl Terms {
    /// As the cluster is configured, for `most_requests` streams at most.
    pub(super) fn new(
        endpoint: &Endpoint,
        config: &ClusterConfig,
        most_requests: u64,
        idle: Rc<IdleCount>,
        stats: Rc<UpstreamStats>,
    ) -> Self {
        Self {
            idle,
            stats,
            endpoint: endpoint.id(),
            authority: Arc::clone(endpoint.label()),
            is_secure: config.has_tls(),
            most_streams: config.http.max_streams.get() as usize,
            most_requests: most_requests.min(MOST_REQUESTS),
        }
    }
}

/// One connection to an endpoint.
pub(super) struct Link {
    pub(super) terms: Terms,
    state: LinkState,
    pool: Weak<Pool>,
    /// Opens streams. Gone once the connection is retired: `h2` closes it when its streams are done.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    pings: RefCell<Pings>,
    wire: Rc<Wire>,
    /// The driver is to drop the connection.
    cut: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// Proof that the peer is there.
struct Pings {
    handle: Option<PingPong>,
    /// When the PING that is not answered yet was sent.
    asked: Option<Instant>,
    /// Since when the peer is suspected to be gone.
    doubted: Option<Instant>,
}

impl Link {
    pub(super) fn new(
        terms: Terms,
        pool: Weak<Pool>,
        sender: SendRequest<Bytes>,
        pings: Option<PingPong>,
        wire: Rc<Wire>,
        now: Instant,
    ) -> Rc<Self> {
        let idle = Rc::clone(&terms.idle);
        Rc::new(Self {
            state: LinkState::new(terms.endpoint, terms.most_requests, idle, now),
            terms,
            pool,
            sender: RefCell::new(Some(sender)),
            pings: RefCell::new(Pings {
                handle: pings,
                asked: None,
                doubted: None,
            }),
            wire,
            cut: Cell::new(false),
            driver: RefCell::new(None),
        })
    }

    /// Streams that it carries at once, as far as both sides allow.
    fn streams(&self) -> usize {
        let peers = self
            .sender
            .borrow()
            .as_ref()
            .map_or(0, SendRequest::current_max_send_streams);
        peers.min(self.terms.most_streams)
    }

    /// Ends the connection now, and its streams with it.
    pub(super) fn cut(&self, reason: &'static str) {
        self.state.blame(reason);
        self.retire();
        self.cut.set(true);
        self.wake();
    }

    /// Whether the driver is to end; wakes it when that changes.
    pub(super) fn poll_cut(&self, task: &Context<'_>) -> Poll<()> {
        if self.cut.get() {
            return Poll::Ready(());
        }
        let mut driver = self.driver.borrow_mut();
        if !driver
            .as_ref()
            .is_some_and(|waker| waker.will_wake(task.waker()))
        {
            *driver = Some(task.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// What opens a stream. Cloned, since `h2` makes the one that opened the last stream wait for it.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.sender.borrow().clone()
    }

    /// What passes on it.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether a request that cannot be sent twice may be risked: not where the connection had rested, and something has
    /// arrived meanwhile that was not looked at yet, such as its end.
    pub(super) fn is_surely_there(&self, now: Instant) -> bool {
        !self.state.has_rested(now) || self.wire.is_quiet()
    }

    /// A request was given up unanswered: if the peer stays silent, it has to prove that it is there.
    pub(super) fn doubt(&self, now: Instant) {
        self.pings.borrow_mut().doubted.get_or_insert(now);
    }

    /// The connection is closed: its streams have heard of it.
    pub(super) fn on_ended(self: &Rc<Self>) {
        self.retire();
        if let Some(reason) = self.state.fault() {
            self.stats().on_cut(reason);
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.on_ended(self);
        }
    }

    /// The cluster's counters.
    pub(super) fn stats(&self) -> &UpstreamStats {
        &self.terms.stats
    }
}

impl SharedLink for Link {
    type Place = Place;

    fn state(&self) -> &LinkState {
        &self.state
    }

    fn has_room(&self, _: Instant) -> bool {
        if !self.state.is_open() || self.state.active() >= self.streams() {
            return false;
        }
        let mut quiet = Context::from_waker(Waker::noop());
        let gone = match self.sender.borrow_mut().as_mut() {
            // With no stream of its own waiting, this only says whether the connection has failed or was told to go.
            Some(sender) => !matches!(sender.poll_ready(&mut quiet), Poll::Ready(Ok(()))),
            None => true,
        };
        if gone {
            self.retire();
        }
        !gone
    }

    fn place(self: Rc<Self>) -> Option<Place> {
        Some(Place::new(self))
    }

    fn capacity(last: Option<&Self>, config: &ClusterConfig) -> usize {
        last.map_or_else(|| config.http.max_streams.get() as usize, Self::streams)
    }

    fn is_closed_to_streams(&self) -> bool {
        self.state.is_open() && self.state.is_unused() && self.streams() == 0
    }

    fn retire(&self) {
        drop(self.sender.borrow_mut().take());
        self.state.retire();
        self.wake();
    }

    /// Idle and old connections are retired, silent ones asked, dead ones cut.
    fn on_tick(&self, config: &ClusterConfig, now: Instant) {
        let idle = now.saturating_duration_since(self.state.idle_since());
        if self.state.is_retired() && self.state.is_idle() && idle >= FAREWELL {
            self.cut("farewell_timeout");
        }
        let is_closed = self.is_closed_to_streams();
        if self.state.is_worn(config, is_closed, now) {
            self.retire();
            self.state.set_idle_since(now);
        }
        let due = &config.http.keep_alive;
        let heard = self.wire.read_at();
        if self.pings.borrow_mut().is_dead(heard, due, now) {
            self.cut("upstream_ping_timeout");
        }
    }
}

impl Pings {
    /// Asks where that is due. The answer is whether an answer is overdue.
    fn is_dead(&mut self, heard: Instant, due: &UpstreamKeepAlive, now: Instant) -> bool {
        let Some(handle) = &mut self.handle else {
            return false;
        };
        if let Some(asked) = self.asked {
            let mut quiet = Context::from_waker(Waker::noop());
            if handle.poll_pong(&mut quiet).is_pending() {
                return now.saturating_duration_since(asked) >= due.timeout.get();
            }
            self.asked = None;
        }
        if self.doubted.is_some_and(|since| heard >= since) {
            self.doubted = None;
        }
        let silence = now.saturating_duration_since(heard);
        // Servers of gRPC count PINGs that they find needless: a short silence is no reason to ask.
        let is_due = due
            .interval
            .is_some_and(|interval| silence >= interval.get())
            || self.doubted.is_some() && silence >= due.timeout.get();
        if is_due && handle.send_ping(Ping::opaque()).is_ok() {
            self.asked = Some(now);
            self.doubted = None;
        }
        false
    }
}

/// The place of one stream on a connection, until it is dropped.
pub(super) struct Place(Rc<Link>);

impl Place {
    /// A place, which the caller has found to be free.
    pub(super) fn new(link: Rc<Link>) -> Self {
        link.state.on_place_taken();
        Self(link)
    }

    pub(super) fn link(&self) -> &Rc<Link> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let link = &self.0;
        link.state
            .on_place_free(&**link, portcullis_net::clock::now);
        if let Some(pool) = link.pool.upgrade() {
            pool.on_place_free(link);
        }
    }
}
