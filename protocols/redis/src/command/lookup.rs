//! From a name to its command: a hash table that is built when the gateway is compiled.
//!
//! Names are compared as numbers, in lower case, which takes less than comparing them byte by byte. Nothing is allocated.
//! Start at `find` and `find_child`.

use super::CommandId;
use super::table::ROWS;

/// Four times as many as there are commands, so that most are found at the first look.
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;

static TABLE: [u16; SLOTS] = build();
static NAMES: [Name; ROWS.len()] = names();

/// The longest name that a command or subcommand can have. (Redis's longest has 21 bytes.)
const LONGEST: usize = 24;

/// A name in lower case, and the place of its command among others.
#[derive(Clone, Copy)]
struct Name {
    name: Packed,
    children: u16,
    /// It is a subcommand's.
    is_child: bool,
}

/// Up to 24 bytes in lower case, the rest of them zero, and how many there are.
#[derive(Clone, Copy)]
struct Packed {
    words: [u64; 3],
    length: u64,
}

impl Packed {
    /// `None` if the name is longer than any.
    #[inline]
    fn of(name: &[u8]) -> Option<Self> {
        if name.len() < 8 {
            let words = [word(name), 0, 0];
            let length = name.len() as u64;
            return Some(Self { words, length });
        }
        Self::of_long(name)
    }

    fn of_long(name: &[u8]) -> Option<Self> {
        if name.len() > LONGEST {
            return None;
        }
        let words = match name.split_first_chunk::<8>() {
            None => [word(name), 0, 0],
            Some((first, rest)) => {
                let (second, third) = rest.split_at(rest.len().min(8));
                [lower(u64::from_le_bytes(*first)), word(second), word(third)]
            }
        };
        let length = name.len() as u64;
        Some(Self { words, length })
    }

    /// Whether both are the same, without a branch for each word.
    #[inline]
    const fn is(&self, other: &Self) -> bool {
        let [first, second, third] = self.words;
        let [other_first, other_second, other_third] = other.words;
        let words = (first ^ other_first) | (second ^ other_second) | (third ^ other_third);
        words | (self.length ^ other.length) == 0
    }

    #[inline]
    const fn hash(self) -> usize {
        let [first, second, third] = self.words;
        let mixed = first ^ second.rotate_left(29) ^ third.rotate_left(43) ^ self.length;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
    }
}

/// Up to eight bytes, in lower case, as a number.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    let number = match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(all), _) => u64::from_le_bytes(*all),
        (None, Some(start)) => {
            // The last four overlap the first where there are fewer than eight: the same bytes in the same places.
            let end = bytes.last_chunk::<4>().unwrap_or(start);
            let end = u64::from(u32::from_le_bytes(*end)) << ((bytes.len() - 4) * 8);
            u64::from(u32::from_le_bytes(*start)) | end
        }
        (None, None) => match *bytes {
            [] => 0,
            [a] => u64::from(a),
            [a, b, ..] => {
                let last = bytes.last().map_or(0, |last| u64::from(*last));
                u64::from(a) | u64::from(b) << 8 | last << ((bytes.len() - 1) * 8)
            }
        },
    };
    lower(number)
}

/// Makes each of eight bytes that is a capital letter a small one.
#[inline]
const fn lower(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = bytes & (0x7f * EACH);
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let past_z = low + (0x7f - b'Z' as u64) * EACH;
    let capital = (from_a ^ past_z) & !bytes & (0x80 * EACH);
    bytes | capital >> 2
}

#[inline]
pub(super) fn find(name: &[u8]) -> Option<CommandId> {
    let name = Packed::of(name)?;
    let mut slot = name.hash();
    loop {
        let number = *TABLE.get(slot & (SLOTS - 1))?;
        let found = NAMES.get(usize::from(number))?; // `EMPTY` is past the end.
        if found.name.is(&name) {
            return Some(CommandId(number));
        }
        slot += 1;
    }
}

/// The subcommand of this name. They are the rows behind their command.
#[inline]
pub(super) fn find_child(parent: CommandId, name: &[u8]) -> Option<CommandId> {
    let name = Packed::of(name)?;
    let first = parent.index() + 1;
    let children = NAMES.get(first..first + usize::from(children(parent)))?;
    let at = children.iter().position(|child| child.name.is(&name))?;
    Some(CommandId((first + at) as u16))
}

/// How many subcommands a command has.
#[inline]
pub(super) fn children(command: CommandId) -> u16 {
    NAMES.get(command.index()).map_or(0, |name| name.children)
}

/// Whether a command is a subcommand.
#[inline]
pub(super) fn is_child(command: CommandId) -> bool {
    NAMES.get(command.index()).is_some_and(|name| name.is_child)
}

#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
const fn build() -> [u16; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < ROWS.len() {
        let name = ROWS[number].name.as_bytes();
        if own_part(name) == 0 {
            let mut slot = packed(name, 0).hash();
            while table[slot] != EMPTY {
                slot = (slot + 1) & (SLOTS - 1);
            }
            table[slot] = number as u16;
        }
        number += 1;
    }
    table
}

#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
const fn names() -> [Name; ROWS.len()] {
    let empty = Name {
        name: packed(b"", 0),
        children: 0,
        is_child: false,
    };
    let mut names = [empty; ROWS.len()];
    let mut parent = 0;
    let mut number = 0;
    while number < ROWS.len() {
        let name = ROWS[number].name.as_bytes();
        let own = own_part(name);
        names[number].name = packed(name, own);
        if own == 0 {
            parent = number;
        } else {
            names[parent].children += 1;
            names[number].is_child = true;
        }
        number += 1;
    }
    names
}

/// Where the name of a subcommand begins behind that of its command; 0 in the name of a command.
#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
const fn own_part(name: &[u8]) -> usize {
    let mut index = 0;
    while index < name.len() {
        if name[index] == b'|' {
            return index + 1;
        }
        index += 1;
    }
    0
}

/// What `Packed::of` makes of the part of a name from `start` on, which must be in lower case.
#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
const fn packed(name: &[u8], start: usize) -> Packed {
    let length = name.len() - start;
    assert!(length <= LONGEST);
    let mut words = [0; 3];
    let mut index = 0;
    while index < length {
        words[index / 8] |= (name[start + index] as u64) << (index % 8 * 8);
        index += 1;
    }
    Packed {
        words,
        length: length as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_their_places() {
        let mut looks = Vec::new();
        for command in CommandId::all().filter(|command| command.parent().is_none()) {
            let place = packed(command.name().as_bytes(), 0).hash();
            let found = (0..SLOTS).find(|step| TABLE[(place + step) & (SLOTS - 1)] == command.0);
            looks.push(found.unwrap() + 1);
        }
        let total: usize = looks.iter().sum();
        assert!(total < looks.len() * 5 / 4, "{total} looks");
        assert!(looks.iter().all(|looks| *looks <= 6), "{looks:?}");
    }

    #[test]
    fn bytes_become_small_letters() {
        for length in 0..=LONGEST {
            for byte in 0..=u8::MAX {
                let name = vec![byte; length];
                let small = packed(&name.to_ascii_lowercase(), 0);
                assert!(
                    Packed::of(&name).unwrap().is(&small),
                    "{length} of {byte:#x}"
                );
            }
            let name: Vec<u8> = (b'M'..).take(length).collect();
            let small = packed(&name.to_ascii_lowercase(), 0);
            assert!(Packed::of(&name).unwrap().is(&small), "{length} bytes");
        }
        assert!(Packed::of(&[b'a'; LONGEST + 1]).is_none());
    }
}
