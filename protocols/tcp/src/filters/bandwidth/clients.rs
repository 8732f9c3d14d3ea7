//! The buckets of clients, found by address.
//!
//! A client's buckets outlive its connections until they are full again: coming back earns no second burst. So the
//! number of clients remembered is bounded by those that come within the time in which a burst fills up. Start at
//! [`Clients::of`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Buckets, Limit};

/// Looked through only when it has doubled, so that forgetting costs little for each client.
const FIRST_SWEEP: usize = 64;

/// The buckets of all clients of a filter, for all workers.
pub(super) struct Clients {
    limit: Limit,
    known: Mutex<Known>,
}

struct Known {
    buckets: HashMap<IpAddr, Arc<Buckets>>,
    sweep_at: usize,
}

impl Clients {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            known: Mutex::new(Known {
                buckets: HashMap::new(),
                sweep_at: FIRST_SWEEP,
            }),
        }
    }

    /// The buckets of one client. Once per connection, so a lock will do.
    pub(super) fn of(&self, client: IpAddr, now: Instant) -> Arc<Buckets> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = known.buckets.get(&client) {
            return Arc::clone(buckets);
        }
        if known.buckets.len() >= known.sweep_at {
            known
                .buckets
                .retain(|_, buckets| self.is_needed(buckets, now));
            known.sweep_at = (known.buckets.len() * 2).max(FIRST_SWEEP);
        }
        let buckets = Arc::new(self.limit.buckets(now));
        known.buckets.insert(client, Arc::clone(&buckets));
        buckets
    }

    /// Whether a connection uses the buckets, or they are not full: new ones would say something else.
    fn is_needed(&self, buckets: &Arc<Buckets>, now: Instant) -> bool {
        let is_full = |bucket: &portcullis_limit::SharedBandwidth| {
            let taken = bucket.take(self.limit.burst, now).bytes;
            bucket.give_back(taken);
            taken == self.limit.burst
        };
        Arc::strong_count(buckets) > 1 || !is_full(&buckets.up) || !is_full(&buckets.down)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.buckets.len()
    }
}
