//! Deadlines of a session, cheap to move.
//!
//! Not a scheduler: one [`Timer`] holds one deadline, and the session says at each poll what it is now.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::clock;

/// One deadline that is lazily armed.
///
/// Moving the deadline later does nothing until the earlier time comes, when it is armed again; so a session may
/// have a new deadline for every request at no cost. Without a deadline it holds no memory.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Not armed.
    #[must_use]
    pub const fn new() -> Self {
        Self { sleep: None }
    }

    /// Ready once `deadline` has passed; wakes the task then. `None` never passes. Precise to a millisecond, late
    /// rather than early.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        if deadline <= clock::now() {
            return Poll::Ready(());
        }
        let wanted = tokio::time::Instant::from_std(deadline);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wanted)));
        if sleep.deadline() > wanted {
            sleep.as_mut().reset(wanted);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= wanted {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(wanted);
        }
    }

    /// Waits for `deadline`; for ever if there is none.
    pub async fn expired(&mut self, deadline: Option<Instant>) {
        std::future::poll_fn(|cx| self.poll_expired(cx, deadline)).await;
    }
}

/// Lets filters of a session wait, by the worker's runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionTimer;

impl portcullis_filter::Timer for SessionTimer {
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(sleep_until(at))
    }
}

/// Waits for a while.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for a time.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn in_runtime<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test)
    }

    #[test]
    fn no_deadline_costs_nothing() {
        let mut timer = Timer::new();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(timer.poll_expired(&mut cx, None).is_pending());
        assert!(timer.sleep.is_none());
    }

    #[test]
    fn later_deadlines_leave_the_timer_alone_and_earlier_ones_move_it() {
        in_runtime(async {
            let mut timer = Timer::new();
            let mut cx = Context::from_waker(Waker::noop());
            let start = clock::now();
            let rows = [
                ("armed", 100, 100),
                ("later", 200, 100),
                ("earlier", 50, 50),
                ("later again", 300, 50),
            ];
            for (name, wanted, armed) in rows {
                let deadline = start + Duration::from_secs(wanted);
                assert!(timer.poll_expired(&mut cx, Some(deadline)).is_pending());
                let sleep = timer.sleep.as_ref().unwrap();
                let expected = start + Duration::from_secs(armed);
                assert_eq!(sleep.deadline().into_std(), expected, "{name}");
            }
        });
    }

    #[test]
    fn expires_at_the_last_deadline_named() {
        in_runtime(async {
            let mut timer = Timer::new();
            let start = clock::now();
            let mut cx = Context::from_waker(Waker::noop());
            let early = start + Duration::from_millis(2);
            let late = start + Duration::from_millis(12);
            assert!(timer.poll_expired(&mut cx, Some(early)).is_pending());
            timer.expired(Some(late)).await;
            assert!(clock::now() >= late);
            assert!(timer.poll_expired(&mut cx, Some(start)).is_ready());
        });
    }
}
