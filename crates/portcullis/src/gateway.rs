//! Running a model: sockets, workers, and the control loop that reloads, drains and answers.
//!
//! Traffic is not moved here; it is the workers' and their protocols'. Start at [`run`], then `control` for the
//! loop, [`plan`] for what a reload changes and `worker` for the other side of each command.

mod cluster_tls;
mod clusters;
mod control;
mod dns;
mod drain;
mod health;
mod listener_tasks;
mod listening;
pub mod plan;
mod probe;
mod reload;
mod signals;
mod start;
mod task;
mod tls;
mod watch;
mod worker;
mod workers;

use portcullis_proxy::Registry;

use crate::load::{ConfigSource, Report};
use crate::logs::ProcessLog;

/// Why the gateway did not run, or ended otherwise than asked.
#[derive(Debug)]
pub enum RunError {
    /// The configuration is wrong.
    Configuration(Box<Report>),
    /// Something else is: an address in use, a thread that cannot be had.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for RunError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs the gateway on this thread, which becomes the control thread, until it is told to end.
///
/// # Errors
/// It could not start.
pub fn run(source: ConfigSource, registry: Registry, log: ProcessLog) -> Result<(), RunError> {
    start::run(start::Options {
        source,
        registry,
        log,
    })
}
