//! Tables of words built at compile time, asked for in any case without copying the word.
//!
//! Open addressing over the first eight bytes, folded and packed into one number. Start at [`WordTable::find`].

/// A hash table with `SLOTS` places, a power of two at least twice as many as words.
///
/// Words are lower-case ASCII letters, digits and `_`.
pub(super) struct WordTable<const SLOTS: usize> {
    words: &'static [&'static str],
    slots: [Slot; SLOTS],
    longest: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    length: u16,
    index: u16,
}

const EMPTY: u16 = u16::MAX;
const FOLD: u64 = 0x2020_2020_2020_2020;

impl<const SLOTS: usize> WordTable<SLOTS> {
    /// Does not compile with a word twice or a table too small.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        assert!(
            SLOTS.is_power_of_two() && words.len() * 2 <= SLOTS && words.len() < EMPTY as usize
        );
        let empty = Slot {
            key: 0,
            length: 0,
            index: EMPTY,
        };
        let mut slots = [empty; SLOTS];
        let mut longest = 0;
        let mut index = 0;
        while index < words.len() {
            let word = words[index].as_bytes();
            assert!(!word.is_empty());
            if word.len() > longest {
                longest = word.len();
            }
            let key = pack(word);
            let mut place = Self::place(key, word.len());
            while slots[place].index != EMPTY {
                assert!(
                    !same(words[slots[place].index as usize].as_bytes(), word),
                    "a word twice"
                );
                place = (place + 1) & (SLOTS - 1);
            }
            slots[place] = Slot {
                key,
                length: word.len() as u16,
                index: index as u16,
            };
            index += 1;
        }
        Self {
            words,
            slots,
            longest,
        }
    }

    #[inline]
    const fn place(key: u64, length: usize) -> usize {
        let mixed = (key ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - SLOTS.trailing_zeros())) as usize
    }

    /// The index of the word at `sql[start..end]`, whatever its case.
    #[inline]
    pub(super) fn find(&self, sql: &[u8], start: usize, end: usize) -> Option<usize> {
        let length = end - start;
        if length > self.longest {
            return None;
        }
        let key = load(sql, start, length) | FOLD;
        let mut place = Self::place(key, length);
        loop {
            let slot = self.slots.get(place)?;
            if slot.index == EMPTY {
                return None;
            }
            if slot.key == key
                && slot.length as usize == length
                && self.tail_matches(slot, sql, start, end)
            {
                return Some(slot.index as usize);
            }
            place = (place + 1) & (SLOTS - 1);
        }
    }

    /// The first eight bytes are equal already.
    #[inline]
    fn tail_matches(&self, slot: &Slot, sql: &[u8], start: usize, end: usize) -> bool {
        if end - start <= 8 {
            return true;
        }
        let word = self
            .words
            .get(slot.index as usize)
            .and_then(|word| word.as_bytes().get(8..));
        let asked = sql.get(start + 8..end);
        matches!((word, asked), (Some(word), Some(asked)) if word.eq_ignore_ascii_case(asked))
    }
}

/// Up to eight bytes as a number, the rest zero.
#[inline]
fn load(sql: &[u8], start: usize, length: usize) -> u64 {
    if let Some(Ok(eight)) = sql.get(start..start + 8).map(<[u8; 8]>::try_from) {
        let all = u64::from_le_bytes(eight);
        return match length {
            8.. => all,
            _ => all & !(u64::MAX << (8 * length)),
        };
    }
    let bytes = sql.get(start..start + length.min(8)).unwrap_or_default();
    bytes
        .iter()
        .rev()
        .fold(0, |packed, &byte| packed << 8 | u64::from(byte))
}

/// As [`load`] of the whole word with the case bit set. `_` becomes 0x7f, which no word has otherwise.
const fn pack(word: &[u8]) -> u64 {
    let mut packed = 0;
    let mut index = 0;
    while index < word.len() && index < 8 {
        packed |= (word[index] as u64) << (8 * index);
        index += 1;
    }
    packed | FOLD
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}
