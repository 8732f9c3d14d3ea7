//! Who is served, refused, or told to open a connection: the decisions behind the calls.
//!
//! Start at [`PoolCore::settle`], which every call that frees something ends with.

use std::time::Instant;

use super::super::backoff::part;
use super::super::idle::Entry;
use super::super::lease::{Affinity, Lease, OpenTicket, Patience};
use super::super::queue::{Open, State, Ticket};
use super::super::reason::{CloseReason, OpenFailure, Refusal};
use super::sweep::earliest;
use super::{After, Checkout, Leased, PoolCore, PoolState};

impl<C, W> PoolCore<C, W> {
    pub(super) fn admit(
        &mut self,
        now: Instant,
        affinity: Affinity,
        patience: Patience,
    ) -> Checkout<C> {
        self.totals.checkouts += 1;
        if self.state == PoolState::Open
            && self.queue.is_empty()
            && let Some(leased) = self.take_idle(now, affinity)
        {
            return Checkout::Ready(leased);
        }
        if let Some(refusal) = self.refuses(now, patience) {
            self.totals.note_refused(refusal);
            return Checkout::Refused(refusal);
        }
        let ticket = self.queue.push(now, patience);
        self.totals.waited += 1;
        self.settle(now);
        Checkout::Wait(ticket)
    }

    pub(super) fn take_idle(&mut self, now: Instant, affinity: Affinity) -> Option<Leased<C>> {
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
    pub(super) fn refuses(&self, now: Instant, patience: Patience) -> Option<Refusal> {
        if self.state == PoolState::Closed {
            return Some(Refusal::Closed);
        }
        if let Some(failure) = self.backoff.last()
            && !self.has_any()
        {
            // Whoever comes when an attempt is due, or under way, learns of its outcome.
            let pausing = self.backoff.blocks(now) && self.opening == 0;
            let gives_up = failure.is_definite() || self.has_given_up(now);
            let leaves = patience == Patience::Leaves && self.opening > 0;
            if (pausing && (gives_up || patience == Patience::Leaves)) || leaves {
                return Some(Refusal::Unreachable(failure));
            }
        }
        let unserved = self.queue.len().saturating_sub(self.opening as usize);
        let full =
            unserved >= self.limits.max_waiting && !self.may_open(now, self.queue.len() + 1, now);
        full.then_some(Refusal::QueueFull)
    }

    pub(super) fn release(
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
    pub(super) fn release_unused(
        &mut self,
        now: Instant,
        entry: Entry,
    ) -> Option<(C, CloseReason)> {
        let affinity = entry.affinity;
        let (connection, lease) = self.idle.fetch(entry)?;
        match self.release(now, connection, lease, affinity) {
            After::Close(connection, reason) => Some((connection, reason)),
            After::Kept | After::Handed { .. } => None,
        }
    }

    /// Gives a connection that counts as in use to the first waiter, or lets it be idle.
    pub(super) fn place(&mut self, now: Instant, entry: Entry) -> Option<Ticket> {
        if let Some((ticket, since)) = self.queue.first() {
            self.totals
                .note_served(now.saturating_duration_since(since));
            self.answer(ticket, State::Served(entry));
            return Some(ticket);
        }
        self.in_use -= 1;
        let expires = entry.lease.expires;
        self.idle.keep(entry);
        let unneeded = self.unneeded_deadline();
        self.ring_before(earliest([expires, unneeded]));
        None
    }

    /// Why a connection that comes back must not be used again.
    pub(super) fn condemned(&self, now: Instant, lease: &Lease) -> Option<CloseReason> {
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
    #[inline]
    pub(super) fn settle(&mut self, now: Instant) {
        // Mostly all connections are there, or nobody waits.
        if self.live() < self.limits.ceiling() && !self.queue.is_empty() {
            self.offer_openings(now);
        }
    }

    fn offer_openings(&mut self, now: Instant) {
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
    pub(super) fn may_open(&self, now: Instant, waiting: usize, since: Instant) -> bool {
        if self.live() >= self.limits.ceiling() || self.opening as usize >= waiting {
            return false;
        }
        let reserve = now.saturating_duration_since(since) >= self.limits.reserve_after;
        let room = if reserve {
            self.limits.ceiling()
        } else {
            self.limits.size
        };
        self.live() < room && self.may_begin(now)
    }

    /// Whether anything may be opened now, room and need aside.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.state == PoolState::Open
            && self.opening < self.most_opening()
            && !self.backoff.blocks(now)
    }

    pub(super) fn most_opening(&self) -> u32 {
        // After a failure one goes ahead; the others follow if it gets through.
        if self.backoff.last().is_some() {
            1
        } else {
            self.limits.max_opening.max(1)
        }
    }

    pub(super) fn open_ticket(&mut self, waiter: Option<Ticket>) -> OpenTicket {
        self.opening += 1;
        OpenTicket {
            waiter,
            generation: self.generation,
            round: self.backoff.round(),
        }
    }

    pub(super) fn admit_opened(&mut self, now: Instant, open: OpenTicket, random: u64) -> Lease {
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
    pub(super) fn end_opening(&mut self, open: OpenTicket) -> (u64, u64) {
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
    pub(super) fn take_back(&mut self, open: &Open) {
        if matches!(open, Open::Offered(_)) {
            self.opening -= 1;
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: State) {
        if let Some((open, waker)) = self.queue.answer(ticket, answer) {
            self.take_back(&open);
            if let Some(waker) = waker {
                self.woken.push_back(waker);
            }
        }
    }

    pub(super) fn refuse_waiter(&mut self, ticket: Ticket, refusal: Refusal) {
        self.totals.note_refused(refusal);
        self.answer(ticket, State::Refused(refusal));
    }

    pub(super) fn refuse_all(&mut self, refusal: Refusal) {
        while let Some((ticket, _)) = self.queue.first() {
            self.refuse_waiter(ticket, refusal);
        }
    }

    /// Whether there is a connection, whoever has it.
    pub(super) fn has_any(&self) -> bool {
        self.in_use > 0 || !self.idle.is_empty()
    }

    /// From when on nobody waits for a server that is away: attempts have failed, and there was no connection, for so long.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        let since = self.backoff.since()?.max(self.bare_since?);
        since.checked_add(self.limits.unreachable_after?)
    }

    pub(super) fn has_given_up(&self, now: Instant) -> bool {
        self.gives_up_at().is_some_and(|at| at <= now)
    }

    /// No connection could be opened: who is told.
    pub(super) fn on_failure(&mut self, now: Instant, failure: OpenFailure) {
        if self.has_any() {
            return;
        }
        let refusal = Refusal::Unreachable(failure);
        if self.has_given_up(now) || (failure.is_definite() && self.opening == 0) {
            return self.refuse_all(refusal);
        }
        while let Some(ticket) = self.queue.first_leaving() {
            self.refuse_waiter(ticket, refusal);
        }
    }

    pub(super) fn has_waited_enough(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.limits.wait_timeout
    }

    pub(super) fn timeout_reason(&self) -> Refusal {
        match (self.state, self.backoff.last()) {
            (PoolState::Paused, _) => Refusal::Paused,
            (_, Some(failure)) => Refusal::Unreachable(failure),
            _ => Refusal::WaitTimeout,
        }
    }
}
