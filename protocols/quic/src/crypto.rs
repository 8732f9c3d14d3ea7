//! Pieces of the handshake, in any order, to the message at its front.
//!
//! A piece is kept once, in the bytes that it has; nothing is allocated for what is missing. Two pieces that contradict each
//! other are an error, whichever came first. Not the handshake behind the first message. Start at [`CryptoAssembler`].

use crate::error::CryptoError;

/// How much is kept of a message that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CryptoLimits {
    /// Where the message has to end. Default 16 KiB: with post-quantum key shares and a resumption ticket it is below 3 KiB.
    pub bytes: usize,
    /// Pieces apart from each other. Default 64: browsers cut on purpose, into about ten for each packet.
    pub pieces: usize,
    /// CRYPTO frames that are taken in all. Default 512: what is sent again counts too.
    pub frames: usize,
}

impl Default for CryptoLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            pieces: 64,
            frames: 512,
        }
    }
}

/// Puts the first message of a CRYPTO stream together.
#[derive(Debug, Clone)]
pub struct CryptoAssembler {
    limits: CryptoLimits,
    /// In order; none overlaps another. Two may touch, when the later in place was the first to come.
    pieces: Vec<Piece>,
    frames: usize,
}

#[derive(Debug, Clone)]
struct Piece {
    start: usize,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

impl CryptoAssembler {
    /// With nothing in it.
    #[must_use]
    pub const fn new(limits: CryptoLimits) -> Self {
        Self {
            limits,
            pieces: Vec::new(),
            frames: 0,
        }
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Takes what one CRYPTO frame says.
    ///
    /// # Errors
    /// It goes past a limit, or contradicts what was taken before; then the message can no longer be had.
    pub fn take(&mut self, offset: u64, data: &[u8]) -> Result<(), CryptoError> {
        self.frames += 1;
        if self.frames > self.limits.frames {
            return Err(CryptoError::TooManyFrames);
        }
        let start = usize::try_from(offset).map_err(|_| CryptoError::TooLong)?;
        let end = start
            .checked_add(data.len())
            .filter(|&end| end <= self.limits.bytes)
            .ok_or(CryptoError::TooLong)?;
        let mut at = start;
        let mut rest = data;
        // The first piece that ends behind `start`: those before have nothing to do with it.
        let mut index = self.pieces.partition_point(|piece| piece.end() <= start);
        while !rest.is_empty() {
            let next = self.pieces.get(index).filter(|piece| piece.start < end);
            let fresh = next.map_or(end, |piece| piece.start).saturating_sub(at);
            let (new, behind) = rest.split_at_checked(fresh).unwrap_or((rest, &[]));
            let covered = next.map_or(0, |piece| piece.end().min(end) - piece.start.max(at));
            let (old, behind) = behind.split_at_checked(covered).unwrap_or((behind, &[]));
            if let Some(piece) = next {
                let from = piece.start.max(at) - piece.start;
                if !piece.bytes.get(from..).unwrap_or_default().starts_with(old) {
                    return Err(CryptoError::Contradiction);
                }
            }
            let passed = usize::from(next.is_some());
            index = self.put(index, at, new)? + passed;
            at += new.len() + old.len();
            rest = behind;
        }
        Ok(())
    }

    /// Puts bytes, which overlap nothing, in front of the piece at `index`, or behind the one before it where they touch.
    /// Gives back where the piece at `index` is now.
    fn put(&mut self, index: usize, start: usize, bytes: &[u8]) -> Result<usize, CryptoError> {
        if bytes.is_empty() {
            return Ok(index);
        }
        let before = index.checked_sub(1).and_then(|at| self.pieces.get_mut(at));
        if let Some(before) = before.filter(|before| before.end() == start) {
            before.bytes.extend_from_slice(bytes);
            return Ok(index);
        }
        if self.pieces.len() >= self.limits.pieces {
            return Err(CryptoError::TooManyPieces);
        }
        let bytes = bytes.to_vec();
        self.pieces.insert(index, Piece { start, bytes });
        Ok(index + 1)
    }

    /// The bytes from the front up to the first that is missing, at most `most`.
    pub fn front(&self, most: usize) -> Vec<u8> {
        let mut front = Vec::new();
        for piece in &self.pieces {
            if piece.start != front.len() || front.len() >= most {
                break;
            }
            let wanted = piece.bytes.len().min(most - front.len());
            front.extend_from_slice(piece.bytes.get(..wanted).unwrap_or_default());
        }
        front
    }

    /// How many bytes there are before the first that is missing.
    #[must_use]
    pub fn front_bytes(&self) -> usize {
        let mut end = 0;
        for piece in &self.pieces {
            if piece.start != end {
                break;
            }
            end = piece.end();
        }
        end
    }

    /// Where the last byte ends.
    #[must_use]
    pub fn end(&self) -> usize {
        self.pieces.last().map_or(0, Piece::end)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::Random;

    use super::*;

    const LIMITS: CryptoLimits = CryptoLimits {
        bytes: 32,
        pieces: 4,
        frames: 12,
    };

    fn check_invariants(assembler: &CryptoAssembler) {
        assert!(assembler.pieces.len() <= assembler.limits.pieces);
        assert!(assembler.end() <= assembler.limits.bytes);
        for pair in assembler.pieces.windows(2) {
            assert!(pair[0].end() <= pair[1].start, "{assembler:?}");
        }
        assert!(assembler.pieces.iter().all(|piece| !piece.bytes.is_empty()));
        let front = assembler.front(usize::MAX);
        assert_eq!(front.len(), assembler.front_bytes());
    }

    #[test]
    fn pieces_and_what_comes_of_them() {
        let contradiction = Err(CryptoError::Contradiction);
        let too_many = Err(CryptoError::TooManyPieces);
        type Row<'a> = (&'a str, &'a [(u64, &'a str)], Result<&'a str, CryptoError>);
        let rows: &[Row<'_>] = &[
            ("in order", &[(0, "abc"), (3, "def")], Ok("abcdef")),
            (
                "the other way round",
                &[(3, "def"), (0, "abc")],
                Ok("abcdef"),
            ),
            ("a hole", &[(0, "abc"), (4, "ef")], Ok("abc")),
            ("no front", &[(1, "bc")], Ok("")),
            ("twice", &[(0, "abc"), (0, "abc")], Ok("abc")),
            ("part again", &[(0, "abcd"), (1, "bc")], Ok("abcd")),
            ("over both ends", &[(1, "bc"), (0, "abcd")], Ok("abcd")),
            (
                "over several",
                &[(1, "b"), (3, "d"), (5, "f"), (0, "abcdefg")],
                Ok("abcdefg"),
            ),
            (
                "a hole filled",
                &[(0, "ab"), (4, "ef"), (1, "bcde")],
                Ok("abcdef"),
            ),
            ("nothing", &[(9, ""), (0, "a")], Ok("a")),
            ("another byte", &[(0, "abc"), (2, "x")], contradiction),
            (
                "another byte between",
                &[(1, "b"), (3, "d"), (0, "abcx")],
                contradiction,
            ),
            ("up to the limit", &[(31, "z")], Ok("")),
            ("past the limit", &[(31, "zz")], Err(CryptoError::TooLong)),
            ("far away", &[(1 << 61, "z")], Err(CryptoError::TooLong)),
            (
                "four apart",
                &[(1, "b"), (3, "d"), (5, "f"), (7, "h")],
                Ok(""),
            ),
            (
                "five apart",
                &[(1, "b"), (3, "d"), (5, "f"), (7, "h"), (9, "j")],
                too_many,
            ),
            (
                "four apart, made one",
                &[(1, "b"), (3, "d"), (5, "f"), (7, "h"), (0, "a"), (2, "c")],
                too_many,
            ),
        ];
        for (name, frames, expected) in rows {
            let mut assembler = CryptoAssembler::new(LIMITS);
            let mut answer = Ok(());
            for (offset, data) in *frames {
                answer = answer.and_then(|()| assembler.take(*offset, data.as_bytes()));
                check_invariants(&assembler);
            }
            let front = answer.map(|()| assembler.front(usize::MAX));
            assert_eq!(
                front,
                expected.map(|text| text.as_bytes().to_vec()),
                "{name}"
            );
        }
    }

    #[test]
    fn frames_are_counted() {
        let mut assembler = CryptoAssembler::new(LIMITS);
        for _ in 0..LIMITS.frames {
            assert_eq!(assembler.take(0, b"a"), Ok(()));
        }
        assert_eq!(assembler.take(0, b"a"), Err(CryptoError::TooManyFrames));
    }

    #[test]
    fn any_order_and_overlap_gives_the_whole() {
        let (mut random, seed) = Random::from_environment(11);
        let limits = CryptoLimits {
            bytes: 300,
            pieces: 300,
            frames: 5000,
        };
        let message: Vec<u8> = (0..300_u32).map(|at| (at * 7 % 251) as u8).collect();
        for round in 0..200 {
            let mut assembler = CryptoAssembler::new(limits);
            let mut seen = vec![false; message.len()];
            while seen.contains(&false) {
                let start = random.below(message.len());
                let length = 1 + random.below(40);
                let end = (start + length).min(message.len());
                let taken = assembler.take(start as u64, &message[start..end]);
                assert_eq!(taken, Ok(()), "seed {seed} round {round}");
                seen[start..end].fill(true);
                check_invariants(&assembler);
                let kept = seen.iter().filter(|&&seen| seen).count();
                assert_eq!(assembler.bytes(), kept, "seed {seed} round {round}");
                let front = seen.iter().take_while(|&&seen| seen).count();
                assert_eq!(assembler.front(usize::MAX), message[..front]);
            }
        }
    }
}
