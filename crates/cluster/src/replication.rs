//! What was found out of an endpoint's place among others that hold the same data: its role, and how far it is.
//!
//! Any thread reads it at any time, one writes: the control side, which asks the endpoints. What the numbers count is
//! the protocol's to say. Each is atomic for itself, and no two belong to the same moment. Start at [`Replication`].

use std::sync::atomic::{
    AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::time::Duration;

use crate::EndpointRole;

/// The role and progress of one endpoint. Nothing is known at first.
#[derive(Debug)]
pub struct Replication {
    role: AtomicU8,
    lag_bytes: AtomicU64,
    lag_millis: AtomicU64,
    timeline: AtomicU64,
    position: AtomicU64,
}

/// No number of any protocol.
const UNKNOWN: u64 = u64::MAX;

impl Default for Replication {
    fn default() -> Self {
        let unknown = || AtomicU64::new(UNKNOWN);
        Self {
            role: AtomicU8::new(0),
            lag_bytes: unknown(),
            lag_millis: unknown(),
            timeline: unknown(),
            position: unknown(),
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

    /// Records how far it is. It may be less than before, in another history.
    pub fn set_position(&self, position: Option<u64>) {
        set(&self.position, position);
    }

    /// Records that it is at least so far, as whoever has just written knows before anybody asks.
    pub fn raise_position(&self, position: u64) {
        let raised = |known| (known == UNKNOWN || known < position).then_some(position);
        // Fails only where nothing is to be raised.
        let _ = self.position.fetch_update(Relaxed, Relaxed, raised);
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
    fn positions_rise_and_are_set_back() {
        let replication = Replication::default();
        replication.raise_position(5);
        replication.raise_position(3);
        assert_eq!(replication.position(), Some(5));
        replication.set_position(Some(4));
        replication.raise_position(4);
        assert_eq!(replication.position(), Some(4));
    }
}
