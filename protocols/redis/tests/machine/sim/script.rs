//! What a client says: mostly sense.
//!
//! Keys are a client's own, and every value carries its number, so that a stray one shows whose it is. Start at
//! [`Script::command`].

use super::gateway::WHOLE;
use super::model::Words;
use super::twin::Twin;
use portcullis_testkit::Choices;

/// Shards by the first letter of a key.
const LETTERS: [char; 3] = ['a', 'b', 'c'];

/// What one client says.
#[derive(Debug)]
pub struct Script {
    id: usize,
    nonce: u32,
    serial: usize,
    /// Where a transaction is, which must be one place.
    home: char,
    /// Whether its keys can be tracked: not where they have other names upstream.
    pub can_track: bool,
    /// Whether nothing is said that has to fail because of where keys are.
    is_exact: bool,
}

impl Script {
    pub const fn new(id: usize, nonce: u32, is_exact: bool) -> Self {
        Self {
            id,
            nonce,
            serial: 0,
            home: 'a',
            can_track: true,
            is_exact,
        }
    }

    /// What is in each of its values, and in nobody else's.
    pub fn mark(id: usize, nonce: u32) -> String {
        format!("c{id}-{nonce:x}-")
    }

    fn value(&mut self) -> String {
        self.serial += 1;
        format!("{}{}", Self::mark(self.id, self.nonce), self.serial)
    }

    /// The text of a message: who sent it and when.
    fn message(&mut self) -> String {
        self.serial += 1;
        format!("m{}-{:x}-{}", self.id, self.nonce, self.serial)
    }

    fn key(&self, kind: char, letter: char, choices: &mut Choices<'_>) -> String {
        let number = choices.below(2);
        format!("{letter}{kind}{number}{}", Self::mark(self.id, self.nonce))
    }

    /// The next commands.
    pub fn commands(&mut self, twin: &Twin, choices: &mut Choices<'_>) -> Vec<Words> {
        let is_bound = twin.is_in_transaction();
        if is_bound && choices.once_in(4) {
            return vec![words(choices.of(&["EXEC", "EXEC", "EXEC", "DISCARD"]))];
        }
        if self.id % 2 == 1 && !is_bound && choices.once_in(4) && self.may_track(twin) {
            return vec![words("HELLO 3"), words("CLIENT TRACKING ON")];
        }
        if choices.once_in(7) {
            let text = self.value();
            return vec![words(&format!("ECHO {text}"))];
        }
        let texts = match choices.below(16) {
            0..9 => vec![self.data(is_bound, choices)],
            9..12 => self.transaction(twin, choices),
            // How many hear it, a twin does not know.
            12..14 if !(is_bound && self.is_exact) => vec![self.channels(choices)],
            _ => vec![self.itself(twin, choices)],
        };
        texts.iter().map(|text| words(text)).collect()
    }

    /// Every second client mostly has its keys tracked, if it is known whether it can.
    fn may_track(&self, twin: &Twin) -> bool {
        let is_known = self.is_exact || !twin.is_watching();
        self.can_track && !twin.is_tracking && !twin.is_subscribed() && is_known
    }

    fn data(&mut self, is_bound: bool, choices: &mut Choices<'_>) -> String {
        let is_home = is_bound && (self.is_exact || !choices.once_in(8));
        let mut letter = choices.of(&LETTERS);
        if is_home {
            letter = self.home;
        }
        let mut second = choices.of(&LETTERS);
        if is_home {
            second = self.home;
        }
        let key = self.key('k', letter, choices);
        let other = self.key('k', second, choices);
        match choices.below(14) {
            0..3 => format!("GET {key}"),
            3..5 => format!("SET {key} {}", self.value()),
            5 => format!("SET {key} {}{}", self.value(), "x".repeat(2 * WHOLE)),
            6 => format!("INCR {}", self.key('n', letter, choices)),
            7..9 => format!("MGET {key} {other}"),
            9 => format!("MSET {key} {} {other} {}", self.value(), self.value()),
            10 => format!("DEL {key} {other}"),
            11 => format!("RPUSH {} {}", self.key('l', letter, choices), self.value()),
            12 => {
                let time = choices.of(&["0", "1", "0x1", "-0.0001"]);
                format!("BLPOP {} {time}", self.key('l', letter, choices))
            }
            _ => "PING".into(),
        }
    }

    fn transaction(&mut self, twin: &Twin, choices: &mut Choices<'_>) -> Vec<String> {
        if !twin.is_in_transaction() && !twin.is_watching() {
            self.home = choices.of(&LETTERS);
        }
        let key = self.key('k', self.home, choices);
        match choices.below(7) {
            0..2 => vec!["MULTI".into(), format!("SET {key} {}", self.value())],
            // What has no key waits for one.
            2 => vec![
                "MULTI".into(),
                "PING".into(),
                format!("SET {key} {}", self.value()),
            ],
            3..5 => vec![format!("WATCH {key}")],
            5 => vec!["UNWATCH".into()],
            // What has no key decides where a transaction is, if it is the first.
            _ if self.is_exact && !twin.is_in_transaction() => vec!["EXEC".into()],
            _ => vec![choices.of(&["EXEC", "DISCARD", "MULTI"]).into()],
        }
    }

    fn channels(&mut self, choices: &mut Choices<'_>) -> String {
        let (one, other) = (choices.of(&LETTERS), choices.of(&LETTERS));
        match choices.below(12) {
            0..4 => format!("PUBLISH {one}-news {}", self.message()),
            4..6 => format!("SUBSCRIBE {one}-news {other}-news"),
            6 => "PSUBSCRIBE *".into(),
            7 => format!("SSUBSCRIBE {one}-sharded"),
            8 => "UNSUBSCRIBE".into(),
            9 => "PUNSUBSCRIBE".into(),
            10 => "SUNSUBSCRIBE".into(),
            _ => format!("UNSUBSCRIBE {one}-news"),
        }
    }

    fn itself(&mut self, twin: &Twin, choices: &mut Choices<'_>) -> String {
        // Where WATCH may have failed, nobody knows whether these will.
        let is_known = self.is_exact || !(twin.is_watching() || twin.is_tracking);
        match choices.below(12) {
            0 if is_known => format!("SELECT {}", choices.below(2)),
            1..3 if is_known => format!("HELLO {}", choices.of(&["2", "3", "3"])),
            3 => "RESET".into(),
            4 => format!("CLIENT REPLY {}", choices.of(&["OFF", "SKIP"])),
            5 => "CLIENT REPLY ON".into(),
            6 => "DBSIZE".into(),
            7 => "NOSUCH".into(),
            8..10 if self.can_track => "CLIENT TRACKING ON".into(),
            10 => "CLIENT TRACKING OFF".into(),
            _ => "PING".into(),
        }
    }

    /// What ends whatever may be open, and shows that nothing is missing.
    pub fn ending(&mut self) -> Vec<Words> {
        let text = self.value();
        ["RESET".into(), format!("ECHO {text}")]
            .iter()
            .map(|text| words(text))
            .collect()
    }
}

fn words(text: &str) -> Words {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}
