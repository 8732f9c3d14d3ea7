//! The book of one pool: every connection is in exactly one place, and every waiter is served in turn.
//!
//! It is a plain value without lock, clock or waker of its own; [`SharedPool`](super::SharedPool) adds those. Start at
//! [`PoolCore::checkout`]; `settle` is where waiters are served.

mod administration;
mod check;
mod snapshot;
mod sweep;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use snapshot::{PoolSnapshot, PoolState, Totals};
pub use sweep::Swept;

use super::backoff::{Backoff, part};
use super::idle::{Entry, Idle};
use super::lease::{Affinity, Lease, OpenTicket};
use super::limits::PoolLimits;
use super::queue::{Fetched, Open, Queue, State, Ticket};
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
    pub fn checkout(&mut self, now: Instant, affinity: Affinity) -> Checkout<C> {
        let now = self.at(now);
        let answer = self.admit(now, affinity);
        self.finish();
        answer
    }

    /// What there is for a waiter, if anything. After [`Grant::Open`] it goes on waiting; the others use the ticket up. A
    /// waiter whose time is over is refused here even when nobody sweeps. A ticket that is used up gets `Closed`.
    pub fn take(&mut self, now: Instant, ticket: Ticket) -> Option<Grant<C>> {
        let now = self.at(now);
        if self
            .queue
            .waits_since(ticket)
            .is_some_and(|since| self.has_waited_enough(since, now))
        {
            self.refuse_waiter(ticket, self.timeout_reason());
            self.settle(now);
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
        self.finish();
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
        self.finish();
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
    /// tried. Those who wait stay, unless the failure is definite and there is no connection to wait for.
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
        if failure.is_definite() && self.live() == 0 {
            self.refuse_all(Refusal::Unreachable(failure));
        }
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

    fn admit(&mut self, now: Instant, affinity: Affinity) -> Checkout<C> {
        self.totals.checkouts += 1;
        if self.state == PoolState::Open
            && self.queue.is_empty()
            && let Some(leased) = self.take_idle(now, affinity)
        {
            return Checkout::Ready(leased);
        }
        if let Some(refusal) = self.refuses(now) {
            self.totals.note_refused(refusal);
            return Checkout::Refused(refusal);
        }
        let ticket = self.queue.push(now);
        self.totals.waited += 1;
        self.settle(now);
        Checkout::Wait(ticket)
    }

    fn take_idle(&mut self, now: Instant, affinity: Affinity) -> Option<Leased<C>> {
        let entry = self.idle.take(affinity)?;
        let idle = now.saturating_duration_since(entry.since);
        let (connection, lease) = self.idle.fetch(entry)?;
        self.in_use += 1;
        Some(Leased {
            connection,
            lease,
            idle,
        })
    }

    /// Why one more may not even wait.
    fn refuses(&self, now: Instant) -> Option<Refusal> {
        if self.state == PoolState::Closed {
            return Some(Refusal::Closed);
        }
        if let Some(failure) = self.backoff.last()
            && failure.is_definite()
            && self.live() == 0
            && self.backoff.blocks(now)
        {
            return Some(Refusal::Unreachable(failure));
        }
        let unserved = self.queue.len().saturating_sub(self.opening as usize);
        let full =
            unserved >= self.limits.max_waiting && !self.may_open(now, self.queue.len() + 1, now);
        full.then_some(Refusal::QueueFull)
    }

    fn release(
        &mut self,
        now: Instant,
        connection: C,
        lease: Lease,
        affinity: Affinity,
    ) -> After<C> {
        if let Some(reason) = self.condemned(now, &lease) {
            self.in_use -= 1;
            self.note_closed(lease, reason);
            self.settle(now);
            return After::Close(connection, reason);
        }
        let entry = self.idle.store(connection, lease, affinity, now);
        let handed = self.place(now, entry);
        self.settle(now);
        handed.map_or(After::Kept, |ticket| After::Handed { ticket })
    }

    /// As [`Self::release`], for what was set aside for one who went away.
    fn release_unused(&mut self, now: Instant, entry: Entry) -> Option<(C, CloseReason)> {
        let affinity = entry.affinity;
        let (connection, lease) = self.idle.fetch(entry)?;
        match self.release(now, connection, lease, affinity) {
            After::Close(connection, reason) => Some((connection, reason)),
            After::Kept | After::Handed { .. } => None,
        }
    }

    /// Gives a connection that counts as in use to the first waiter, or lets it be idle.
    fn place(&mut self, now: Instant, entry: Entry) -> Option<Ticket> {
        if let Some((ticket, since)) = self.queue.first() {
            self.totals
                .note_served(now.saturating_duration_since(since));
            self.answer(ticket, State::Served(entry));
            return Some(ticket);
        }
        self.in_use -= 1;
        let expires = entry.lease.expires;
        self.idle.keep(entry);
        let ages = self
            .limits
            .idle_timeout
            .and_then(|timeout| now.checked_add(timeout));
        self.ring_before(ages);
        self.ring_before(expires);
        None
    }

    /// Why a connection that comes back must not be used again.
    fn condemned(&self, now: Instant, lease: &Lease) -> Option<CloseReason> {
        match self.state {
            PoolState::Closed => return Some(CloseReason::Closed),
            _ if lease.generation < self.killed_before => return Some(CloseReason::Killed),
            PoolState::Paused => return Some(CloseReason::Paused),
            PoolState::Open => {}
        }
        if lease.generation < self.generation {
            Some(CloseReason::Reconnect)
        } else if lease.expires.is_some_and(|expires| expires <= now) {
            Some(CloseReason::Lifetime)
        } else if self.live() > self.limits.ceiling() {
            Some(CloseReason::Shrunk)
        } else {
            None
        }
    }

    /// Gives permissions to open to those who are first, as long as there is room and need.
    fn settle(&mut self, now: Instant) {
        while let Some((ticket, since)) = self.queue.first_unopened() {
            if !self.may_open(now, self.queue.len(), since) {
                break;
            }
            let open = self.open_ticket(Some(ticket));
            let waker = self.queue.offer(ticket, open);
            self.woken.extend(waker);
        }
    }

    /// Whether a connection may be opened when `waiting` wait, of whom one for whom none is being opened waits since `since`.
    fn may_open(&self, now: Instant, waiting: usize, since: Instant) -> bool {
        let reserve = now.saturating_duration_since(since) >= self.limits.reserve_after;
        let room = if reserve {
            self.limits.ceiling()
        } else {
            self.limits.size
        };
        (self.opening as usize) < waiting && self.live() < room && self.may_begin(now)
    }

    /// Whether anything may be opened now, room and need aside.
    fn may_begin(&self, now: Instant) -> bool {
        self.state == PoolState::Open
            && self.opening < self.most_opening()
            && !self.backoff.blocks(now)
    }

    fn most_opening(&self) -> u32 {
        // After a failure one goes ahead; the others follow if it gets through.
        if self.backoff.last().is_some() {
            1
        } else {
            self.limits.max_opening.max(1)
        }
    }

    fn open_ticket(&mut self, waiter: Option<Ticket>) -> OpenTicket {
        self.opening += 1;
        OpenTicket {
            waiter,
            generation: self.generation,
            round: self.backoff.round(),
        }
    }

    fn admit_opened(&mut self, now: Instant, open: OpenTicket, random: u64) -> Lease {
        let (generation, _) = self.end_opening(open);
        self.backoff.succeeded();
        self.in_use += 1;
        self.totals.opened += 1;
        let serial = self.next_serial;
        self.next_serial += 1;
        self.checked.note_opened(serial);
        Lease {
            serial,
            generation,
            opened: now,
            expires: self.limits.max_lifetime.and_then(|lifetime| {
                // Between 90 % and 110 %.
                let tenth = lifetime / 10;
                now.checked_add(
                    lifetime
                        .saturating_sub(tenth)
                        .saturating_add(part(tenth.saturating_mul(2), random)),
                )
            }),
        }
    }

    /// Gives a permission back: of which generation it was, and of which round of attempts.
    #[allow(clippy::needless_pass_by_value)] // it is used up here
    fn end_opening(&mut self, open: OpenTicket) -> (u64, u64) {
        let OpenTicket {
            waiter,
            generation,
            round,
        } = open;
        self.opening -= 1;
        if let Some(waiter) = waiter {
            self.queue.opening_over(waiter);
        }
        (generation, round)
    }

    /// A waiter no longer needs its permission. One that it has fetched comes back by itself.
    fn take_back(&mut self, open: &Open) {
        if matches!(open, Open::Offered(_)) {
            self.opening -= 1;
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: State) {
        if let Some((open, waker)) = self.queue.answer(ticket, answer) {
            self.take_back(&open);
            self.woken.extend(waker);
        }
    }

    fn refuse_waiter(&mut self, ticket: Ticket, refusal: Refusal) {
        self.totals.note_refused(refusal);
        self.answer(ticket, State::Refused(refusal));
    }

    fn refuse_all(&mut self, refusal: Refusal) {
        while let Some((ticket, _)) = self.queue.first() {
            self.refuse_waiter(ticket, refusal);
        }
    }

    fn has_waited_enough(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.limits.wait_timeout
    }

    fn timeout_reason(&self) -> Refusal {
        match (self.state, self.backoff.last()) {
            (PoolState::Paused, _) => Refusal::Paused,
            (_, Some(failure)) => Refusal::Unreachable(failure),
            _ => Refusal::WaitTimeout,
        }
    }

    #[allow(clippy::needless_pass_by_value)] // it is used up here
    fn note_closed(&mut self, lease: Lease, reason: CloseReason) {
        let Lease { serial, .. } = lease;
        self.totals.note_closed(reason);
        self.checked.note_closed(serial);
    }

    /// What every public method that changes something ends with.
    fn finish(&mut self) {
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
