//! ErrorResponse and NoticeResponse ("Error and Notice Message Fields").
//!
//! Start at [`ErrorFields`].

use std::fmt;

use memchr::memchr;

use crate::error::MessageError;
use crate::sqlstate::SqlState;

/// The letters of the fields.
#[allow(missing_docs)] // each has the name that the chapter gives it
pub mod field {
    /// As people read it: may be translated.
    pub const SEVERITY: u8 = b'S';
    /// Never translated; since PostgreSQL 9.6.
    pub const SEVERITY_NONLOCALIZED: u8 = b'V';
    pub const CODE: u8 = b'C';
    pub const MESSAGE: u8 = b'M';
    pub const DETAIL: u8 = b'D';
    pub const HINT: u8 = b'H';
    pub const POSITION: u8 = b'P';
    pub const INTERNAL_POSITION: u8 = b'p';
    pub const INTERNAL_QUERY: u8 = b'q';
    pub const WHERE: u8 = b'W';
    pub const SCHEMA_NAME: u8 = b's';
    pub const TABLE_NAME: u8 = b't';
    pub const COLUMN_NAME: u8 = b'c';
    pub const DATA_TYPE_NAME: u8 = b'd';
    pub const CONSTRAINT_NAME: u8 = b'n';
    pub const FILE: u8 = b'F';
    pub const LINE: u8 = b'L';
    pub const ROUTINE: u8 = b'R';
}

/// The fields of an error or a notice. Any may be missing, the SQLSTATE too (CVE-2026-6666 was a pooler that relied on
/// it).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorFields<'a>(&'a [u8]);

impl<'a> ErrorFields<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut rest = body;
        loop {
            match rest {
                [0] => {
                    let fields = body.len() - 1;
                    return Ok(Self(body.get(..fields).unwrap_or_default()));
                }
                [0, ..] => return Err(MessageError::Trailing),
                [] => return Err(MessageError::Truncated),
                [_, text @ ..] => {
                    let end = memchr(0, text).ok_or(MessageError::Unterminated)?;
                    rest = text.get(end + 1..).unwrap_or_default();
                }
            }
        }
    }

    /// What can be read at the front of a body that is not all there, as of a message that streams. Never fails: what comes
    /// first, severity and SQLSTATE, is what is looked for.
    #[must_use]
    pub fn of_front(front: &'a [u8]) -> Self {
        let mut end = 0;
        while let Some([kind, text @ ..]) = front.get(end..)
            && *kind != 0
            && let Some(length) = memchr(0, text)
        {
            end += 1 + length + 1;
        }
        Self(front.get(..end).unwrap_or_default())
    }

    /// The fields in order, each with its letter.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + Clone + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (kind, text) = rest.split_first()?;
            let (text, behind) = text.split_at_checked(memchr(0, text)?)?;
            rest = behind.get(1..).unwrap_or_default();
            Some((*kind, text))
        })
    }

    /// The first field with this letter, one of [`field`].
    #[must_use]
    pub fn find(&self, kind: u8) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|(own, text)| (own == kind).then_some(text))
    }

    /// The SQLSTATE, if there is one and it has the form of one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.find(field::CODE).and_then(SqlState::new)
    }

    /// The message for people; empty if there is none.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.find(field::MESSAGE).unwrap_or_default()
    }

    /// The severity, untranslated where the server says it so.
    #[must_use]
    pub fn severity(&self) -> Option<&'a [u8]> {
        self.find(field::SEVERITY_NONLOCALIZED)
            .or_else(|| self.find(field::SEVERITY))
    }

    /// Whether the server ends the connection with this.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity(), Some(b"FATAL" | b"PANIC"))
    }
}

impl fmt::Debug for ErrorFields<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self
            .iter()
            .map(|(kind, text)| (char::from(kind), text.escape_ascii().to_string()));
        formatter.debug_map().entries(fields).finish()
    }
}
