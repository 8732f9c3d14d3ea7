//! Replies of RESP3 for clients of RESP2, without a tree.
//!
//! Not a judge: replies must be as [`ReplyScanner`](crate::reply::ReplyScanner) found them. Large ones are translated piece by
//! piece, as they come. Start at [`Downgrade::push`].

use bytes::{Buf as _, Bytes, BytesMut};

use super::{error, number::put_header};
use crate::error::ReplyError;
use crate::grammar::{Token, token};
use crate::limits::ReplyLimits;
use crate::message::{self, RespVersion};
use crate::reply::{ReplyKind, short};

/// Translates one whole reply. Any nesting of streamed strings and aggregates will do, up to
/// [`MOST_DEPTH`](message::MOST_DEPTH).
///
/// # Errors
/// Not one whole reply. `dst` is left as it was.
pub fn to_resp2(reply: &[u8], dst: &mut BytesMut) -> Result<(), ReplyError> {
    let before = dst.len();
    let mut downgrade = Downgrade::new();
    if downgrade.push(reply, dst).is_ok() && downgrade.is_between() {
        return Ok(());
    }
    // Streamed types do not say their length in front: that takes a tree.
    dst.truncate(before);
    let value = message::parse(Bytes::copy_from_slice(reply))?;
    super::value(&value, RespVersion::Resp2, dst);
    Ok(())
}

/// Translates a reply that comes in pieces, none of which ends inside of a header.
#[derive(Debug, Clone, Default)]
pub struct Downgrade {
    /// Of a string that has begun.
    string: Option<Text>,
    /// Values that belong to attributes and are left out.
    skipped: u64,
}

/// A string that is passed on or left out.
#[derive(Debug, Clone, Copy)]
struct Text {
    /// Bytes of it that are to come.
    left: u64,
    /// Whether it is an error of RESP3, which RESP2 has in a line.
    is_error: bool,
}

/// What is in a translated reply is what was let through before.
const ANY: ReplyLimits = ReplyLimits {
    whole: usize::MAX,
    bulk: u64::MAX,
    elements: u32::MAX / 2,
    depth: u32::MAX,
    line: usize::MAX,
};

impl Downgrade {
    /// At the front of a reply.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            string: None,
            skipped: 0,
        }
    }

    /// Whether no string and no attributes are half translated.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.string.is_none() && self.skipped == 0
    }

    /// Translates the next piece.
    ///
    /// # Errors
    /// A streamed string or aggregate, which RESP2 cannot say before its end is known; a piece that ends inside of a header.
    pub fn push(&mut self, piece: &[u8], dst: &mut BytesMut) -> Result<(), ReplyError> {
        let mut rest = piece;
        loop {
            if let Some(text) = self.string {
                rest = self.string(text, rest, dst)?;
            }
            if self.is_between() {
                let (same, behind) = rest.split_at(short::same(rest));
                dst.extend_from_slice(same);
                rest = behind;
            }
            if rest.is_empty() {
                return Ok(());
            }
            let token = token(rest, &ANY)?.ok_or(ReplyError::Truncated)?;
            let len = self.token(token, rest, dst)?;
            rest.advance(len);
        }
    }

    /// Passes on what is there of a string: what is behind it.
    fn string<'a>(
        &mut self,
        text: Text,
        rest: &'a [u8],
        dst: &mut BytesMut,
    ) -> Result<&'a [u8], ReplyError> {
        let here = usize::try_from(text.left).unwrap_or(usize::MAX);
        let (bytes, behind) = rest.split_at(here.min(rest.len()));
        if self.skipped > 0 {
        } else if text.is_error {
            super::put_harmless(bytes, dst);
        } else {
            dst.extend_from_slice(bytes);
        }
        let left = text.left - bytes.len() as u64;
        if behind.is_empty() {
            self.string = Some(Text { left, ..text });
            return Ok(behind);
        }
        let Some(behind) = behind.strip_prefix(b"\r\n") else {
            return Err(ReplyError::LineEnd);
        };
        self.string = None;
        if self.skipped > 0 {
            self.skipped -= 1;
        } else {
            dst.extend_from_slice(b"\r\n");
        }
        Ok(behind)
    }

    /// Translates a line or a header: its bytes.
    fn token(
        &mut self,
        token: Token,
        rest: &[u8],
        dst: &mut BytesMut,
    ) -> Result<usize, ReplyError> {
        match token {
            Token::Line { kind, len } => {
                if self.is_wanted() {
                    let line = rest.get(..len).unwrap_or_default();
                    put_line(kind, line, dst);
                }
                Ok(len)
            }
            Token::Bulk {
                kind,
                header,
                length,
            } => {
                let is_error = kind == ReplyKind::BulkError;
                self.string = Some(Text {
                    left: length,
                    is_error,
                });
                match (self.skipped, is_error) {
                    (1.., _) => {}
                    (0, true) => dst.extend_from_slice(b"-"),
                    (0, false) => put_header(b'$', length as usize, dst),
                }
                Ok(header)
            }
            Token::Aggregate {
                kind,
                header,
                count,
            } => {
                self.aggregate(kind, count, dst);
                Ok(header)
            }
            Token::StreamedAggregate { .. }
            | Token::StreamedBulk { .. }
            | Token::Chunk { .. }
            | Token::End { .. } => Err(ReplyError::Type),
        }
    }

    fn aggregate(&mut self, kind: Option<ReplyKind>, count: u32, dst: &mut BytesMut) {
        let is_pairs = matches!(kind, None | Some(ReplyKind::Map));
        let count = u64::from(count) << u32::from(is_pairs);
        match kind {
            // Attributes come on top of the value that they are of.
            None => self.skipped += count,
            Some(_) if self.skipped > 0 => self.skipped = self.skipped - 1 + count,
            Some(_) => put_header(b'*', count as usize, dst),
        }
    }

    /// Whether a value is passed on. One that is left out is counted.
    const fn is_wanted(&mut self) -> bool {
        let is_wanted = self.skipped == 0;
        self.skipped = self.skipped.saturating_sub(1);
        is_wanted
    }
}

/// A value of one line, type and line end included.
fn put_line(kind: ReplyKind, line: &[u8], dst: &mut BytesMut) {
    let text = line
        .get(1..line.len().saturating_sub(2))
        .unwrap_or_default();
    match kind {
        ReplyKind::Null => dst.extend_from_slice(b"$-1\r\n"),
        ReplyKind::Boolean => super::boolean(text == b"t", RespVersion::Resp2, dst),
        ReplyKind::Double | ReplyKind::BigNumber => super::bulk(text, dst),
        ReplyKind::Error => error(text, dst),
        _ => dst.extend_from_slice(line),
    }
}
