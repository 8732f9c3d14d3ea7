//! One request that waits for a place on a connection.
//!
//! The order is the pool's. Start at [`Ticket`].

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use portcullis_http::stream::ConnectFailure;
use portcullis_net::Timer;

use super::link::Place;

/// What the pool knows of a request that waits.
#[derive(Default)]
pub(super) struct Waiting {
    outcome: RefCell<Option<Result<Place, ConnectFailure>>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    /// Ends the wait. A place that nobody takes any more is given back.
    pub(super) fn resolve(&self, outcome: Result<Place, ConnectFailure>) {
        *self.outcome.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The request's end of it. Dropping it ends the wait.
pub(super) struct Ticket<F: Fn(&Rc<Waiting>)> {
    waiting: Rc<Waiting>,
    forget: F,
}

impl<F: Fn(&Rc<Waiting>)> Ticket<F> {
    /// `forget` takes it out of the queue.
    pub(super) const fn new(waiting: Rc<Waiting>, forget: F) -> Self {
        Self { waiting, forget }
    }

    /// The place, once there is one; `None` if there was none until `deadline`.
    ///
    /// # Errors
    /// No connection could be opened.
    pub(super) async fn place(
        &self,
        deadline: Option<Instant>,
    ) -> Option<Result<Place, ConnectFailure>> {
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

impl<F: Fn(&Rc<Waiting>)> Drop for Ticket<F> {
    fn drop(&mut self) {
        (self.forget)(&self.waiting);
        // Outside of any borrow of the pool: a place that came too late goes to the next.
        let late = self.waiting.outcome.borrow_mut().take();
        drop(late);
    }
}
