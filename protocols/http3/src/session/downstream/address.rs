//! Which address a client is taken to have, while it may change it.
//!
//! quinn follows a client to a new address at once and asks it to show that it receives there; if it does not, the connection goes
//! back to the old address some time later. Until then the new one is only what the client says: rules and limits go on with
//! the last one that was shown. quinn does not tell when that is over, but an address that has stood for longer than the search
//! may take, without another search having begun, was shown. Pure. Start at [`ClientAddress::settle`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Longer than quinn waits for the proof of an address: three times the time after which it sends again, which a client can
/// stretch by at most its 16 seconds for acknowledgements (RFC 9000 section 18.2).
const PROOF: Duration = Duration::from_mins(2);

/// What is known of a client's address.
#[derive(Debug)]
pub(super) struct ClientAddress {
    shown: SocketAddr,
    claimed: Option<Claim>,
}

#[derive(Debug)]
struct Claim {
    address: SocketAddr,
    since: Instant,
    /// Searches that had begun by then.
    searches: u64,
}

impl ClientAddress {
    /// The handshake has shown this one.
    pub(super) const fn new(shown: SocketAddr) -> Self {
        Self {
            shown,
            claimed: None,
        }
    }

    /// Whether that is the address that was shown last, and no other is claimed.
    pub(super) fn is_shown(&self, current: SocketAddr) -> bool {
        current == self.shown && self.claimed.is_none()
    }

    /// The address to go by. `current` is where quinn sends now, `searches` how many questions for a proof it has sent.
    pub(super) fn settle(
        &mut self,
        current: SocketAddr,
        searches: u64,
        now: Instant,
    ) -> SocketAddr {
        if current == self.shown {
            self.claimed = None;
            return self.shown;
        }
        match &self.claimed {
            Some(claim) if claim.address == current && claim.searches == searches => {
                if now.saturating_duration_since(claim.since) >= PROOF {
                    self.shown = current;
                    self.claimed = None;
                }
            }
            _ => {
                self.claimed = Some(Claim {
                    address: current,
                    since: now,
                    searches,
                });
            }
        }
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Q4: rules about addresses see those that were shown.
    #[test]
    fn quic_address_is_the_one_that_was_shown() {
        let [home, train, victim] =
            [1, 2, 3].map(|host| SocketAddr::from(([192, 0, 2, host], 4433)));
        #[allow(clippy::disallowed_methods)] // any instant will do
        let start = Instant::now();
        let rows = [
            ("at home", home, 0, 0, home),
            ("claims another", train, 2, 10, home),
            ("not yet long enough", train, 2, 100, home),
            ("long enough", train, 2, 130, train),
            ("claims a victim's", victim, 4, 200, train),
            (
                "went back in between, and claims it again",
                victim,
                6,
                319,
                train,
            ),
            ("not yet long enough again", victim, 6, 330, train),
            ("gives up", train, 7, 340, train),
            ("and tries once more", victim, 9, 600, train),
            ("which begins anew", victim, 9, 700, train),
        ];
        let mut address = ClientAddress::new(home);
        for (name, current, searches, seconds, expected) in rows {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(address.settle(current, searches, now), expected, "{name}");
        }
    }
}
