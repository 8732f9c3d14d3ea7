//! The book of one pool: every connection is in exactly one place, and every waiter is served in turn.
//!
//! It is a plain value without lock, clock or waker of its own; [`SharedPool`](super::SharedPool) adds those. Start at
//! [`PoolCore::checkout`]; `serve` is where it is decided who gets what.

mod administration;
mod check;
mod serve;
mod snapshot;
mod sweep;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use snapshot::{PoolSnapshot, PoolState, Totals};
pub use sweep::Swept;

use super::backoff::Backoff;
use super::idle::Idle;
use super::lease::{Affinity, Lease, OpenTicket, Patience};
use super::limits::PoolLimits;
use super::queue::{Fetched, Queue, State, Ticket};
use super::reason::{CloseReason, OpenFailure, Refusal};

/// The book of one pool, over connections `C` and handles `W` that somebody wakes.
///
/// `now` may go backwards by a little (workers read the clock at different moments): the latest that was seen holds.
/// Nothing is allocated once the pool and its queue have been as large as they get.
#[derive(Debug)]
pub struct PoolCore<C, W = ()> {
    limits: PoolLimits,
    state: PoolState,
    queue: Queue<W>,
    idle: Idle<C>,
    /// Out with somebody, or set aside for one who has not fetched it yet.
    in_use: u32,
    /// Permissions to open that are out or offered.
    opening: u32,
    generation: u64,
    /// What is of an older generation was killed.
    killed_before: u64,
    backoff: Backoff,
    /// Since when there is no connection.
    bare_since: Option<Instant>,
    next_serial: u64,
    latest: Option<Instant>,
    totals: Totals,
    woken: VecDeque<W>,
    /// Woken when none is open.
    quiet: Vec<W>,
    /// Woken when `next_deadline` comes to lie before `armed`.
    bell: Option<W>,
    armed: Option<Instant>,
    checked: check::Checked,
}

/// A connection that comes out of a pool, and its lease.
#[derive(Debug, PartialEq, Eq)]
pub struct Leased<C> {
    /// The connection.
    pub connection: C,
    /// Goes back with it.
    pub lease: Lease,
    /// How long it was idle; zero for one that comes straight from another client. `check_after` is to be compared with it.
    pub idle: Duration,
}

/// The answer to one who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Checkout<C> {
    /// Here it is.
    Ready(Leased<C>),
    /// Come back with this. There may be a permission to open waiting already: [`PoolCore::take`] at once.
    Wait(Ticket),
    /// No.
    Refused(Refusal),
}

/// What a waiter got.
#[derive(Debug, PartialEq, Eq)]
pub enum Grant<C> {
    /// A connection. The ticket is used up.
    Ready(Leased<C>),
    /// A permission to open one, for the pool and not for this waiter alone: when it is there, it goes to whoever is first.
    /// The ticket goes on waiting.
    Open(OpenTicket),
    /// Nothing. The ticket is used up.
    Refused(Refusal),
}

/// What became of a connection that was given back.
#[derive(Debug, PartialEq, Eq)]
pub enum After<C> {
    /// It is idle.
    Kept,
    /// It goes to this waiter.
    Handed {
        /// Who gets it.
        ticket: Ticket,
    },
    /// It is to be closed, and no longer counts.
    Close(C, CloseReason),
}

/// What is left of a waiter that went away.
#[derive(Debug)]
#[must_use]
pub struct Cancelled<C, W> {
    /// A connection that had been set aside for it, and that is to be closed.
    pub close: Option<(C, CloseReason)>,
    /// Its handle, to be dropped where that does no harm.
    pub waker: Option<W>,
}

impl<C, W> PoolCore<C, W> {
    /// An empty pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            state: PoolState::Open,
            queue: Queue::new(),
            idle: Idle::new(),
            in_use: 0,
            opening: 0,
            generation: 0,
            killed_before: 0,
            backoff: Backoff::default(),
            bare_since: None,
            next_serial: 0,
            latest: None,
            totals: Totals::default(),
            woken: VecDeque::new(),
            quiet: Vec::new(),
            bell: None,
            armed: None,
            checked: check::Checked::new(&limits),
        }
    }

    /// Asks for a connection. Whoever waits already is not overtaken.
    pub fn checkout(
        &mut self,
        now: Instant,
        affinity: Affinity,
        patience: Patience,
    ) -> Checkout<C> {
        let now = self.at(now);
        let answer = self.admit(now, affinity, patience);
        self.finish();
        answer
    }

    /// What there is for a waiter, if anything. After [`Grant::Open`] it goes on waiting; the others use the ticket up. A
    /// waiter whose time is over is refused here even when nobody sweeps. A ticket that is used up gets `Closed`.
    pub fn take(&mut self, now: Instant, ticket: Ticket) -> Option<Grant<C>> {
        let now = self.at(now);
        let mut changes = false;
        if self
            .queue
            .waits_since(ticket)
            .is_some_and(|since| self.has_waited_enough(since, now))
        {
            self.refuse_waiter(ticket, self.timeout_reason());
            self.settle(now);
            changes = true;
        }
        let grant = match self.queue.fetch(ticket) {
            Fetched::Nothing => None,
            Fetched::Open(open) => Some(Grant::Open(open)),
            Fetched::Refused(refusal) => Some(Grant::Refused(refusal)),
            Fetched::Unknown => Some(Grant::Refused(Refusal::Closed)),
            Fetched::Served(entry) => self.idle.fetch(entry).map(|(connection, lease)| {
                Grant::Ready(Leased {
                    connection,
                    lease,
                    idle: Duration::ZERO,
                })
            }),
        };
        // Fetching what was set aside, or finding nothing, moves no deadline.
        if changes || !matches!(grant, None | Some(Grant::Ready(_))) {
            self.finish();
        } else {
            self.check_invariants();
        }
        grant
    }

    /// Gives a connection back that is clean and ready: the server has said that it is idle, no byte is due, and its state is
    /// what `affinity` says. The first waiter gets it.
    pub fn checkin(
        &mut self,
        now: Instant,
        connection: C,
        lease: Lease,
        affinity: Affinity,
    ) -> After<C> {
        let now = self.at(now);
        let after = self.release(now, connection, lease, affinity);
        if matches!(after, After::Handed { .. }) && self.live() >= self.limits.ceiling() {
            // Whoever is first now has come later: no deadline has moved to the front, and no connection is missing.
            self.check_invariants();
        } else {
            self.finish();
        }
        after
    }

    /// Gives a lease back whose connection is or will be closed. Its place is free for another to be opened.
    pub fn discard(&mut self, now: Instant, lease: Lease, reason: CloseReason) {
        let now = self.at(now);
        self.in_use -= 1;
        self.note_closed(lease, reason);
        self.settle(now);
        self.finish();
    }

    /// A connection was opened. It counts as in use: [`Self::checkin`] it, and it goes to whoever is first.
    pub fn opened(&mut self, now: Instant, open: OpenTicket, random: u64) -> Lease {
        let now = self.at(now);
        let lease = self.admit_opened(now, open, random);
        self.settle(now);
        self.finish();
        lease
    }

    /// A connection was opened and is ready: [`Self::opened`] and [`Self::checkin`] in one.
    pub fn opened_ready(
        &mut self,
        now: Instant,
        open: OpenTicket,
        random: u64,
        connection: C,
        affinity: Affinity,
    ) -> After<C> {
        let now = self.at(now);
        let lease = self.admit_opened(now, open, random);
        let after = self.release(now, connection, lease, affinity);
        self.finish();
        after
    }

    /// A connection could not be opened. Nothing else is for a while (see [`PoolLimits::connect_backoff`]), then one is
    /// tried. Those who wait stay as long as there is a connection to wait for. If there is none, those are told who
    /// [would rather leave](Patience::Leaves); and everybody, if the failure is definite or the server has been away for
    /// [`PoolLimits::unreachable_after`].
    pub fn open_failed(
        &mut self,
        now: Instant,
        open: OpenTicket,
        failure: OpenFailure,
        random: u64,
    ) {
        let now = self.at(now);
        let (_, round) = self.end_opening(open);
        self.totals.open_failures += 1;
        self.backoff
            .failed(round, now, failure, self.limits.connect_backoff, random);
        self.on_failure(now, failure);
        self.settle(now);
        self.finish();
    }

    /// Nobody tries to open this connection any more, and nothing was learnt of the server.
    pub fn open_abandoned(&mut self, now: Instant, open: OpenTicket) {
        let now = self.at(now);
        self.end_opening(open);
        self.settle(now);
        self.finish();
    }

    /// A waiter goes away. What had been granted to it goes to the next.
    pub fn cancel(&mut self, now: Instant, ticket: Ticket) -> Cancelled<C, W> {
        let now = self.at(now);
        let (close, waker) = match self.queue.remove(ticket) {
            None => (None, None),
            Some((State::Waiting(open), waker)) => {
                self.take_back(&open);
                self.totals.cancelled += 1;
                (None, waker)
            }
            Some((State::Refused(_), waker)) => (None, waker),
            Some((State::Served(entry), waker)) => (self.release_unused(now, entry), waker),
        };
        self.settle(now);
        self.finish();
        Cancelled { close, waker }
    }

    /// Where a waiter's handle is kept. It comes out of [`Self::poll_woken`] when there is something to [`Self::take`].
    /// `None` when the ticket is used up.
    pub fn waker_mut(&mut self, ticket: Ticket) -> Option<&mut Option<W>> {
        self.queue.waker_mut(ticket)
    }

    /// As [`Self::waker_mut`], where there is nothing to [`Self::take`] yet.
    pub fn idle_waker_mut(&mut self, ticket: Ticket) -> Option<&mut Option<W>> {
        self.queue.idle_waker_mut(ticket)
    }

    /// The next handle to be woken, in the order in which there came to be something.
    pub fn poll_woken(&mut self) -> Option<W> {
        self.woken.pop_front()
    }

    /// Until when the owner of this ticket may wait. `None` when it does not wait.
    pub fn wait_deadline(&self, ticket: Ticket) -> Option<Instant> {
        self.queue
            .waits_since(ticket)?
            .checked_add(self.limits.wait_timeout)
    }

    /// The latest `now` that was seen; for those who have none.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.latest
    }

    fn at(&mut self, now: Instant) -> Instant {
        let latest = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(latest);
        latest
    }

    /// Connections that count against the limits.
    fn live(&self) -> u32 {
        self.idle.len() as u32 + self.in_use + self.opening
    }

    #[allow(clippy::needless_pass_by_value)] // it is used up here
    fn note_closed(&mut self, lease: Lease, reason: CloseReason) {
        let Lease { serial, .. } = lease;
        self.totals.note_closed(reason);
        self.checked.note_closed(serial);
    }

    /// What every public method that changes something ends with.
    fn finish(&mut self) {
        self.bare_since = if self.has_any() {
            None
        } else {
            self.bare_since.or(self.latest)
        };
        if !self.quiet.is_empty() && self.live() == 0 {
            self.woken.extend(self.quiet.drain(..));
        }
        if self.bell.is_some() && (!self.queue.is_empty() || self.live() < self.limits.floor()) {
            let urgent = self.urgent_deadline();
            self.ring_before(urgent);
        }
        self.check_invariants();
    }
}
