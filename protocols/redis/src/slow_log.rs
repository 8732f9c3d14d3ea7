//! The commands that took longest to be answered, lately.
//!
//! A ring of the last that passed a threshold: no values, and keys only as the operator wants them shown. When a command
//! was slow, and where its time is taken, is the session's to know. Start at [`SlowLog`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a key that are kept.
const LONGEST_KEY: usize = 128;

/// Commands that are noted when they were slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowLogConfig {
    /// From the command to its reply, as its client sees it, in the queue of the gateway and of the server too. What takes
    /// at least so long is noted.
    pub threshold: portcullis_config::Duration,
    /// How many are kept, for all clients of the listener; the oldest are forgotten. Default 128, as a server's.
    #[serde(default = "default_entries")]
    pub entries: NonZeroU32,
    /// How the first key is shown. Default `show`.
    #[serde(default)]
    pub keys: KeysShown,
}

const fn default_entries() -> NonZeroU32 {
    const { NonZeroU32::new(128).unwrap() }
}

/// How keys are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeysShown {
    /// As they are, up to 128 bytes.
    #[default]
    Show,
    /// By a hash, the same for the same key: who can guess a key can tell that it is this one.
    Hash,
    /// Not at all.
    Hide,
}

impl KeysShown {
    /// A key as it is shown.
    #[must_use]
    pub fn text(self, key: &[u8]) -> Option<Box<str>> {
        match self {
            Self::Show => {
                let shown = key.get(..LONGEST_KEY).unwrap_or(key);
                let mut text = shown.escape_ascii().to_string();
                if shown.len() < key.len() {
                    text.push_str("...");
                }
                Some(text.into())
            }
            Self::Hash => Some(format!("{:016x}", xxh3_64(key)).into()),
            Self::Hide => None,
        }
    }
}

/// What is noted of a command while it is under way, in case that it is slow.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Its name.
    pub command: Box<str>,
    /// Its first key, as it is shown.
    pub key: Option<Box<str>>,
    /// The number of the client's connection.
    pub client: u64,
    /// Where the client is.
    pub address: IpAddr,
    /// Its user.
    pub user: Arc<[u8]>,
    /// The database that it had selected.
    pub database: u32,
}

/// A command that was slow.
#[derive(Debug, Clone)]
pub struct SlowCommand {
    /// A number that is one more than that of the one before.
    pub id: u64,
    /// When its reply was whole.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What was noted when it came.
    pub noted: Noted,
    /// The first word of an error reply.
    pub error: Option<&'static str>,
}

/// The last commands that were slow.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowCommand>,
    next: u64,
}

impl SlowLog {
    /// Notes a command; its number is given here. `most` are kept.
    pub fn record(&mut self, command: SlowCommand, most: NonZeroU32) {
        while self.entries.len() >= most.get() as usize {
            self.entries.pop_front();
        }
        self.entries.push_back(SlowCommand {
            id: self.next,
            ..command
        });
        self.next += 1;
    }

    /// How many there were since the start, forgotten ones too.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.next
    }

    /// Those that are kept, the latest first.
    pub fn entries(&self) -> impl Iterator<Item = &SlowCommand> {
        self.entries.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn keys_are_shown_as_the_operator_wants() {
        let long = [b'x'; 200];
        let cut = format!("{}...", "x".repeat(128));
        let rows: [(KeysShown, &[u8], Option<&str>); 5] = [
            (KeysShown::Show, b"a:1", Some("a:1")),
            (KeysShown::Show, b"\r\n\xff", Some("\\r\\n\\xff")),
            (KeysShown::Show, &long, Some(&cut)),
            (KeysShown::Hash, b"", Some("2d06800538d394c2")),
            (KeysShown::Hide, b"a:1", None),
        ];
        for (shown, key, expected) in rows {
            assert_eq!(shown.text(key).as_deref(), expected, "{shown:?}");
        }
    }

    #[test]
    fn the_latest_are_kept() {
        let mut log = SlowLog::default();
        let most = NonZeroU32::new(3).unwrap();
        for number in 0..5 {
            let command = SlowCommand {
                id: 0,
                at: SystemTime::UNIX_EPOCH,
                took: Duration::from_millis(number),
                noted: Noted {
                    command: "get".into(),
                    key: None,
                    client: number,
                    address: Ipv4Addr::LOCALHOST.into(),
                    user: b"default"[..].into(),
                    database: 0,
                },
                error: None,
            };
            log.record(command, most);
        }
        let ids: Vec<(u64, u64)> = log.entries().map(|it| (it.id, it.noted.client)).collect();
        assert_eq!(ids, [(4, 4), (3, 3), (2, 2)]);
        assert_eq!(log.total(), 5);
    }
}
