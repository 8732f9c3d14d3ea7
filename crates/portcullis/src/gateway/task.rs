//! A task of the control thread that ends when nobody wants it any more.

use tokio::task::JoinHandle;

/// Owns a task: dropping it ends the task at its next pause.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    /// Takes charge of a running task.
    pub(super) const fn new(handle: JoinHandle<()>) -> Self {
        Self(handle)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
