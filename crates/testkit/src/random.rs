//! Seeded choices, the same on every run with the same seed.
//!
//! Not for anything secret. A failing test prints its seed; `PORTCULLIS_SEED=` replays it. Start at
//! [`Random::from_environment`].

/// A small generator (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that always makes the same choices.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Seeded from `PORTCULLIS_SEED` where it is set, else from `default`. Returns the seed for the failure message.
    #[must_use]
    pub fn from_environment(default: u64) -> (Self, u64) {
        let seed = std::env::var("PORTCULLIS_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default);
        (Self::from_seed(seed), seed)
    }

    /// Any 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero for a bound of zero. The slight bias does not matter to tests.
    pub const fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        (self.next_u64() % bound as u64) as usize
    }

    /// Cuts `bytes` into pieces of 1 to `longest` bytes.
    pub fn pieces<'a>(&mut self, bytes: &'a [u8], longest: usize) -> Vec<&'a [u8]> {
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let length = (1 + self.below(longest)).min(rest.len());
            let (piece, tail) = rest.split_at(length);
            pieces.push(piece);
            rest = tail;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn pieces_make_the_whole_and_seeds_repeat() {
        let bytes: Vec<u8> = (0..=255).collect();
        let pieces = Random::from_seed(7).pieces(&bytes, 9);
        assert_eq!(pieces.concat(), bytes);
        assert_eq!(pieces, Random::from_seed(7).pieces(&bytes, 9));
    }
}
