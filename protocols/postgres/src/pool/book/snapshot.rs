//! What a pool says of itself, for the console, the admin interface and the counters.
//!
//! Nothing here changes anything. Start at [`PoolCore::snapshot`].

use std::time::{Duration, Instant};

use super::super::limits::PoolLimits;
use super::super::queue::Ticket;
use super::super::reason::{CloseReason, Refusal};
use super::PoolCore;

/// Whether a pool serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolState {
    /// It does.
    #[default]
    Open,
    /// Those who ask wait until it is resumed; what comes back is closed.
    Paused,
    /// Those who ask are refused, for good.
    Closed,
}

impl PoolState {
    /// How it is shown.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

/// One look at a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// Whether it serves.
    pub state: PoolState,
    /// Connections out with clients, or set aside for one (`sv_active`, and with it `cl_active`).
    pub active: u32,
    /// Connections idle, and not for long (`sv_idle`).
    pub idle: u32,
    /// Connections idle for longer than `check_after` (`sv_used`).
    pub used: u32,
    /// Connections being opened (`sv_login`).
    pub opening: u32,
    /// Of all these, those beyond `size`.
    pub reserve: u32,
    /// Clients that wait (`cl_waiting`).
    pub waiting: usize,
    /// Who is first of them. Everybody with a lower [`Ticket::serial`] has been answered or has left.
    pub first: Option<Ticket>,
    /// How long the first of them has waited (`maxwait`).
    pub max_wait: Duration,
    /// How long nothing is opened yet because of a failure.
    pub backoff: Duration,
    /// Since the pool began.
    pub totals: Totals,
}

/// What has happened since the pool began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Askers.
    pub checkouts: u64,
    /// Askers that did not get a connection at once, and were not refused at once.
    pub waited: u64,
    /// Of those, how many got one.
    pub served: u64,
    /// Of those, how many went away before.
    pub cancelled: u64,
    /// How long the served ones waited, together.
    pub wait_time: Duration,
    /// Connections opened.
    pub opened: u64,
    /// Attempts to open that failed.
    pub open_failures: u64,
    /// Connections closed, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Askers refused, at once or after a wait, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
}

impl Totals {
    pub(super) fn note_closed(&mut self, reason: CloseReason) {
        if let Some(count) = self.closed.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn note_refused(&mut self, refusal: Refusal) {
        if let Some(count) = self.refused.get_mut(refusal.index()) {
            *count += 1;
        }
    }

    pub(super) fn note_served(&mut self, waited: Duration) {
        self.served += 1;
        self.wait_time = self.wait_time.saturating_add(waited);
    }
}

impl<C, W> PoolCore<C, W> {
    /// How things stand. Costs as much as there are idle connections.
    pub fn snapshot(&self, now: Instant) -> PoolSnapshot {
        let used = self
            .idle
            .entries()
            .iter()
            .take_while(|entry| {
                now.saturating_duration_since(entry.since) > self.limits.check_after
            })
            .count() as u32;
        PoolSnapshot {
            state: self.state,
            active: self.in_use,
            idle: self.idle.len() as u32 - used,
            used,
            opening: self.opening,
            reserve: self.live().saturating_sub(self.limits.size),
            waiting: self.queue.len(),
            first: self.queue.first().map(|(ticket, _)| ticket),
            max_wait: self.queue.first().map_or(Duration::ZERO, |(_, since)| {
                now.saturating_duration_since(since)
            }),
            backoff: self
                .backoff
                .until()
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
            totals: self.totals,
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    /// Whether it serves.
    pub fn state(&self) -> PoolState {
        self.state
    }

    /// Whether nothing is open and nothing is being opened: what `PAUSE` waits for, and when a closed pool can be forgotten.
    pub fn is_quiet(&self) -> bool {
        self.live() == 0
    }
}
