//! From the bytes of one whole reply to its tree.
//!
//! The scanner has found the end, so nothing is waited for here and no byte is read twice. Goes as deep as the scanner let
//! the reply be, and reserves no room by what a peer states. Start at [`ValueDecoder`].

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder;

use super::{Attributed, Null, Value};
use crate::error::ReplyError;
use crate::grammar::{Token, integer, token};
use crate::limits::ReplyLimits;
use crate::reply::{ReplyFrame, ReplyKind, ReplyScanner};

/// Room that is reserved for the elements of an aggregate before they are seen.
const RESERVED: usize = 64;

/// Bounds on replies that are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueLimits {
    /// Bytes of a reply. Clamped like [`ReplyLimits::whole`].
    pub bytes: usize,
    /// Aggregates inside of each other.
    pub depth: u32,
}

impl Default for ValueLimits {
    fn default() -> Self {
        Self {
            // COMMAND of Redis 7 has 140 kB, CLUSTER SLOTS of a thousand nodes about as much.
            bytes: 1024 * 1024,
            depth: ReplyLimits::default().depth,
        }
    }
}

impl ValueLimits {
    fn scanning(self) -> ReplyLimits {
        ReplyLimits {
            whole: self.bytes,
            bulk: self.bytes as u64,
            elements: u32::MAX,
            depth: self.depth.min(MOST_DEPTH - 2),
            line: self.bytes,
        }
    }
}

/// Takes replies off a buffer and opens them.
#[derive(Debug, Clone)]
pub struct ValueDecoder {
    scanner: ReplyScanner,
}

impl ValueDecoder {
    /// A decoder at the front of a reply.
    #[must_use]
    pub fn new(limits: ValueLimits) -> Self {
        let scanner = ReplyScanner::new(limits.scanning());
        Self { scanner }
    }
}

impl Decoder for ValueDecoder {
    type Item = Value;
    type Error = ReplyError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Value>, ReplyError> {
        match self.scanner.next(src)? {
            None => Ok(None),
            Some(ReplyFrame::Whole { len, .. }) => parse(src.split_to(len).freeze()).map(Some),
            Some(ReplyFrame::Begin { .. } | ReplyFrame::More { .. }) => Err(ReplyError::TooLarge),
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Value>, ReplyError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(ReplyError::Truncated),
            item => Ok(item),
        }
    }
}

/// Opens one whole reply, as [`ReplyScanner`] found it: attributes in front, and nothing behind it.
///
/// # Errors
/// The bytes are not one whole reply; nested deeper than [`MOST_DEPTH`].
#[allow(clippy::needless_pass_by_value)] // a tree is made of the bytes, and keeps them
pub fn parse(reply: Bytes) -> Result<Value, ReplyError> {
    let mut reader = Reader {
        reply: &reply,
        at: 0,
    };
    let value = reader.value(MOST_DEPTH)?;
    if reader.at == reply.len() {
        Ok(value)
    } else {
        Err(ReplyError::Length)
    }
}

/// As deep as [`parse`] goes, whatever the scanner was told: well within the stack of a thread.
pub const MOST_DEPTH: u32 = 128;

struct Reader<'a> {
    reply: &'a Bytes,
    /// Bytes of it that were read.
    at: usize,
}

/// Everything fits: what must not be large was not let through by the scanner.
const ANY: ReplyLimits = ReplyLimits {
    whole: usize::MAX,
    bulk: u64::MAX,
    elements: u32::MAX / 2,
    depth: u32::MAX,
    line: usize::MAX,
};

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Result<Value, ReplyError> {
        let depth = depth.checked_sub(1).ok_or(ReplyError::Depth)?;
        let mut attributes: Option<Vec<_>> = None;
        loop {
            match self.token()? {
                Token::Aggregate {
                    kind: None,
                    header,
                    count,
                } => {
                    self.at += header;
                    let pairs = self.pairs(Some(count), depth)?;
                    attributes.get_or_insert_default().extend(pairs);
                }
                token => {
                    let value = self.bare(token, depth)?;
                    return Ok(match attributes {
                        Some(attributes) => {
                            Value::Attributed(Box::new(Attributed { attributes, value }))
                        }
                        None => value,
                    });
                }
            }
        }
    }

    fn bare(&mut self, token: Token, depth: u32) -> Result<Value, ReplyError> {
        match token {
            Token::Line { kind, len } => self.line(kind, len),
            Token::Bulk {
                kind,
                header,
                length,
            } => self.string(kind, header, length),
            Token::Aggregate {
                kind,
                header,
                count,
            } => {
                self.at += header;
                self.aggregate(kind, Some(count), depth)
            }
            Token::StreamedAggregate { kind, header } => {
                self.at += header;
                self.aggregate(Some(kind), None, depth)
            }
            Token::StreamedBulk { header } => {
                self.at += header;
                self.chunks()
            }
            Token::Chunk { .. } | Token::End { .. } => Err(ReplyError::Type),
        }
    }

    fn token(&self) -> Result<Token, ReplyError> {
        token(self.rest(), &ANY)?.ok_or(ReplyError::Truncated)
    }

    fn rest(&self) -> &[u8] {
        self.reply.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> Result<Bytes, ReplyError> {
        let end = self.at.saturating_add(len);
        if end > self.reply.len() {
            return Err(ReplyError::Truncated);
        }
        let bytes = self.reply.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn line(&mut self, kind: ReplyKind, len: usize) -> Result<Value, ReplyError> {
        // Without the type and the line end.
        self.at += 1;
        let text = self.take(len.saturating_sub(3))?;
        self.at += 2;
        Ok(match kind {
            ReplyKind::Simple => Value::Simple(text),
            ReplyKind::Error => Value::Error(text),
            ReplyKind::Integer => Value::Integer(integer(&text).ok_or(ReplyError::Value)?),
            ReplyKind::Double => Value::Double(text),
            ReplyKind::BigNumber => Value::BigNumber(text),
            ReplyKind::Boolean => Value::Boolean(text.as_ref() == b"t"),
            ReplyKind::NullBulk => Value::Null(Null::Bulk),
            ReplyKind::NullArray => Value::Null(Null::Array),
            _ => Value::Null(Null::Resp3),
        })
    }

    /// The bytes of a string, whose end is taken too.
    fn bytes(&mut self, length: u64) -> Result<Bytes, ReplyError> {
        let length = usize::try_from(length).map_err(|_| ReplyError::BulkTooLarge)?;
        let bytes = self.take(length)?;
        match self.rest() {
            [b'\r', b'\n', ..] => {
                self.at += 2;
                Ok(bytes)
            }
            [_, _, ..] => Err(ReplyError::LineEnd),
            _ => Err(ReplyError::Truncated),
        }
    }

    fn string(&mut self, kind: ReplyKind, header: usize, length: u64) -> Result<Value, ReplyError> {
        self.at += header;
        Ok(match kind {
            ReplyKind::Verbatim => {
                let format = self.format().ok_or(ReplyError::Value)?;
                let text = self.bytes(length)?;
                Value::Verbatim { format, text }
            }
            ReplyKind::BulkError => Value::BulkError(self.bytes(length)?),
            _ => Value::Bulk(self.bytes(length)?),
        })
    }

    /// What stands with a colon in front of the text of a verbatim string.
    fn format(&self) -> Option<[u8; 3]> {
        let header = self.reply.get(..self.at)?;
        let (format, _) = header.last_chunk::<4>()?.split_first_chunk::<3>()?;
        Some(*format)
    }

    /// The only strings that are copied, since they are not in one piece.
    fn chunks(&mut self) -> Result<Value, ReplyError> {
        let mut joined = BytesMut::new();
        loop {
            let Token::Chunk { header, length } = self.token()? else {
                return Err(ReplyError::Type);
            };
            self.at += header;
            if length == 0 {
                return Ok(Value::Bulk(joined.freeze()));
            }
            joined.extend_from_slice(&self.bytes(length)?);
        }
    }

    fn aggregate(
        &mut self,
        kind: Option<ReplyKind>,
        count: Option<u32>,
        depth: u32,
    ) -> Result<Value, ReplyError> {
        Ok(match kind {
            Some(ReplyKind::Map) => Value::Map(self.pairs(count, depth)?),
            Some(ReplyKind::Set) => Value::Set(self.elements(count, depth)?),
            Some(ReplyKind::Push) => Value::Push(self.elements(count, depth)?),
            Some(_) | None => Value::Array(self.elements(count, depth)?),
        })
    }

    fn elements(&mut self, count: Option<u32>, depth: u32) -> Result<Vec<Value>, ReplyError> {
        let mut elements = Vec::with_capacity(reserved(count));
        while !self.is_end(count, elements.len())? {
            elements.push(self.value(depth)?);
        }
        Ok(elements)
    }

    fn pairs(&mut self, count: Option<u32>, depth: u32) -> Result<Vec<(Value, Value)>, ReplyError> {
        let mut pairs = Vec::with_capacity(reserved(count));
        while !self.is_end(count, pairs.len())? {
            let name = self.value(depth)?;
            pairs.push((name, self.value(depth)?));
        }
        Ok(pairs)
    }

    /// Whether an aggregate that has `len` elements ends here. What ends a streamed one is taken.
    fn is_end(&mut self, count: Option<u32>, len: usize) -> Result<bool, ReplyError> {
        if let Some(count) = count {
            return Ok(len >= count as usize);
        }
        if self.rest().first() != Some(&b'.') {
            return Ok(false);
        }
        match self.token()? {
            Token::End { len } => {
                self.at += len;
                Ok(true)
            }
            _ => Err(ReplyError::Type),
        }
    }
}

fn reserved(count: Option<u32>) -> usize {
    count.map_or(0, |count| (count as usize).min(RESERVED))
}
