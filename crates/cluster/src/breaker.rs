//! Circuit breakers: how many connections, waiting requests and requests a cluster takes at once.
//!
//! They refuse at once and never queue. They count for the whole process, over all workers and
//! endpoints. Start at [`Breaker`]; sessions meet it through [`crate::Cluster::try_request`] and its
//! siblings.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerKind {
    /// Open upstream connections, idle ones included.
    Connections,
    /// Requests that wait for an upstream connection.
    Pending,
    /// Requests from the choice of an endpoint to the end of the response.
    Requests,
}

impl BreakerKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Connections, Self::Pending, Self::Requests];

    /// The value of the `limit` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
        }
    }
}

/// A breaker refused: the cluster already has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// Which limit it was.
    pub limit: BreakerKind,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the cluster's limit on {} is reached",
            self.limit.label()
        )
    }
}

impl std::error::Error for Overflow {}

/// A counter with a ceiling. Alone on its cache lines, since all workers write it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Breaker {
    active: AtomicU64,
    /// `u64::MAX` is "unlimited".
    limit: AtomicU64,
}

/// What an admission has to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Counted: [`Breaker::release`] it.
    Counted,
    /// There was no limit to count against.
    Free,
}

impl Breaker {
    /// A breaker with nothing in it; `None` is unlimited.
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            active: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(UNLIMITED)),
        }
    }

    /// Admits one more, exactly up to the limit over all threads. `None` when it is reached.
    ///
    /// Without a limit nothing is written. What was admitted before a limit was set stays uncounted.
    pub fn admit(&self) -> Option<Admission> {
        self.admit_up_to(|limit| limit)
    }

    /// As [`admit`](Self::admit), for who is to leave one of `share` places to others, rounded up, unless there is only one.
    pub fn admit_leaving(&self, share: NonZeroU64) -> Option<Admission> {
        self.admit_up_to(|limit| (limit - limit.div_ceil(share.get())).max(1))
    }

    /// Admits one more up to what `most` makes of the limit.
    #[inline]
    fn admit_up_to(&self, most: impl FnOnce(u64) -> u64) -> Option<Admission> {
        let limit = self.limit.load(Relaxed);
        if limit == UNLIMITED {
            return Some(Admission::Free);
        }
        // Adding first is one operation where comparing first is two; a refusal takes it back. Two that
        // race for the last place cannot both see a number below the limit.
        if self.active.fetch_add(1, Relaxed) < most(limit) {
            return Some(Admission::Counted);
        }
        self.active.fetch_sub(1, Relaxed);
        None
    }

    /// Admits one more whatever the limit is, for whoever has seen to it that another one leaves.
    pub fn admit_in_place(&self) -> Admission {
        if self.limit.load(Relaxed) == UNLIMITED {
            return Admission::Free;
        }
        self.active.fetch_add(1, Relaxed);
        Admission::Counted
    }

    /// Gives one admission back.
    pub fn release(&self, admission: Admission) {
        if admission == Admission::Counted {
            let before = self.active.fetch_sub(1, Relaxed);
            debug_assert!(before > 0, "released more than admitted");
        }
    }

    /// How many are admitted and counted now.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Changes the limit for admissions from now on; nobody is thrown out.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(UNLIMITED), Relaxed);
    }
}

const UNLIMITED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_to_the_limit_and_no_further() {
        let breaker = Breaker::new(Some(2));
        let first = breaker.admit().unwrap();
        assert!(breaker.admit().is_some());
        assert_eq!(breaker.admit(), None);
        assert_eq!(breaker.active(), 2);
        breaker.release(first);
        assert!(breaker.admit().is_some());
        assert_eq!(breaker.admit(), None);
    }

    #[test]
    fn who_leaves_places_to_others_is_admitted_to_fewer() {
        let quarter = NonZeroU64::new(4).unwrap();
        for (limit, most) in [(1, 1), (2, 1), (3, 2), (4, 3), (1024, 768)] {
            let breaker = Breaker::new(Some(limit));
            let admitted = (0..limit).map_while(|_| breaker.admit_leaving(quarter));
            assert_eq!(admitted.count() as u64, most, "of {limit}");
            let others = (0..limit).map_while(|_| breaker.admit());
            assert_eq!(others.count() as u64, limit - most, "of {limit}");
        }
        let unlimited = Breaker::new(None);
        assert_eq!(unlimited.admit_leaving(quarter), Some(Admission::Free));
    }

    #[test]
    fn unlimited_is_not_counted() {
        let breaker = Breaker::new(None);
        let admission = breaker.admit().unwrap();
        assert_eq!((admission, breaker.active()), (Admission::Free, 0));
        breaker.set_limit(Some(1));
        assert!(breaker.admit().is_some());
        assert_eq!(breaker.admit(), None);
        breaker.release(admission);
        assert_eq!(
            breaker.active(),
            1,
            "what was never counted is not subtracted"
        );
    }

    #[test]
    fn exact_across_threads() {
        let breaker = Breaker::new(Some(100));
        let admitted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| breaker.admit().is_some()).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<usize>()
        });
        // A refusal in flight may refuse one more that would have fitted; never one too many.
        assert_eq!(admitted, 100);
        assert_eq!(breaker.active(), 100);
    }
}
