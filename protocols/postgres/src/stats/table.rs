//! The table of one worker: a fixed number of statements, of which the heavy ones stay.
//!
//! This is the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005): when the table is full, a new statement takes the
//! place of the one with the least weight and inherits that weight, so that whatever makes more than one in `top` of all calls
//! is certainly in the table. The least weight is found by a heap that is put right only when something is evicted: counting
//! a statement that is there moves nothing. No lock, no clock. Start at [`StatementTable::record`].

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use super::Times;
use crate::request::{Record, StatementRequest};
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

/// A statement that is over, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// What its first statement is called.
    pub verb: Verb,
    /// Whether it reads or writes.
    pub class: Class,
    /// A server has answered with an error.
    pub is_error: bool,
    /// The gateway has refused or ended it.
    pub is_rejected: bool,
    /// Rows of its results, those changed included.
    pub rows: u64,
    /// Bytes of the request.
    pub bytes_up: u64,
    /// Bytes of the results.
    pub bytes_down: u64,
    /// From arrival to end.
    pub duration: Duration,
    /// How long it waited for a server connection.
    pub waited: Duration,
    /// When it came.
    pub started_at: SystemTime,
}

impl Call {
    fn of(record: &Record) -> Self {
        let is_rejected = record.is_rejected();
        Self {
            fingerprint: record.request.fingerprint(),
            verb: record.request.verb(),
            class: record.request.class(),
            is_error: record.sqlstate.is_some() && !is_rejected,
            is_rejected,
            rows: record.rows,
            bytes_up: record.bytes_up,
            bytes_down: record.bytes_down,
            duration: record.duration,
            waited: record.waited,
            started_at: record.started_at,
        }
    }
}

impl StatementStats {
    fn new(call: &Call, text: Arc<str>, unseen: u64) -> Self {
        Self {
            fingerprint: call.fingerprint,
            text,
            verb: call.verb,
            class: call.class,
            calls: 0,
            unseen,
            errors: 0,
            rejected: 0,
            rows: 0,
            bytes_up: 0,
            bytes_down: 0,
            times: Times::default(),
            waited: Duration::ZERO,
            last_seen: call.started_at,
        }
    }

    /// What decides who stays.
    const fn weight(&self) -> u64 {
        self.calls.saturating_add(self.unseen)
    }

    fn add(&mut self, call: &Call) {
        self.calls += 1;
        self.errors += u64::from(call.is_error);
        self.rejected += u64::from(call.is_rejected);
        self.rows = self.rows.saturating_add(call.rows);
        self.bytes_up = self.bytes_up.saturating_add(call.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(call.bytes_down);
        self.times.record(call.duration);
        if !call.waited.is_zero() {
            self.waited = self.waited.saturating_add(call.waited);
        }
        self.last_seen = self.last_seen.max(call.started_at);
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
    /// The place that was asked for last.
    last: Cell<usize>,
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
            last: Cell::new(0),
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
        self.add(&Call::of(record), Some(&record.request));
    }

    /// Counts a call. Of one that is not in the table yet the text is needed; without it nothing is counted.
    pub fn add(&mut self, call: &Call, text: Option<&StatementRequest>) {
        let place = match (self.place(call.fingerprint), text) {
            (Some(place), _) => place,
            (None, Some(text)) => match self.make_room() {
                Some((place, unseen)) => self.insert(call, text, place, unseen),
                None => return,
            },
            (None, None) => return,
        };
        if let Some(statement) = self.statements.get_mut(place) {
            statement.add(call);
        }
    }

    /// Whether a statement is in the table.
    #[must_use]
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.place(fingerprint).is_some()
    }

    fn place(&self, fingerprint: Fingerprint) -> Option<usize> {
        // Mostly the one that was asked for last.
        let last = self.last.get();
        let statement = self.statements.get(last);
        if statement.is_some_and(|statement| statement.fingerprint == fingerprint) {
            return Some(last);
        }
        let place = *self.places.get(&fingerprint.0)?;
        self.last.set(place);
        Some(place)
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

    fn insert(&mut self, call: &Call, text: &StatementRequest, place: usize, unseen: u64) -> usize {
        self.text.clear();
        text.write_sanitised(&mut self.text, self.limits.text);
        let text = String::from_utf8_lossy(&self.text);
        let statement = StatementStats::new(call, text.as_ref().into(), unseen);
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
