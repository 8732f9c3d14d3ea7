//! How many connections there may be.
//!
//! Exact for the process: workers share the counts. Not a rate limit (that is `portcullis-limit`). Start at
//! [`ConnectionLimits`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bound on open connections, shared by all workers.
#[derive(Debug)]
pub struct ConnectionLimit {
    limit: AtomicU64,
    open: AtomicU64,
}

impl ConnectionLimit {
    /// At most `limit` connections; `None` for no bound.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            open: AtomicU64::new(0),
        })
    }

    /// Changes the bound. Connections beyond a lower one stay.
    pub fn set(&self, limit: Option<u64>) {
        self.limit
            .store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Room for one more connection, for as long as the permit lives; `None` at the bound.
    #[must_use]
    pub fn acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let permit = ConnectionPermit(Arc::clone(self));
        (before < self.limit.load(Ordering::Relaxed)).then_some(permit)
    }
}

/// Room for one connection.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<ConnectionLimit>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bounds that a connection of one listener counts against.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The listener's.
    pub listener: Arc<ConnectionLimit>,
    /// The process's.
    pub global: Arc<ConnectionLimit>,
}

/// Why there is no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The listener has its share.
    Listener,
    /// The process has all that it may have.
    Global,
}

impl LimitReached {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Listener => "listener_limit",
            Self::Global => "global_limit",
        }
    }
}

impl ConnectionLimits {
    /// No bounds.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            listener: ConnectionLimit::new(None),
            global: ConnectionLimit::new(None),
        }
    }

    /// Room under both bounds.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn acquire(&self) -> Result<ConnectionPermits, LimitReached> {
        let listener = self.listener.acquire().ok_or(LimitReached::Listener)?;
        let global = self.global.acquire().ok_or(LimitReached::Global)?;
        Ok(ConnectionPermits {
            _listener: listener,
            _global: global,
        })
    }
}

/// Room for one connection under the listener's and the process's bound.
#[derive(Debug)]
pub struct ConnectionPermits {
    _listener: ConnectionPermit,
    _global: ConnectionPermit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trips_at_one_more_than_the_bound() {
        let limits = ConnectionLimits {
            listener: ConnectionLimit::new(Some(2)),
            global: ConnectionLimit::new(Some(3)),
        };
        let neighbour = ConnectionLimits {
            listener: ConnectionLimit::new(None),
            global: Arc::clone(&limits.global),
        };
        let first = limits.acquire().unwrap();
        let _second = limits.acquire().unwrap();
        assert_eq!(limits.acquire().unwrap_err(), LimitReached::Listener);
        let _third = neighbour.acquire().unwrap();
        assert_eq!(neighbour.acquire().unwrap_err(), LimitReached::Global);
        assert_eq!((limits.listener.open(), limits.global.open()), (2, 3));
        drop(first);
        assert_eq!((limits.listener.open(), limits.global.open()), (1, 2));
        let _again = limits.acquire().unwrap();
    }

    #[test]
    fn the_bound_can_change() {
        let limit = ConnectionLimit::new(Some(0));
        assert!(limit.acquire().is_none());
        limit.set(Some(1));
        let _open = limit.acquire().unwrap();
        limit.set(Some(0));
        assert_eq!(limit.open(), 1);
        limit.set(None);
        assert!(limit.acquire().is_some());
    }

    #[test]
    fn exact_over_threads() {
        let limit = ConnectionLimit::new(Some(50));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..50).filter_map(|_| limit.acquire()).collect::<Vec<_>>())
                })
                .collect();
            let held: Vec<_> = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect();
            held.len()
        });
        // A refused try counts for an instant, so a race may refuse one too many, never admit one.
        assert!(taken <= 50, "{taken}");
        assert_eq!(limit.open(), 0);
    }
}
