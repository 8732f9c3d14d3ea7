//! Which statement a portal executes, as far as it is known; one of which it is not may do anything.
//!
//! Portals live in their transaction ("Extended Query"), so all are forgotten with it. Start at [`Portals`].

use std::sync::Arc;
use std::time::Instant;

use super::statements::Prepared;

/// How many named portals are remembered at once; of more the oldest are unknown.
const MOST: usize = 16;

/// A statement, and how it was asked for.
type Bound = (Arc<Prepared>, Asked);

/// How something was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// The number that the filters know it by; 0 for none.
    pub(super) judged: u64,
    pub(super) arrived: Option<Instant>,
}

/// What a portal is bound to, as far as it is known, and the number of the reply that its Bind is owed.
#[derive(Debug)]
struct Portal {
    bound: Option<Bound>,
    number: u64,
}

/// The portals of one transaction.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Option<Portal>,
    named: Vec<(Box<[u8]>, Portal)>,
}

impl Portals {
    pub(super) fn bind(
        &mut self,
        name: &[u8],
        statement: Option<Arc<Prepared>>,
        asked: Asked,
        number: u64,
    ) {
        let bound = statement.map(|statement| (statement, asked));
        let portal = Portal { bound, number };
        if name.is_empty() {
            self.unnamed = Some(portal);
            return;
        }
        self.named.retain(|(known, _)| **known != *name);
        if self.named.len() >= MOST {
            self.named.remove(0);
        }
        self.named.push((name.into(), portal));
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Bound> {
        if name.is_empty() {
            return self.unnamed.as_ref()?.bound.as_ref();
        }
        let found = self.named.iter().find(|(known, _)| **known == *name);
        found.and_then(|(_, portal)| portal.bound.as_ref())
    }

    /// A transaction has ended. Those that are bound behind it stay: `is_owed` says whether the reply of a number is still to come.
    pub(super) fn on_end(&mut self, is_owed: impl Fn(u64) -> bool) {
        if self
            .unnamed
            .as_ref()
            .is_some_and(|portal| !is_owed(portal.number))
        {
            self.unnamed = None;
        }
        self.named.retain(|(_, portal)| is_owed(portal.number));
    }
}
