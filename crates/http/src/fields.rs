//! The fields of a head (or the trailers of a body): frozen bytes and spans, with edits kept beside them.
//!
//! Not a map: order and spelling are those of the wire, and a field that nobody touches is never copied. Edits
//! mark lines as removed or point them into a second buffer, where they stand ready to be written. Start at [`Fields::get`] and [`Fields::append`];
//! decoders build one with [`Fields::with_block`] and [`Fields::push_span`].

use std::ops::Range;

use bytes::Bytes;
use portcullis_codec::{TOKEN, run};

use crate::name::KnownField;

/// An ordered list of fields over one shared block of bytes.
#[derive(Clone, Default)]
pub struct Fields {
    block: Bytes,
    extra: Vec<u8>,
    /// On the heap: heads are moved more often than they are made.
    lines: Vec<Line>,
    present: u64,
    /// The lines of the block, as far as one follows the other.
    run: (u32, u32),
    /// Not simply that run and then the edits: a line was removed or changed, or cannot be written as it stands.
    mixed: bool,
}

/// A field name on its way into a list: known, or bytes that a grammar already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// One of the names that the gateway itself uses.
    Known(KnownField),
    /// Any other name: RFC 9110 section 5.6.2 `token` bytes.
    Other(&'a [u8]),
}

impl<'a> Name<'a> {
    /// The name that `bytes` spells. The caller has checked that `bytes` is a token.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        KnownField::classify(bytes).map_or(Self::Other(bytes), Self::Known)
    }

    /// The spelling: lower case for known names.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Known(field) => field.as_str().as_bytes(),
            Self::Other(bytes) => bytes,
        }
    }
}

impl From<KnownField> for Name<'_> {
    fn from(field: KnownField) -> Self {
        Self::Known(field)
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self::from_bytes(name.as_bytes())
    }
}

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

/// What a list of fields is written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run<'a> {
    /// One or more whole lines in the form of HTTP/1: checked, each with its CRLF.
    Lines(&'a [u8]),
    /// A field that must be checked before it is written.
    Field(Field<'a>),
}

impl Fields {
    /// No fields, no allocation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
    #[must_use]
    #[inline]
    pub fn unplaced() -> Self {
        Self::with_block(Bytes::new())
    }

    /// Puts the bytes under the lines that were pushed so far.
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
        if let Some(field) = known {
            self.present |= field.bit();
        }
        if self.lines.is_empty() {
            self.run = (name.start as u32, name.start as u32);
        }
        self.mixed |= !whole || self.run.1 != name.start as u32 || !self.extra.is_empty();
        self.run.1 = value.end as u32 + 2;
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

    /// The first value of a known field.
    #[must_use]
    #[inline]
    pub fn get(&self, field: KnownField) -> Option<&[u8]> {
        if !self.contains(field) {
            return None;
        }
        self.get_all(field).next()
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
        if !self.mixed && self.present & skipped == 0 {
            let (start, end) = (self.run.0 as usize, self.run.1 as usize);
            for lines in [self.bytes(Place::Block, start..end), &self.extra] {
                if !lines.is_empty() {
                    put(Run::Lines(lines))?;
                }
            }
            return Ok(());
        }
        // Whole lines that stand one behind the other, not handed on yet.
        let mut run = (Place::Block, 0..0);
        for line in &self.lines {
            if line.removed || line.known.is_some_and(|known| known.bit() & skipped != 0) {
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

    /// Adds a field at the end. The value must hold no CR, LF or NUL: callers check what peers or people wrote.
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let line = self.keep(name.into(), |extra| extra.extend_from_slice(value));
        self.lines.push(line);
    }

    /// As [`Fields::append`], with a value that `write` appends to the buffer it is given.
    pub fn append_with(&mut self, field: KnownField, write: impl FnOnce(&mut Vec<u8>)) {
        let line = self.keep(field.into(), write);
        self.lines.push(line);
    }

    /// Adds a field at the end whose value is `parts`, one behind the other, and is known to be printable text on one
    /// line: it is not looked at. Never what a peer or a person wrote.
    pub(crate) fn append_known(&mut self, field: KnownField, parts: &[&[u8]]) {
        let start = self.extra.len();
        let name = field.line_start().as_bytes();
        self.extra.extend_from_slice(name);
        for part in parts {
            self.extra.extend_from_slice(part);
        }
        self.extra.extend_from_slice(b"\r\n");
        self.push_known(field, start, name.len());
    }

    /// As [`Fields::append_known`], given the whole line: the lower-case name, a colon, a space, the value and CRLF.
    pub(crate) fn append_line(&mut self, field: KnownField, line: &[u8]) {
        let start = self.extra.len();
        let name = field.line_start();
        debug_assert!(line.starts_with(name.as_bytes()) && line.ends_with(b"\r\n"));
        self.extra.extend_from_slice(line);
        self.push_known(field, start, name.len());
    }

    /// Notes the line of a known field that was just written, from `start` to the end of the edits.
    #[inline]
    fn push_known(&mut self, field: KnownField, start: usize, before_value: usize) {
        let length = self.extra.len() - start;
        let line = Line {
            name: start as u32,
            name_len: (before_value - 2) as u32,
            value: (start + before_value) as u32,
            value_len: (length - before_value - 2) as u32,
            known: Some(field),
            place: Place::Extra,
            whole: true,
            removed: false,
        };
        debug_assert!(is_field_value(self.value(&line)), "{field:?}");
        self.present |= field.bit();
        self.lines.push(line);
    }

    /// Makes `value` the only value of the field, in the place of its first line if there was one.
    pub fn set<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        if let Name::Known(field) = name
            && !self.contains(field)
        {
            self.append(name, value);
            return;
        }
        let Some(first) = self.lines.iter().position(|line| self.matches(line, name)) else {
            self.append(name, value);
            return;
        };
        self.remove_from(name, first + 1);
        let Some(old) = self.lines.get(first).copied() else {
            return;
        };
        let spelling = self.name(&old).to_vec();
        let new = self.keep(Name::Other(&spelling), |extra| {
            extra.extend_from_slice(value);
        });
        self.mixed = true;
        if let Some(line) = self.lines.get_mut(first) {
            let known = old.known;
            *line = Line { known, ..new };
        }
    }

    /// Removes every line of the field. Returns whether there was one.
    pub fn remove<'n>(&mut self, name: impl Into<Name<'n>>) -> bool {
        let name = name.into();
        if let Name::Known(field) = name {
            if !self.contains(field) {
                return false;
            }
            self.present &= !field.bit();
        }
        self.remove_from(name, 0)
    }

    /// Removes every line that `keep` answers `false` for.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        for index in 0..self.lines.len() {
            let Some(line) = self.lines.get(index).copied() else {
                break;
            };
            if line.removed {
                continue;
            }
            if !keep(self.field(&line))
                && let Some(line) = self.lines.get_mut(index)
            {
                line.removed = true;
                self.mixed = true;
            }
        }
        self.present = self
            .lines
            .iter()
            .filter(|line| !line.removed)
            .filter_map(|line| line.known)
            .fold(0, |word, field| word | field.bit());
    }

    /// Bytes that the fields would take on an HTTP/1 wire: names, values, separators.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.iter()
            .map(|field| field.name.len() + field.value.len() + 4)
            .sum()
    }

    fn remove_from(&mut self, name: Name<'_>, start: usize) -> bool {
        let mut removed = false;
        for index in start..self.lines.len() {
            let Some(line) = self.lines.get(index).copied() else {
                break;
            };
            if self.matches(&line, name)
                && let Some(line) = self.lines.get_mut(index)
            {
                line.removed = true;
                self.mixed = true;
                removed = true;
            }
        }
        removed
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

    /// Writes a line to the edits, in the form of HTTP/1, so that it can be written as it stands.
    #[inline]
    fn keep(&mut self, name: Name<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Line {
        let start = self.extra.len();
        let (name_len, known) = match name {
            Name::Known(field) => {
                self.present |= field.bit();
                self.extra.extend_from_slice(field.line_start().as_bytes());
                (field.line_start().len() - 2, Some(field))
            }
            Name::Other(bytes) => {
                self.extra.extend_from_slice(bytes);
                self.extra.extend_from_slice(b": ");
                (bytes.len(), None)
            }
        };
        let value = self.extra.len();
        write(&mut self.extra);
        let value_len = self.extra.len() - value;
        self.extra.extend_from_slice(b"\r\n");
        let mut line = Line {
            name: start as u32,
            name_len: name_len as u32,
            value: value as u32,
            value_len: value_len as u32,
            known,
            place: Place::Extra,
            whole: true,
            removed: false,
        };
        let is_value = is_field_value(self.value(&line));
        debug_assert!(
            is_value,
            "a field value with control bytes: {:?}",
            self.value(&line)
        );
        // What is not fit for the wire stays a field, which the encoder refuses.
        line.whole = is_value && (known.is_some() || is_token(self.name(&line)));
        self.mixed |= !line.whole;
        line
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

/// One field of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as spelled on the wire (known names that we added: lower case).
    pub name: &'a [u8],
    /// The value, without surrounding white space.
    pub value: &'a [u8],
    /// Which known field it is.
    pub known: Option<KnownField>,
}

impl Line {
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

/// The members of a comma-separated list field (RFC 9110 section 5.6.1), trimmed, empty ones skipped.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether `value` may be sent as a field value (RFC 9110 section 5.5): no control byte but tab.
#[must_use]
#[inline]
pub fn is_field_value(value: &[u8]) -> bool {
    run::text_run(value) == value.len()
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && TOKEN.contains_all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        let block = Bytes::from_static(b"Host: a\r\nX-Tenant: t1\r\nx-tenant: t2\r\n");
        let mut fields = Fields::with_block(block);
        fields.push_span(0..4, 6..7, Some(KnownField::Host));
        fields.push_span(9..17, 19..21, None);
        fields.push_span(23..31, 33..35, None);
        fields
    }

    fn text(fields: &Fields) -> String {
        fields.iter().fold(String::new(), |text, field| {
            let name = String::from_utf8_lossy(field.name);
            let value = String::from_utf8_lossy(field.value);
            format!("{text}{name}={value};")
        })
    }

    #[test]
    fn edits_keep_order_and_spelling() {
        let mut fields = sample();
        assert_eq!(fields.get(KnownField::Host), Some(&b"a"[..]));
        assert_eq!(fields.get_named("X-TENANT"), Some(&b"t1"[..]));
        fields.set("x-tenant", b"t3");
        fields.append(KnownField::Via, b"1.1 p");
        assert_eq!(text(&fields), "Host=a;X-Tenant=t3;via=1.1 p;");
        assert!(fields.remove(KnownField::Host));
        assert!(!fields.remove(KnownField::Host));
        assert_eq!(fields.get(KnownField::Host), None);
        fields.retain(|field| field.known != Some(KnownField::Via));
        assert!(!fields.contains(KnownField::Via));
        assert_eq!(text(&fields), "X-Tenant=t3;");
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn runs_are_whole_lines_in_order() {
        let block = Bytes::from_static(b"Host: a\r\nX-A:b\r\nVia: 1.1 x\r\nAccept: c\r\n\r\n");
        let mut fields = Fields::with_block(block);
        fields.push_line(0..4, 6..7, Some(KnownField::Host), true);
        fields.push_line(9..12, 13..14, None, false);
        fields.push_line(16..19, 21..26, Some(KnownField::Via), true);
        fields.push_line(28..34, 36..37, Some(KnownField::Accept), true);
        let runs = |fields: &Fields, skipped: &[KnownField]| {
            let mut runs = Vec::new();
            let put = |run: Run<'_>| {
                runs.push(match run {
                    Run::Lines(lines) => String::from_utf8_lossy(lines).into_owned(),
                    Run::Field(field) => format!("field {:?}", String::from_utf8_lossy(field.name)),
                });
                Ok::<(), ()>(())
            };
            let skipped = skipped.iter().fold(0, |bits, known| bits | known.bit());
            fields.try_for_each_run(skipped, put).unwrap();
            runs
        };
        assert_eq!(
            runs(&fields, &[]),
            [
                "Host: a\r\n",
                "field \"X-A\"",
                "Via: 1.1 x\r\nAccept: c\r\n"
            ]
        );
        assert_eq!(
            runs(&fields, &[KnownField::Via]),
            ["Host: a\r\n", "field \"X-A\"", "Accept: c\r\n"]
        );
        fields.remove("x-a");
        fields.set(KnownField::Host, b"b");
        fields.append(KnownField::Date, b"d");
        fields.append_with(KnownField::Server, |value| value.extend_from_slice(b"s"));
        assert_eq!(
            runs(&fields, &[]),
            [
                "Host: b\r\n",
                "Via: 1.1 x\r\nAccept: c\r\n",
                "date: d\r\nserver: s\r\n"
            ]
        );
        assert!(runs(&Fields::new(), &[]).is_empty());
    }

    #[test]
    fn lists_are_split_and_trimmed() {
        let members: Vec<_> = list_members(b" close ,, Upgrade,\t").collect();
        assert_eq!(members, [&b"close"[..], b"Upgrade"]);
    }
}
