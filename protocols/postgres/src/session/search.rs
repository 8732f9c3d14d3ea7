//! Which endpoint a client asks next, when one of those that would do is away.
//!
//! Not who would do: that is `route`'s and the balancer's. Start at [`Search`].

use std::cell::Cell;
use std::rc::Rc;

use portcullis_cluster::{EndpointId, Picked};
use smallvec::SmallVec;

use super::attach::NotAttached;
use super::pools::PoolHandle;
use crate::pool::Patience;

/// The label of a pick that finds nobody with the role that is asked for, and how often that is waited for.
const NONE_ACCEPTED: &str = "none_accepted";
pub(super) const ROLE_WAITS: usize = 30;

/// An endpoint that will do.
pub(super) struct Found {
    pub(super) picked: Picked,
    pub(super) pool: Rc<PoolHandle>,
    /// Others would do as well.
    pub(super) has_others: bool,
}

/// The way through the endpoints of a role, each of which may be away: every one is asked once, and after that one is waited
/// for.
#[derive(Default)]
pub(super) struct Search {
    pub(super) tried: SmallVec<[EndpointId; 4]>,
    /// What was wrong with the last of them.
    failed: Option<NotAttached>,
    stays: bool,
    waits: usize,
    /// Whether the attempt has failed that was made in this client's name.
    pub(super) attempt: Option<Rc<Cell<bool>>>,
}

impl Search {
    /// There is nobody to ask: an error if that is the end, else whether there is something to wait for.
    pub(super) fn on_none(&mut self, error: NotAttached) -> Result<bool, NotAttached> {
        match self.failed.take() {
            Some(_) if !self.stays => {
                self.stays = true;
                self.tried.clear();
                Ok(false)
            }
            // What was tried says more than that all were.
            Some(failed) => Err(failed),
            // In the middle of a failover nobody is the primary, for a while.
            None if matches!(error, NotAttached::Error(_, NONE_ACCEPTED))
                && self.waits < ROLE_WAITS =>
            {
                self.waits += 1;
                Ok(true)
            }
            None => Err(error),
        }
    }

    /// How long to wait for a server that is away.
    pub(super) fn patience(&mut self, found: &Found) -> Patience {
        self.attempt = None;
        // Who is the only one is waited for at once.
        self.stays |= !found.has_others;
        if self.stays {
            Patience::Stays
        } else {
            Patience::Leaves
        }
    }

    /// Whether the endpoint's failure was seen here, and not by another client, and there are others to go to: an endpoint that
    /// is alone in its role is never left out.
    pub(super) fn takes_the_blame(&self) -> bool {
        !self.stays && self.attempt.as_ref().is_some_and(|failed| failed.get())
    }

    /// No connection to this one can be opened.
    pub(super) fn on_unreachable(
        &mut self,
        id: EndpointId,
        error: NotAttached,
    ) -> Result<(), NotAttached> {
        if self.stays {
            return Err(error);
        }
        self.tried.push(id);
        self.failed = Some(error);
        Ok(())
    }
}
