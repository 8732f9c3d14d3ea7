//! Lists within a body, walked where they lie.
//!
//! Each was checked when its message was read, so walking cannot fail. Start at [`Values`].

use std::fmt;

use memchr::memchr;

use super::Format;

/// Format codes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats<'a>(&'a [[u8; 2]]);

impl<'a> Formats<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, which means text for every value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Format> + Clone + use<'a> {
        self.0
            .iter()
            .map(|bytes| Format(i16::from_be_bytes(*bytes)))
    }

    /// The format of the value at `index` in a Bind: none given means text, one is for all ("Message Formats", Bind).
    #[must_use]
    pub fn of(&self, index: usize) -> Format {
        let own = if self.0.len() == 1 { 0 } else { index };
        let code = self.0.get(own).map(|bytes| i16::from_be_bytes(*bytes));
        code.map_or(Format::TEXT, Format)
    }
}

impl fmt::Debug for Formats<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.iter().map(|format| format.0))
            .finish()
    }
}

/// Numbers of 32 bits: object ids of types.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers<'a>(&'a [[u8; 4]]);

impl<'a> Numbers<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        self.0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

impl fmt::Debug for Numbers<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Values with their lengths: parameters, columns, arguments. `None` is NULL.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Values<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Values<'a> {
    pub(super) const fn new(bytes: &'a [u8], count: u16) -> Self {
        Self { bytes, count }
    }

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
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + Clone + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = behind;
                return Some(None);
            };
            let (value, behind) = behind.split_at_checked(length)?;
            rest = behind;
            Some(Some(value))
        })
    }
}

impl fmt::Debug for Values<'_> {
    /// Only how many: values are what people keep secrets in.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Values({} in {} bytes)",
            self.count,
            self.bytes.len()
        )
    }
}

/// Strings, each without its NUL.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Strings<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (text, behind) = rest.split_at_checked(memchr(0, rest)?)?;
            rest = behind.get(1..).unwrap_or_default();
            Some(text)
        })
    }
}

impl fmt::Debug for Strings<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.iter().map(|text| text.escape_ascii().to_string());
        formatter.debug_list().entries(texts).finish()
    }
}
