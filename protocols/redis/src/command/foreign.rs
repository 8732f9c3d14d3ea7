//! Commands that are not in the table, as a server or the configuration describes them: those of modules, and of later
//! servers.
//!
//! Only what routing and rules need: how many arguments, which are keys, what kind of command it is. Nothing is asked here.
//! Start at [`Foreign::read`] for what `COMMAND INFO` says, [`ForeignTable`] for what was said before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{Arguments, Categories, Flags, KeyFlags, KeysError};
use crate::message::Value;

/// The longest name that is looked for. Redis's own have up to 21 bytes, those of modules hardly more.
pub const LONGEST_NAME: usize = 64;

/// Names of which it is remembered what they are.
const MOST_NAMES: usize = 1024;

/// How long a description is used: a module may be loaded or taken out of a running server.
const KNOWN_FOR: Duration = Duration::from_mins(5);

/// How long it is believed that there is no such command.
const ABSENT_FOR: Duration = Duration::from_secs(10);

/// Keys that one call of it may have; more are no command line.
const MOST_KEYS: usize = 1 << 20;

/// What a server says of a call that has none.
const NO_KEYS: &[u8] = b"ERR The command has no key arguments";

/// Where the keys of a foreign command are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignKeys {
    /// It has none.
    None,
    /// From `first` to `last`, which is counted from the end if it is negative, each `step` apart.
    Range {
        /// The first, 1 at least.
        first: u32,
        /// The last.
        last: i32,
        /// From one to the next, 1 at least.
        step: u32,
    },
    /// Where its arguments say, which only the server can tell.
    Movable,
    /// These arguments, of one call of it: the server was asked.
    Listed(Box<[u32]>),
}

/// A command that is not in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its name, in lower case.
    pub name: Box<str>,
    /// How many arguments it takes, its name among them; negative where that is the least.
    pub arity: i32,
    /// What kind of command it is.
    pub flags: Flags,
    /// The categories that it is in.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: ForeignKeys,
    /// The operator says so, and not a server: it is carried out whatever it is.
    pub is_configured: bool,
}

/// Why a command is not carried out although its server has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForeignRefusal {
    /// It is for operators, or may harm others.
    #[error("is not allowed by the gateway")]
    Dangerous,
    /// It waits, subscribes, or is about its connection, which clients share.
    #[error("is not supported by the gateway")]
    Stateful,
    /// Which arguments are keys is not known.
    #[error("has keys that the gateway cannot tell")]
    Keys,
}

impl ForeignRefusal {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dangerous => "foreign_dangerous",
            Self::Stateful => "foreign_stateful",
            Self::Keys => "foreign_keys",
        }
    }
}

impl Foreign {
    /// A name in lower case, if it may be that of a command at all.
    #[must_use]
    pub fn name_of(name: &[u8]) -> Option<Box<str>> {
        let is_fit = (1..=LONGEST_NAME).contains(&name.len())
            && name.iter().all(u8::is_ascii_graphic)
            && !name.contains(&b'|');
        let text = std::str::from_utf8(name).ok().filter(|_| is_fit)?;
        Some(text.to_ascii_lowercase().into())
    }

    /// What `COMMAND INFO` said of one command: `None` if there is none of this name.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn read(name: &str, reply: &Value) -> Result<Option<Self>, NoDescription> {
        let Value::Array(all) = reply else {
            return Err(NoDescription);
        };
        match all.as_slice() {
            [Value::Null(_)] => Ok(None),
            [Value::Array(about)] => Self::of(name, about).map(Some).ok_or(NoDescription),
            _ => Err(NoDescription),
        }
    }

    fn of(name: &str, about: &[Value]) -> Option<Self> {
        let integer = |index: usize| match about.get(index)? {
            Value::Integer(number) => i32::try_from(*number).ok(),
            _ => None,
        };
        let flags = words(about.get(2)?)?;
        let flag = |name: &str| Flags::NAMES.iter().find(|(_, text)| *text == name);
        let flags = flags.filter_map(flag).map(|(flag, _)| *flag);
        let flags = flags.fold(Flags::NONE, Flags::and);
        let (first, last, step) = (integer(3)?, integer(4)?, integer(5)?);
        // Servers before Redis 6 do not say categories: flags have most of it.
        let said = about.get(6).and_then(words).into_iter().flatten();
        let said = said.filter_map(|name| Categories::of(name.trim_start_matches('@').as_bytes()));
        let categories = said.fold(categories(flags), Categories::and);
        Some(Self {
            name: name.into(),
            arity: integer(1)?,
            flags,
            categories,
            keys: places(flags, first, last, step),
            is_configured: false,
        })
    }

    /// The same for one call, whose keys the server was asked for by `COMMAND GETKEYS`. `None` if it did not say them, or if what
    /// it said is not among the arguments.
    ///
    /// Of arguments that are alike the first is taken: which of them is the key makes no difference to where it is.
    #[must_use]
    pub fn with_keys<A: Arguments + ?Sized>(&self, reply: &Value, args: &A) -> Option<Self> {
        let keys = match (reply.elements(), reply.error()) {
            (Some([]), _) => ForeignKeys::None,
            (Some(keys), _) => {
                let mut words: HashMap<&[u8], u32, RandomState> = HashMap::default();
                for at in 1..args.len() {
                    words.entry(args.at(at)?).or_insert(u32::try_from(at).ok()?);
                }
                let place = |key: &Value| words.get(&**key.text()?).copied();
                let places: Option<Vec<u32>> = keys.iter().map(place).collect();
                let mut places = places?;
                places.sort_unstable();
                places.dedup();
                ForeignKeys::Listed(places.into())
            }
            (None, Some(error)) if error.starts_with(NO_KEYS) => ForeignKeys::None,
            (None, _) => return None,
        };
        Some(Self {
            keys,
            ..self.clone()
        })
    }

    /// Whether it may wait for what others do.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        self.flags.contains(Flags::BLOCKING)
    }

    /// Whether so many arguments are what it takes.
    #[must_use]
    pub fn fits(&self, count: usize) -> bool {
        let wanted = self.arity.unsigned_abs() as usize;
        if self.arity < 0 {
            count >= wanted
        } else {
            count == wanted
        }
    }

    /// Why it is not carried out unless the operator says what it is.
    #[must_use]
    pub fn refusal(&self) -> Option<ForeignRefusal> {
        let stateful = Flags::PUBSUB.and(Flags::NO_AUTH);
        // What waits for no key waits for something about its connection, as WAITAOF does.
        let waits_for_others =
            self.flags.contains(Flags::BLOCKING) && self.keys == ForeignKeys::None;
        let dangerous = Categories::ADMIN.and(Categories::DANGEROUS);
        if self.is_configured {
            None
        } else if self.flags.intersects(stateful) || waits_for_others {
            Some(ForeignRefusal::Stateful)
        } else if self.flags.contains(Flags::ADMIN) || self.categories.intersects(dangerous) {
            Some(ForeignRefusal::Dangerous)
        } else if self.keys == ForeignKeys::Movable {
            Some(ForeignRefusal::Keys)
        } else {
            None
        }
    }

    /// Appends the indexes of the arguments that are keys.
    ///
    /// # Errors
    /// The arguments cannot be what the command wants; nothing is appended.
    pub fn keys<A: Arguments + ?Sized>(
        &self,
        args: &A,
        found: &mut SmallVec<[u32; 8]>,
    ) -> Result<(), KeysError> {
        let (first, last, step) = match &self.keys {
            ForeignKeys::Range { first, last, step } => (*first, *last, *step),
            ForeignKeys::None | ForeignKeys::Movable => return Ok(()),
            ForeignKeys::Listed(places) => {
                found.extend_from_slice(places);
                return Ok(());
            }
        };
        let first = first as usize;
        let from_end = || args.len().checked_sub(last.unsigned_abs() as usize);
        let last = usize::try_from(last).ok().or_else(from_end);
        let last = last.ok_or(KeysError::Missing)?;
        // Those that may be left out are: a server says whether they may.
        let last = last.min(args.len().saturating_sub(1));
        if last < first && self.keys_are_due() {
            return Err(KeysError::Missing);
        }
        let step = (step as usize).max(1);
        found.extend(
            (first..=last)
                .step_by(step)
                .take(MOST_KEYS)
                .map(|at| at as u32),
        );
        Ok(())
    }

    const fn keys_are_due(&self) -> bool {
        !self.flags.contains(Flags::NO_MANDATORY_KEYS)
    }

    /// What is done with its keys, in the sense of access rules.
    #[must_use]
    pub const fn key_flags(&self) -> KeyFlags {
        if self.flags.contains(Flags::READONLY) {
            KeyFlags::ACCESS
        } else {
            KeyFlags::ACCESS.and(KeyFlags::UPDATE)
        }
    }
}

/// What a server said is no description of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer to COMMAND INFO")]
pub struct NoDescription;

/// The texts of a list.
fn words(list: &Value) -> Option<impl Iterator<Item = &str>> {
    let (Value::Array(all) | Value::Set(all)) = list else {
        return None;
    };
    Some(all.iter().filter_map(|word| match word {
        Value::Simple(text) | Value::Bulk(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }))
}

/// The categories that flags imply.
fn categories(flags: Flags) -> Categories {
    let rows = [
        (Flags::READONLY, Categories::READ),
        (Flags::WRITE, Categories::WRITE),
        (Flags::ADMIN, Categories::ADMIN),
        (Flags::PUBSUB, Categories::PUBSUB),
        (Flags::BLOCKING, Categories::BLOCKING),
        (Flags::FAST, Categories::FAST),
    ];
    let implied = rows.iter().filter(|(flag, _)| flags.contains(*flag));
    implied.fold(Categories::NONE, |all, (_, category)| all.and(*category))
}

fn places(flags: Flags, first: i32, last: i32, step: i32) -> ForeignKeys {
    if flags.contains(Flags::MOVABLEKEYS) {
        return ForeignKeys::Movable;
    }
    match (u32::try_from(first), u32::try_from(step)) {
        (Ok(0), _) => ForeignKeys::None,
        (Ok(first), Ok(step)) if step > 0 => ForeignKeys::Range { first, last, step },
        _ => ForeignKeys::Movable,
    }
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is this command.
    Is(Arc<Foreign>),
    /// No server has it.
    Absent,
}

/// What servers said of names, for a while. Bounded.
#[derive(Debug, Default)]
pub struct ForeignTable {
    names: HashMap<Box<str>, (Known, Instant), RandomState>,
}

impl ForeignTable {
    /// What was said of a name; `None`: to be asked.
    #[must_use]
    pub fn find(&self, name: &str, now: Instant) -> Option<Known> {
        let (known, until) = self.names.get(name)?;
        (now < *until).then(|| known.clone())
    }

    /// A server said this.
    pub fn insert(&mut self, name: &str, known: Known, now: Instant) {
        let time = match known {
            Known::Is(_) => KNOWN_FOR,
            Known::Absent => ABSENT_FOR,
        };
        let Some(until) = now.checked_add(time) else {
            return;
        };
        if self.names.len() >= MOST_NAMES {
            // What is not there goes first: anybody can make it up.
            let is_there = |known: &Known| matches!(known, Known::Is(_));
            self.names
                .retain(|_, (known, until)| is_there(known) && now < *until);
        }
        if self.names.len() < MOST_NAMES {
            self.names.insert(name.into(), (known, until));
        }
    }
}

#[cfg(test)]
mod tests;
