//! Results: what columns there are, rows, COPY, and what was done.
//!
//! Values are not looked into. Start at [`CommandComplete`].

use std::fmt;

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_i8, be_u16};

use crate::error::MessageError;
use crate::message::grammar::{self, Parsed};
use crate::message::{Format, Formats, Values};

/// A command is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// What was done and to how many rows: `INSERT 0 5`, `SELECT 3`, `CREATE TABLE`.
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, grammar::string.map(|tag| Self { tag }))
    }

    /// The command without its numbers: `INSERT`, `SELECT`, `CREATE TABLE`.
    #[must_use]
    pub fn verb(&self) -> &'a [u8] {
        let mut verb = self.tag;
        while let Some((before, _)) = split_number(verb) {
            verb = before;
        }
        verb
    }

    /// The number of rows, where the command says one: the last number of its tag.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let (_, digits) = split_number(self.tag)?;
        digits.iter().try_fold(0_u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
    }
}

impl fmt::Debug for CommandComplete<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CommandComplete({})", self.tag.escape_ascii())
    }
}

/// A last word of digits only, and what stands before it. There is always a word before.
fn split_number(tag: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = tag
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (before, digits) = tag.split_at_checked(tag.len() - digits)?;
    match (before, digits) {
        (_, []) => None,
        ([before @ .., b' '], digits) => Some((before, digits)),
        _ => None,
    }
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRow<'a> {
    /// Its columns.
    pub values: Values<'a>,
}

impl<'a> DataRow<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, grammar::values.map(|values| Self { values }))
    }
}

/// The columns that rows will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'a> {
    /// The columns.
    pub fields: Fields<'a>,
}

impl<'a> RowDescription<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, fields.map(|fields| Self { fields }))
    }
}

/// A column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The object id of its table, or 0.
    pub table: u32,
    /// Its number in that table, or 0.
    pub column: i16,
    /// The object id of its type.
    pub type_id: u32,
    /// Bytes of its type; negative if they vary.
    pub type_size: i16,
    /// What the type makes of it.
    pub type_modifier: i32,
    /// How its values are written; 0 where that is not known yet.
    pub format: Format,
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.escape_ascii();
        write!(formatter, "{name}: {} in {}", self.type_id, self.format.0)
    }
}

/// Bytes of a field behind its name.
const FIELD_FIXED: usize = 18;

/// Columns, walked where they lie.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Fields<'a> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + Clone + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (behind, field) = field(rest).ok()?;
            rest = behind;
            Some(field)
        })
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Int16 n, then n columns.
fn fields(input: &[u8]) -> Parsed<'_, Fields<'_>> {
    let (start, count) = be_u16(input)?;
    let mut end = start;
    for _ in 0..count {
        let (behind, _) = (grammar::string, take(FIELD_FIXED)).parse(end)?;
        end = behind;
    }
    let bytes = start.get(..start.len() - end.len()).unwrap_or_default();
    Ok((end, Fields { bytes, count }))
}

fn field(input: &[u8]) -> Parsed<'_, Field<'_>> {
    use nom::number::complete::{be_i16, be_i32, be_u32};
    let fields = (
        grammar::string,
        be_u32,
        be_i16,
        be_u32,
        be_i16,
        be_i32,
        grammar::format,
    );
    let build = |(name, table, column, type_id, type_size, type_modifier, format)| Field {
        name,
        table,
        column,
        type_id,
        type_size,
        type_modifier,
        format,
    };
    fields.map(build).parse(input)
}

/// CopyInResponse, CopyOutResponse, CopyBothResponse: COPY begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// 0 for text, 1 for binary.
    pub format: i8,
    /// Of each column.
    pub columns: Formats<'a>,
}

impl<'a> CopyResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (be_i8, grammar::formats);
        grammar::whole(
            body,
            fields.map(|(format, columns)| Self { format, columns }),
        )
    }
}
