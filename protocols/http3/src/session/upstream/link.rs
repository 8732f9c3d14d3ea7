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
use portcullis_cluster::{ClusterConfig, Endpoint, EndpointId, IdleCount, LinkState, SharedLink};
use portcullis_http::upstream_stats::UpstreamStats;

use super::super::quic::{Bidi, Message, Opener, Signals};
use super::pool::Pool;
use super::socket::Socket;

/// How long the peer may take to allow more streams for those that have ended, before another connection is opened.
const REPLENISHING: Duration = Duration::from_secs(1);

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
    /// Counts those of the pool that are idle.
    pub(super) idle: Rc<IdleCount>,
    /// The cluster's counters.
    pub(super) stats: Rc<UpstreamStats>,
}

impl Terms {
    /// As the cluster is configured.
    pub(super) fn new(
        endpoint: &Endpoint,
        config: &ClusterConfig,
        idle: Rc<IdleCount>,
        stats: Rc<UpstreamStats>,
    ) -> Self {
        let most_requests = config
            .pool
            .max_requests
            .map_or(MOST_REQUESTS, std::num::NonZeroU64::get);
        Self {
            idle,
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
    state: LinkState,
    pool: Weak<Pool>,
    connection: quinn::Connection,
    socket: Arc<Socket>,
    signals: Rc<Signals>,
    requests: RefCell<Requests>,
    /// The stream of the next request.
    next: RefCell<Option<Halves>>,
    /// Since when the peer allows no more streams, and how many there were then.
    full: Cell<Option<(Instant, usize)>>,
    /// What the driver is to end the connection with.
    cut: Cell<Option<u64>>,
    driver: RefCell<Option<Waker>>,
    /// The endpoint is out of reach.
    gone: Cell<bool>,
    /// Those who wait for a response, with their streams' ids.
    waiting: RefCell<Vec<(u64, Waker)>>,
    /// What had come when the endpoint was said to be out of reach.
    doubt: Cell<Option<u64>>,
}

impl Link {
    pub(super) fn new(terms: Terms, pool: Weak<Pool>, base: Base, now: Instant) -> Rc<Self> {
        let idle = Rc::clone(&terms.idle);
        Rc::new(Self {
            state: LinkState::new(terms.endpoint, terms.most_requests, idle, now),
            terms,
            pool,
            connection: base.connection,
            socket: base.socket,
            signals: base.signals,
            requests: RefCell::new(base.requests),
            next: RefCell::new(None),
            full: Cell::new(None),
            cut: Cell::new(None),
            driver: RefCell::new(None),
            gone: Cell::new(false),
            waiting: RefCell::default(),
            doubt: Cell::new(None),
        })
    }

    fn on_stream(&self, halves: Halves) {
        self.full.set(None);
        *self.next.borrow_mut() = Some(halves);
    }

    /// Opens the next request's stream once the peer allows it, if it did not. Ready when it has been.
    pub(super) fn poll_stream(
        &self,
        task: &mut Context<'_>,
        opening: &mut Option<Opening>,
    ) -> Poll<()> {
        if self.full.get().is_none() || !self.state.is_open() {
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

    /// Ends the connection now, and its streams with it: `code` is what the peer hears.
    pub(super) fn cut(&self, reason: &'static str, code: u64) {
        self.state.blame(reason);
        if self.cut.get().is_none() {
            self.cut.set(Some(code));
        }
        self.retire();
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
        if self.state.is_retired() && self.state.is_idle() {
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

    /// Frames with bytes of requests that have gone out.
    pub(super) fn frames_sent(&self) -> u64 {
        self.connection.stats().frame_tx.stream
    }

    /// Whether a request that cannot be sent twice may be risked: not where the connection had rested, and something has
    /// arrived meanwhile that was not looked at yet, such as its end.
    pub(super) fn is_surely_there(&self, now: Instant) -> bool {
        !self.state.has_rested(now) || self.socket.is_quiet()
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

impl SharedLink for Link {
    type Place = Place;

    fn state(&self) -> &LinkState {
        &self.state
    }

    /// Where it is so, a stream is open for the request.
    fn has_room(&self, now: Instant) -> bool {
        if !self.state.is_open() || self.state.active() >= self.terms.most_streams {
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
                self.full.set(Some((since, most.max(self.state.active()))));
                // The driver hears when the peer allows another.
                self.wake();
                false
            }
        }
    }

    fn place(self: Rc<Self>) -> Option<Place> {
        Place::new(self)
    }

    /// Nobody says it beforehand: one connection is opened at a time.
    fn capacity(_: Option<&Self>, _: &ClusterConfig) -> usize {
        usize::MAX
    }

    /// Streams that the peer may be about to allow again, since it allowed as many before.
    fn replenishing(&self, now: Instant) -> usize {
        let Some((since, most)) = self.full.get() else {
            return 0;
        };
        if !self.state.is_open() || now.saturating_duration_since(since) >= REPLENISHING {
            return 0;
        }
        most.min(self.terms.most_streams)
            .saturating_sub(self.state.active())
    }

    fn is_closed_to_streams(&self) -> bool {
        self.state.is_open() && self.state.is_unused() && self.full.get().is_some()
    }

    fn retire(&self) {
        if let Some((mut send, mut receive)) = self.next.borrow_mut().take() {
            // Left alone, it would end as a request without a head.
            let _ = send.reset(CANCELLED);
            let _ = receive.stop(CANCELLED);
        }
        self.state.retire();
        self.wake();
    }

    /// Idle and old connections are retired, those whose endpoint has gone are cut.
    fn on_tick(&self, config: &ClusterConfig, now: Instant) {
        let is_full = self.full.get().is_some();
        if self.state.is_worn(config, is_full, now) {
            self.retire();
        }
        self.weigh_doubt();
    }
}

/// A stream that is being opened.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Halves, quinn::ConnectionError>>>>;

/// The place of one stream on a connection, until it is dropped.
pub(super) struct Place {
    link: Rc<Link>,
    message: Rc<Message>,
}

impl Place {
    /// The place that the caller has found to be free; `None` if it was not.
    pub(super) fn new(link: Rc<Link>) -> Option<Self> {
        let (send, receive) = link.next.borrow_mut().take()?;
        link.state.on_place_taken();
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
        link.state
            .on_place_free(&**link, portcullis_net::clock::now);
        link.on_room();
    }
}
