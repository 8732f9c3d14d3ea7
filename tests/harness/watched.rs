//! A value that one thread changes and another waits on.
//!
//! The harness has no other way to wait, so no wait is a guess at how long something takes.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::CEILING;

/// A shared value with a bell.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// Changes or reads the value, then wakes everybody who waits.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        // A thread that panicked while it held the lock has already failed the test; its value is still readable.
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut value);
        self.changed.notify_all();
        result
    }

    /// Waits until `ready` finds what it looks for. `None` when [`CEILING`] passed first.
    pub(crate) fn wait_for<R>(&self, mut ready: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let mut found = None;
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(value, CEILING, |value| {
            found = ready(value);
            found.is_none()
        });
        drop(waited);
        found
    }
}
