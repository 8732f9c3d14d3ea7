//! Deadlines of a session, cheap to move.
//!
//! Not a scheduler: one [`Timer`] holds one deadline, and the session says at each poll what it is now.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;
use tokio::time::Sleep;

use crate::clock;

/// One deadline that is lazily armed.
///
/// Moving the deadline later does nothing until the earlier time comes, when it is armed again; so a session may
/// have a new deadline for every request at no cost. Without a deadline it holds no memory.
#[derive(Debug, Default)]
pub struct Timer {
    armed: Option<Armed>,
}

/// What wakes the task.
#[derive(Debug)]
struct Armed {
    sleep: Pin<Box<Sleep>>,
    /// Whom: as long as that is right and the time has not come, the runtime need not be asked.
    task: Waker,
}

impl Timer {
    /// Not armed.
    #[must_use]
    pub const fn new() -> Self {
        Self { armed: None }
    }

    /// Ready once `deadline` has passed; wakes the task then. `None` never passes. Precise to a millisecond, late
    /// rather than early.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        let wanted = tokio::time::Instant::from_std(deadline);
        // Asked first, since it is so nearly always: whoever is woken in time need not know the time.
        if let Some(armed) = &self.armed
            && armed.sleep.deadline() <= wanted
            && armed.task.will_wake(cx.waker())
            // Asked of the runtime, whose clock may be ahead of the worker's: it wakes only once.
            && !armed.sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        if deadline <= clock::now() {
            return Poll::Ready(());
        }
        self.arm(cx, wanted)
    }

    /// Asks the runtime to wake the task at `wanted`, or earlier if it is to do so already.
    fn arm(&mut self, cx: &mut Context<'_>, wanted: tokio::time::Instant) -> Poll<()> {
        let armed = self.armed.get_or_insert_with(|| Armed {
            sleep: Box::pin(tokio::time::sleep_until(wanted)),
            task: cx.waker().clone(),
        });
        if armed.sleep.deadline() > wanted {
            armed.sleep.as_mut().reset(wanted);
        }
        // Whatever the task's budget says: a sleep that was not asked would not wake it.
        while pin!(unconstrained(armed.sleep.as_mut()))
            .poll(cx)
            .is_ready()
        {
            if armed.sleep.deadline() >= wanted {
                return Poll::Ready(());
            }
            armed.sleep.as_mut().reset(wanted);
        }
        armed.task.clone_from(cx.waker());
        Poll::Pending
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

/// What a future yields within a time, if it does.
pub async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, future).await.ok()
}

/// Waits for a time.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
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
        assert!(timer.armed.is_none());
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
                let sleep = &timer.armed.as_ref().unwrap().sleep;
                let expected = start + Duration::from_secs(armed);
                assert_eq!(sleep.deadline().into_std(), expected, "{name}");
            }
        });
    }

    #[test]
    fn wakes_whoever_asked_last() {
        in_runtime(async {
            let mut timer = Timer::new();
            let deadline = clock::now() + Duration::from_millis(5);
            let mut other = Context::from_waker(Waker::noop());
            assert!(timer.poll_expired(&mut other, Some(deadline)).is_pending());
            timer.expired(Some(deadline)).await;
            assert!(clock::now() >= deadline);
        });
    }

    #[test]
    fn is_armed_though_the_budget_of_the_task_is_spent() {
        in_runtime(async {
            let mut spent = pin!(async {
                loop {
                    tokio::task::coop::consume_budget().await;
                }
            });
            let mut timer = Timer::new();
            let deadline = clock::now() + Duration::from_millis(5);
            poll_fn(|cx| {
                // Ends when nothing is left of the budget of this turn.
                assert!(spent.as_mut().poll(cx).is_pending());
                timer.poll_expired(cx, Some(deadline))
            })
            .await;
            assert!(clock::now() >= deadline);
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
