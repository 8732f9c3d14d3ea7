//! From a name to its command: a hash table that is built when the gateway is compiled.
//!
//! Commands only; subcommands are few and are looked through in `mod.rs`. Nothing is allocated or copied, and the case of
//! letters does not matter.

use super::CommandId;
use super::table::ROWS;

/// Four times as many as there are commands, so that most are found at the first look.
const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;

static TABLE: [u16; SLOTS] = build();
static SUBCOMMANDS: [u8; ROWS.len()] = count_subcommands();

/// The longest name of a command.
const LONGEST: usize = 20;

#[inline]
pub(super) fn find(name: &[u8]) -> Option<CommandId> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let mut slot = hash(name);
    loop {
        let number = *TABLE.get(slot & (SLOTS - 1))?;
        let row = ROWS.get(usize::from(number))?; // `EMPTY` is past the end.
        if same(row.name.as_bytes(), name) {
            return Some(CommandId(number));
        }
        slot += 1;
    }
}

/// How many subcommands the command of this row has. They are the rows behind it.
#[inline]
pub(super) fn subcommands(number: u16) -> u8 {
    SUBCOMMANDS.get(usize::from(number)).copied().unwrap_or(0)
}

/// Whether `name` is `lower`, which is in lower case.
#[inline]
fn same(lower: &[u8], name: &[u8]) -> bool {
    lower.eq_ignore_ascii_case(name)
}

/// Mixes length and bytes, whatever the case of letters (FNV-1a). Enough for the names that there are: how far they are from
/// their places is tested.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let mut mixed = name.len() as u64;
    let mut left = name;
    while let [byte, behind @ ..] = left {
        mixed = (mixed ^ (*byte | 0x20) as u64).wrapping_mul(0x0100_0000_01b3);
        left = behind;
    }
    (mixed ^ (mixed >> 15)) as usize
}

#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
const fn build() -> [u16; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < ROWS.len() {
        let name = ROWS[number].name.as_bytes();
        if !is_subcommand(name) {
            let mut slot = hash(name) & (SLOTS - 1);
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
const fn count_subcommands() -> [u8; ROWS.len()] {
    let mut counts = [0; ROWS.len()];
    let mut parent = 0;
    let mut number = 0;
    while number < ROWS.len() {
        if is_subcommand(ROWS[number].name.as_bytes()) {
            counts[parent] += 1;
        } else {
            parent = number;
        }
        number += 1;
    }
    counts
}

const fn is_subcommand(mut name: &[u8]) -> bool {
    while let [byte, behind @ ..] = name {
        if *byte == b'|' {
            return true;
        }
        name = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_their_places() {
        let mut looks = Vec::new();
        for command in CommandId::all().filter(|command| command.parent().is_none()) {
            let place = hash(command.name().as_bytes()) & (SLOTS - 1);
            let found = (0..SLOTS).find(|step| TABLE[(place + step) & (SLOTS - 1)] == command.0);
            looks.push(found.unwrap() + 1);
        }
        let total: usize = looks.iter().sum();
        assert!(total < looks.len() * 5 / 4, "{total} looks");
        assert!(looks.iter().all(|looks| *looks <= 6), "{looks:?}");
        let longest = CommandId::all().filter(|command| command.parent().is_none());
        let longest = longest.map(|command| command.name().len()).max();
        assert_eq!(longest, Some(LONGEST));
    }
}
