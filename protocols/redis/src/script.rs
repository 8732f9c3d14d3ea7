//! Scripts that clients have shown, so that one that is called by its hash can be given to a server that lacks it.
//!
//! Nothing is run and nothing is sent here, and functions (`FCALL`) are not scripts: servers keep those as data. Start at
//! [`ScriptUse::of`], then [`ScriptTable`].

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::BytesMut;
use foldhash::fast::RandomState;

use crate::command::CommandId;
use crate::encoder;
use crate::request::CommandRef;

/// Scripts that are remembered at most, however short they are.
pub const MOST_SCRIPTS: usize = 1024;

const BYTES: usize = 20;

/// What a server calls a script by: its SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScriptId([u8; BYTES]);

impl ScriptId {
    /// That of a script.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, body);
        let mut bytes = [0; BYTES];
        for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The one that is written as 40 hexadecimal digits, in any case as a server reads them.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let (pairs, []) = text.as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != BYTES {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Some(Self(bytes))
    }
}

fn digit(letter: u8) -> Option<u8> {
    let digit = char::from(letter).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// A script and what it is called by.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    id: ScriptId,
    body: Box<[u8]>,
}

impl Script {
    /// This script.
    #[must_use]
    pub fn new(body: &[u8]) -> Self {
        Self {
            id: ScriptId::of(body),
            body: body.into(),
        }
    }

    /// What it is called by.
    #[must_use]
    pub const fn id(&self) -> ScriptId {
        self.id
    }
}

/// What a command has to do with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptUse<'a> {
    /// It says a script (`EVAL`, `SCRIPT LOAD`), which the server has from then on.
    Shows(&'a [u8]),
    /// It calls one by its hash.
    Calls(ScriptId),
    /// It makes servers forget all (`SCRIPT FLUSH`).
    Forgets,
}

impl<'a> ScriptUse<'a> {
    /// `None` of a command that has nothing to do with them, or calls none that there could be.
    #[must_use]
    #[inline]
    pub fn of(id: CommandId, command: CommandRef<'a>) -> Option<Self> {
        match id {
            CommandId::EVAL | CommandId::EVAL_RO => command.argument(1).map(Self::Shows),
            CommandId::SCRIPT_LOAD => command.argument(2).map(Self::Shows),
            CommandId::EVALSHA | CommandId::EVALSHA_RO => {
                ScriptId::from_hex(command.argument(1)?).map(Self::Calls)
            }
            CommandId::SCRIPT_FLUSH => Some(Self::Forgets),
            _ => None,
        }
    }
}

/// What calls a script by its text in place of a command that calls it by its hash: `wire` as it would be sent, so that its
/// keys are called as they are upstream. Everything else in it, the reply too, is the same. `None` if it is no such command.
#[must_use]
pub fn in_full(wire: &[u8], script: &Script) -> Option<BytesMut> {
    let (header, rest) = line(wire)?;
    let (name, rest) = argument(rest)?;
    let (_, rest) = argument(rest)?;
    let is_read_only = name.eq_ignore_ascii_case(b"EVALSHA_RO");
    let mut out = BytesMut::with_capacity(wire.len() + script.body.len());
    out.extend_from_slice(header);
    encoder::bulk(if is_read_only { b"EVAL_RO" } else { b"EVAL" }, &mut out);
    encoder::bulk(&script.body, &mut out);
    out.extend_from_slice(rest);
    Some(out)
}

/// The first line with its end, and what is behind it.
fn line(wire: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', wire)?;
    wire.split_at_checked(end + 1)
}

/// The argument in front, and what is behind it.
fn argument(wire: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = line(wire)?;
    let length = header.strip_prefix(b"$")?.trim_ascii_end();
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((text, rest.get(2..)?))
}

#[derive(Debug)]
struct Kept {
    script: Arc<Script>,
    used: u64,
}

/// Remembered scripts; those that were not used for longest make room. Bounded by number ([`MOST_SCRIPTS`]) and by bytes.
#[derive(Debug, Default)]
pub struct ScriptTable {
    scripts: HashMap<ScriptId, Kept, RandomState>,
    /// By when they were last used.
    order: BTreeMap<u64, ScriptId>,
    /// By a hash of the text that is cheaper than SHA-1.
    bodies: HashMap<u64, ScriptId, RandomState>,
    bytes: u64,
    time: u64,
}

impl ScriptTable {
    /// The script that is called by this.
    pub fn find(&mut self, id: ScriptId) -> Option<Arc<Script>> {
        let kept = self.scripts.get_mut(&id)?;
        self.time += 1;
        self.order.remove(&kept.used);
        self.order.insert(self.time, id);
        kept.used = self.time;
        Some(Arc::clone(&kept.script))
    }

    /// The script with this text, if it is remembered.
    pub fn find_body(&mut self, body: &[u8]) -> Option<Arc<Script>> {
        let id = self.bodies.get(&self.hash(body)).copied()?;
        self.find(id).filter(|script| *script.body == *body)
    }

    /// Remembers a script, unless it alone has more than `most` bytes; others may be forgotten for it.
    pub fn insert(&mut self, script: &Arc<Script>, most: u64) {
        let size = script.body.len() as u64;
        if size > most || self.find(script.id).is_some() {
            return;
        }
        while self.bytes + size > most || self.scripts.len() >= MOST_SCRIPTS {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            self.forget(oldest);
        }
        self.time += 1;
        self.bytes += size;
        self.order.insert(self.time, script.id);
        self.bodies.insert(self.hash(&script.body), script.id);
        let kept = Kept {
            script: Arc::clone(script),
            used: self.time,
        };
        self.scripts.insert(script.id, kept);
    }

    fn forget(&mut self, id: ScriptId) {
        if let Some(kept) = self.scripts.remove(&id) {
            self.bytes -= kept.script.body.len() as u64;
            self.bodies.remove(&self.hash(&kept.script.body));
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.scripts.clear();
        self.order.clear();
        self.bodies.clear();
        self.bytes = 0;
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    fn hash(&self, body: &[u8]) -> u64 {
        self.bodies.hasher().hash_one(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Command;

    fn script(body: &str) -> Arc<Script> {
        Arc::new(Script::new(body.as_bytes()))
    }

    #[test]
    fn hashes_are_those_of_a_server() {
        // As SCRIPT LOAD answered.
        let rows = [
            ("return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"),
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ];
        for (body, hex) in rows {
            let id = ScriptId::of(body.as_bytes());
            assert_eq!(ScriptId::from_hex(hex.as_bytes()), Some(id), "{body}");
            let upper = hex.to_ascii_uppercase();
            assert_eq!(ScriptId::from_hex(upper.as_bytes()), Some(id), "{body}");
        }
        for wrong in [
            "",
            "e0",
            "g0e1f9fabfc9d4800c877a703b823ac0578ff8db",
            "e0e1f9fabfc9d4800c877a703b823ac0578ff8db0",
        ] {
            assert_eq!(ScriptId::from_hex(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn commands_show_and_call_and_forget() {
        let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        let called = ScriptUse::Calls(ScriptId::of(b"return 1"));
        let rows = [
            (
                &["EVAL", "return 1", "0"][..],
                Some(ScriptUse::Shows(b"return 1")),
            ),
            (
                &["eval_ro", "return 1", "0"],
                Some(ScriptUse::Shows(b"return 1")),
            ),
            (
                &["script", "load", "return 1"],
                Some(ScriptUse::Shows(b"return 1")),
            ),
            (&["EVALSHA", sha, "0"], Some(called)),
            (&["EVALSHA_RO", sha, "0"], Some(called)),
            (&["EVALSHA", "short", "0"], None),
            (&["SCRIPT", "FLUSH"], Some(ScriptUse::Forgets)),
            (&["SCRIPT", "EXISTS", sha], None),
            (&["GET", "a"], None),
        ];
        for (words, expected) in rows {
            let command = Command::new(words);
            let id = CommandId::resolve(&command.as_ref()).unwrap();
            assert_eq!(ScriptUse::of(id, command.as_ref()), expected, "{words:?}");
        }
    }

    #[test]
    fn a_call_is_written_in_full() {
        let script = script("return 1");
        let command = Command::new(&["evalsha", "x", "1", "key", "value"]);
        let expected = Command::new(&["EVAL", "return 1", "1", "key", "value"]);
        assert_eq!(in_full(command.wire(), &script).unwrap(), expected.wire());
        let command = Command::new(&["EvalSha_RO", "x", "0"]);
        let expected = Command::new(&["EVAL_RO", "return 1", "0"]);
        assert_eq!(in_full(command.wire(), &script).unwrap(), expected.wire());
        for wrong in ["", "*1\r\n", "*2\r\n$7\r\nEVAL", "*2\r\n$9\r\nEVALSHA\r\n"] {
            assert_eq!(in_full(wrong.as_bytes(), &script), None, "{wrong}");
        }
    }

    #[test]
    fn those_that_are_not_used_make_room() {
        let mut table = ScriptTable::default();
        let [one, two, three] =
            ["1".repeat(10), "2".repeat(10), "3".repeat(10)].map(|it| script(&it));
        table.insert(&one, 25);
        table.insert(&two, 25);
        assert_eq!(table.find(one.id), Some(Arc::clone(&one)));
        table.insert(&three, 25);
        assert_eq!(table.find(two.id), None);
        assert_eq!(table.find_body(&one.body), Some(one));
        assert_eq!(table.find_body(&two.body), None);
        assert_eq!(table.find_body(&three.body), Some(three));
        table.insert(&script(&"4".repeat(26)), 25);
        assert_eq!(table.len(), 2, "one that is too long");
        table.clear();
        assert!(table.is_empty() && table.bytes == 0);
    }

    #[test]
    fn there_are_so_many_at_most() {
        let mut table = ScriptTable::default();
        for number in 0..MOST_SCRIPTS + 10 {
            table.insert(&script(&number.to_string()), u64::MAX);
            table.insert(&script(&number.to_string()), u64::MAX);
        }
        assert_eq!(table.len(), MOST_SCRIPTS);
        assert_eq!(table.order.len(), MOST_SCRIPTS);
        assert_eq!(table.bodies.len(), MOST_SCRIPTS);
        assert!(table.find_body(b"9").is_none());
        assert!(table.find_body(b"10").is_some());
    }
}
