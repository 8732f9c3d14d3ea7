//! The sessions that run on a worker.
//!
//! Sessions are tasks of the worker's thread; a group counts those of one listener, so that a drain can wait for
//! them and end what is left. Not a scheduler: the worker's runtime runs them. Start at [`Sessions`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;

thread_local! {
    /// The group that sessions started right now belong to.
    static CURRENT: RefCell<Option<Sessions>> = const { RefCell::new(None) };
}

/// Starts a session on this worker, in the group that it is started from (see [`Sessions::enter`]) if any.
///
/// # Panics
/// Outside of a worker.
pub fn spawn_session(session: impl Future<Output = ()> + 'static) {
    match CURRENT.with_borrow(Clone::clone) {
        Some(sessions) => sessions.spawn(session),
        None => spawn_local(session),
    }
}

/// Starts a task of the worker's own that no drain waits for.
///
/// # Panics
/// Outside of a worker.
pub fn spawn_local(task: impl Future<Output = ()> + 'static) {
    drop(tokio::task::spawn_local(task));
}

/// The sessions of one listener on one worker. Cloning gives the same group.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    group: Rc<Group>,
}

#[derive(Debug, Default)]
struct Group {
    tasks: RefCell<Tasks>,
    open: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// Handles in slots: a session gives its own back when it ends.
#[derive(Debug, Default)]
struct Tasks {
    slots: Vec<Option<AbortHandle>>,
    free: Vec<usize>,
}

impl Sessions {
    /// No sessions yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are running.
    #[must_use]
    pub fn count(&self) -> usize {
        self.group.open.get()
    }

    /// Starts a session in this group. It runs on when the group is dropped.
    ///
    /// # Panics
    /// Outside of a worker.
    pub fn spawn(&self, session: impl Future<Output = ()> + 'static) {
        // Boxed, because a task that owned it would hold it twice, as what it captured and as what it awaits; and of no
        // type, so that the runtime's code for it is made in this package, by whose settings it is fast.
        self.spawn_boxed(Box::pin(session));
    }

    fn spawn_boxed(&self, session: Pin<Box<dyn Future<Output = ()>>>) {
        let slot = self.group.tasks.borrow_mut().reserve();
        self.group.open.set(self.group.open.get() + 1);
        let ticket = Ticket {
            group: Rc::clone(&self.group),
            slot,
        };
        let task = tokio::task::spawn_local(async move {
            // Dropped when the session ends, is aborted, or panics.
            let _ticket = ticket;
            session.await;
        });
        let handle = task.abort_handle();
        if let Some(place) = self.group.tasks.borrow_mut().slots.get_mut(slot) {
            *place = Some(handle);
        }
    }

    /// Calls `start`; what [`spawn_session`] starts inside belongs to this group.
    pub fn enter<T>(&self, start: impl FnOnce() -> T) -> T {
        /// Puts the outer group back, also when `start` panics.
        struct Restore(Option<Sessions>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        start()
    }

    /// Ends all sessions as if their connections had been lost.
    pub fn abort_all(&self) {
        for handle in self.group.tasks.borrow().slots.iter().flatten() {
            handle.abort();
        }
    }

    /// Ready when no session runs.
    pub fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.count() == 0 {
            return Poll::Ready(());
        }
        let mut waiting = self.group.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until no session runs.
    pub async fn empty(&self) {
        std::future::poll_fn(|cx| self.poll_empty(cx)).await;
    }
}

impl Tasks {
    fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }
}

/// One session's place in its group.
struct Ticket {
    group: Rc<Group>,
    slot: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut tasks = self.group.tasks.borrow_mut();
        if let Some(place) = tasks.slots.get_mut(self.slot) {
            *place = None;
            tasks.free.push(self.slot);
        }
        drop(tasks);
        let open = self.group.open.get().saturating_sub(1);
        self.group.open.set(open);
        if open == 0 {
            self.group.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    fn on_worker(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_drain_can_wait_for_sessions() {
        on_worker(async {
            let sessions = Sessions::new();
            sessions.empty().await;
            for _ in 0..3 {
                sessions.enter(|| spawn_session(yield_now()));
            }
            spawn_session(pending());
            assert_eq!(sessions.count(), 3);
            sessions.empty().await;
            assert_eq!(sessions.count(), 0);
            assert_eq!(sessions.group.tasks.borrow().free.len(), 3);
        });
    }

    #[test]
    fn what_is_left_can_be_ended_without_touching_neighbours() {
        on_worker(async {
            let [ours, neighbours] = [Sessions::new(), Sessions::new()];
            for _ in 0..3 {
                ours.spawn(pending());
                neighbours.spawn(pending());
            }
            yield_now().await;
            ours.abort_all();
            ours.empty().await;
            assert_eq!(neighbours.count(), 3);
        });
    }

    #[test]
    fn a_panic_ends_one_session_only() {
        on_worker(async {
            let sessions = Sessions::new();
            sessions.spawn(async { panic!("expected by the test") });
            sessions.spawn(yield_now());
            sessions.empty().await;
        });
    }

    #[test]
    fn groups_nest() {
        on_worker(async {
            let [outer, inner] = [Sessions::new(), Sessions::new()];
            outer.enter(|| {
                inner.enter(|| spawn_session(async {}));
                spawn_session(async {});
            });
            assert_eq!((outer.count(), inner.count()), (1, 1));
        });
    }
}
