//! Looks at a stream of messages as it passes: counts them and judges their prefixes, keeps nothing of them.
//!
//! The same framing as [`crate::MessageDecoder`], which takes messages apart; this one is for who passes pieces on
//! as they come. Start at [`MessageScanner::scan`].

use crate::decoder::MessageLimits;
use crate::error::MessageError;
use crate::grammar;
use crate::message::MessageHeader;

/// Follows a stream of messages from piece to piece.
#[derive(Debug, Clone, Copy)]
pub struct MessageScanner {
    limits: MessageLimits,
    /// The front of a prefix that a piece ended in.
    prefix: [u8; MessageHeader::LEN],
    prefix_len: usize,
    /// Bytes of the current message that are still to come.
    left: u32,
}

impl MessageScanner {
    /// A scanner at the beginning of a stream.
    #[must_use]
    pub const fn new(limits: MessageLimits) -> Self {
        Self {
            limits,
            prefix: [0; MessageHeader::LEN],
            prefix_len: 0,
            left: 0,
        }
    }

    /// Looks at the next piece. The answer is how many messages began in it: their prefixes were completed.
    ///
    /// # Errors
    /// What is wrong with the first bad prefix. The piece must not be passed on, and the stream is over.
    pub fn scan(&mut self, piece: &[u8]) -> Result<u32, MessageError> {
        let mut began = 0;
        let mut rest = piece;
        while !rest.is_empty() {
            if self.left > 0 {
                let length = rest.len().min(self.left as usize);
                self.left -= length as u32;
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            let Some(header) = self.read_prefix(&mut rest)? else {
                break;
            };
            self.limits.check(header)?;
            self.left = header.length;
            began += 1;
        }
        Ok(began)
    }

    /// Takes a prefix off the front; `None` if it is not complete yet, then all of `rest` is kept.
    fn read_prefix(&mut self, rest: &mut &[u8]) -> Result<Option<MessageHeader>, MessageError> {
        if self.prefix_len == 0
            && let Some((prefix, after)) = rest.split_at_checked(MessageHeader::LEN)
        {
            *rest = after;
            return grammar::header(prefix).map(Some);
        }
        let free = self.prefix.get_mut(self.prefix_len..).unwrap_or_default();
        let length = free.len().min(rest.len());
        let (taken, after) = rest.split_at(length);
        for (to, byte) in free.iter_mut().zip(taken) {
            *to = *byte;
        }
        *rest = after;
        self.prefix_len += length;
        if self.prefix_len < MessageHeader::LEN {
            return Ok(None);
        }
        self.prefix_len = 0;
        grammar::header(&self.prefix).map(Some)
    }

    /// Whether the stream is between two messages: it may end here.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.left == 0 && self.prefix_len == 0
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// It ended inside of a message.
    pub const fn finish(&self) -> Result<(), MessageError> {
        if self.is_between() {
            Ok(())
        } else {
            Err(MessageError::Truncated)
        }
    }
}
