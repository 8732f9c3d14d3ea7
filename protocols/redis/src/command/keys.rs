//! Which arguments of a call are keys.
//!
//! The same as what a server finds (its key specifications first, then a rule of the command's own), because a key that
//! the gateway does not see is a key that goes to the wrong shard, or past an access rule. Where a server can be led to look
//! at the wrong argument, this is stricter: it walks the options of `XREAD` as the command itself does, and takes every
//! `STORE` of `SORT` and `GEORADIUS`, not the first or last (`tests/commands/keys.md` has all differences). Keys that a script
//! or a module makes up are not seen (nobody can); names that `SORT`'s `BY` and `GET` make are left to [`crate::acl`].
//!
//! Start at [`keys`]; [`each_key`] also says what is done with each.

use smallvec::SmallVec;

use super::spec::{Begin, Extent, KeySpec};
use super::{Arguments, CommandId, Flags, KeyFlags};

/// Why the keys of a call cannot be told. The command would be refused by any server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// There are fewer arguments than keys.
    #[error("fewer arguments than keys")]
    Missing,
    /// How many keys there are is no number, or not one that fits.
    #[error("no number of keys")]
    Number,
    /// Nothing says where the keys begin, or they come without what belongs to each.
    #[error("no place for keys")]
    Syntax,
}

impl KeysError {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing_keys",
            Self::Number => "number_of_keys",
            Self::Syntax => "syntax_of_keys",
        }
    }

    /// An answer in the words of a server.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Number => "ERR value is not an integer or out of range",
            Self::Missing | Self::Syntax => "ERR syntax error",
        }
    }
}

/// Appends the indexes of the arguments that are keys, in the order in which the command's specifications name them.
///
/// None is no error for a command that takes none, or that may be called without (`EVAL … 0`). Channels of sharded
/// publishing are no keys: see [`channels`](super::channels()).
///
/// # Errors
/// The arguments cannot be what the command wants; nothing is appended.
#[inline]
pub fn keys<A: Arguments + ?Sized>(
    command: CommandId,
    args: &A,
    found: &mut SmallVec<[u32; 8]>,
) -> Result<(), KeysError> {
    if let Some(index) = the_one_key(command.key_specs()) {
        if usize::from(index) >= args.len() {
            return Err(KeysError::Missing);
        }
        found.push(u32::from(index));
        return Ok(());
    }
    let before = found.len();
    let result = each_key(command, args, |index, _| found.push(index));
    if result.is_err() {
        found.truncate(before);
    }
    result
}

/// Whether any server refuses this call, since it says a number of keys that is none, or that it does not have.
///
/// So it does no harm wherever it is sent; and what is wrong with it the server says best. False of calls that are in order,
/// and of those that somebody may take.
#[must_use]
pub fn is_refused_anywhere<A: Arguments + ?Sized>(command: CommandId, args: &A) -> bool {
    let is_counted = |spec: &KeySpec| matches!(spec.extent, Extent::Number { .. });
    let is_wrong = || {
        let wrong = each_key(command, args, |_, _| {}).err();
        matches!(wrong, Some(KeysError::Number | KeysError::Missing))
    };
    command.key_specs().iter().any(is_counted) && is_wrong()
}

/// Where the key is, if there always is one at the same place: what most commands are.
#[inline]
pub(super) const fn the_one_key(specs: &[KeySpec]) -> Option<u8> {
    match specs {
        [
            KeySpec {
                flags,
                begin: Begin::At(index),
                extent: Extent::Range { last: 0, .. },
            },
        ] if !flags.contains(KeyFlags::NOT_KEY) => Some(*index),
        _ => None,
    }
}

/// Calls `each` with the index of every key and what is done with it.
///
/// # Errors
/// The arguments cannot be what the command wants; `each` may have been called for some.
pub fn each_key<A: Arguments + ?Sized>(
    command: CommandId,
    args: &A,
    mut each: impl FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    match command {
        CommandId::XREAD | CommandId::XREADGROUP => streams(command, args, &mut each),
        CommandId::SORT | CommandId::SORT_RO => sort(command, args, &mut each),
        CommandId::MIGRATE => migrate(args, &mut each),
        CommandId::GEORADIUS => by_specs(command, args, &mut each)
            .and_then(|()| stores(args, 6, &["STORE", "STOREDIST"], &mut each)),
        CommandId::GEORADIUSBYMEMBER => by_specs(command, args, &mut each)
            .and_then(|()| stores(args, 5, &["STORE", "STOREDIST"], &mut each)),
        _ => by_specs(command, args, &mut each),
    }
}

/// Keys by the specifications that name a place.
fn by_specs<A: Arguments + ?Sized>(
    command: CommandId,
    args: &A,
    each: &mut impl FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    let needs_keys = !command.flags().contains(Flags::NO_MANDATORY_KEYS);
    for (number, spec) in command.key_specs().iter().enumerate() {
        let Begin::At(begin) = spec.begin else {
            continue; // `each_key` has a rule for each of these.
        };
        if spec.flags.contains(KeyFlags::NOT_KEY) {
            continue;
        }
        let flags = if spec.flags.contains(KeyFlags::VARIABLE_FLAGS) {
            flags_by_arguments(command, args)
        } else {
            spec.flags
        };
        let begin = usize::from(begin);
        if begin == args.len() && number > 0 {
            continue; // `PFMERGE` with nothing to merge: allowed, though a server does not find its key then.
        }
        let found = extent(spec.extent, begin, args)?;
        if found.count == 0 && needs_keys {
            return Err(KeysError::Number);
        }
        (0..found.count).for_each(|nth| each((found.first + nth * found.step) as u32, flags));
    }
    Ok(())
}

/// Indexes at the same distance from each other.
struct Found {
    first: usize,
    count: usize,
    step: usize,
}

fn extent<A: Arguments + ?Sized>(
    extent: Extent,
    begin: usize,
    args: &A,
) -> Result<Found, KeysError> {
    match extent {
        Extent::Range { last, step, .. } => {
            let last = match usize::try_from(last) {
                Ok(last) => begin + last,
                Err(_) => args
                    .len()
                    .checked_sub(usize::from(last.unsigned_abs()))
                    .ok_or(KeysError::Missing)?,
            };
            if last >= args.len() || last < begin {
                return Err(KeysError::Missing);
            }
            let step = usize::from(step.max(1));
            Ok(Found {
                first: begin,
                count: (last - begin) / step + 1,
                step,
            })
        }
        Extent::Number { at, first, step } => {
            let number = args.at(begin + usize::from(at)).ok_or(KeysError::Missing)?;
            let count = count(number).ok_or(KeysError::Number)?;
            let first = begin + usize::from(first);
            let step = usize::from(step.max(1));
            if count > args.len().saturating_sub(first).div_ceil(step) {
                return Err(KeysError::Number);
            }
            Ok(Found { first, count, step })
        }
    }
}

/// A number of keys: digits only, as a server wants them. Numbers past all argument lists are no number.
fn count(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 || (digits.len() > 1 && digits.starts_with(b"0")) {
        return None;
    }
    digits.iter().try_fold(0, |number: usize, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + usize::from(digit - b'0'))
    })
}

fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// What `SET` and `BITFIELD` do with their key.
fn flags_by_arguments<A: Arguments + ?Sized>(command: CommandId, args: &A) -> KeyFlags {
    let mut options = (3..args.len()).filter_map(|index| args.at(index));
    if command == CommandId::SET {
        return if options.any(|option| is(option, "GET")) {
            KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE)
        } else {
            KeyFlags::OW.and(KeyFlags::UPDATE)
        };
    }
    if bitfield_reads(args) {
        KeyFlags::RO.and(KeyFlags::ACCESS)
    } else {
        KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::UPDATE)
    }
}

/// Whether every operation of a `BITFIELD` is a `GET`.
fn bitfield_reads<A: Arguments + ?Sized>(args: &A) -> bool {
    let mut index = 2;
    while let Some(operation) = args.at(index) {
        if is(operation, "GET") {
            index += 3;
        } else if is(operation, "OVERFLOW") {
            index += 2;
        } else {
            return false;
        }
    }
    true
}

/// `XREAD` and `XREADGROUP`: the first half of what is behind `STREAMS`, with options walked as the command does.
fn streams<A: Arguments + ?Sized>(
    command: CommandId,
    args: &A,
    each: &mut impl FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    let mut index = 1;
    loop {
        let option = args.at(index).ok_or(KeysError::Syntax)?;
        index += if is(option, "STREAMS") {
            break;
        } else if is(option, "COUNT") || is(option, "BLOCK") {
            2
        } else if is(option, "NOACK") {
            1
        } else if is(option, "GROUP") {
            3
        } else {
            return Err(KeysError::Syntax);
        };
    }
    let first = index + 1;
    let left = args.len() - first;
    if left == 0 || !left.is_multiple_of(2) {
        return Err(KeysError::Syntax);
    }
    let flags = first_flags(command);
    (first..first + left / 2).for_each(|index| each(index as u32, flags));
    Ok(())
}

fn first_flags(command: CommandId) -> KeyFlags {
    command
        .key_specs()
        .first()
        .map_or(KeyFlags::NONE, |spec| spec.flags)
}

/// `SORT`: its key, and what is behind every `STORE`.
fn sort<A: Arguments + ?Sized>(
    command: CommandId,
    args: &A,
    each: &mut impl FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    if args.len() < 2 {
        return Err(KeysError::Missing);
    }
    each(1, first_flags(command));
    let mut index = 2;
    while let Some(option) = args.at(index) {
        index += if is(option, "LIMIT") {
            3
        } else if is(option, "GET") || is(option, "BY") {
            2
        } else if is(option, "STORE") && index + 1 < args.len() && command == CommandId::SORT {
            each(index as u32 + 1, KeyFlags::OW.and(KeyFlags::UPDATE));
            2
        } else {
            1
        };
    }
    Ok(())
}

/// What is behind every one of these words, from `index` on.
fn stores<A: Arguments + ?Sized>(
    args: &A,
    mut index: usize,
    words: &[&str],
    each: &mut impl FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    while let Some(option) = args.at(index) {
        if words.iter().any(|word| is(option, word)) {
            index += 1;
            if index >= args.len() {
                return Err(KeysError::Missing);
            }
            each(index as u32, KeyFlags::OW.and(KeyFlags::UPDATE));
        }
        index += 1;
    }
    Ok(())
}

/// `MIGRATE`: its third argument, or if that is empty all that is behind `KEYS`.
fn migrate<A: Arguments + ?Sized>(
    args: &A,
    each: &mut impl FnMut(u32, KeyFlags),
) -> Result<(), KeysError> {
    let flags = KeyFlags::RW.and(KeyFlags::ACCESS).and(KeyFlags::DELETE);
    let key = args.at(3).ok_or(KeysError::Missing)?;
    let mut index = 6;
    while let Some(option) = args.at(index) {
        index += if is(option, "KEYS") {
            if !key.is_empty() || index + 1 >= args.len() {
                return Err(KeysError::Syntax);
            }
            (index + 1..args.len()).for_each(|index| each(index as u32, flags));
            return Ok(());
        } else if is(option, "AUTH") {
            2
        } else if is(option, "AUTH2") {
            3
        } else {
            1
        };
    }
    each(3, flags);
    Ok(())
}

#[cfg(test)]
mod tests;
