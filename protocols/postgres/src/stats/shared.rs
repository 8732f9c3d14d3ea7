//! The tables of all workers: who writes which, and how the control side reads them.
//!
//! A worker counts in its own table and takes a lock only to lay a copy down, at most once a second; the control side
//! takes the same lock to read that copy. Start at [`StatementTables::worker`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::table::{Call, StatementStats, StatementTable, TableLimits};
use crate::request::{Record, StatementRequest};
use crate::sql::Fingerprint;

/// How old a copy may become while statements go on.
const PERIOD: Duration = Duration::from_secs(1);

/// The tables of all workers.
#[derive(Debug)]
pub struct StatementTables {
    limits: TableLimits,
    copies: Mutex<Vec<Weak<Published>>>,
    /// What workers that are gone have left.
    left: Mutex<Vec<StatementStats>>,
    /// Raised to make every worker begin again.
    generation: AtomicU64,
}

/// What one worker has laid down.
#[derive(Debug, Default)]
struct Published(Mutex<Vec<StatementStats>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatementTables {
    /// No statements yet.
    #[must_use]
    pub fn new(limits: TableLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            copies: Mutex::default(),
            left: Mutex::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// A table for a worker (or for a listener on a worker). Its statements stay when it is gone.
    #[must_use]
    pub fn worker(self: &Arc<Self>) -> WorkerStatements {
        let copy = Arc::new(Published::default());
        let mut copies = lock(&self.copies);
        copies.retain(|copy| copy.strong_count() > 0);
        copies.push(Arc::downgrade(&copy));
        WorkerStatements {
            tables: Arc::clone(self),
            table: RefCell::new(StatementTable::new(self.limits)),
            copy,
            generation: Cell::new(self.generation.load(Ordering::Relaxed)),
            due: Cell::new(None),
            changed: Cell::new(false),
        }
    }

    /// All statements, those of all workers added up, in no order. At most a second old; a worker that has nothing to do may
    /// be behind by the statements of its last busy second, unless somebody calls [`WorkerStatements::copy`].
    #[must_use]
    pub fn statements(&self) -> Vec<StatementStats> {
        let mut all = HashMap::new();
        merge(&mut all, &lock(&self.left));
        let copies: Vec<_> = lock(&self.copies)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for copy in copies {
            merge(&mut all, &lock(&copy.0));
        }
        all.into_values().collect()
    }

    /// Forgets everything. Workers begin again with the next statement.
    pub fn clear(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        lock(&self.left).clear();
        for copy in lock(&self.copies).iter().filter_map(Weak::upgrade) {
            lock(&copy.0).clear();
        }
    }

    /// Keeps what a worker that goes away knows, as far as there is room for the heaviest.
    fn keep(&self, statements: &[StatementStats]) {
        let mut left = lock(&self.left);
        let mut all = HashMap::new();
        merge(&mut all, &left);
        merge(&mut all, statements);
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_unstable_by_key(|statement| std::cmp::Reverse(statement.calls));
        all.truncate(self.limits.top);
        *left = all;
    }
}

fn merge(all: &mut HashMap<u64, StatementStats>, statements: &[StatementStats]) {
    for statement in statements {
        all.entry(statement.fingerprint.0)
            .and_modify(|known| known.merge(statement))
            .or_insert_with(|| statement.clone());
    }
}

/// The table of one worker, and where its copy goes.
#[derive(Debug)]
pub struct WorkerStatements {
    tables: Arc<StatementTables>,
    table: RefCell<StatementTable>,
    copy: Arc<Published>,
    generation: Cell<u64>,
    /// When the next copy is due.
    due: Cell<Option<Instant>>,
    changed: Cell<bool>,
}

impl WorkerStatements {
    /// Whether anything is kept at all. Where not, nobody needs to make records for it.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tables.limits.top > 0
    }

    /// Counts a request that is over.
    pub fn record(&self, record: &Record) {
        self.begin_again();
        self.table.borrow_mut().record(record);
        let now = record.started.checked_add(record.duration);
        self.on_counted(now.unwrap_or(record.started));
    }

    /// As [`StatementTable::add`], of a call that is over now.
    pub fn add(&self, call: &Call, text: Option<&StatementRequest>, now: Instant) {
        self.begin_again();
        self.table.borrow_mut().add(call, text);
        self.on_counted(now);
    }

    /// As [`StatementTable::knows`].
    #[must_use]
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.begin_again();
        self.table.borrow().knows(fingerprint)
    }

    fn on_counted(&self, now: Instant) {
        self.changed.set(true);
        if self.due.get().is_none_or(|due| due <= now) {
            self.due.set(now.checked_add(PERIOD));
            self.copy();
        }
    }

    /// Lays a copy down now, if there is anything new. For a worker that has nothing else to do.
    pub fn copy(&self) {
        self.begin_again();
        if self.changed.replace(false) {
            let table = self.table.borrow();
            table.statements().clone_into(&mut *lock(&self.copy.0));
        }
    }

    fn begin_again(&self) {
        let generation = self.tables.generation.load(Ordering::Relaxed);
        if self.generation.replace(generation) != generation {
            self.table.borrow_mut().clear();
            self.changed.set(true);
        }
    }
}

impl Drop for WorkerStatements {
    fn drop(&mut self) {
        self.begin_again();
        lock(&self.copy.0).clear();
        self.tables.keep(self.table.borrow().statements());
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::filters::testing::{context, request};

    const LIMITS: TableLimits = TableLimits { top: 4, text: 100 };

    fn calls(tables: &StatementTables) -> Vec<u64> {
        let mut calls: Vec<_> = tables
            .statements()
            .iter()
            .map(|found| found.calls)
            .collect();
        calls.sort_unstable();
        calls
    }

    fn record(sql: &str, started: Instant) -> Record {
        Record::new(request(sql), UNIX_EPOCH, started)
    }

    #[test]
    fn workers_are_added_up_and_leave_what_they_know() {
        let tables = StatementTables::new(LIMITS);
        let (one, other) = (tables.worker(), tables.worker());
        let now = context("192.0.2.1").now;
        one.record(&record("select a", now));
        assert_eq!(calls(&tables), [1], "the first is seen at once");
        one.record(&record("select a", now));
        other.record(&record("select a", now));
        assert_eq!(calls(&tables), [2], "one is not laid down yet");
        one.copy();
        assert_eq!(calls(&tables), [3]);
        one.record(&record("select b", now + PERIOD));
        assert_eq!(calls(&tables), [1, 3], "a second later");
        drop(one);
        assert_eq!(calls(&tables), [1, 3], "left");
        drop(other);
        let again = tables.worker();
        again.record(&record("select b", now));
        assert_eq!(calls(&tables), [2, 3]);
        tables.clear();
        assert_eq!(calls(&tables), [0; 0]);
        again.copy();
        assert_eq!(calls(&tables), [0; 0]);
        again.record(&record("select b", now + PERIOD));
        assert_eq!(calls(&tables), [1]);
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_asked_for() {
        let tables = StatementTables::new(TableLimits { top: 0, text: 100 });
        let worker = tables.worker();
        assert!(!worker.is_on());
        worker.record(&record("select a", context("192.0.2.1").now));
        assert_eq!(calls(&tables), [0; 0]);
    }
}
