//! The fields of a head (or the trailers of a body): frozen bytes and spans, with edits kept beside them.
//!
//! Not a map: order and spelling are those of the wire, and a field that nobody touches is never copied. Edits
//! mark lines as removed or point them into a second buffer. Start at [`Fields::get`] and [`Fields::append`];
//! decoders build one with [`Fields::with_block`] and [`Fields::push_span`].

use std::ops::Range;

use bytes::Bytes;

use crate::name::KnownField;

/// An ordered list of fields over one shared block of bytes.
#[derive(Clone, Default)]
pub struct Fields {
    block: Bytes,
    extra: Vec<u8>,
    /// On the heap: heads are moved more often than they are made.
    lines: Vec<Line>,
    present: u64,
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

#[derive(Debug, Clone, Copy)]
struct Line {
    name: Span,
    value: Span,
    known: Option<KnownField>,
    removed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Block,
    Extra,
    /// The canonical spelling of the known name.
    Known,
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
        if let Some(field) = known {
            self.present |= field.bit();
        }
        self.lines.push(Line {
            name: Span::block(&name),
            value: Span::block(&value),
            known,
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
        let range = line.value.range();
        Some(match line.value.place {
            Place::Block if range.end <= self.block.len() => self.block.slice(range),
            _ => Bytes::copy_from_slice(self.slice(line.value, None)),
        })
    }

    /// Makes room for `bytes` of edits, so that several of them cost one allocation.
    pub fn reserve(&mut self, bytes: usize) {
        self.extra.reserve(bytes);
    }

    /// Every value of a known field, in order.
    #[inline]
    pub fn get_all(&self, field: KnownField) -> impl Iterator<Item = &[u8]> {
        self.lines
            .iter()
            .filter(move |line| line.known == Some(field) && !line.removed)
            .map(|line| self.slice(line.value, None))
    }

    /// The first value of the field with this name, compared without case.
    #[must_use]
    pub fn get_named<'a, 'n>(&'a self, name: impl Into<Name<'n>>) -> Option<&'a [u8]> {
        let name = name.into();
        self.lines
            .iter()
            .find(|line| self.matches(line, name))
            .map(|line| self.slice(line.value, None))
    }

    /// Every value of the field with this name, compared without case, in order.
    pub fn get_all_named<'a>(&'a self, name: Name<'a>) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |line| self.matches(line, name))
            .map(|line| self.slice(line.value, None))
    }

    /// Every field in order: name as spelled, value, and which known field it is.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines
            .iter()
            .filter(|line| !line.removed)
            .map(|line| Field {
                name: self.slice(line.name, line.known),
                value: self.slice(line.value, None),
                known: line.known,
            })
    }

    /// Adds a field at the end. The value must hold no CR, LF or NUL: callers check what peers or people wrote.
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        debug_assert!(
            is_field_value(value),
            "a field value with control bytes: {value:?}"
        );
        let (name, known) = match name {
            Name::Known(field) => {
                self.present |= field.bit();
                (
                    Span {
                        start: 0,
                        len: 0,
                        place: Place::Known,
                    },
                    Some(field),
                )
            }
            Name::Other(bytes) => (self.keep(bytes), None),
        };
        let value = self.keep(value);
        self.lines.push(Line {
            name,
            value,
            known,
            removed: false,
        });
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
        let value = self.keep(value);
        if let Some(line) = self.lines.get_mut(first) {
            line.value = value;
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
            let field = Field {
                name: self.slice(line.name, line.known),
                value: self.slice(line.value, None),
                known: line.known,
            };
            if !keep(field)
                && let Some(line) = self.lines.get_mut(index)
            {
                line.removed = true;
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
                line.known.is_none() && self.slice(line.name, None).eq_ignore_ascii_case(bytes)
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.extra.len();
        self.extra.extend_from_slice(bytes);
        Span {
            start: start as u32,
            len: bytes.len() as u32,
            place: Place::Extra,
        }
    }

    #[inline]
    fn slice(&self, span: Span, known: Option<KnownField>) -> &[u8] {
        let range = span.range();
        match span.place {
            Place::Block => self.block.get(range).unwrap_or_default(),
            Place::Extra => self.extra.get(range).unwrap_or_default(),
            Place::Known => known.map_or(&[], |field| field.as_str().as_bytes()),
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

impl Span {
    #[inline]
    const fn block(range: &Range<usize>) -> Self {
        Self {
            start: range.start as u32,
            len: (range.end - range.start) as u32,
            place: Place::Block,
        }
    }

    #[inline]
    const fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
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
pub fn is_field_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
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
    fn lists_are_split_and_trimmed() {
        let members: Vec<_> = list_members(b" close ,, Upgrade,\t").collect();
        assert_eq!(members, [&b"close"[..], b"Upgrade"]);
    }
}
