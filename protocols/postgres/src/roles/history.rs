//! When a primary had come how far, to tell how old is what a replica has.
//!
//! By the gateway's own clock, so that neither differing clocks nor a replica that has lost its connection hides anything.
//! Start at [`History::lag`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many moments are kept. When there are more, the one is dropped that is missed least: the longer ago, the coarser.
const KEPT: usize = 128;

/// Moments at which the primary was seen to have moved on.
#[derive(Debug)]
pub(super) struct History<K> {
    of: Option<K>,
    /// Positions grow.
    moments: VecDeque<(Instant, u64)>,
}

impl<K> Default for History<K> {
    fn default() -> Self {
        Self {
            of: None,
            moments: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq> History<K> {
    /// The primary was there when it was asked then. Another primary, or one that has gone back, has another history.
    pub(super) fn push(&mut self, key: K, at: Instant, position: u64) {
        let last = self.moments.back().map_or(0, |(_, last)| *last);
        if self.of != Some(key) || position < last {
            self.of = Some(key);
            self.moments.clear();
        } else if position == last {
            return;
        }
        self.moments.push_back((at, position));
        if self.moments.len() > KEPT {
            self.thin(at);
        }
    }

    /// Drops the moment whose neighbours are nearest to each other, beside how long ago it was.
    fn thin(&mut self, now: Instant) {
        let times = self.moments.iter().map(|(at, _)| *at);
        let between = times.clone().skip(1).zip(times.clone().skip(2));
        let costs = times.zip(between).map(|(before, (at, after))| {
            let gap = after.saturating_duration_since(before);
            let age = now.saturating_duration_since(at);
            gap.as_secs_f64() / age.as_secs_f64().max(f64::MIN_POSITIVE)
        });
        let least = costs
            .enumerate()
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        if let Some((place, _)) = least {
            self.moments.remove(place + 1);
        }
    }

    /// How long ago `replayed` was all that there was, as of `now`. `age` is what the replica says itself; it counts where
    /// the primary was not watched yet.
    pub(super) fn lag(&self, replayed: u64, now: Instant, age: Option<Duration>) -> Duration {
        let later = self
            .moments
            .iter()
            .position(|(_, position)| *position > replayed);
        let Some(place) = later else {
            return Duration::ZERO;
        };
        let since = self.moments.get(place).map_or(now, |(at, _)| *at);
        let seen = now.saturating_duration_since(since);
        if place == 0 {
            seen.max(age.unwrap_or_default())
        } else {
            seen
        }
    }
}
