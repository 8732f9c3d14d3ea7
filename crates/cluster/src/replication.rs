//! What was found out of an endpoint's place among others that hold the same data: its role, and how far it is.
//!
//! Any thread reads it at any time, one writes: the control side, which asks the endpoints. What the numbers count is
//! the protocol's to say. Each is atomic for itself, and no two belong to the same moment, but for what
//! [`Replication::position_since`] promises. Start at [`Replication`].

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::time::Duration;

use crate::{EndpointRole, Nanos};

/// The role and progress of one endpoint. Nothing is known at first.
#[derive(Debug)]
pub struct Replication {
    role: AtomicU8,
    fenced: AtomicBool,
    lag_bytes: AtomicU64,
    lag_millis: AtomicU64,
    timeline: AtomicU64,
    position: AtomicU64,
    /// On the cluster's clock; 0 for never.
    asked: AtomicU64,
}

/// No number of any protocol.
const UNKNOWN: u64 = u64::MAX;

impl Default for Replication {
    fn default() -> Self {
        let unknown = || AtomicU64::new(UNKNOWN);
        Self {
            role: AtomicU8::new(0),
            fenced: AtomicBool::new(false),
            lag_bytes: unknown(),
            lag_millis: unknown(),
            timeline: unknown(),
            position: unknown(),
            asked: AtomicU64::new(0),
        }
    }
}

impl Replication {
    /// What it was found to be. [`Endpoint::role`](crate::Endpoint::role) counts in what the configuration says.
    pub fn role(&self) -> Option<EndpointRole> {
        match self.role.load(Acquire) {
            1 => Some(EndpointRole::Primary),
            2 => Some(EndpointRole::Replica),
            _ => None,
        }
    }

    /// Records what it was found to be. True when that is news. Whoever sees the role sees what was recorded before it,
    /// so the timeline and the position of a new primary come first.
    pub fn set_role(&self, role: Option<EndpointRole>) -> bool {
        let number = match role {
            None => 0,
            Some(EndpointRole::Primary) => 1,
            Some(EndpointRole::Replica) => 2,
        };
        self.role.swap(number, Release) != number
    }

    /// Whether it must not be used, whatever its role: it answers, and has another history than the primary.
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Acquire)
    }

    /// Records whether it must not be used. True when that is news.
    pub fn set_fenced(&self, fenced: bool) -> bool {
        self.fenced.swap(fenced, Release) != fenced
    }

    /// How many bytes of the primary's changes it does not have yet.
    pub fn lag_bytes(&self) -> Option<u64> {
        known(&self.lag_bytes)
    }

    /// Records how many bytes it lacks.
    pub fn set_lag_bytes(&self, bytes: Option<u64>) {
        set(&self.lag_bytes, bytes);
    }

    /// How long ago what it has was true of the primary, in whole milliseconds.
    pub fn lag(&self) -> Option<Duration> {
        known(&self.lag_millis).map(Duration::from_millis)
    }

    /// Records how far behind it is in time.
    pub fn set_lag(&self, lag: Option<Duration>) {
        let millis = lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(UNKNOWN));
        set(&self.lag_millis, millis);
    }

    /// Which history it is in: grows whenever a replica becomes the primary.
    pub fn timeline(&self) -> Option<u64> {
        known(&self.timeline)
    }

    /// Records the history.
    pub fn set_timeline(&self, timeline: Option<u64>) {
        set(&self.timeline, timeline);
    }

    /// How far in its history it is: what a primary has written, and a replica has taken over.
    pub fn position(&self) -> Option<u64> {
        known(&self.position)
    }

    /// Records how far it is, as the answer to a question that was sent at `asked` on the cluster's clock. It may be less
    /// than before, in another history.
    pub fn set_position(&self, position: Option<u64>, asked: Nanos) {
        set(&self.position, position);
        self.asked.store(asked.0, Release);
    }

    /// A position that it had reached after `since`, if it was asked after that: what it had written by then lies before.
    pub fn position_since(&self, since: Nanos) -> Option<u64> {
        // The position that is read now is of that question or of a later one.
        let is_later = self.asked.load(Acquire) > since.0;
        is_later.then(|| self.position()).flatten()
    }
}

fn known(number: &AtomicU64) -> Option<u64> {
    Some(number.load(Relaxed)).filter(|number| *number != UNKNOWN)
}

fn set(number: &AtomicU64, value: Option<u64>) {
    number.store(value.unwrap_or(UNKNOWN), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read() {
        let replication = Replication::default();
        assert_eq!(replication.role(), None);
        assert!(replication.set_role(Some(EndpointRole::Replica)));
        assert!(
            !replication.set_role(Some(EndpointRole::Replica)),
            "no news"
        );
        assert!(replication.set_role(Some(EndpointRole::Primary)));
        assert_eq!(replication.role(), Some(EndpointRole::Primary));
        assert!(replication.set_role(None));
        assert_eq!(replication.role(), None);

        assert_eq!(replication.lag(), None);
        replication.set_lag(Some(Duration::from_micros(1500)));
        assert_eq!(replication.lag(), Some(Duration::from_millis(1)));
        replication.set_lag_bytes(Some(0));
        assert_eq!(replication.lag_bytes(), Some(0));
        replication.set_lag_bytes(None);
        assert_eq!(replication.lag_bytes(), None);
        replication.set_timeline(Some(2));
        assert_eq!(replication.timeline(), Some(2));
    }

    #[test]
    fn a_position_is_known_since_its_question() {
        let at = |seconds| Nanos::default().plus(Duration::from_secs(seconds));
        let replication = Replication::default();
        assert_eq!(replication.position_since(at(0)), None);
        replication.set_position(Some(7), at(5));
        for (name, since, found) in [
            ("before the question", 4, Some(7)),
            ("at the same moment", 5, None),
            ("after it", 6, None),
        ] {
            assert_eq!(replication.position_since(at(since)), found, "{name}");
        }
        replication.set_position(None, at(8));
        assert_eq!(replication.position_since(at(6)), None, "no answer");
    }

    #[test]
    fn fences_are_news_once() {
        let replication = Replication::default();
        assert!(!replication.is_fenced());
        assert!(replication.set_fenced(true));
        assert!(!replication.set_fenced(true));
        assert!(replication.is_fenced());
        assert!(replication.set_fenced(false));
    }
}
