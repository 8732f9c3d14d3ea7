//! Where a simulator's choices come from: a seed, or the bytes of a fuzzer.
//!
//! Start at [`Choices`].

use crate::Random;

/// A source of choices.
#[derive(Debug)]
pub enum Choices<'a> {
    /// As many as are asked for.
    Seed(Random),
    /// As many as there are bytes; after that always the first.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Seed(random) => random.below(bound),
            Self::Bytes(bytes) => {
                let mut number = 0;
                let mut left = bound.saturating_sub(1);
                while left > 0 {
                    let Some((byte, rest)) = bytes.split_first() else {
                        break;
                    };
                    number = number << 8 | usize::from(*byte);
                    *bytes = rest;
                    left >>= 8;
                }
                number % bound.max(1)
            }
        }
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// Some bytes, of which nothing is known.
    pub fn bytes(&mut self) -> Vec<u8> {
        let count = self.below(64);
        match self {
            Self::Seed(random) => (0..count).map(|_| random.below(256) as u8).collect(),
            Self::Bytes(bytes) => {
                let (taken, rest) = bytes.split_at(count.min(bytes.len()));
                *bytes = rest;
                taken.to_vec()
            }
        }
    }

    /// A number that nobody who chooses bytes can know beforehand.
    pub fn nonce(&self) -> u32 {
        match self {
            Self::Seed(_) => 7,
            Self::Bytes(bytes) => bytes.iter().fold(0x811c_9dc5, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            }),
        }
    }

    /// Whether there is nothing left to choose by.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }
}
