//! Keys in commands: those that the table finds, patterns of `KEYS`, `SCAN` and `SORT`. What cannot be kept to the keys with
//! the prefix is refused.
//!
//! Start at [`Renaming::command`].

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::reply::Names;
use super::{Renaming, is_notification};
use crate::acl::Glob;
use crate::command::channels::{ChannelUse, channels};
use crate::command::{Arguments, Categories, CommandId, Foreign, keys};
use crate::encoder;
use crate::machine::{Call, Lost};
use crate::request::CommandRef;

/// A command as it goes upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed<'a> {
    /// Its bytes.
    pub wire: Cow<'a, [u8]>,
    /// Where keys are in the reply, if there are any.
    pub names: Option<Names>,
}

/// The arguments of a command.
pub type Words<'a> = Vec<Cow<'a, [u8]>>;

/// An argument that is replaced, by its index.
type Replaced = SmallVec<[(u32, Vec<u8>); 4]>;

impl Renaming {
    /// A command with its keys as servers know them. `arguments` are those of the call, and of a large command also say how
    /// many there will be: its keys must be in the front that is here.
    ///
    /// # Errors
    /// [`Lost::KeyPrefix`] or, where it would show or change keys that have another prefix, [`Lost::BeyondPrefix`].
    pub fn command<'a, A: Arguments>(
        &self,
        call: &Call<'a>,
        arguments: &A,
    ) -> Result<Renamed<'a>, Lost> {
        let (id, call) = (call.id, call.command);
        if self.reaches_beyond(id, &call) {
            return Err(Lost::BeyondPrefix);
        }
        let is_large = arguments.len() > call.len();
        if id == CommandId::SCAN {
            let (words, names) = self.scan(&call)?;
            let mut wire = BytesMut::new();
            encoder::command(&words, &mut wire);
            let wire = Cow::Owned(wire.to_vec());
            return Ok(Renamed { wire, names });
        }
        let mut replaced = Replaced::new();
        if id == CommandId::KEYS {
            let (pattern, filter) = self.pattern(call.argument(1).unwrap_or_default())?;
            replaced.push((1, pattern));
            let names = Some(Names::List(filter));
            return splice(call, replaced, names);
        }
        self.keys(id, arguments, call, &mut replaced)?;
        if matches!(id, CommandId::SORT | CommandId::SORT_RO) {
            if is_large {
                return Err(Lost::BeyondPrefix);
            }
            self.sort_patterns(&call, &mut replaced)?;
        }
        let names = Names::of(id);
        if is_large && names.is_some() {
            return Err(Lost::BeyondPrefix);
        }
        splice(call, replaced, names)
    }

    /// As [`command`](Self::command), of a command that is not in the table. One without keys could reach any, and the replies of one
    /// that nobody has configured may have keys in them.
    ///
    /// # Errors
    /// As there.
    pub fn foreign<'a, A: Arguments>(
        &self,
        foreign: &Foreign,
        arguments: &A,
        call: CommandRef<'a>,
    ) -> Result<Renamed<'a>, Lost> {
        let mut found = SmallVec::new();
        let told = foreign.keys(arguments, &mut found);
        if !foreign.is_configured || told.is_err() || found.is_empty() {
            return Err(Lost::BeyondPrefix);
        }
        let mut replaced = Replaced::new();
        self.replace(&found, call, &mut replaced)?;
        splice(call, replaced, None)
    }

    fn keys<A: Arguments>(
        &self,
        id: CommandId,
        arguments: &A,
        call: CommandRef<'_>,
        replaced: &mut Replaced,
    ) -> Result<(), Lost> {
        let mut found = SmallVec::new();
        // Where they cannot be told, nothing was found out about the place either.
        keys(id, arguments, &mut found).map_err(|_| Lost::BeyondPrefix)?;
        self.replace(&found, call, replaced)
    }

    /// These arguments are keys.
    fn replace(
        &self,
        found: &[u32],
        call: CommandRef<'_>,
        replaced: &mut Replaced,
    ) -> Result<(), Lost> {
        for index in found {
            let key = call.argument(*index as usize).ok_or(Lost::BeyondPrefix)?;
            replaced.push((*index, self.upstream(key)?));
        }
        Ok(())
    }

    /// The arguments of `SCAN`, with a pattern that keeps it to the client's keys.
    ///
    /// # Errors
    /// Its pattern cannot be kept to them.
    pub fn scan<'a>(&self, call: &CommandRef<'a>) -> Result<(Words<'a>, Option<Names>), Lost> {
        let mut words: Words<'a> = call.arguments().map(Cow::Borrowed).collect();
        let mut filter = None;
        let mut has_pattern = false;
        let mut index = 2;
        while let (Some(option), Some(value)) = (call.argument(index), call.argument(index + 1)) {
            if option.eq_ignore_ascii_case(b"MATCH")
                && let Some(word) = words.get_mut(index + 1)
            {
                let (pattern, filtered) = self.pattern(value)?;
                *word = Cow::Owned(pattern);
                // The last one counts.
                filter = filtered;
                has_pattern = true;
            }
            index += 2;
        }
        if !has_pattern {
            words.push(Cow::Borrowed(b"MATCH"));
            words.push(Cow::Owned([&*escaped(&self.add), b"*"].concat()));
        }
        Ok((words, Some(Names::Scan(filter))))
    }

    /// A pattern of keys for servers. Where what is taken off is not plainly its start, all keys are asked for, and the pattern
    /// is for what comes back.
    fn pattern(&self, pattern: &[u8]) -> Result<(Vec<u8>, Option<Glob>), Lost> {
        let is_plain = !self.strip.iter().any(|byte| SPECIAL.contains(byte));
        let prefix = escaped(&self.add);
        match pattern.strip_prefix(&*self.strip) {
            Some(rest) if is_plain => Ok(([&*prefix, rest].concat(), None)),
            _ => {
                let filter = Glob::new(pattern).map_err(|_| Lost::BeyondPrefix)?;
                Ok(([&*prefix, b"*"].concat(), Some(filter)))
            }
        }
    }

    /// `BY` and `GET` of `SORT`: names that an element is put into, in place of the first `*`.
    fn sort_patterns(&self, call: &CommandRef<'_>, replaced: &mut Replaced) -> Result<(), Lost> {
        let mut index = 2;
        while let Some(option) = call.argument(index) {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            index += if is(b"LIMIT") {
                3
            } else if is(b"STORE") {
                2
            } else if is(b"BY") || is(b"GET") {
                if let Some(pattern) = call.argument(index + 1)
                    && pattern.contains(&b'*')
                {
                    if self.add.contains(&b'*') || self.strip.contains(&b'*') {
                        return Err(Lost::BeyondPrefix);
                    }
                    replaced.push((index as u32 + 1, self.upstream(pattern)?));
                }
                2
            } else {
                1
            };
        }
        Ok(())
    }

    /// Whether a command shows or changes more than the keys that it names.
    fn reaches_beyond(&self, id: CommandId, call: &CommandRef<'_>) -> bool {
        let categories = id.categories();
        match id {
            CommandId::KEYS | CommandId::SCAN | CommandId::INFO => false,
            // Keys are sent elsewhere under the names that they have upstream.
            CommandId::MIGRATE => true,
            CommandId::CLUSTER_GETKEYSINSLOT | CommandId::CLUSTER_COUNTKEYSINSLOT => true,
            CommandId::PUBLISH | CommandId::SPUBLISH => {
                is_notification(call.argument(1).unwrap_or_default())
            }
            _ if id.own_name() == "help" => false,
            // Nobody knows what it does.
            _ if categories == Categories::NONE => true,
            _ if categories.contains(Categories::SCRIPTING) => !self.allows_scripts,
            _ if !id.key_specs().is_empty() => false,
            _ => [
                Categories::KEYSPACE,
                Categories::DANGEROUS,
                Categories::ADMIN,
            ]
            .into_iter()
            .any(|category| categories.contains(category)),
        }
    }
}

/// Whether a client asks for messages that tell of keys.
#[must_use]
pub fn asks_for_notifications(id: CommandId, call: &CommandRef<'_>) -> bool {
    let Some(channels) = channels(id, call) else {
        return false;
    };
    channels.use_of == ChannelUse::Subscribe
        && (channels.first..channels.end)
            .filter_map(|index| call.argument(index))
            .any(is_notification)
}

/// Bytes that mean something in a pattern.
const SPECIAL: &[u8] = b"*?[]\\";

/// A pattern for exactly these bytes.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if SPECIAL.contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

/// The bytes of a command with some arguments replaced; all others stay the very bytes that came.
fn splice(
    call: CommandRef<'_>,
    mut replaced: Replaced,
    names: Option<Names>,
) -> Result<Renamed<'_>, Lost> {
    let wire = call.wire();
    if replaced.is_empty() {
        let wire = Cow::Borrowed(wire);
        return Ok(Renamed { wire, names });
    }
    replaced.sort_unstable_by_key(|(index, _)| *index);
    let mut out = BytesMut::with_capacity(wire.len() + 64);
    let mut copied = 0;
    for (index, argument) in &replaced {
        let index = *index as usize;
        let spans = call.spans();
        // Its length is written behind the argument before it.
        let before = index.checked_sub(1).and_then(|before| spans.get(before));
        let (Some(before), Some(span)) = (before, spans.get(index)) else {
            return Err(Lost::BeyondPrefix);
        };
        let kept = wire.get(copied..before.end as usize + 2);
        out.extend_from_slice(kept.ok_or(Lost::BeyondPrefix)?);
        encoder::bulk(argument, &mut out);
        copied = span.end as usize + 2;
    }
    out.extend_from_slice(wire.get(copied..).unwrap_or_default());
    let wire = Cow::Owned(Bytes::from(out).into());
    Ok(Renamed { wire, names })
}
