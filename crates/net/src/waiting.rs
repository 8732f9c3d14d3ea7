//! One request that waits for something that a pool hands out, such as a place on a connection.
//!
//! The order is the pool's. Start at [`Ticket`].

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::Timer;

/// What the pool knows of a request that waits.
pub struct Waiting<T> {
    outcome: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            outcome: RefCell::default(),
            waker: RefCell::default(),
        }
    }
}

impl<T> Waiting<T> {
    /// Ends the wait. What nobody takes any more is dropped, and so given back.
    pub fn resolve(&self, outcome: T) {
        *self.outcome.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The request's end of it. Dropping it ends the wait.
pub struct Ticket<T, F: Fn(&Rc<Waiting<T>>)> {
    waiting: Rc<Waiting<T>>,
    forget: F,
}

impl<T, F: Fn(&Rc<Waiting<T>>)> Ticket<T, F> {
    /// `forget` takes it out of the queue.
    pub const fn new(waiting: Rc<Waiting<T>>, forget: F) -> Self {
        Self { waiting, forget }
    }

    /// What the wait ended with; `None` if it had not until `deadline`.
    pub async fn outcome(&self, deadline: Option<Instant>) -> Option<T> {
        let mut timer = Timer::new();
        std::future::poll_fn(|task| {
            if let Some(outcome) = self.waiting.outcome.borrow_mut().take() {
                return Poll::Ready(Some(outcome));
            }
            *self.waiting.waker.borrow_mut() = Some(task.waker().clone());
            timer.poll_expired(task, deadline).map(|()| None)
        })
        .await
    }
}

impl<T, F: Fn(&Rc<Waiting<T>>)> Drop for Ticket<T, F> {
    fn drop(&mut self) {
        (self.forget)(&self.waiting);
        // Outside of any borrow of the pool: what came too late goes to the next.
        let late = self.waiting.outcome.borrow_mut().take();
        drop(late);
    }
}
