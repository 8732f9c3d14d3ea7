//! One connection that requests share: what a protocol says of it, and what is known of any.
//!
//! Start at [`SharedLink`].

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::{ClusterConfig, EndpointId, IdleCount};

/// How long a connection is kept on which the peer allows no stream.
const CLOSED: Duration = Duration::from_secs(5);

/// How long a connection may rest before it is looked at with suspicion.
const REST: Duration = Duration::from_secs(1);

/// A connection that requests share, as [`Lanes`](super::Lanes) see it. None of these may call them back.
pub trait SharedLink {
    /// What a request has of it. Whoever drops it says so by [`LinkState::on_place_free`].
    type Place;

    /// What is known of it.
    fn state(&self) -> &LinkState;

    /// Whether it takes another request now. One that takes none any more is retired by the way.
    fn has_room(&self, now: Instant) -> bool;

    /// A place, which was found to be free; `None` if it was not.
    fn place(self: Rc<Self>) -> Option<Self::Place>;

    /// How many requests a connection is expected to take that is being opened: by the last one when it had just been opened,
    /// and by what is configured as long as there was none.
    fn capacity(last: Option<&Self>, config: &ClusterConfig) -> usize;

    /// Requests that it will take soon, though it has no room now.
    fn replenishing(&self, _now: Instant) -> usize {
        0
    }

    /// Whether the peer has allowed no stream from the first.
    fn is_closed_to_streams(&self) -> bool;

    /// Makes it take no more requests, and close when those that it carries have ended.
    fn retire(&self);

    /// Does what is due by the clock.
    fn on_tick(&self, config: &ClusterConfig, now: Instant);
}

/// What is known of a connection that requests share, whatever its protocol.
#[derive(Debug)]
pub struct LinkState {
    endpoint: EndpointId,
    most_requests: u64,
    opened: Instant,
    active: Cell<usize>,
    requests: Cell<u64>,
    idle_since: Cell<Instant>,
    retired: Cell<bool>,
    fault: Cell<Option<&'static str>>,
    idle: Rc<IdleCount>,
    /// It is among those that `idle` counts.
    counted: Cell<bool>,
}

impl LinkState {
    /// A connection that was opened just now, and takes `most_requests` in its life. `idle` counts those of its pool.
    #[must_use]
    pub fn new(
        endpoint: EndpointId,
        most_requests: u64,
        idle: Rc<IdleCount>,
        now: Instant,
    ) -> Self {
        Self {
            endpoint,
            most_requests,
            opened: now,
            active: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(now),
            retired: Cell::new(false),
            fault: Cell::new(None),
            idle,
            counted: Cell::new(false),
        }
    }

    /// Where it leads.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Requests that it carries.
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// Whether it carries nothing.
    pub fn is_idle(&self) -> bool {
        self.active() == 0
    }

    /// Whether it was told to take no more requests.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether it may still take requests, now or later.
    pub fn is_open(&self) -> bool {
        !self.is_retired() && self.requests.get() < self.most_requests
    }

    /// Whether it could be given up: it carries nothing, and was to be used again.
    pub fn is_spare(&self) -> bool {
        self.is_idle() && self.is_open()
    }

    /// Whether it never carried a request.
    pub fn is_unused(&self) -> bool {
        self.requests.get() == 0
    }

    /// Whether it had been idle before the one request that it now carries.
    pub fn was_idle(&self) -> bool {
        self.requests.get() > 1 && self.active() == 1
    }

    /// When its last request ended, or since when it waits to be closed.
    pub fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Sets that time.
    pub fn set_idle_since(&self, now: Instant) {
        self.idle_since.set(now);
    }

    /// Whether it has rested for so long that its end may have come unseen.
    pub fn has_rested(&self, now: Instant) -> bool {
        self.is_idle() && now.saturating_duration_since(self.idle_since()) >= REST
    }

    /// Notes that it takes no more requests.
    pub fn retire(&self) {
        self.retired.set(true);
        self.note();
    }

    /// Lets other workers know whether it could be given up.
    pub fn note(&self) {
        self.idle.note(&self.counted, self.is_spare());
    }

    /// A request begins.
    pub fn on_place_taken(&self) {
        self.active.set(self.active() + 1);
        self.requests.set(self.requests.get() + 1);
        self.note();
    }

    /// A request has ended. Retires `link`, whose state this is, if it was the last that it takes.
    pub fn on_place_free(&self, link: &impl SharedLink, now: impl FnOnce() -> Instant) {
        self.active.set(self.active().saturating_sub(1));
        if self.is_idle() {
            self.set_idle_since(now());
            if !self.is_open() {
                link.retire();
            }
            self.note();
        }
    }

    /// Says why the connection ends. The first reason counts.
    pub fn blame(&self, reason: &'static str) {
        if self.fault.get().is_none() {
            self.fault.set(Some(reason));
        }
    }

    /// Why it ended, if that was not the peer's or our wish.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault.get()
    }

    /// Whether it is to be retired by the clock. One that nothing can be asked on, `is_closed`, is in the way of another, which
    /// may be luckier.
    pub fn is_worn(&self, config: &ClusterConfig, is_closed: bool, now: Instant) -> bool {
        let timeout = config.pool.idle_timeout.get();
        let most_idle = if is_closed {
            timeout.min(CLOSED)
        } else {
            timeout
        };
        let is_past = |since, most| now.saturating_duration_since(since) >= most;
        let is_old = |most: portcullis_config::Duration| is_past(self.opened, most.get());
        !self.is_retired()
            && (self.is_idle() && is_past(self.idle_since(), most_idle)
                || config.http.max_connection_age.is_some_and(is_old))
    }
}
