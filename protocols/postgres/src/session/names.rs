//! What many clients have alike, kept once for all clients of a listener on a worker: their names, and what servers are shown for
//! those who have nothing to show.
//!
//! Only of clients that have logged in. Start at [`Alike::name`].

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::open::Credentials;

/// As many are kept before it is looked which of them nobody has any more.
const FEW: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Alike {
    names: RefCell<HashSet<Arc<str>, RandomState>>,
    /// How many there may be before it is looked again; never under [`FEW`]. Not the table's capacity, which says less once
    /// something was taken out.
    most: Cell<usize>,
    /// The last that hold no secret.
    credentials: RefCell<Option<Arc<Credentials>>>,
}

impl Alike {
    /// The same name, as others have it.
    pub(super) fn name(&self, name: &str) -> Arc<str> {
        let mut names = self.names.borrow_mut();
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        // Amortised: what nobody has goes when there are twice as many as somebody had.
        if names.len() >= self.most.get().max(FEW) {
            names.retain(|known| Arc::strong_count(known) > 1);
            self.most.set(2 * names.len());
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    }

    /// The same credentials, as others have them if they hold no secret.
    pub(super) fn credentials(&self, credentials: Credentials) -> Arc<Credentials> {
        if credentials.secret.is_some() || credentials.keys.is_some() {
            return Arc::new(credentials);
        }
        let mut last = self.credentials.borrow_mut();
        match &*last {
            Some(last) if last.user == credentials.user => Arc::clone(last),
            _ => Arc::clone(last.insert(Arc::new(credentials))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_as_long_as_somebody_has_them() {
        let alike = Alike::default();
        let ann = alike.name("ann");
        assert!(Arc::ptr_eq(&ann, &alike.name("ann")));
        for number in 0..10_000 {
            drop(alike.name(&number.to_string()));
        }
        assert!(alike.names.borrow().len() <= 2 * FEW);
        assert!(Arc::ptr_eq(&ann, &alike.name("ann")));
    }

    #[test]
    fn credentials_are_of_one_user() {
        let alike = Alike::default();
        let of = |user: &str| {
            alike.credentials(Credentials {
                user: user.to_owned(),
                ..Credentials::default()
            })
        };
        let ann = of("ann");
        assert!(Arc::ptr_eq(&ann, &of("ann")));
        assert_eq!(of("bob").user, "bob");
        assert_eq!(of("ann").user, "ann");
    }
}
