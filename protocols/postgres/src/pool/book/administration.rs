//! What an operator does to a pool: pause, resume, reconnect, kill, close, new limits.
//!
//! Connections that come out of here are to be closed; they no longer count. Those in use are closed when they come back,
//! and nobody is interrupted, except that a killed one is told by [`PoolCore::killed_before`]. Start at [`PoolCore::pause`].

use std::time::Instant;

use super::super::lease::Affinity;
use super::super::limits::PoolLimits;
use super::super::reason::{CloseReason, Refusal};
use super::{PoolCore, PoolState};

impl<C, W> PoolCore<C, W> {
    /// `PAUSE`: serves nobody and lets go of every connection as it comes back. It is over when [`Self::is_quiet`].
    pub fn pause(&mut self, now: Instant) -> Vec<(C, CloseReason)> {
        self.at(now);
        if self.state == PoolState::Open {
            self.state = PoolState::Paused;
            self.withdraw_offers();
        }
        let closing = self.close_idle(CloseReason::Paused);
        self.finish();
        closing
    }

    /// `RESUME`: serves again, those first who have waited longest.
    pub fn resume(&mut self, now: Instant) {
        let now = self.at(now);
        if self.state == PoolState::Paused {
            self.state = PoolState::Open;
        }
        self.settle(now);
        self.finish();
    }

    /// `RECONNECT`: every connection opened before, or begun to be, is closed once it is not in use.
    pub fn reconnect(&mut self, now: Instant) -> Vec<(C, CloseReason)> {
        let now = self.at(now);
        self.generation += 1;
        let closing = self.close_idle(CloseReason::Reconnect);
        self.settle(now);
        self.finish();
        closing
    }

    /// `KILL`: refuses all who wait, closes what is idle, condemns what is in use (see [`Self::killed_before`]) and pauses.
    pub fn kill(&mut self, now: Instant) -> Vec<(C, CloseReason)> {
        self.at(now);
        self.generation += 1;
        self.killed_before = self.generation;
        self.refuse_all(Refusal::Killed);
        if self.state == PoolState::Open {
            self.state = PoolState::Paused;
        }
        let closing = self.close_idle(CloseReason::Killed);
        self.finish();
        closing
    }

    /// Ends the pool: refuses everybody from now on. It can be forgotten when [`Self::is_quiet`]; whoever looks after it is
    /// woken, and has nothing to do any more.
    pub fn close(&mut self, now: Instant) -> Vec<(C, CloseReason)> {
        self.at(now);
        self.state = PoolState::Closed;
        self.woken.extend(self.bell.take());
        self.refuse_all(Refusal::Closed);
        let closing = self.close_idle(CloseReason::Closed);
        self.finish();
        closing
    }

    /// A connection in use whose [`Lease::generation`](super::Lease::generation) is less than this was killed: its session
    /// ends it now.
    pub fn killed_before(&self) -> u64 {
        self.killed_before
    }

    /// New limits. When there are fewer places, idle connections go first, those idle for longest; others go when they come
    /// back. Lifetimes of connections that are open stay as they are.
    pub fn set_limits(&mut self, now: Instant, limits: PoolLimits) -> Vec<(C, CloseReason)> {
        let now = self.at(now);
        self.limits = limits;
        let mut closing = Vec::new();
        let surplus = self.live().saturating_sub(limits.size) as usize;
        self.take_idle_where(
            CloseReason::Shrunk,
            |_, taken| taken < surplus,
            &mut closing,
        );
        while self.live() > limits.ceiling() && self.queue.withdraw().is_some() {
            self.opening -= 1;
        }
        self.settle(now);
        let next = self.next_deadline();
        self.ring_before(next);
        self.finish();
        closing
    }

    /// Looks at every idle connection, and takes out those that `is_alive` denies, as `ServerGone`.
    pub fn retain_idle(
        &mut self,
        now: Instant,
        mut is_alive: impl FnMut(&mut C, Affinity) -> bool,
    ) -> Vec<C> {
        let now = self.at(now);
        let mut dead = Vec::new();
        let mut place = self.idle.len();
        while place > 0 {
            place -= 1;
            let affinity = self
                .idle
                .entries()
                .get(place)
                .map(|entry| entry.affinity)
                .unwrap_or_default();
            if self
                .idle
                .connection_mut(place)
                .is_some_and(|connection| is_alive(connection, affinity))
            {
                continue;
            }
            if let Some((connection, lease)) = self
                .idle
                .take_at(place)
                .and_then(|entry| self.idle.fetch(entry))
            {
                self.note_closed(lease, CloseReason::ServerGone);
                dead.push(connection);
            }
        }
        self.settle(now);
        self.finish();
        dead
    }

    /// Keeps a handle that is woken when the pool [is quiet](Self::is_quiet).
    pub fn wake_when_quiet(&mut self, waker: W) {
        self.quiet.push(waker);
    }

    fn withdraw_offers(&mut self) {
        while self.queue.withdraw().is_some() {
            self.opening -= 1;
        }
    }

    fn close_idle(&mut self, reason: CloseReason) -> Vec<(C, CloseReason)> {
        let mut closing = Vec::new();
        self.take_idle_where(reason, |_, _| true, &mut closing);
        closing
    }
}
