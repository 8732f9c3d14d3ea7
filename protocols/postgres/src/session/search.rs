//! Which endpoint a client asks next, when one of those that would do is away.
//!
//! Not who would do: that is `route`'s and the balancer's. Start at [`Search`].

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

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
pub(super) struct Search {
    pub(super) started: Instant,
    pub(super) tried: SmallVec<[EndpointId; 4]>,
    /// What was wrong with the last of them.
    failed: Option<NotAttached>,
    stays: bool,
    waits: usize,
    /// Whether the attempt has failed that was made in this client's name.
    pub(super) attempt: Option<Rc<Cell<bool>>>,
}

impl Search {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            tried: SmallVec::new(),
            failed: None,
            stays: false,
            waits: 0,
            attempt: None,
        }
    }

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
    pub(super) fn patience(&mut self, has_others: bool) -> Patience {
        self.attempt = None;
        // Who is the only one is waited for at once.
        self.stays |= !has_others;
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn error(reason: &'static str) -> NotAttached {
        NotAttached::Error(Bytes::new(), reason)
    }

    #[allow(clippy::needless_pass_by_value)] // for `map_err`
    fn reason(error: NotAttached) -> &'static str {
        match error {
            NotAttached::Error(_, reason) => reason,
            NotAttached::ClientGone => "gone",
        }
    }

    #[test]
    fn each_is_asked_once_and_then_one_is_waited_for() {
        let mut search = Search::new(portcullis_net::clock::now());
        for id in [1, 2] {
            assert_eq!(search.patience(true), Patience::Leaves);
            let went_on = search.on_unreachable(EndpointId(id), error("unreachable"));
            assert!(went_on.is_ok());
        }
        assert_eq!(search.tried.len(), 2);
        assert_eq!(
            search.on_none(error("all_tried")).map_err(reason),
            Ok(false)
        );
        assert!(search.tried.is_empty(), "from the beginning");
        assert_eq!(search.patience(true), Patience::Stays);
        let last = search.on_unreachable(EndpointId(1), error("unreachable"));
        assert_eq!(last.map_err(reason), Err("unreachable"));
    }

    #[test]
    fn who_is_alone_is_waited_for_and_never_blamed() {
        let mut search = Search::new(portcullis_net::clock::now());
        assert_eq!(search.patience(false), Patience::Stays);
        search.attempt = Some(Rc::new(Cell::new(true)));
        assert!(!search.takes_the_blame());
        let end = search.on_unreachable(EndpointId(1), error("unreachable"));
        assert!(end.is_err());
    }

    #[test]
    fn only_an_attempt_of_its_own_is_blamed_on_an_endpoint() {
        let mut search = Search::new(portcullis_net::clock::now());
        search.patience(true);
        assert!(!search.takes_the_blame(), "no attempt");
        search.attempt = Some(Rc::new(Cell::new(false)));
        assert!(!search.takes_the_blame(), "it worked, or is under way");
        search.attempt = Some(Rc::new(Cell::new(true)));
        assert!(search.takes_the_blame());
        search.patience(true);
        assert!(!search.takes_the_blame(), "another endpoint");
    }

    #[test]
    fn a_role_that_nobody_has_is_waited_for_a_while() {
        let mut search = Search::new(portcullis_net::clock::now());
        for _ in 0..ROLE_WAITS {
            assert_eq!(
                search.on_none(error("none_accepted")).map_err(reason),
                Ok(true)
            );
        }
        let end = search.on_none(error("none_accepted"));
        assert_eq!(end.map_err(reason), Err("none_accepted"));
        let end = Search::new(portcullis_net::clock::now()).on_none(error("none_available"));
        assert_eq!(end.map_err(reason), Err("none_available"));
    }
}
