//! Where a client has written, and whether the servers that took it have it still, as far as a connection can tell.
//!
//! A server may be started again, or be another one, without its clients' noticing: the gateway just connects again. WAIT must
//! not speak of what was lost by that. So for each server a connection is remembered that was there when it was first written to:
//! as long as that lasts, the server does. Start at [`Written::note`].

use std::rc::{Rc, Weak};

use super::link::Link;
use super::shard::Shard;
use crate::machine::Lost;

/// Where a client has written.
#[derive(Default)]
pub(super) struct Written {
    list: Vec<Place>,
}

struct Place {
    shard: Rc<Shard>,
    witness: Weak<Link>,
}

impl Place {
    fn is_there(&self) -> bool {
        self.witness.upgrade().is_some_and(|link| !link.is_over())
    }
}

impl Written {
    /// Something is written there. `link` finds a connection that is there; what was written over one that is gone stays lost.
    #[inline]
    pub(super) fn note(&mut self, shard: &Rc<Shard>, link: impl FnOnce() -> Option<Rc<Link>>) {
        if !self
            .list
            .iter()
            .any(|known| Rc::ptr_eq(&known.shard, shard))
        {
            let witness = link().as_ref().map(Rc::downgrade).unwrap_or_default();
            let shard = Rc::clone(shard);
            self.list.push(Place { shard, witness });
        }
    }

    /// Takes over what another has noted.
    pub(super) fn append(&mut self, other: &mut Self) {
        for place in other.list.drain(..) {
            let is_known = |known: &Place| Rc::ptr_eq(&known.shard, &place.shard);
            if !place.is_there() || !self.list.iter().any(is_known) {
                self.list.push(place);
            }
        }
    }

    /// The servers. Once one is lost, all is forgotten.
    ///
    /// # Errors
    /// One of them may not have what it took.
    pub(super) fn shards(&mut self) -> Result<impl Iterator<Item = &Rc<Shard>>, Lost> {
        if !self.list.iter().all(Place::is_there) {
            self.list.clear();
            return Err(Lost::Closed);
        }
        Ok(self.list.iter().map(|place| &place.shard))
    }
}
