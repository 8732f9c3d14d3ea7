//! What is still owed of the aggregates that a reply is inside of.
//!
//! Not their contents, and nothing of strings but how long streamed ones have become. The list grows with the depth of a
//! reply, which is bounded, never with a number that a peer states. Start at [`Nesting::admits`].

use smallvec::SmallVec;

use super::ReplyKind;
use crate::error::ReplyError;
use crate::grammar::Token;
use crate::limits::ReplyLimits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// An aggregate to which so many elements are missing. One at least.
    Counted(u32),
    /// Attributes to which so many names and values are missing. One at least.
    Attributes(u32),
    /// A streamed aggregate that has so many elements.
    Streamed { elements: u32, is_map: bool },
    /// A streamed string of so many bytes.
    Chunks(u64),
}

/// The aggregates from the outermost to the innermost.
#[derive(Debug, Clone, Default)]
pub(super) struct Nesting {
    levels: SmallVec<[Level; 4]>,
    /// Whether attributes have just ended: they are of a value that must follow.
    owes_value: bool,
}

impl Nesting {
    /// Whether it is inside of none.
    pub(super) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// How many it is inside of.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Whether `token` may stand here; changes nothing.
    pub(super) fn admits(&self, token: Token, limits: &ReplyLimits) -> Result<(), ReplyError> {
        let is_inside = match self.levels.last() {
            Some(Level::Chunks(_)) => {
                return self.admits_chunk(token, limits);
            }
            Some(&Level::Streamed { elements, is_map }) => {
                return self.admits_streamed(token, elements, is_map, limits);
            }
            Some(_) => true,
            None => false,
        };
        let is_push = matches!(
            token,
            Token::Aggregate {
                kind: Some(ReplyKind::Push),
                ..
            }
        );
        if matches!(token, Token::Chunk { .. } | Token::End { .. }) || (is_inside && is_push) {
            return Err(ReplyError::Type);
        }
        self.admits_deeper(token, limits)
    }

    fn admits_chunk(&self, token: Token, limits: &ReplyLimits) -> Result<(), ReplyError> {
        match (token, self.levels.last()) {
            (Token::Chunk { length, .. }, Some(Level::Chunks(before))) => {
                // Neither is near the end of 64 bits: each was compared with a limit of its own.
                if before.saturating_add(length) > limits.bulk {
                    return Err(ReplyError::BulkTooLarge);
                }
                Ok(())
            }
            _ => Err(ReplyError::Type),
        }
    }

    fn admits_streamed(
        &self,
        token: Token,
        elements: u32,
        is_map: bool,
        limits: &ReplyLimits,
    ) -> Result<(), ReplyError> {
        let most = limits.elements << u32::from(is_map);
        match token {
            Token::End { .. } if self.owes_value || (is_map && elements % 2 == 1) => {
                Err(ReplyError::Type)
            }
            Token::End { .. } => Ok(()),
            Token::Chunk { .. }
            | Token::Aggregate {
                kind: Some(ReplyKind::Push),
                ..
            } => Err(ReplyError::Type),
            Token::Aggregate { kind: None, .. } => self.admits_deeper(token, limits),
            _ if elements >= most => Err(ReplyError::Elements),
            _ => self.admits_deeper(token, limits),
        }
    }

    /// Empty aggregates count too: whoever opens replies goes down for them.
    fn admits_deeper(&self, token: Token, limits: &ReplyLimits) -> Result<(), ReplyError> {
        let is_deeper = matches!(
            token,
            Token::Aggregate { .. } | Token::StreamedAggregate { .. } | Token::StreamedBulk { .. }
        );
        if is_deeper && self.levels.len() >= limits.depth as usize {
            return Err(ReplyError::Depth);
        }
        Ok(())
    }

    /// Inside of an aggregate that said how many elements it has: how many are missing. Whoever takes one off sees to it that
    /// the last is left.
    pub(super) fn counted(&mut self) -> Option<&mut u32> {
        match self.levels.last_mut() {
            Some(Level::Counted(left)) => Some(left),
            _ => None,
        }
    }

    /// A value has begun, or attributes have.
    pub(super) fn note_value(&mut self, is_attributes: bool) {
        self.owes_value &= is_attributes;
    }

    /// An aggregate begins: whether the reply ends with that. `None` for attributes. Pairs count as two.
    pub(super) fn open(&mut self, kind: Option<ReplyKind>, count: u32) -> bool {
        match kind {
            None if count == 0 => {
                self.owes_value = true;
                false
            }
            None => {
                self.levels.push(Level::Attributes(count * 2));
                false
            }
            Some(_) if count == 0 => self.close_element(),
            Some(ReplyKind::Map) => {
                self.levels.push(Level::Counted(count * 2));
                false
            }
            Some(_) => {
                self.levels.push(Level::Counted(count));
                false
            }
        }
    }

    /// An aggregate to which so many elements are missing, one at least.
    pub(super) fn open_with(&mut self, left: u32) {
        self.levels.push(Level::Counted(left));
    }

    pub(super) fn open_streamed(&mut self, kind: ReplyKind) {
        let is_map = kind == ReplyKind::Map;
        let elements = 0;
        self.levels.push(Level::Streamed { elements, is_map });
    }

    pub(super) fn open_chunks(&mut self) {
        self.levels.push(Level::Chunks(0));
    }

    pub(super) fn add_chunk(&mut self, length: u64) {
        if let Some(Level::Chunks(bytes)) = self.levels.last_mut() {
            *bytes += length;
        }
    }

    /// What was streamed ends: whether the reply ends with it.
    pub(super) fn close_streamed(&mut self) -> bool {
        self.levels.pop();
        self.close_element()
    }

    /// A string ends: whether the reply ends with it.
    pub(super) fn close_string(&mut self) -> bool {
        !matches!(self.levels.last(), Some(Level::Chunks(_))) && self.close_element()
    }

    /// An element ends, and with it every aggregate of which it was the last: whether the reply ends too.
    pub(super) fn close_element(&mut self) -> bool {
        loop {
            match self.levels.last_mut() {
                None => return true,
                Some(Level::Counted(left)) if *left > 1 => {
                    *left -= 1;
                    return false;
                }
                Some(Level::Counted(_)) => {
                    self.levels.pop();
                }
                Some(Level::Attributes(left)) if *left > 1 => {
                    *left -= 1;
                    return false;
                }
                Some(Level::Attributes(_)) => {
                    self.levels.pop();
                    self.owes_value = true;
                    return false;
                }
                Some(Level::Streamed { elements, .. }) => {
                    *elements += 1;
                    return false;
                }
                // Only its own chunks are inside of a string, and they do not come here.
                Some(Level::Chunks(_)) => return false,
            }
        }
    }
}
