//! Tokens that clients have shown already: each proves an address once (RFC 9000 section 8.1.4).
//!
//! Bounded: when there is no room to remember a token it is not believed, which costs its client a round trip at most. Start at
//! [`SpentTokens`].

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quinn::{TokenLog, TokenReuseError};

/// How long a token is good: for a client that comes back on the same day's work, and little enough to remember.
pub(super) const LIFETIME: Duration = Duration::from_hours(1);

/// Tokens of one generation that are remembered. 16 bytes each, and two generations: 4 MB at most.
const MOST: usize = 64 * 1024;

/// What was shown, common to all workers.
#[derive(Debug, Default)]
pub(super) struct SpentTokens(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    /// When the younger one's time is over.
    until: Option<SystemTime>,
    young: HashSet<u128>,
    old: HashSet<u128>,
}

impl TokenLog for SpentTokens {
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.spend(nonce, issued, lifetime) {
            Ok(())
        } else {
            Err(TokenReuseError)
        }
    }
}

impl Generations {
    /// Whether the token is new, and remembered now. A generation takes tokens that were issued within a lifetime of its first:
    /// when one comes that is younger, all of the generation before are past their time.
    fn spend(&mut self, nonce: u128, issued: SystemTime, lifetime: Duration) -> bool {
        let is_over = self.until.is_none_or(|until| issued > until);
        if is_over {
            self.old = std::mem::take(&mut self.young);
            self.until = issued.checked_add(lifetime);
        }
        !self.old.contains(&nonce) && self.young.len() < MOST && self.young.insert(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_counts_once() {
        let mut generations = Generations::default();
        let at = |minutes: u64| SystemTime::UNIX_EPOCH + Duration::from_mins(minutes);
        let rows = [
            ("first", 1, 0, true),
            ("again", 1, 0, false),
            ("another", 2, 59, true),
            ("of the next generation", 3, 61, true),
            ("of the one before", 2, 59, false),
            ("of the one before, unseen", 4, 59, true),
            ("once more", 4, 59, false),
        ];
        for (name, nonce, minutes, expected) in rows {
            let spent = generations.spend(nonce, at(minutes), LIFETIME);
            assert_eq!(spent, expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_remembered_is_not_believed() {
        let mut generations = Generations::default();
        for nonce in 0..MOST as u128 {
            assert!(generations.spend(nonce, SystemTime::UNIX_EPOCH, LIFETIME));
        }
        assert!(!generations.spend(u128::MAX, SystemTime::UNIX_EPOCH, LIFETIME));
    }
}
