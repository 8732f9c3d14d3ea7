//! What several places said to the same command, where all have to do it.
//!
//! Start at [`Answers::note`].

use crate::machine::upstreams::Piece;

/// What all places said to the same command.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Answers {
    pub(super) is_taken: bool,
    pub(super) is_refused: bool,
    pub(super) is_lost: bool,
}

impl Answers {
    pub(super) fn note(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Whole { kind, .. } if kind.is_error() => self.is_refused = true,
            Piece::Whole { .. } => self.is_taken = true,
            Piece::Lost(_) => self.is_lost = true,
            // No answer to these commands is so long.
            Piece::Begin { .. } | Piece::More { .. } => self.is_refused = true,
        }
    }

    /// All did as they were told.
    pub(super) const fn is_done(self) -> bool {
        self.is_taken && !self.is_refused && !self.is_lost
    }
}
