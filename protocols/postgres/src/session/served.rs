//! What clients have had from the connections of a pool, for the console.
//!
//! Each connection counts for itself, so that giving it back takes no lock and no atomic operation but loads and stores. Start at
//! [`ServedCells::add`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one writes and others look at.
#[derive(Debug, Default)]
pub(super) struct Shown(AtomicU64);

impl Shown {
    /// Shows another number. Mostly it is the same.
    #[inline]
    pub(super) fn set(&self, number: usize) {
        let number = number as u64;
        if self.0.load(Ordering::Relaxed) != number {
            self.0.store(number, Ordering::Relaxed);
        }
    }

    /// The number as it was shown last.
    pub(super) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Shown {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.number()))
    }
}

/// What clients of a pool have had from it, in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) transactions: u64,
    pub(super) queries: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) transaction_micros: u64,
    pub(super) query_micros: u64,
}

/// The same of one connection: whoever has it adds to it, and others look.
#[derive(Debug, Default)]
pub(super) struct ServedCells {
    transactions: AtomicU64,
    queries: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    transaction_micros: AtomicU64,
    query_micros: AtomicU64,
}

/// The same of a pool.
#[derive(Debug, Default)]
pub(super) struct AllServed {
    /// By connections that are closed.
    before: Served,
    /// Of those that are open, and some that were.
    cells: Vec<Arc<ServedCells>>,
}

impl Served {
    fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.received += other.received;
        self.sent += other.sent;
        self.transaction_micros += other.transaction_micros;
        self.query_micros += other.query_micros;
    }
}

impl ServedCells {
    /// A client gives the connection back: what it has had meanwhile. Nobody else adds at the same time.
    pub(super) fn add(&self, served: &Served) {
        let add = |cell: &AtomicU64, by: u64| {
            cell.store(cell.load(Ordering::Relaxed) + by, Ordering::Relaxed);
        };
        add(&self.transactions, served.transactions);
        add(&self.queries, served.queries);
        add(&self.received, served.received);
        add(&self.sent, served.sent);
        add(&self.transaction_micros, served.transaction_micros);
        add(&self.query_micros, served.query_micros);
    }

    fn sum(&self) -> Served {
        Served {
            transactions: self.transactions.load(Ordering::Relaxed),
            queries: self.queries.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            transaction_micros: self.transaction_micros.load(Ordering::Relaxed),
            query_micros: self.query_micros.load(Ordering::Relaxed),
        }
    }
}

impl AllServed {
    /// A connection is open.
    pub(super) fn list(&mut self, cells: &Arc<ServedCells>) {
        self.fold();
        self.cells.push(Arc::clone(cells));
    }

    /// By all connections together.
    pub(super) fn sum(&mut self) -> Served {
        self.fold();
        let mut sum = self.before;
        self.cells.iter().for_each(|cells| sum.add(&cells.sum()));
        sum
    }

    /// Adds up what closed connections have served, so that they can be forgotten.
    fn fold(&mut self) {
        let Self { before, cells } = self;
        cells.retain_mut(|cell| {
            // Nobody can add to it any more.
            let Some(closed) = Arc::get_mut(cell) else {
                return true;
            };
            before.add(&closed.sum());
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_closed_connections_served_is_not_forgotten() {
        let served = |queries| Served {
            queries,
            ..Served::default()
        };
        let mut all = AllServed::default();
        let (one, other) = (Arc::<ServedCells>::default(), Arc::<ServedCells>::default());
        all.list(&one);
        all.list(&other);
        one.add(&served(1));
        other.add(&served(2));
        assert_eq!(all.sum(), served(3));
        drop(one);
        assert_eq!(all.sum(), served(3));
        other.add(&served(4));
        all.list(&Arc::default());
        assert_eq!((all.sum(), all.cells.len()), (served(7), 1));
    }
}
