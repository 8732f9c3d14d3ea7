//! What clients of a listener may do: its users, the commands that it allows, its filters. A reload gives open connections those of
//! the server that takes their server's place; where their commands go stays as it was.
//!
//! Start at [`Rights::policy`] and [`Rights::chain`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use portcullis_filter::FilterChain;

use crate::chain::RedisMessages;
use crate::machine::Policy;

/// What clients may do now.
pub(super) struct Rights {
    policy: RefCell<Arc<Policy>>,
    chain: RefCell<Rc<FilterChain<RedisMessages>>>,
    /// There are filters.
    is_filtered: Cell<bool>,
    /// Those of servers whose place this one's has taken.
    older: RefCell<Vec<Weak<Self>>>,
}

impl Rights {
    pub(super) fn new(policy: Arc<Policy>, chain: FilterChain<RedisMessages>) -> Rc<Self> {
        Rc::new(Self {
            policy: RefCell::new(policy),
            is_filtered: Cell::new(!chain.is_empty()),
            chain: RefCell::new(Rc::new(chain)),
            older: RefCell::default(),
        })
    }

    /// Users, and commands that are allowed.
    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    /// Whether that is still this one.
    #[inline]
    pub(super) fn is_policy(&self, known: &Arc<Policy>) -> bool {
        Arc::ptr_eq(&self.policy.borrow(), known)
    }

    /// The filters. What asked them is to tell the same that a command is over.
    pub(super) fn chain(&self) -> Rc<FilterChain<RedisMessages>> {
        Rc::clone(&self.chain.borrow())
    }

    /// Whether there are any.
    #[inline]
    pub(super) const fn is_filtered(&self) -> bool {
        self.is_filtered.get()
    }

    /// Another server has taken the place of the one that these are of: they become its rights, and go on doing so.
    pub(super) fn replace(self: &Rc<Self>, next: &Self) {
        let mut older = next.older.borrow_mut();
        older.append(&mut self.older.borrow_mut());
        older.push(Rc::downgrade(self));
        older.retain(|rights| rights.strong_count() > 0);
        for rights in older.iter().filter_map(Weak::upgrade) {
            rights.take(next);
        }
    }

    fn take(&self, next: &Self) {
        // Where commands go does not change, and so neither does what kind of server a client sees.
        let policy = self.policy().with_rights_of(&next.policy.borrow());
        self.policy.replace(Arc::new(policy));
        self.chain.replace(next.chain());
        self.is_filtered.set(next.is_filtered());
    }
}
