//! The fields of a head (or the trailers of a body): frozen bytes and spans, with edits kept beside them.
//!
//! Not a map: order and spelling are those of the wire, and a field that nobody touches is never copied. Edits
//! mark lines as removed or point them into a second buffer, where they stand ready to be written. Start at [`Fields::get`] and [`Fields::append`];
//! decoders build one with [`Fields::with_block`] and [`Fields::push_span`].

mod edits;
mod parts;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use crate::name::KnownField;

pub use parts::{Field, Name, Run, is_field_value, list_members};

/// An ordered list of fields over one shared block of bytes.
#[derive(Clone, Default)]
pub struct Fields {
    block: Bytes,
    extra: Vec<u8>,
    /// On the heap: heads are moved more often than they are made.
    lines: Vec<Line>,
    /// Where the lines of the block stand, one behind the other unless they are [`MIXED`].
    run: Range<u32>,
    /// The known fields that are there, [`MIXED`] and [`UNKNOWN`].
    present: u64,
}

/// Beside the bits of known fields: the lines are not simply a run of the block and then the edits. One was removed or
/// changed, or cannot be written as it stands.
const MIXED: u64 = 1 << 63;

/// Beside them: there is, or was, a field that is none of the known ones.
const UNKNOWN: u64 = 1 << 62;

/// One line: where its name and value stand, in the block or among the edits.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
    known: Option<KnownField>,
    place: Place,
    /// The line stands there as `name: value` with its CRLF, and both were checked: it may be written as it is.
    whole: bool,
    removed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Block,
    Extra,
}

impl Fields {
    /// No fields, no allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            block: Bytes::new(),
            extra: Vec::new(),
            lines: Vec::new(),
            run: 0..0,
            present: 0,
        }
    }

    /// Takes all fields out, and lets go of the block; the memory of the list is kept.
    #[inline]
    pub fn clear(&mut self) {
        self.block = Bytes::new();
        self.extra.clear();
        self.lines.clear();
        self.run = 0..0;
        self.present = 0;
    }

    /// Whether the list has grown so far that its memory is not worth keeping.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.lines.capacity() > 4 * USUAL_LINES || self.extra.capacity() > LARGE_EDITS
    }

    /// No fields yet, over the bytes that [`Fields::push_span`] will point into.
    #[must_use]
    pub fn with_block(block: Bytes) -> Self {
        Self {
            block,
            lines: Vec::with_capacity(USUAL_LINES),
            ..Self::default()
        }
    }

    /// Adds a line whose name and value are ranges of the block. A range outside it reads as empty.
    #[inline]
    pub fn push_span(
        &mut self,
        name: Range<usize>,
        value: Range<usize>,
        known: Option<KnownField>,
    ) {
        self.push_block_line(&name, &value, known, false);
    }

    /// As [`Fields::push_span`], for a line of the block that a decoder of HTTP/1 has checked: the name is a token,
    /// the value has no control byte but tab, and behind the value is nothing but white space and CRLF. One that is
    /// `plain`, spelled as the gateway would, with one space before the value and none behind, is later written as it
    /// stands.
    #[inline]
    pub fn push_line(
        &mut self,
        name: Range<usize>,
        value: Range<usize>,
        known: Option<KnownField>,
        plain: bool,
    ) {
        self.push_block_line(&name, &value, known, plain);
    }

    /// No fields yet, over bytes that will be [placed](Fields::place) under them once it is known how many they are.
    #[inline]
    pub fn begin(&mut self) {
        debug_assert!(self.lines.is_empty(), "fields that were not cleared");
        if self.lines.capacity() == 0 {
            // Not `reserve`, which is made for buffers that grow.
            self.lines = Vec::with_capacity(USUAL_LINES);
        }
    }

    /// Puts the bytes under the lines that were pushed since [`Fields::begin`].
    #[inline]
    pub fn place(&mut self, block: Bytes) {
        self.block = block;
    }

    #[inline]
    fn push_block_line(
        &mut self,
        name: &Range<usize>,
        value: &Range<usize>,
        known: Option<KnownField>,
        whole: bool,
    ) {
        self.present |= known.map_or(UNKNOWN, KnownField::bit);
        if self.lines.is_empty() {
            self.run.start = name.start as u32;
        } else if self.run.end != name.start as u32 || !self.extra.is_empty() {
            self.present |= MIXED;
        }
        if !whole {
            self.present |= MIXED;
        }
        self.run.end = (value.end as u32).wrapping_add(2);
        self.lines.push(Line {
            name: name.start as u32,
            name_len: (name.end - name.start) as u32,
            value: value.start as u32,
            value_len: (value.end - value.start) as u32,
            known,
            place: Place::Block,
            whole,
            removed: false,
        });
    }

    /// The block that untouched lines point into.
    #[must_use]
    pub const fn block(&self) -> &Bytes {
        &self.block
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.iter().filter(|line| !line.removed).count()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a known field is present.
    #[must_use]
    #[inline]
    pub const fn contains(&self, field: KnownField) -> bool {
        self.present & field.bit() != 0
    }

    /// Whether one of the known fields is present whose [bits](KnownField::bit) are in `fields`.
    #[must_use]
    #[inline]
    pub const fn contains_any(&self, fields: u64) -> bool {
        self.present & fields != 0
    }

    /// Whether there may be a field that is none of the known ones.
    #[must_use]
    #[inline]
    pub const fn may_have_unknown(&self) -> bool {
        self.present & UNKNOWN != 0
    }

    /// The first value of a known field.
    #[must_use]
    #[inline]
    pub fn get(&self, field: KnownField) -> Option<&[u8]> {
        if !self.contains(field) {
            return None;
        }
        self.get_all(field).next()
    }

    /// Whether there is more than one line of a known field.
    #[must_use]
    #[inline]
    pub fn is_repeated(&self, field: KnownField) -> bool {
        self.contains(field) && self.get_all(field).nth(1).is_some()
    }

    /// The first value of a known field as shared bytes: a slice of the block where it stands there.
    #[must_use]
    pub fn get_bytes(&self, field: KnownField) -> Option<Bytes> {
        let line = self
            .lines
            .iter()
            .find(|line| line.known == Some(field) && !line.removed)?;
        let range = line.value_range();
        Some(match line.place {
            Place::Block if range.end <= self.block.len() => self.block.slice(range),
            _ => Bytes::copy_from_slice(self.value(line)),
        })
    }

    /// Makes room for `bytes` of edits, so that several of them cost one allocation.
    pub fn reserve(&mut self, bytes: usize) {
        if self.extra.capacity() == 0 {
            // Not `reserve`, which is made for buffers that grow.
            self.extra = Vec::with_capacity(bytes);
        } else {
            self.extra.reserve(bytes);
        }
    }

    /// Every value of a known field, in order.
    #[inline]
    pub fn get_all(&self, field: KnownField) -> impl Iterator<Item = &[u8]> {
        self.lines
            .iter()
            .filter(move |line| line.known == Some(field) && !line.removed)
            .map(|line| self.value(line))
    }

    /// The first value of the field with this name, compared without case.
    #[must_use]
    pub fn get_named<'a, 'n>(&'a self, name: impl Into<Name<'n>>) -> Option<&'a [u8]> {
        let name = name.into();
        self.lines
            .iter()
            .find(|line| self.matches(line, name))
            .map(|line| self.value(line))
    }

    /// Every value of the field with this name, compared without case, in order.
    pub fn get_all_named<'a>(&'a self, name: Name<'a>) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |line| self.matches(line, name))
            .map(|line| self.value(line))
    }

    /// Every field in order: name as spelled, value, and which known field it is.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines
            .iter()
            .filter(|line| !line.removed)
            .map(|line| self.field(line))
    }

    /// Hands the fields to `put` in order, in as few pieces as possible, without those whose [bits](KnownField::bit) are
    /// in `skipped`.
    ///
    /// # Errors
    /// The first that `put` answers.
    #[inline]
    pub fn try_for_each_run<E>(
        &self,
        skipped: u64,
        mut put: impl FnMut(Run<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.present & MIXED == 0 {
            return self.try_for_each_part(skipped, put);
        }
        // Whole lines that stand one behind the other, not handed on yet.
        let mut run = (Place::Block, 0..0);
        for line in &self.lines {
            if line.removed || line.is_one_of(skipped) {
                continue;
            }
            let start = line.name as usize;
            if line.whole && line.place == run.0 && start == run.1.end {
                run.1.end = line.end();
                continue;
            }
            if !run.1.is_empty() {
                put(Run::Lines(self.bytes(run.0, run.1)))?;
            }
            if line.whole {
                run = (line.place, start..line.end());
            } else {
                run = (Place::Block, 0..0);
                put(Run::Field(self.field(line)))?;
            }
        }
        if run.1.is_empty() {
            return Ok(());
        }
        put(Run::Lines(self.bytes(run.0, run.1)))
    }

    /// The same where lines follow each other, those of the block and then the edits: two runs, but for what is skipped.
    #[inline]
    fn try_for_each_part<E>(
        &self,
        skipped: u64,
        mut put: impl FnMut(Run<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut put = |place, range: Range<usize>| match self.bytes(place, range) {
            [] => Ok(()),
            lines => put(Run::Lines(lines)),
        };
        let mut block = self.run.start as usize..self.run.end as usize;
        let mut extra = 0..self.extra.len();
        if self.present & skipped != 0 {
            for line in self.lines.iter().filter(|line| line.is_one_of(skipped)) {
                if line.place == Place::Block {
                    put(Place::Block, block.start..line.name as usize)?;
                    block.start = line.end();
                } else {
                    put(Place::Block, std::mem::take(&mut block))?;
                    put(Place::Extra, extra.start..line.name as usize)?;
                    extra.start = line.end();
                }
            }
        }
        put(Place::Block, block)?;
        put(Place::Extra, extra)
    }

    /// Bytes that the fields would take on an HTTP/1 wire: names, values, separators.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.iter()
            .map(|field| field.name.len() + field.value.len() + 4)
            .sum()
    }

    #[inline]
    fn matches(&self, line: &Line, name: Name<'_>) -> bool {
        if line.removed {
            return false;
        }
        match name {
            Name::Known(field) => line.known == Some(field),
            Name::Other(bytes) => {
                line.known.is_none() && self.name(line).eq_ignore_ascii_case(bytes)
            }
        }
    }

    #[inline]
    fn field(&self, line: &Line) -> Field<'_> {
        Field {
            name: self.name(line),
            value: self.value(line),
            known: line.known,
        }
    }

    #[inline]
    fn name(&self, line: &Line) -> &[u8] {
        let start = line.name as usize;
        self.bytes(line.place, start..start + line.name_len as usize)
    }

    #[inline]
    fn value(&self, line: &Line) -> &[u8] {
        self.bytes(line.place, line.value_range())
    }

    #[inline]
    fn bytes(&self, place: Place, range: Range<usize>) -> &[u8] {
        match place {
            Place::Block => self.block.get(range).unwrap_or_default(),
            Place::Extra => self.extra.get(range).unwrap_or_default(),
        }
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_map()
            .entries(self.iter().map(|field| {
                (
                    String::from_utf8_lossy(field.name).into_owned(),
                    String::from_utf8_lossy(field.value).into_owned(),
                )
            }))
            .finish()
    }
}

impl PartialEq for Fields {
    /// Equal in meaning: the same names (without case) and values in the same order.
    fn eq(&self, other: &Self) -> bool {
        let mut left = self.iter();
        let mut right = other.iter();
        loop {
            match (left.next(), right.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if a.name.eq_ignore_ascii_case(b.name) && a.value == b.value => {
                }
                _ => return false,
            }
        }
    }
}

impl Eq for Fields {}

impl Line {
    /// Whether the field is one of those whose bits are in `fields`.
    #[inline]
    fn is_one_of(&self, fields: u64) -> bool {
        self.known.is_some_and(|known| known.bit() & fields != 0)
    }

    #[inline]
    const fn value_range(&self) -> Range<usize> {
        self.value as usize..self.value as usize + self.value_len as usize
    }

    /// Just past the CRLF of a line that is whole.
    #[inline]
    const fn end(&self) -> usize {
        self.value as usize + self.value_len as usize + 2
    }
}

/// Lines that a head usually has, those that are added included.
const USUAL_LINES: usize = 16;

/// More than edits usually take.
const LARGE_EDITS: usize = 1024;
