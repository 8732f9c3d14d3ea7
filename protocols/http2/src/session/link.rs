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
use portcullis_cluster::{ClusterConfig, Endpoint, EndpointId};

use super::io::Wire;
use super::pool::Pool;
use super::upstream_stats::UpstreamStats;

/// What the number of streams that a peer allows is before it has said so.
pub(super) const UNSAID: usize = usize::MAX - 1;

/// How long a connection that is to be closed may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a connection is kept on which the peer allows no stream.
const CLOSED: Duration = Duration::from_secs(5);

/// How long a connection may rest before it is looked at with suspicion.
const REST: Duration = Duration::from_secs(1);

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
    /// The cluster's counters.
    pub(super) stats: Rc<UpstreamStats>,
}

impl Terms {
    /// As the cluster is configured, for `most_requests` streams at most.
    pub(super) fn new(
        endpoint: &Endpoint,
        config: &ClusterConfig,
        most_requests: u64,
        stats: Rc<UpstreamStats>,
    ) -> Self {
        Self {
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
    pool: Weak<Pool>,
    /// Opens streams. Gone once the connection is retired: `h2` closes it when its streams are done.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    pings: RefCell<Pings>,
    wire: Rc<Wire>,
    opened: Instant,
    active: Cell<usize>,
    requests: Cell<u64>,
    /// When the last stream ended, or the connection was retired.
    idle_since: Cell<Instant>,
    /// It is among those that the pool counts as idle.
    counted: Cell<bool>,
    /// The driver is to drop the connection.
    cut: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    fault: Cell<Option<&'static str>>,
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
        Rc::new(Self {
            terms,
            pool,
            sender: RefCell::new(Some(sender)),
            pings: RefCell::new(Pings {
                handle: pings,
                asked: None,
                doubted: None,
            }),
            wire,
            opened: now,
            active: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(now),
            counted: Cell::new(false),
            cut: Cell::new(false),
            driver: RefCell::new(None),
            fault: Cell::new(None),
        })
    }

    /// Streams that it carries at once, as far as both sides allow.
    pub(super) fn capacity(&self) -> usize {
        let peers = self
            .sender
            .borrow()
            .as_ref()
            .map_or(0, SendRequest::current_max_send_streams);
        peers.min(self.terms.most_streams)
    }

    /// Whether it takes another stream now. A connection that takes none any more is retired by the way.
    pub(super) fn has_room(&self) -> bool {
        if !self.is_open() || self.active.get() >= self.capacity() {
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

    /// Takes no more streams; closes when those that are open have ended.
    pub(super) fn retire(&self) {
        drop(self.sender.borrow_mut().take());
        self.note();
        self.wake();
    }

    /// Whether it could be given up: it carries nothing, and was to be used again.
    pub(super) fn is_spare(&self) -> bool {
        self.is_idle() && self.is_open()
    }

    /// Since when it carries nothing, where it does not.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Lets the pool know whether it could be given up.
    pub(super) fn note(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.idle.note(&self.counted, self.is_spare());
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// Ends the connection now, and its streams with it.
    pub(super) fn cut(&self, reason: &'static str) {
        self.blame(reason);
        self.retire();
        self.cut.set(true);
        self.wake();
    }

    /// Says why the connection ends. The first reason counts.
    pub(super) fn blame(&self, reason: &'static str) {
        if self.fault.get().is_none() {
            self.fault.set(Some(reason));
        }
    }

    /// Why it ended, if that was not the peer's or our wish.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault.get()
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

    /// Whether streams may still be opened on it, now or later.
    pub(super) fn is_open(&self) -> bool {
        !self.is_retired() && self.requests.get() < self.terms.most_requests
    }

    /// Whether the peer has allowed no stream from the first.
    pub(super) fn is_closed_to_streams(&self) -> bool {
        self.is_open() && self.requests.get() == 0 && self.capacity() == 0
    }

    /// Whether it had been idle before the one stream that it now has.
    pub(super) fn was_idle(&self) -> bool {
        self.requests.get() > 1 && self.active.get() == 1
    }

    /// Whether it carries nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// Whether a request that cannot be sent twice may be risked: not where the connection had rested, and something has
    /// arrived meanwhile that was not looked at yet, such as its end.
    pub(super) fn is_surely_there(&self, now: Instant) -> bool {
        let rested = now.saturating_duration_since(self.idle_since.get());
        !self.is_idle() || rested < REST || self.wire.is_quiet()
    }

    /// A request was given up unanswered: if the peer stays silent, it has to prove that it is there.
    pub(super) fn doubt(&self, now: Instant) {
        self.pings.borrow_mut().doubted.get_or_insert(now);
    }

    /// The connection is closed: its streams have heard of it.
    pub(super) fn on_ended(self: &Rc<Self>) {
        self.retire();
        if let Some(reason) = self.fault() {
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

    /// How long it may be idle. One that nothing can be asked on is in the way of another, which may be luckier.
    fn most_idle(&self, due: &Due) -> Duration {
        if self.is_closed_to_streams() {
            due.idle_timeout.min(CLOSED)
        } else {
            due.idle_timeout
        }
    }

    /// Does what is due by the clock: idle and old connections are retired, silent ones asked, dead ones cut.
    pub(super) fn on_tick(&self, due: &Due, now: Instant) {
        if self.is_idle() {
            let idle = now.saturating_duration_since(self.idle_since.get());
            if self.is_retired() && idle >= FAREWELL {
                self.cut("farewell_timeout");
            } else if !self.is_retired() && idle >= self.most_idle(due) {
                self.retire();
                self.idle_since.set(now);
            }
        }
        let age = now.saturating_duration_since(self.opened);
        if !self.is_retired() && due.max_age.is_some_and(|most| age >= most) {
            self.retire();
            self.idle_since.set(now);
        }
        if self
            .pings
            .borrow_mut()
            .is_dead(self.wire.read_at(), due, now)
        {
            self.cut("upstream_ping_timeout");
        }
    }
}

/// What the configuration says about the life of connections.
pub(super) struct Due {
    idle_timeout: Duration,
    max_age: Option<Duration>,
    ping_interval: Option<Duration>,
    ping_timeout: Duration,
}

impl Due {
    pub(super) fn of(config: &ClusterConfig) -> Self {
        let keep_alive = config.http.keep_alive;
        Self {
            idle_timeout: config.pool.idle_timeout.get(),
            max_age: config
                .http
                .max_connection_age
                .map(portcullis_config::Duration::get),
            ping_interval: keep_alive.interval.map(portcullis_config::Duration::get),
            ping_timeout: keep_alive.timeout.get(),
        }
    }
}

impl Pings {
    /// Asks where that is due. The answer is whether an answer is overdue.
    fn is_dead(&mut self, heard: Instant, due: &Due, now: Instant) -> bool {
        let Some(handle) = &mut self.handle else {
            return false;
        };
        if let Some(asked) = self.asked {
            let mut quiet = Context::from_waker(Waker::noop());
            if handle.poll_pong(&mut quiet).is_pending() {
                return now.saturating_duration_since(asked) >= due.ping_timeout;
            }
            self.asked = None;
        }
        if self.doubted.is_some_and(|since| heard >= since) {
            self.doubted = None;
        }
        let silence = now.saturating_duration_since(heard);
        // Servers of gRPC count PINGs that they find needless: a short silence is no reason to ask.
        let is_due = due
            .ping_interval
            .is_some_and(|interval| silence >= interval)
            || self.doubted.is_some() && silence >= due.ping_timeout;
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
        link.active.set(link.active.get() + 1);
        link.requests.set(link.requests.get() + 1);
        link.note();
        Self(link)
    }

    pub(super) fn link(&self) -> &Rc<Link> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let link = &self.0;
        link.active.set(link.active.get().saturating_sub(1));
        if link.is_idle() {
            link.idle_since.set(portcullis_net::clock::now());
            if !link.is_open() {
                link.retire();
            }
            link.note();
        }
        if let Some(pool) = link.pool.upgrade() {
            pool.on_place_free(link);
        }
    }
}
