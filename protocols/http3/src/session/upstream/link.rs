//! One connection to an endpoint, as the pool and the streams on it see it: whether it takes another stream, and why it
//! ended.
//!
//! How many streams a peer allows QUIC does not say as a number: a stream is opened for the next request in advance, and where
//! that cannot be, the peer's limit is reached. Not its input and output: those are `quinn`'s and its
//! [driver](super::driver)'s. Start at [`Link`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis_cluster::{ClusterConfig, Endpoint, EndpointId};

use super::super::quic::{Bidi, Message, Opener, Signals};
use super::pool::Pool;
use super::socket::Socket;
use super::stats::UpstreamStats;

/// How long a connection is kept on which the peer allows no stream.
const CLOSED: Duration = Duration::from_secs(5);

/// How long the peer may take to allow more streams for those that have ended, before another connection is opened.
const REPLENISHING: Duration = Duration::from_secs(1);

/// How long a connection may rest before it is looked at with suspicion.
const REST: Duration = Duration::from_secs(1);

/// H3_REQUEST_CANCELLED (RFC 9114 section 8.1).
const CANCELLED: quinn::VarInt = quinn::VarInt::from_u32(0x10c);

/// Streams of the life of a connection, below what ids can say (RFC 9000 section 2.1) by far.
const MOST_REQUESTS: u64 = 1 << 40;

/// The halves of a stream that was opened.
pub(super) type Halves = (quinn::SendStream, quinn::RecvStream);

/// What `h3` sends requests with.
pub(super) type Requests = h3::client::SendRequest<Opener, Bytes>;

/// A request of `h3`'s and its response.
pub(super) type Exchange = h3::client::RequestStream<Bidi, Bytes>;

/// What a connection is made for.
pub(super) struct Terms {
    /// The endpoint.
    pub(super) endpoint: EndpointId,
    /// The endpoint as an authority.
    pub(super) authority: Arc<str>,
    /// Streams at once.
    pub(super) most_streams: usize,
    /// Streams in all.
    pub(super) most_requests: u64,
    /// The cluster's counters.
    pub(super) stats: Rc<UpstreamStats>,
}

impl Terms {
    /// As the cluster is configured.
    pub(super) fn new(
        endpoint: &Endpoint,
        config: &ClusterConfig,
        stats: Rc<UpstreamStats>,
    ) -> Self {
        let most_requests = config
            .pool
            .max_requests
            .map_or(MOST_REQUESTS, std::num::NonZeroU64::get);
        Self {
            stats,
            endpoint: endpoint.id(),
            authority: Arc::clone(endpoint.name()),
            most_streams: config.http.max_streams.get() as usize,
            most_requests: most_requests.min(MOST_REQUESTS),
        }
    }
}

/// What a connection stands on.
pub(super) struct Base {
    pub(super) connection: quinn::Connection,
    pub(super) socket: Arc<Socket>,
    pub(super) signals: Rc<Signals>,
    pub(super) requests: Requests,
}

/// One connection to an endpoint.
pub(super) struct Link {
    pub(super) terms: Terms,
    pool: Weak<Pool>,
    connection: quinn::Connection,
    socket: Arc<Socket>,
    signals: Rc<Signals>,
    requests: RefCell<Requests>,
    /// The stream of the next request.
    next: RefCell<Option<Halves>>,
    /// Since when the peer allows no more streams, and how many there were then.
    full: Cell<Option<(Instant, usize)>>,
    opened: Instant,
    active: Cell<usize>,
    taken: Cell<u64>,
    /// When the last stream ended, or the connection was retired.
    idle_since: Cell<Instant>,
    /// It is among those that the pool counts as idle.
    counted: Cell<bool>,
    /// Takes no more streams.
    retired: Cell<bool>,
    /// What the driver is to end the connection with.
    cut: Cell<Option<u64>>,
    driver: RefCell<Option<Waker>>,
    fault: Cell<Option<&'static str>>,
    /// The endpoint is out of reach.
    gone: Cell<bool>,
    /// Those who wait for a response, with their streams' ids.
    waiting: RefCell<Vec<(u64, Waker)>>,
    /// What had come when the endpoint was said to be out of reach.
    doubt: Cell<Option<u64>>,
}

impl Link {
    pub(super) fn new(terms: Terms, pool: Weak<Pool>, base: Base, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            terms,
            pool,
            connection: base.connection,
            socket: base.socket,
            signals: base.signals,
            requests: RefCell::new(base.requests),
            next: RefCell::new(None),
            full: Cell::new(None),
            opened: now,
            active: Cell::new(0),
            taken: Cell::new(0),
            idle_since: Cell::new(now),
            counted: Cell::new(false),
            retired: Cell::new(false),
            cut: Cell::new(None),
            driver: RefCell::new(None),
            fault: Cell::new(None),
            gone: Cell::new(false),
            waiting: RefCell::default(),
            doubt: Cell::new(None),
        })
    }

    /// Whether it takes another stream now: one is open for it then. A connection that takes none any more is retired by
    /// the way.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        if !self.is_open() || self.active.get() >= self.terms.most_streams {
            return false;
        }
        if self.next.borrow().is_some() && self.connection.close_reason().is_none() {
            return true;
        }
        let opening = pin!(self.connection.open_bi());
        match opening.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(halves)) => {
                self.on_stream(halves);
                true
            }
            Poll::Ready(Err(_)) => {
                self.retire();
                false
            }
            Poll::Pending => {
                let (since, most) = self.full.get().unwrap_or((now, 0));
                self.full.set(Some((since, most.max(self.active.get()))));
                // The driver hears when the peer allows another.
                self.wake();
                false
            }
        }
    }

    fn on_stream(&self, halves: Halves) {
        self.full.set(None);
        *self.next.borrow_mut() = Some(halves);
    }

    /// Streams that the peer may be about to allow again, since it allowed as many before.
    pub(super) fn replenishing(&self, now: Instant) -> usize {
        let Some((since, most)) = self.full.get() else {
            return 0;
        };
        if !self.is_open() || now.saturating_duration_since(since) >= REPLENISHING {
            return 0;
        }
        most.min(self.terms.most_streams)
            .saturating_sub(self.active.get())
    }

    /// Opens the next request's stream once the peer allows it, if it did not. Ready when it has been.
    pub(super) fn poll_stream(
        &self,
        task: &mut Context<'_>,
        opening: &mut Option<Opening>,
    ) -> Poll<()> {
        if self.full.get().is_none() || !self.is_open() {
            *opening = None;
            return Poll::Pending;
        }
        let future = opening.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_bi().await })
        });
        let opened = ready!(future.as_mut().poll(task));
        *opening = None;
        match opened {
            Ok(halves) => {
                self.on_stream(halves);
                Poll::Ready(())
            }
            Err(_) => Poll::Pending,
        }
    }

    /// Takes no more streams; closes when those that are open have ended.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        if let Some((mut send, mut receive)) = self.next.borrow_mut().take() {
            // Left alone, it would end as a request without a head.
            let _ = send.reset(CANCELLED);
            let _ = receive.stop(CANCELLED);
        }
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
        self.retired.get()
    }

    /// Ends the connection now, and its streams with it: `code` is what the peer hears.
    pub(super) fn cut(&self, reason: &'static str, code: u64) {
        self.blame(reason);
        if self.cut.get().is_none() {
            self.cut.set(Some(code));
        }
        self.retire();
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

    /// Whether it ended because the endpoint is out of reach.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// What the driver is to end the connection with, if it is to.
    pub(super) fn poll_cut(&self, task: &Context<'_>) -> Poll<u64> {
        if let Some(code) = self.cut.get() {
            return Poll::Ready(code);
        }
        if self.is_retired() && self.is_idle() {
            return Poll::Ready(super::dial::NO_ERROR.into_inner());
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

    /// What the streams of the connection have told it.
    pub(super) fn signals(&self) -> &Rc<Signals> {
        &self.signals
    }

    /// What sends requests.
    pub(super) fn requests(&self) -> std::cell::RefMut<'_, Requests> {
        self.requests.borrow_mut()
    }

    /// A GOAWAY has come: those whose streams it leaves out hear of it.
    pub(super) fn on_goaway(&self, id: u64) {
        self.retire();
        let mut left_out = Vec::new();
        self.waiting.borrow_mut().retain(|(stream, waker)| {
            let stays = *stream < id;
            if !stays {
                left_out.push(waker.clone());
            }
            stays
        });
        for waker in left_out {
            waker.wake();
        }
    }

    /// Whether the peer has said that it did not look at a stream.
    pub(super) fn leaves_out(&self, stream: u64) -> bool {
        self.signals.goaway().is_some_and(|id| stream >= id)
    }

    /// Someone waits for a stream's response, and is to hear of a GOAWAY that leaves it out.
    pub(super) fn await_response(&self, stream: u64, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((stream, waker.clone())),
        }
    }

    /// It does not any more.
    pub(super) fn forget_response(&self, stream: u64) {
        self.waiting
            .borrow_mut()
            .retain(|(known, _)| *known != stream);
    }

    /// Whether streams may still be opened on it, now or later.
    pub(super) fn is_open(&self) -> bool {
        !self.is_retired() && self.taken.get() < self.terms.most_requests
    }

    /// Whether the peer has allowed no stream from the first.
    pub(super) fn is_closed_to_streams(&self) -> bool {
        self.is_open() && self.taken.get() == 0 && self.full.get().is_some()
    }

    /// Whether it had been idle before the one stream that it now has.
    pub(super) fn was_idle(&self) -> bool {
        self.taken.get() > 1 && self.active.get() == 1
    }

    /// Whether it carries nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// Frames with bytes of requests that have gone out.
    pub(super) fn frames_sent(&self) -> u64 {
        self.connection.stats().frame_tx.stream
    }

    /// Whether a request that cannot be sent twice may be risked: not where the connection had rested, and something has
    /// arrived meanwhile that was not looked at yet, such as its end.
    pub(super) fn is_surely_there(&self, now: Instant) -> bool {
        let rested = now.saturating_duration_since(self.idle_since.get());
        !self.is_idle() || rested < REST || self.socket.is_quiet()
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

    /// Streams are free again, or may be opened.
    pub(super) fn on_room(self: &Rc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.on_room(self);
        }
    }

    /// The connection.
    pub(super) fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    /// The cluster's counters.
    pub(super) fn stats(&self) -> &UpstreamStats {
        &self.terms.stats
    }

    /// How long it may be idle. One that nothing can be asked on is in the way of another, which may be luckier.
    fn most_idle(&self, due: &Due) -> Duration {
        if self.full.get().is_some() {
            due.idle_timeout.min(CLOSED)
        } else {
            due.idle_timeout
        }
    }

    /// Does what is due by the clock: idle and old connections are retired, those whose endpoint has gone are cut.
    pub(super) fn on_tick(&self, due: &Due, now: Instant) {
        let idle = now.saturating_duration_since(self.idle_since.get());
        let age = now.saturating_duration_since(self.opened);
        let is_old = due.max_age.is_some_and(|most| age >= most);
        if !self.is_retired() && (is_old || self.is_idle() && idle >= self.most_idle(due)) {
            self.retire();
        }
        self.weigh_doubt();
    }

    /// ICMP may be forged: it is believed if nothing comes from the endpoint until the next look.
    fn weigh_doubt(&self) {
        let heard = self.socket.heard();
        if !heard.is_doubted() {
            self.doubt.set(None);
        } else if self.doubt.replace(Some(heard.received())) == Some(heard.received()) {
            self.gone.set(true);
            self.cut("upstream_gone", super::dial::NO_ERROR.into_inner());
        }
    }
}

/// A stream that is being opened.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Halves, quinn::ConnectionError>>>>;

/// What the configuration says about the life of connections.
pub(super) struct Due {
    idle_timeout: Duration,
    max_age: Option<Duration>,
}

impl Due {
    pub(super) fn of(config: &ClusterConfig) -> Self {
        Self {
            idle_timeout: config.pool.idle_timeout.get(),
            max_age: config
                .http
                .max_connection_age
                .map(portcullis_config::Duration::get),
        }
    }
}

/// The place of one stream on a connection, until it is dropped.
pub(super) struct Place {
    link: Rc<Link>,
    message: Rc<Message>,
}

impl Place {
    /// The place that the caller has found to be free; `None` if it was not.
    pub(super) fn new(link: Rc<Link>) -> Option<Self> {
        let (send, receive) = link.next.borrow_mut().take()?;
        link.active.set(link.active.get() + 1);
        link.taken.set(link.taken.get() + 1);
        link.note();
        let message = Message::new(send, receive, super::role());
        Some(Self { link, message })
    }

    pub(super) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// The stream.
    pub(super) fn message(&self) -> &Rc<Message> {
        &self.message
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let link = &self.link;
        link.active.set(link.active.get().saturating_sub(1));
        if link.is_idle() {
            link.idle_since.set(portcullis_net::clock::now());
            if !link.is_open() {
                link.retire();
            }
            link.note();
        }
        link.on_room();
    }
}
