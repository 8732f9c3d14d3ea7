//! Pieces of a response that wait for the peer's windows.
//!
//! Bounded by who fills it: [`Queue::is_full`] says when to stop. Not flow control: that is `h2`'s. Start at
//! [`Queue::push`] and [`Queue::take`].

use std::collections::VecDeque;

use bytes::Bytes;

/// Pieces in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

/// What a piece costs besides its bytes, so that many small ones are not free.
const PIECE_OVERHEAD: usize = 64;

impl Queue {
    /// Adds a piece at the end.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Takes at most `limit` bytes off the front, from one piece; `None` when nothing waits or `limit` is 0.
    pub(crate) fn take(&mut self, limit: usize) -> Option<Bytes> {
        let front = self.pieces.front_mut()?;
        let piece = if front.len() > limit {
            front.split_to(limit)
        } else {
            self.pieces.pop_front()?
        };
        self.bytes -= piece.len();
        (!piece.is_empty()).then_some(piece)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether what waits takes at least `limit` bytes of memory.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.bytes + self.pieces.len() * PIECE_OVERHEAD >= limit
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_leave_in_order_and_within_the_limit() {
        let mut queue = Queue::default();
        for piece in ["abcd", "ef"] {
            queue.push(Bytes::from_static(piece.as_bytes()));
        }
        let rows = [
            (3, Some("abc"), 3),
            (0, None, 3),
            (9, Some("d"), 2),
            (2, Some("ef"), 0),
            (2, None, 0),
        ];
        for (limit, expected, left) in rows {
            let piece = queue.take(limit);
            assert_eq!(piece.as_deref(), expected.map(str::as_bytes), "{limit}");
            assert_eq!(queue.bytes(), left, "{limit}");
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn small_pieces_fill_it_too() {
        let mut queue = Queue::default();
        for _ in 0..10 {
            assert!(!queue.is_full(650));
            queue.push(Bytes::from_static(b"x"));
        }
        assert!(queue.is_full(650));
        queue.clear();
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
