//! What waits for a client's windows, as pieces that are handed on without a copy.
//!
//! Bounded by who fills it: [`Queue::is_full`] says when to stop. Not flow control: that is quinn's. Start at [`Queue::push`].

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::guard::put_number;

/// Pieces in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

/// What a piece costs besides its bytes, so that many small ones are not free.
const PIECE_OVERHEAD: usize = 64;

impl Queue {
    /// Adds a piece at the end.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// All pieces, to be written from the front; see [`Queue::on_written`].
    pub(super) fn pieces(&mut self) -> &mut [Bytes] {
        self.pieces.make_contiguous()
    }

    /// So many bytes are away: so many pieces, and part of another, which was cut by who wrote it.
    pub(super) fn on_written(&mut self, bytes: usize, pieces: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.pieces.drain(..pieces.min(self.pieces.len()));
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether what waits takes at least `limit` bytes of memory.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.bytes + self.pieces.len() * PIECE_OVERHEAD >= limit
    }

    /// Drops what waits.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What stands before the content of a DATA frame: its type, and a length of variable length (RFC 9000 section 16).
pub(super) fn data_header(length: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(9);
    header.put_u8(0);
    put_number(&mut header, length as u64);
    header.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_leaves() {
        let mut queue = Queue::default();
        for piece in ["abcd", "ef", "g"] {
            queue.push(Bytes::from_static(piece.as_bytes()));
        }
        assert!(queue.is_full(190) && !queue.is_full(200));
        queue.pieces()[1] = Bytes::from_static(b"f");
        queue.on_written(5, 1);
        assert_eq!(queue.pieces(), ["f", "g"]);
        assert_eq!(queue.bytes(), 2);
        queue.on_written(2, 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn headers_of_data() {
        let rows: [(usize, &[u8]); 6] = [
            (0, &[0, 0]),
            (63, &[0, 63]),
            (64, &[0, 0x40, 64]),
            (0x3fff, &[0, 0x7f, 0xff]),
            (0x4000, &[0, 0x80, 0, 0x40, 0]),
            (1 << 30, &[0, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]),
        ];
        for (length, expected) in rows {
            assert_eq!(data_header(length), expected, "{length}");
        }
    }
}
