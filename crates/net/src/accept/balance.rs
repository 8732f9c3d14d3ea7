//! Which worker serves a connection, where that is not left to the kernel.
//!
//! Counts are shared and exact; the connections themselves travel as commands. Start at [`WorkerLoads`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::worker::WorkerId;

/// How many connections each worker has. Of one listener, or of several that are balanced together.
#[derive(Debug, Clone)]
pub struct WorkerLoads(Arc<[Load]>);

/// On a cache line (and the one fetched with it) of its own, since workers write theirs all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

impl WorkerLoads {
    /// No connections yet on this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Load::default()).collect())
    }

    /// Chooses the worker with the fewest connections and counts one more there. Among equals it is the first from
    /// `start` on, so a turning `start` spreads them.
    #[must_use]
    pub fn choose(&self, start: usize) -> (WorkerId, LoadGuard) {
        let count = self.0.len().max(1);
        let turned = (0..count).map(|step| start.wrapping_add(step) % count);
        let worker = turned.min_by_key(|worker| self.load(WorkerId(*worker)));
        let worker = WorkerId(worker.unwrap_or_default());
        (worker, self.enter(worker))
    }

    /// Counts a connection on a worker that was chosen by something else.
    #[must_use]
    pub fn enter(&self, worker: WorkerId) -> LoadGuard {
        if let Some(load) = self.0.get(worker.0) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        LoadGuard {
            loads: self.clone(),
            worker,
        }
    }

    /// The connections of a worker.
    #[must_use]
    pub fn load(&self, worker: WorkerId) -> usize {
        self.0
            .get(worker.0)
            .map_or(0, |load| load.0.load(Ordering::Relaxed))
    }
}

/// One connection in a worker's load.
#[derive(Debug)]
pub struct LoadGuard {
    loads: WorkerLoads,
    worker: WorkerId,
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        if let Some(load) = self.loads.0.get(self.worker.0) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_worker_is_chosen() {
        let loads = WorkerLoads::new(3);
        let mut open: Vec<_> = (0..7).map(|turn| loads.choose(turn)).collect();
        let all = |loads: &WorkerLoads| [0, 1, 2].map(|worker| loads.load(WorkerId(worker)));
        assert_eq!(all(&loads), [3, 2, 2]);
        open.retain(|(worker, _)| *worker != WorkerId(1));
        assert_eq!(all(&loads), [3, 0, 2]);
        let (worker, _guard) = loads.choose(0);
        assert_eq!(worker, WorkerId(1));
    }

    #[test]
    fn equals_take_turns() {
        let loads = WorkerLoads::new(3);
        let chosen = [0, 1, 2, usize::MAX].map(|start| loads.choose(start).0.0);
        assert_eq!(chosen, [0, 1, 2, usize::MAX % 3]);
    }
}
