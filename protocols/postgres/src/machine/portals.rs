//! Which statement a portal executes, as far as it is known: for counting, not for correctness.
//!
//! Portals live in their transaction ("Extended Query"), so all are forgotten with it. Start at [`Portals`].

use std::sync::Arc;

use super::statements::Prepared;
use crate::message::backend::TransactionStatus;

/// How many named portals are remembered at once; of more the oldest are counted as unknown statements.
const MOST: usize = 16;

/// The portals of one transaction.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Option<Arc<Prepared>>,
    named: Vec<(Box<[u8]>, Option<Arc<Prepared>>)>,
}

impl Portals {
    pub(super) fn bind(&mut self, name: &[u8], statement: Option<Arc<Prepared>>) {
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

    pub(super) fn find(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
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
