//! Whether something that waits to be read is read fast enough.
//!
//! Pure: time and progress come in. A dribble does not count as progress until enough of it has come together, so a peer
//! cannot hold memory by opening its window a byte at a time. Start at [`Pace::deadline`].

use std::time::{Duration, Instant};

use portcullis_config::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How slowly a client may read what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StallConfig {
    /// Bytes of responses that must get through in each `window` while more of them wait. Default 1KiB: the slowest real
    /// link carries more, and a client that opens its window by single bytes does not.
    pub bytes: ByteSize,
    /// Over how long that is measured. Default 30s, which outlasts any retransmission that still succeeds. A connection that is
    /// slower as a whole is ended; one stream that is slower for twice as long, while others go on, is reset.
    pub window: portcullis_config::Duration,
}

impl Default for StallConfig {
    fn default() -> Self {
        Self {
            bytes: ByteSize::kib(1),
            window: portcullis_config::Duration::from_secs(30),
        }
    }
}

/// The least that must get through, and in what time.
#[derive(Debug, Clone, Copy)]
pub struct PaceRule {
    bytes: u64,
    window: Duration,
}

impl PaceRule {
    /// For everything that a connection sends together.
    #[must_use]
    pub fn of_connection(config: StallConfig) -> Self {
        Self {
            bytes: config.bytes.get().max(1),
            window: config.window.get(),
        }
    }

    /// For this time instead.
    #[must_use]
    pub const fn within(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// For one stream: twice the time, so that a peer that reads nothing at all loses its connection, and only one that
    /// reads other streams keeps it.
    #[must_use]
    pub fn of_stream(config: StallConfig) -> Self {
        let whole = Self::of_connection(config);
        Self {
            window: whole.window.saturating_mul(2),
            ..whole
        }
    }
}

/// Where the current window began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace(Option<Mark>);

#[derive(Debug, Clone, Copy)]
struct Mark {
    since: Instant,
    sent: u64,
}

impl Pace {
    /// By when more must have got through; `None` while nothing waits. `sent` is what has got through so far. A deadline that
    /// has passed means a stall.
    pub fn deadline(
        &mut self,
        now: Instant,
        sent: u64,
        waits: bool,
        rule: PaceRule,
    ) -> Option<Instant> {
        if !waits {
            self.0 = None;
            return None;
        }
        let fresh = Mark { since: now, sent };
        let mark = self.0.get_or_insert(fresh);
        if sent.saturating_sub(mark.sent) >= rule.bytes {
            *mark = fresh;
        }
        mark.since.checked_add(rule.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PaceRule = PaceRule {
        bytes: 100,
        window: Duration::from_secs(10),
    };

    #[test]
    fn only_enough_progress_moves_the_deadline() {
        #[allow(clippy::disallowed_methods)] // any instant will do
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rows = [
            ("nothing waits", 0, 0, false, None),
            ("begins to wait", 1, 50, true, Some(11)),
            ("dribble", 5, 149, true, Some(11)),
            ("enough", 6, 150, true, Some(16)),
            ("dribble again", 15, 249, true, Some(16)),
            ("late", 17, 249, true, Some(16)),
            ("all of it gone", 18, 249, false, None),
            ("waits anew", 20, 249, true, Some(30)),
        ];
        let mut pace = Pace::default();
        for (name, seconds, sent, waits, expected) in rows {
            let found = pace.deadline(at(seconds), sent, waits, RULE);
            assert_eq!(found, expected.map(at), "{name}");
        }
    }
}
