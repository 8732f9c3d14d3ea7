//! Whether a server can be connected, and who may try.
//!
//! A server that is away is tried by one connection at a time, with a pause that grows; whoever wants one meanwhile is told so
//! at once. Of a server that is there, a few connections are opened at the same time. One that comes back is used by and by,
//! where there is a choice. It has no clock and opens nothing. Start at [`Health::check`] and [`Health::turn`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::machine::{Lost, Speaks};

/// The pause after a connection that failed; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Connections that are being opened to a server that is there. Clients that all come back at once, each for a connection of
/// its own, must not overrun a server that has just begun.
const MOST_DIALS: u32 = 16;

/// How long a replica is not read from that said that it has no data.
const SHUNNED: Duration = Duration::from_secs(1);

/// The share of a replica that has just come back, of what it is to have.
const LEAST_SHARE: f64 = 0.1;

/// Whether connections can be opened.
#[derive(Default)]
pub(super) struct Health {
    /// None is opened before this.
    not_before: Cell<Option<Instant>>,
    /// The pause behind the last one that failed; zero since one was opened.
    pause: Cell<Duration>,
    /// Whether any was opened, ever.
    is_known: Cell<bool>,
    /// The server would have none of these: not asked again before this.
    refused: RefCell<Vec<(Speaks, Instant)>>,
    dials: Cell<u32>,
    /// Who waits for a turn.
    waiting: RefCell<VecDeque<Waker>>,
    /// Since when it is there again.
    back: Cell<Option<Instant>>,
    /// It said that it has no data: not read from before this.
    shunned: Cell<Option<Instant>>,
}

impl Health {
    /// A connection failed. `random` is any number.
    pub(super) fn on_failed(&self, now: Instant, random: u64) {
        let pause = (self.pause.get() * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.pause.set(pause);
        self.not_before.set(now.checked_add(spread(pause, random)));
        // They have their answer.
        for waiting in self.waiting.take() {
            waiting.wake();
        }
    }

    /// A connection is open.
    pub(super) fn on_open(&self, now: Instant) {
        if !self.pause.replace(Duration::ZERO).is_zero() {
            self.back.set(Some(now));
        }
        self.is_known.set(true);
        self.not_before.set(None);
    }

    /// A server that is there refused to go where commands were to go: a database that it has not, a version.
    pub(super) fn on_refused(&self, speaks: Speaks, now: Instant) {
        let mut refused = self.refused.borrow_mut();
        refused.retain(|(spoken, time)| *spoken != speaks && *time > now);
        if let Some(time) = now.checked_add(LONGEST_PAUSE) {
            refused.push((speaks, time));
        }
    }

    /// It has no data to read, as it says itself.
    pub(super) fn shun(&self, now: Instant) {
        let until = now.checked_add(SHUNNED);
        self.shunned.set(until);
        self.back.set(until);
    }

    /// Whether it said of late that it has no data.
    pub(super) fn is_shunned(&self, now: Instant) -> bool {
        self.shunned.get().is_some_and(|until| now < until)
    }

    /// Whether any connection was opened, ever.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known.get()
    }

    /// Whether the last attempt failed.
    pub(super) const fn is_failing(&self) -> bool {
        !self.pause.get().is_zero()
    }

    /// Whether it has come back of late, and does not have its full share.
    pub(super) const fn is_back(&self) -> bool {
        self.back.get().is_some()
    }

    /// Which part of what it is to have it is given, from 0 to 1: it grows over `slow_start` since it came back.
    pub(super) fn share(&self, now: Instant, slow_start: Option<Duration>) -> f64 {
        let (Some(back), Some(all)) = (self.back.get(), slow_start) else {
            return 1.0;
        };
        let since = now.saturating_duration_since(back).as_secs_f64();
        let share = (since / all.as_secs_f64()).clamp(LEAST_SHARE, 1.0);
        if share >= 1.0 {
            self.back.set(None);
        }
        share
    }

    /// Whether a connection may be wanted now.
    ///
    /// # Errors
    /// It would fail, as the last one did, or as one does that is being tried.
    pub(super) fn check(&self, speaks: Speaks, now: Instant) -> Result<(), Lost> {
        let is_tried = self.is_failing() && self.dials.get() > 0;
        if is_tried || self.not_before.get().is_some_and(|time| now < time) {
            return Err(Lost::Connect);
        }
        let refused = self.refused.borrow();
        let is_refused = |(spoken, time): &(Speaks, Instant)| *spoken == speaks && now < *time;
        if refused.iter().any(is_refused) {
            return Err(Lost::Refused);
        }
        Ok(())
    }

    /// Waits until a connection may be tried: the turn is over when what is returned is dropped. `None`: another one failed
    /// meanwhile, and this one would too.
    pub(super) async fn turn(self: &Rc<Self>) -> Option<Turn> {
        let failed = self.pause.get();
        poll_fn(|task| {
            if self.pause.get() > failed {
                return Poll::Ready(None);
            }
            let is_there = self.is_known.get() && !self.is_failing();
            let most = if is_there { MOST_DIALS } else { 1 };
            if self.dials.get() >= most {
                self.waiting.borrow_mut().push_back(task.waker().clone());
                return Poll::Pending;
            }
            self.dials.set(self.dials.get() + 1);
            Poll::Ready(Some(Turn(Rc::clone(self))))
        })
        .await
    }
}

/// Between half and all of a pause, by any number, so that workers do not come back together.
pub(super) fn spread(pause: Duration, random: u64) -> Duration {
    let share = 0.5 + (random >> 40) as f64 / (1_u64 << 25) as f64;
    pause.mul_f64(share.min(1.0))
}

/// A connection is being tried.
pub(super) struct Turn(Rc<Health>);

impl Drop for Turn {
    fn drop(&mut self) {
        let health = &self.0;
        health.dials.set(health.dials.get().saturating_sub(1));
        // The first that was opened makes room for several.
        let free = MOST_DIALS.saturating_sub(health.dials.get()) as usize;
        let mut waiting = health.waiting.borrow_mut();
        let next = waiting.len().min(free);
        waiting.drain(..next).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
