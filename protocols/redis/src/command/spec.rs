//! How the table says where keys are: the key specifications of Redis 7.
//!
//! Only the form; what is made of it is in `keys.rs`.

use super::KeyFlags;

/// Where some keys of a command are, and what is done with them.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// What is done with them.
    pub flags: KeyFlags,
    /// Where they begin.
    pub begin: Begin,
    /// How far they go.
    pub extent: Extent,
}

/// Where the first key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this index.
    At(u8),
    /// Behind this word, in any case.
    After {
        /// The word.
        word: &'static str,
        /// Where to begin to look for it: forwards from here, or backwards from so many before the end.
        from: i8,
    },
    /// Where a rule written for this command says.
    Unknown,
}

/// How far keys go from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Up to an index.
    Range {
        /// The last, counted from the first; negative: from the end of the arguments.
        last: i8,
        /// From one key to the next.
        step: u8,
        /// Where `last` is negative and this more than 1: one part in so many of what is left is keys.
        limit: u8,
    },
    /// As many as an argument says.
    Number {
        /// The argument with the number, counted from where it begins.
        at: u8,
        /// The first key, counted from where it begins.
        first: u8,
        /// From one key to the next.
        step: u8,
    },
}

/// Keys that begin at this index.
pub(super) const fn at(index: u8) -> Begin {
    Begin::At(index)
}

/// Keys that begin behind this word.
pub(super) const fn after(word: &'static str, from: i8) -> Begin {
    Begin::After { word, from }
}

/// Keys that a rule of the command's own finds.
pub(super) const UNKNOWN: (Begin, Extent) = Begin::Unknown.range(0, 1, 0);

impl Begin {
    pub(super) const fn range(self, last: i8, step: u8, limit: u8) -> (Self, Extent) {
        (self, Extent::Range { last, step, limit })
    }

    pub(super) const fn number(self, at: u8, first: u8, step: u8) -> (Self, Extent) {
        (self, Extent::Number { at, first, step })
    }
}

impl KeySpec {
    pub(super) const fn new(flags: KeyFlags, (begin, extent): (Begin, Extent)) -> Self {
        Self {
            flags,
            begin,
            extent,
        }
    }
}
