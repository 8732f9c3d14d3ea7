//! Who had a slot before, so that commands which are under way are not overtaken.
//!
//! Those that a client has sent to the old node come back as redirections and go on to the new one, one after the other. What
//! the client says behind them must take the same way, or it would be there first. Start at [`Moves::before`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// How long a move is remembered: who has had something under way for so long without a pause is no more waited for.
const KEPT: Duration = Duration::from_secs(10);

/// Moves of one slot that are remembered.
const MOST_MOVES: usize = 8;

/// Slots that have moved of late. `N` is a node.
#[derive(Debug)]
pub struct Moves<N> {
    /// By slot, the oldest first.
    slots: HashMap<u16, Vec<(N, Instant)>, RandomState>,
}

impl<N> Default for Moves<N> {
    fn default() -> Self {
        Self {
            slots: HashMap::default(),
        }
    }
}

impl<N> Moves<N> {
    /// A slot has left this node.
    pub fn record(&mut self, slot: u16, old: N, now: Instant) {
        let moves = self.slots.entry(slot).or_default();
        if moves.len() >= MOST_MOVES {
            moves.remove(0);
        }
        moves.push((old, now));
    }

    /// The node that had the slot at `since`, if another has it now: there the commands of a client went that has had
    /// something under way since then.
    #[must_use]
    #[inline]
    pub fn before(&self, slot: u16, since: Instant) -> Option<&N> {
        if self.slots.is_empty() {
            return None;
        }
        let mut moves = self.slots.get(&slot)?.iter();
        moves.find(|(_, at)| since <= *at).map(|(node, _)| node)
    }

    /// Forgets what is long ago, and what is not kept.
    pub fn expire(&mut self, now: Instant, keep: impl Fn(&N) -> bool) {
        self.slots.retain(|_, moves| {
            moves.retain(|(node, at)| now.saturating_duration_since(*at) < KEPT && keep(node));
            !moves.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn who_was_under_way_before_a_move_goes_where_he_went() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut moves = Moves::default();
        assert_eq!(moves.before(7, at(0)), None);
        moves.record(7, 'a', at(2));
        moves.record(7, 'b', at(4));
        let cases = [
            (1, Some(&'a')),
            (2, Some(&'a')),
            (3, Some(&'b')),
            (4, Some(&'b')),
            (5, None),
        ];
        for (since, expected) in cases {
            assert_eq!(moves.before(7, at(since)), expected, "{since}");
        }
        assert_eq!(moves.before(8, at(1)), None);
        moves.expire(at(12), |_| true);
        assert_eq!(moves.before(7, at(1)), Some(&'b'));
        moves.expire(at(12), |node| *node != 'b');
        assert_eq!(moves.before(7, at(1)), None);
        for number in 0..100 {
            moves.record(1, 'c', at(number));
        }
        assert_eq!(moves.before(1, at(99)), Some(&'c'));
        moves.expire(at(200), |_| true);
        assert!(moves.slots.is_empty());
    }
}
