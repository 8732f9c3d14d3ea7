//! Records of statements: whose they are, how far they have come, and those that are kept to be used for the next ones.
//!
//! A client that is at work finds its own again with their buffers; of many clients that are not, few keep any. Start at
//! [`Judged`] and [`Spares::take`].

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::request::Record;

/// Records that one client keeps, and the longest text that one keeps its room for.
const OWN: usize = 2;
const LONGEST_TEXT: usize = 4 * 1024;

/// Records that all clients of a listener on a worker keep together.
const ALL: usize = 1024;

/// A statement that the filters know.
pub(super) struct Judged {
    /// By the relay's count.
    pub(super) number: u64,
    pub(super) record: Box<Record>,
    pub(super) progress: Progress,
    /// How long it may take, if filters have said so.
    pub(super) timeout: Option<Duration>,
    /// When its time began to run.
    pub(super) since: Option<Instant>,
}

/// How far a statement has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    UnderWay,
    /// Its portal has more rows, for which the client has not asked yet.
    Suspended,
    Ended,
}

/// How many records the clients of a listener on a worker keep.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Rc<Cell<usize>>);

/// The records that one client keeps.
#[derive(Debug)]
pub(super) struct Spares {
    // Boxed as they are while they are judged, so that none is moved.
    #[allow(clippy::vec_box)]
    own: Vec<Box<Record>>,
    all: Kept,
}

impl Spares {
    pub(super) fn new(all: &Kept) -> Self {
        Self {
            own: Vec::new(),
            all: all.clone(),
        }
    }

    /// One of them, if there is any.
    pub(super) fn take(&mut self) -> Option<Box<Record>> {
        let record = self.own.pop()?;
        self.all.0.set(self.all.0.get() - 1);
        Some(record)
    }

    /// Keeps a record for another statement, if there is room.
    pub(super) fn keep(&mut self, record: Box<Record>) {
        let kept = self.all.0.get();
        if kept < ALL && self.own.len() < OWN && record.request.sql().len() <= LONGEST_TEXT {
            self.all.0.set(kept + 1);
            if self.own.capacity() == 0 {
                self.own.reserve_exact(1);
            }
            self.own.push(record);
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.all.0.set(self.all.0.get() - self.own.len());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use super::*;
    use crate::filters::testing::{context, request};

    fn record(now: Instant) -> Box<Record> {
        Box::new(Record::new(request("select 1"), UNIX_EPOCH, now))
    }

    #[test]
    fn few_are_kept_by_each_and_by_all() {
        let now = context("192.0.2.1").now;
        let all = Kept::default();
        let mut clients: Vec<Spares> = (0..ALL).map(|_| Spares::new(&all)).collect();
        for client in &mut clients {
            for _ in 0..=OWN {
                client.keep(record(now));
            }
        }
        assert_eq!(all.0.get(), ALL);
        let keeping = clients.iter().filter(|client| !client.own.is_empty());
        assert_eq!(keeping.count(), ALL / OWN);
        assert!(clients[0].take().is_some());
        assert_eq!(all.0.get(), ALL - 1);
        clients.pop();
        clients[ALL - 2].keep(record(now));
        assert_eq!(all.0.get(), ALL);
        drop(clients);
        assert_eq!(all.0.get(), 0);
    }
}
