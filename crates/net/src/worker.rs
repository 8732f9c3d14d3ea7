//! A worker: one thread with a runtime, sessions and everything else of its own.
//!
//! What a worker does is given to it as one future; what it is told later comes as commands, whose type is the
//! caller's. Nothing here is shared between workers. Start at [`start`].

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc as startup;
use std::thread::{self, JoinHandle};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

use crate::clock;

/// A worker's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub usize);

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// There is no thread to have.
    #[error("cannot start the thread of worker {}: {source}", .worker.0)]
    Thread {
        /// Which worker.
        worker: WorkerId,
        /// Why.
        source: io::Error,
    },
    /// There is no runtime to have.
    #[error("cannot start the runtime of worker {}: {source}", .worker.0)]
    Runtime {
        /// Which worker.
        worker: WorkerId,
        /// Why.
        source: io::Error,
    },
    /// It cannot be bound to its core.
    #[error("cannot pin worker {} to core {core}: {source}", .worker.0)]
    Pin {
        /// Which worker.
        worker: WorkerId,
        /// Which core.
        core: usize,
        /// Why.
        source: io::Error,
    },
}

/// The worker has stopped and takes no commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker has stopped")]
pub struct WorkerStopped;

/// Commands on their way to a worker, in order.
#[derive(Debug)]
pub struct Commands<C>(mpsc::UnboundedReceiver<C>);

impl<C> Commands<C> {
    /// The next command; `None` when nobody can send any more.
    pub async fn next(&mut self) -> Option<C> {
        self.0.recv().await
    }
}

/// Sends commands to a worker, from any thread. Never waits: what is sent is bounded by who sends it, the control side
/// and, for handed-over connections, the connection limits.
#[derive(Debug)]
pub struct CommandSender<C>(mpsc::UnboundedSender<C>);

impl<C> Clone for CommandSender<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> CommandSender<C> {
    /// Sends a command.
    ///
    /// # Errors
    /// The worker has stopped; the command is dropped.
    pub fn send(&self, command: C) -> Result<(), WorkerStopped> {
        self.0.send(command).map_err(|_| WorkerStopped)
    }
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle<C> {
    id: WorkerId,
    sender: CommandSender<C>,
    thread: JoinHandle<()>,
}

impl<C> WorkerHandle<C> {
    /// Which worker.
    pub const fn id(&self) -> WorkerId {
        self.id
    }

    /// Sends it commands.
    pub fn sender(&self) -> CommandSender<C> {
        self.sender.clone()
    }

    /// Sends it a command.
    ///
    /// # Errors
    /// As [`CommandSender::send`].
    pub fn send(&self, command: C) -> Result<(), WorkerStopped> {
        self.sender.send(command)
    }

    /// Waits until it has stopped. Blocks; its body must have been told to end.
    ///
    /// # Errors
    /// It panicked; what it panicked with.
    pub fn join(self) -> Result<(), Box<dyn Any + Send>> {
        drop(self.sender);
        self.thread.join()
    }
}

/// A channel for commands. The sender can be given to other workers before the receiver's worker exists.
#[must_use]
pub fn commands<C>() -> (CommandSender<C>, Commands<C>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (CommandSender(sender), Commands(receiver))
}

/// Starts a worker, on `core` only if one is given, and returns when it runs.
///
/// `body` is called on its thread, inside its runtime, where [`crate::spawn_session`] works. The worker stops when the
/// future is done; sessions that still run then are dropped. A panic in a session ends that session only.
///
/// # Errors
/// See [`WorkerError`].
pub fn start<C, B, F>(
    id: WorkerId,
    core: Option<usize>,
    (sender, commands): (CommandSender<C>, Commands<C>),
    body: B,
) -> Result<WorkerHandle<C>, WorkerError>
where
    C: Send + 'static,
    B: FnOnce(WorkerId, Commands<C>) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let (report, started) = startup::channel();
    let run = move || {
        let runtime = match prepare(id, core) {
            Ok(runtime) => runtime,
            Err(error) => {
                // The starter waits for this; if it has gone, nobody cares.
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = report.send(Ok(()));
        drop(report);
        clock::enable_cache();
        drive(&runtime, Box::pin(async move { body(id, commands).await }));
        // Sessions that still run are dropped with the runtime, inside of it.
    };
    let thread = thread::Builder::new()
        .name(format!("worker-{}", id.0))
        .spawn(run)
        .map_err(|source| WorkerError::Thread { worker: id, source })?;
    match started.recv() {
        Ok(Ok(())) => Ok(WorkerHandle { id, sender, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WorkerError::Thread {
            worker: id,
            source: io::Error::other("it ended at once"),
        }),
    }
}

/// Runs a worker to its end. Its future has no type here, so that the code of the runtime's loop is made in this package,
/// by whose settings it is fast.
fn drive(runtime: &LocalRuntime, body: Pin<Box<dyn Future<Output = ()>>>) {
    runtime.block_on(body);
}

/// The cores that this process may use.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect()
}

fn prepare(worker: WorkerId, core: Option<usize>) -> Result<LocalRuntime, WorkerError> {
    if let Some(core) = core {
        pin(core).map_err(|source| WorkerError::Pin {
            worker,
            core,
            source,
        })?;
    }
    Builder::new_current_thread()
        .enable_all()
        .on_thread_unpark(|| {
            clock::refresh();
        })
        .build_local(LocalOptions::default())
        .map_err(|source| WorkerError::Runtime { worker, source })
}

/// Binds this thread to a core.
fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::{Timer, spawn_session};

    #[derive(Debug)]
    enum Command {
        Answer(Sender<String>),
        Panic,
        Stop,
    }

    async fn obey(id: WorkerId, mut commands: Commands<Command>) {
        while let Some(command) = commands.next().await {
            match command {
                Command::Answer(to) => spawn_session(async move {
                    let name = thread::current().name().unwrap_or_default().to_owned();
                    to.send(format!("{name} {}", id.0)).unwrap();
                }),
                Command::Panic => spawn_session(async { panic!("expected by the test") }),
                Command::Stop => return,
            }
        }
    }

    #[test]
    fn workers_run_commands_on_their_own_threads() {
        let workers: Vec<_> = (0..2)
            .map(|number| start(WorkerId(number), None, commands(), obey).unwrap())
            .collect();
        let (sender, answers) = channel();
        for worker in &workers {
            worker.send(Command::Panic).unwrap();
            worker.send(Command::Answer(sender.clone())).unwrap();
        }
        let mut got: Vec<_> = answers.iter().take(2).collect();
        got.sort();
        assert_eq!(got, ["worker-0 0", "worker-1 1"]);
        for worker in workers {
            let sender = worker.sender();
            worker.send(Command::Stop).unwrap();
            worker.join().unwrap();
            assert_eq!(sender.send(Command::Stop), Err(WorkerStopped));
        }
    }

    #[test]
    fn a_worker_stops_when_nobody_can_tell_it_anything() {
        let worker = start(WorkerId(7), None, commands::<Command>(), obey).unwrap();
        worker.join().unwrap();
    }

    #[test]
    fn pinning() {
        let cores = allowed_cores();
        let core = *cores.first().unwrap();
        let body = move |_, _: Commands<()>| async move {
            assert_eq!(allowed_cores(), [core]);
        };
        start(WorkerId(0), Some(core), commands(), body)
            .unwrap()
            .join()
            .unwrap();
        let error = start(WorkerId(0), Some(usize::MAX), commands(), obey).unwrap_err();
        assert!(matches!(error, WorkerError::Pin { .. }), "{error}");
    }

    #[test]
    fn the_cached_clock_drives_timers() {
        let body = |_, _: Commands<()>| async {
            for _ in 0..3 {
                let deadline = clock::now() + std::time::Duration::from_millis(2);
                Timer::new().expired(Some(deadline)).await;
                assert!(clock::now() >= deadline);
            }
        };
        start(WorkerId(0), None, commands(), body)
            .unwrap()
            .join()
            .unwrap();
    }
}
