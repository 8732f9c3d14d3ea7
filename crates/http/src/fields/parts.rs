//! What lists of fields are made of and read by: names, fields, runs.
//!
//! Not the list: that is [`super::Fields`].

use portcullis_codec::{TOKEN, run};

use crate::name::KnownField;

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

/// What a list of fields is written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run<'a> {
    /// One or more whole lines in the form of HTTP/1: checked, each with its CRLF.
    Lines(&'a [u8]),
    /// A field that must be checked before it is written.
    Field(Field<'a>),
}

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

pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && TOKEN.contains_all(name)
}
