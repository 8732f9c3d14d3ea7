//! Telling an acceptor what to do while it runs.
//!
//! Start at [`AcceptHandle`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

/// What an acceptor is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Running,
    Paused,
    Stopped,
}

#[derive(Debug, Default)]
pub(super) struct Control {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

impl Control {
    /// What to do now; the task is woken when that changes.
    pub(super) fn poll_state(&self, cx: &mut Context<'_>) -> State {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        self.state.get()
    }

    fn set(&self, state: State) {
        if self.state.get() != State::Stopped {
            self.state.set(state);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Controls an acceptor of this worker. Does nothing once it has gone.
#[derive(Debug, Clone)]
pub struct AcceptHandle(Weak<Control>);

impl AcceptHandle {
    pub(super) fn new(control: &Rc<Control>) -> Self {
        Self(Rc::downgrade(control))
    }

    /// Leaves new connections in the queue.
    pub fn pause(&self) {
        self.set(State::Paused);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.set(State::Running);
    }

    /// Takes what is in the queue, closes the socket and ends. Cannot be undone.
    pub fn stop(&self) {
        self.set(State::Stopped);
    }

    fn set(&self, state: State) {
        if let Some(control) = self.0.upgrade() {
            control.set(state);
        }
    }
}
