//! What time does to a pool: waits that end, connections that grow old, the next attempt after a failure, the minimum.
//!
//! There is no timer here: somebody calls [`PoolCore::sweep`] at [`PoolCore::next_deadline`]. Start there.

use std::time::Instant;

use super::super::idle::Entry;
use super::super::lease::OpenTicket;
use super::super::queue::Ticket;
use super::super::reason::CloseReason;
use super::{PoolCore, PoolState};

/// What a sweep leaves to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Swept<C> {
    /// Connections to close; they no longer count.
    pub close: Vec<(C, CloseReason)>,
    /// Connections to open for nobody in particular, so that there are `min`.
    pub open: Vec<OpenTicket>,
    /// When to sweep next. `None`: not before something else has happened.
    pub next: Option<Instant>,
}

impl<C, W> PoolCore<C, W> {
    /// Refuses those who have waited too long, closes what is too old, and opens what is due.
    pub fn sweep(&mut self, now: Instant) -> Swept<C> {
        let now = self.at(now);
        while let Some((ticket, since)) = self.queue.first()
            && self.has_waited_enough(since, now)
        {
            self.refuse_waiter(ticket, self.timeout_reason());
        }
        while let Some((ticket, at)) = self.first_to_give_up()
            && at <= now
        {
            self.refuse_waiter(ticket, self.timeout_reason());
        }
        let mut close = Vec::new();
        self.close_old(now, &mut close);
        self.settle(now);
        let mut open = Vec::new();
        while self.live() < self.limits.floor() && self.may_begin(now) {
            open.push(self.open_ticket(None));
        }
        self.finish();
        Swept {
            close,
            open,
            next: self.next_deadline(),
        }
    }

    /// When time will next change something by itself. What is due already gives an instant that has passed.
    pub fn next_deadline(&self) -> Option<Instant> {
        earliest([self.urgent_deadline(), self.age_deadline()])
    }

    /// Keeps a handle that is woken when there is something to sweep before `armed`; gives back the one kept before.
    pub fn arm(&mut self, bell: W, armed: Option<Instant>) -> Option<W> {
        self.armed = armed;
        self.bell.replace(bell)
    }

    pub(super) fn ring_before(&mut self, deadline: Option<Instant>) {
        let earlier =
            deadline.is_some_and(|deadline| self.armed.is_none_or(|armed| deadline < armed));
        if earlier && let Some(bell) = self.bell.take() {
            self.woken.push_back(bell);
        }
    }

    /// As [`Self::next_deadline`] without idle connections, of which there are none while somebody waits.
    pub(super) fn urgent_deadline(&self) -> Option<Instant> {
        let limits = &self.limits;
        let first = self.queue.first();
        let wait = first.and_then(|(_, since)| since.checked_add(limits.wait_timeout));
        if self.live() >= limits.ceiling() && self.backoff.last().is_none() {
            // All connections are there: nothing is opened, and nothing is given up. Mostly it is so where somebody waits.
            return wait;
        }
        let begin = if self.state == PoolState::Open && self.opening < self.most_opening() {
            self.opening_deadline()
        } else {
            None
        };
        let gives_up = self.first_to_give_up().map(|(_, at)| at);
        earliest([wait, begin, gives_up])
    }

    /// Who has waited for longest for a server that is away, and until when. Who came after that time came to learn of the
    /// next attempt.
    fn first_to_give_up(&self) -> Option<(Ticket, Instant)> {
        if self.has_any() || self.state != PoolState::Open {
            return None;
        }
        let at = self.gives_up_at()?;
        let (ticket, since) = self.queue.first()?;
        (since < at).then_some((ticket, at))
    }

    /// When something may be opened that may not be now, or must be now for `min`.
    fn opening_deadline(&self) -> Option<Instant> {
        let allowed = self.backoff.until().or(self.latest);
        if self.live() < self.limits.floor() {
            return allowed;
        }
        if self.opening as usize >= self.queue.len() || self.live() >= self.limits.ceiling() {
            return None;
        }
        if self.live() < self.limits.size {
            return allowed;
        }
        let (_, since) = self.queue.first_unopened()?;
        let reserve = since.checked_add(self.limits.reserve_after)?;
        Some(
            self.backoff
                .until()
                .map_or(reserve, |until| until.max(reserve)),
        )
    }

    /// When the next idle connection will be too old.
    fn age_deadline(&self) -> Option<Instant> {
        let expires = self
            .idle
            .entries()
            .iter()
            .filter_map(|entry| entry.lease.expires)
            .min();
        earliest([expires, self.unneeded_deadline()])
    }

    /// When the connection that is idle for longest will have been so for too long, if it may be closed for that: one of the
    /// minimum may not.
    pub(super) fn unneeded_deadline(&self) -> Option<Instant> {
        let since = self.idle.entries().first()?.since;
        let idle = (self.live() > self.limits.floor())
            .then_some(self.limits.idle_timeout)
            .flatten();
        let reserve = (self.live() > self.limits.size).then_some(self.limits.reserve_after);
        earliest([idle, reserve].map(|time| since.checked_add(time?)))
    }

    fn close_old(&mut self, now: Instant, closing: &mut Vec<(C, CloseReason)>) {
        let limits = self.limits;
        let expired = |entry: &Entry, _| entry.lease.expires.is_some_and(|expires| expires <= now);
        self.take_idle_where(CloseReason::Lifetime, expired, closing);

        let beyond = self.live().saturating_sub(limits.size) as usize;
        let unneeded = |entry: &Entry, taken| {
            taken < beyond && now.saturating_duration_since(entry.since) >= limits.reserve_after
        };
        self.take_idle_where(CloseReason::Reserve, unneeded, closing);

        let Some(timeout) = limits.idle_timeout else {
            return;
        };
        let spare = self.live().saturating_sub(limits.floor()) as usize;
        let idle = |entry: &Entry, taken| {
            taken < spare && now.saturating_duration_since(entry.since) >= timeout
        };
        self.take_idle_where(CloseReason::IdleTimeout, idle, closing);
    }

    /// Takes idle connections out of the book that `leaves` names, given how many have been so far.
    pub(super) fn take_idle_where(
        &mut self,
        reason: CloseReason,
        leaves: impl FnMut(&Entry, usize) -> bool,
        closing: &mut Vec<(C, CloseReason)>,
    ) {
        let Self {
            idle,
            totals,
            checked,
            ..
        } = self;
        idle.take_where(leaves, |connection, lease| {
            totals.note_closed(reason);
            checked.note_closed(lease.serial);
            closing.push((connection, reason));
        });
    }
}

pub(super) fn earliest<const N: usize>(instants: [Option<Instant>; N]) -> Option<Instant> {
    instants.into_iter().flatten().min()
}
