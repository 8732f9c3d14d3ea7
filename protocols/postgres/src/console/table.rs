//! Results on the wire: RowDescription, DataRow and CommandComplete, all in text format.
//!
//! It does not know what is shown. Start at [`write_rows`].

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use portcullis_filter::log::TimeFormat;

use crate::encoder;
use crate::message::Format;
use crate::message::backend::Field;

/// The type of a column, by the ids that every PostgreSQL has (`pg_type.dat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `text`.
    Text,
    /// `int4`: what fits in 31 bits.
    Int4,
    /// `int8`.
    Int8,
    /// `numeric`: sums that may grow for years.
    Numeric,
}

impl Kind {
    const fn id_and_size(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
        }
    }
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// Text.
    Text(Cow<'a, str>),
    /// A number.
    Number(u64),
}

/// A time, as PgBouncer writes it: `2026-01-31 12:00:00 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub SystemTime);

impl Default for Timestamp {
    fn default() -> Self {
        Self(UNIX_EPOCH)
    }
}

/// What can stand in a row.
pub(super) trait Value {
    fn cell(&self) -> Cell<'_>;
}

impl Value for String {
    fn cell(&self) -> Cell<'_> {
        Cell::Text(Cow::Borrowed(self))
    }
}

impl Value for Arc<str> {
    fn cell(&self) -> Cell<'_> {
        Cell::Text(Cow::Borrowed(self))
    }
}

impl Value for &'static str {
    fn cell(&self) -> Cell<'_> {
        Cell::Text(Cow::Borrowed(self))
    }
}

impl Value for u64 {
    fn cell(&self) -> Cell<'_> {
        Cell::Number(*self)
    }
}

impl Value for u32 {
    fn cell(&self) -> Cell<'_> {
        Cell::Number(u64::from(*self))
    }
}

impl Value for bool {
    fn cell(&self) -> Cell<'_> {
        Cell::Number(u64::from(*self))
    }
}

impl Value for Timestamp {
    fn cell(&self) -> Cell<'_> {
        Cell::Text(Cow::Owned(self.to_text()))
    }
}

impl<T: Value> Value for Option<T> {
    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, T::cell)
    }
}

impl Timestamp {
    fn to_text(self) -> String {
        let format = TimeFormat::new("%Y-%m-%d %H:%M:%S UTC").unwrap_or_default();
        let mut text = Vec::new();
        format.write(self.0, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// A row of one result.
pub trait Row {
    /// The columns, in order.
    const COLUMNS: &'static [Column];

    /// The values, in the order of the columns.
    fn cells(&self) -> Vec<Cell<'_>>;
}

/// Writes a whole result of SHOW, with its CommandComplete. ReadyForQuery is the session's.
pub fn write_rows<R: Row>(rows: &[R], dst: &mut BytesMut) {
    let field = |column: &Column| {
        let (type_id, type_size) = column.kind.id_and_size();
        Field {
            name: column.name.as_bytes(),
            table: 0,
            column: 0,
            type_id,
            type_size,
            type_modifier: -1,
            format: Format::TEXT,
        }
    };
    let fields: Vec<Field<'_>> = R::COLUMNS.iter().map(field).collect();
    encoder::row_description(&fields, dst);
    for row in rows {
        let cells = row.cells();
        let mut text = Vec::new();
        let spans: Vec<_> = cells.iter().map(|cell| put(cell, &mut text)).collect();
        let value =
            |span: &Option<std::ops::Range<usize>>| span.clone().and_then(|span| text.get(span));
        let values: Vec<Option<&[u8]>> = spans.iter().map(value).collect();
        encoder::data_row(&values, dst);
    }
    write_done("SHOW", dst);
}

/// Appends a value's text. `None` is NULL.
fn put(cell: &Cell<'_>, text: &mut Vec<u8>) -> Option<std::ops::Range<usize>> {
    let start = text.len();
    match cell {
        Cell::Null => return None,
        Cell::Text(value) => text.extend_from_slice(value.as_bytes()),
        // Writing to memory does not fail.
        Cell::Number(number) => drop(write!(text, "{number}")),
    }
    Some(start..text.len())
}

/// The end of a command.
pub fn write_done(tag: &str, dst: &mut BytesMut) {
    encoder::command_complete(tag.as_bytes(), dst);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_dates() {
        let time = Timestamp(UNIX_EPOCH + Duration::from_secs(1_709_210_096));
        assert_eq!(time.to_text(), "2024-02-29 12:34:56 UTC");
    }
}
