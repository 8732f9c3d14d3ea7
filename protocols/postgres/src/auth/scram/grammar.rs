//! The grammar of RFC 5802 section 7: `name=value` joined by commas, each at its place.
//!
//! Only cuts: what values mean is the exchanges' affair. Names that have a meaning may not come again where extensions
//! may, so that no two readers of one message can differ about it.

use super::{LONGEST_MESSAGE, LONGEST_NONCE};

/// A message that does not follow the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The attributes of a message, from its front.
pub(super) struct Attributes<'a> {
    /// `None` once the last was taken; empty behind a comma that nothing follows.
    rest: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: Some(text) }
    }

    /// The value of the next attribute, which must have this name and a value.
    pub(super) fn required(&mut self, name: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, value)) if found == name && !value.is_empty() => Ok(value),
            _ => Err(Malformed),
        }
    }

    /// The name of the next attribute, which stays.
    pub(super) fn next_name(&self) -> Option<u8> {
        self.rest.and_then(|rest| rest.first()).copied()
    }

    /// The next attribute, whatever it is.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        let (attribute, rest) = match memchr::memchr(b',', rest) {
            Some(comma) => rest.split_at_checked(comma).ok_or(Malformed)?,
            None => (rest, &[][..]),
        };
        self.rest = rest.split_first().map(|(_, rest)| rest);
        match attribute {
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() => Ok(Some((*name, value))),
            _ => Err(Malformed),
        }
    }

    /// Takes all that is left, which must be extensions.
    pub(super) fn extensions(mut self) -> Result<(), Malformed> {
        while let Some((name, value)) = self.next()? {
            if b"anmrcsipve".contains(&name) || value.is_empty() {
                return Err(Malformed);
            }
        }
        Ok(())
    }
}

/// Whether a message is short enough to be looked at.
pub(super) fn is_short(message: &[u8]) -> bool {
    message.len() <= LONGEST_MESSAGE
}

/// Whether one side's part of a nonce is one: `printable` of RFC 5802 section 7, of bounded length.
pub(super) fn is_nonce(nonce: &[u8]) -> bool {
    let is_printable = |byte: &u8| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e);
    (1..=LONGEST_NONCE).contains(&nonce.len()) && nonce.iter().all(is_printable)
}

/// A final message of the client, cut into what is signed and the proof: `…,p=proof`.
pub(super) fn split_proof(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    // A proof has no comma, so the last one is before it.
    let comma = memchr::memrchr(b',', message).ok_or(Malformed)?;
    let (signed, proof) = message.split_at_checked(comma).ok_or(Malformed)?;
    let proof = proof.strip_prefix(b",p=").ok_or(Malformed)?;
    Ok((signed, proof))
}
