//! Which statement a portal executes, as far as it is known; one of which it is not may do anything.
//!
//! Portals live in their transaction ("Extended Query"), so all are forgotten with it. Start at [`Portals`].

use std::sync::Arc;

use super::statements::Prepared;
use crate::message::backend::TransactionStatus;

/// How many named portals are remembered at once; of more the oldest are unknown.
const MOST: usize = 16;

/// A statement, and the number that the filters know its execution by.
type Bound = (Arc<Prepared>, u64);

/// The portals of one transaction.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Option<Bound>,
    named: Vec<(Box<[u8]>, Option<Bound>)>,
}

impl Portals {
    pub(super) fn bind(&mut self, name: &[u8], statement: Option<Arc<Prepared>>, judged: u64) {
        let statement = statement.map(|statement| (statement, judged));
        if name.is_empty() {
            self.unnamed = statement;
            return;
        }
        self.named.retain(|(known, _)| **known != *name);
        if self.named.len() >= MOST {
            self.named.remove(0);
        }
        self.named.push((name.into(), statement));
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Bound> {
        if name.is_empty() {
            return self.unnamed.as_ref();
        }
        let found = self.named.iter().find(|(known, _)| **known == *name);
        found.and_then(|(_, statement)| statement.as_ref())
    }

    pub(super) fn on_ready(&mut self, status: TransactionStatus) {
        if status == TransactionStatus::Idle {
            self.unnamed = None;
            self.named.clear();
        }
    }
}
