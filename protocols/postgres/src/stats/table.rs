//! The table of one worker: a fixed number of statements, of which the heavy ones stay.
//!
//! This is the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005): when the table is full, a new statement takes the
//! place of the one with the least weight and inherits that weight, so that whatever makes more than one in `top` of all calls
//! is certainly in the table. The least weight is found by a heap that is put right only when something is evicted: counting
//! a statement that is there moves nothing. No lock, no clock. Start at [`StatementTable::record`].

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use super::Times;
use crate::request::Record;
use crate::sql::{Class, Fingerprint, Verb};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLimits {
    /// Statements.
    pub top: usize,
    /// Bytes of the text of each.
    pub text: usize,
}

/// What is known of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementStats {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// Its text as it was first seen, without values and comments, cut off where it is long.
    pub text: Arc<str>,
    /// What its first statement is called.
    pub verb: Verb,
    /// Whether it reads or writes.
    pub class: Class,
    /// How many times it was carried out since it is in the table.
    pub calls: u64,
    /// How many more it may have been carried out before, at most.
    pub unseen: u64,
    /// Of the calls, those that servers answered with an error.
    pub errors: u64,
    /// Of the calls, those that the gateway refused or ended.
    pub rejected: u64,
    /// Rows of results, those changed included.
    pub rows: u64,
    /// Bytes of the requests.
    pub bytes_up: u64,
    /// Bytes of the results.
    pub bytes_down: u64,
    /// From arrival to end.
    pub times: Times,
    /// How long it waited for server connections.
    pub waited: Duration,
    /// When it began last.
    pub last_seen: SystemTime,
}

impl StatementStats {
    fn new(record: &Record, text: Arc<str>, unseen: u64) -> Self {
        Self {
            fingerprint: record.request.fingerprint(),
            text,
            verb: record.request.verb(),
            class: record.request.class(),
            calls: 0,
            unseen,
            errors: 0,
            rejected: 0,
            rows: 0,
            bytes_up: 0,
            bytes_down: 0,
            times: Times::default(),
            waited: Duration::ZERO,
            last_seen: record.started_at,
        }
    }

    /// What decides who stays.
    const fn weight(&self) -> u64 {
        self.calls.saturating_add(self.unseen)
    }

    fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.errors += u64::from(record.sqlstate.is_some() && !record.is_rejected());
        self.rejected += u64::from(record.is_rejected());
        self.rows = self.rows.saturating_add(record.rows);
        self.bytes_up = self.bytes_up.saturating_add(record.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(record.bytes_down);
        self.times.record(record.duration);
        self.waited = self.waited.saturating_add(record.waited);
        self.last_seen = self.last_seen.max(record.started_at);
    }

    /// Adds what another worker knows of the same statement.
    pub(super) fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.unseen = self.unseen.saturating_add(other.unseen);
        self.errors = self.errors.saturating_add(other.errors);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes_up = self.bytes_up.saturating_add(other.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(other.bytes_down);
        self.times.merge(&other.times);
        self.waited = self.waited.saturating_add(other.waited);
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

/// The table of one worker.
#[derive(Debug)]
pub struct StatementTable {
    limits: TableLimits,
    statements: Vec<StatementStats>,
    places: HashMap<u64, usize, RandomState>,
    /// Every statement once, with a weight that it has had. It is at least that heavy now.
    lightest: BinaryHeap<Reverse<(u64, usize)>>,
    /// Used again for every text.
    text: Vec<u8>,
}

impl StatementTable {
    /// An empty table. Its memory grows with what is in it.
    #[must_use]
    pub fn new(limits: TableLimits) -> Self {
        Self {
            limits,
            statements: Vec::new(),
            places: HashMap::default(),
            lightest: BinaryHeap::new(),
            text: Vec::new(),
        }
    }

    /// What is in it, in no order.
    #[must_use]
    pub fn statements(&self) -> &[StatementStats] {
        &self.statements
    }

    /// Counts a request that is over. What could not be read at all has the fingerprint 0, and is one statement together.
    pub fn record(&mut self, record: &Record) {
        let place = match self.places.get(&record.request.fingerprint().0) {
            Some(&place) => place,
            None => match self.make_room() {
                Some((place, unseen)) => self.insert(record, place, unseen),
                None => return,
            },
        };
        if let Some(statement) = self.statements.get_mut(place) {
            statement.add(record);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.statements.clear();
        self.places.clear();
        self.lightest.clear();
    }

    /// A place and the weight that comes with it. `None` if there are none at all.
    fn make_room(&mut self) -> Option<(usize, u64)> {
        if self.statements.len() < self.limits.top {
            return Some((self.statements.len(), 0));
        }
        loop {
            let mut lightest = self.lightest.peek_mut()?;
            let Reverse((weight, place)) = *lightest;
            let statement = self.statements.get(place)?;
            if statement.weight() == weight {
                PeekMut::pop(lightest);
                self.places.remove(&statement.fingerprint.0);
                return Some((place, weight));
            }
            // It was called since. Each such step is paid for by one of those calls.
            *lightest = Reverse((statement.weight(), place));
        }
    }

    fn insert(&mut self, record: &Record, place: usize, unseen: u64) -> usize {
        self.text.clear();
        record
            .request
            .write_sanitised(&mut self.text, self.limits.text);
        let text = String::from_utf8_lossy(&self.text);
        let statement = StatementStats::new(record, text.as_ref().into(), unseen);
        self.places.insert(statement.fingerprint.0, place);
        self.lightest.push(Reverse((unseen, place)));
        match self.statements.get_mut(place) {
            Some(old) => *old = statement,
            None => self.statements.push(statement),
        }
        debug_assert_eq!(self.lightest.len(), self.statements.len(), "one entry each");
        place
    }
}

#[cfg(test)]
mod tests;
