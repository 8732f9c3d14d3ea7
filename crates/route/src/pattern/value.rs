//! Patterns for named values: header fields, query parameters, start-up parameters.
//!
//! They see only values; looking a name up is the protocol's work. Start at [`ValuePattern`].

use std::fmt;

use super::regex::Regex;
use super::{PatternError, check_length, text_form};
use crate::Covers;

/// A pattern for a value that may be absent or repeated. Case matters.
///
/// | text | matches |
/// |---|---|
/// | `abc` | exactly this |
/// | `abc*` | values that begin with `abc` |
/// | `~^a.c$` | a regex, unanchored unless it says otherwise |
/// | `*` | any value, also an empty one, as long as there is one |
/// | `!` | the value is absent |
/// | `=*/*` | what follows the `=`, literally |
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValuePattern(Form);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Form {
    Present,
    Absent,
    Exact(Box<[u8]>),
    /// Without the final `*`; never empty.
    Prefix(Box<[u8]>),
    Regex(Regex),
}

impl ValuePattern {
    /// Parses any of the forms in the table above.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text != "=" {
            check_length(text)?;
        }
        let form = match text.as_bytes() {
            b"*" => Form::Present,
            b"!" => Form::Absent,
            [b'~', ..] => Form::Regex(Regex::parse(text.trim_start_matches('~'))?),
            [b'=', exact @ ..] => Form::Exact(exact.into()),
            [b'!', ..] => {
                return Err(PatternError::new(
                    "`!` alone means absent; write `=!…` for a value that begins with `!`",
                ));
            }
            [prefix @ .., b'*'] if !prefix.contains(&b'*') => Form::Prefix(prefix.into()),
            exact if !exact.contains(&b'*') => Form::Exact(exact.into()),
            _ => {
                return Err(PatternError::new(format!(
                    "'{text}': a `*` is only understood at the end; use a regex (~), or `=` for a literal star"
                )));
            }
        };
        Ok(Self(form))
    }

    /// Whether the one value, or its absence, matches.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        self.matches_any(value)
    }

    /// Whether any of the values of a repeated name matches; no value at all is absence.
    pub fn matches_any<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut values = values.into_iter();
        match &self.0 {
            Form::Present => values.next().is_some(),
            Form::Absent => values.next().is_none(),
            Form::Exact(exact) => values.any(|value| **exact == *value),
            Form::Prefix(prefix) => values.any(|value| value.starts_with(prefix)),
            Form::Regex(regex) => values.any(|value| regex.is_match(value)),
        }
    }
}

impl Covers for ValuePattern {
    fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Present, theirs) => *theirs != Form::Absent,
            (_, Form::Exact(value)) => self.matches(Some(value)),
            (Form::Prefix(ours), Form::Prefix(theirs)) => theirs.starts_with(ours),
            (ours, theirs) => ours == theirs,
        }
    }
}

impl fmt::Display for ValuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Present => f.write_str("*"),
            Form::Absent => f.write_str("!"),
            Form::Prefix(prefix) => write!(f, "{}*", String::from_utf8_lossy(prefix)),
            Form::Regex(regex) => write!(f, "~{regex}"),
            Form::Exact(value) => {
                let special = value.is_empty()
                    || value.contains(&b'*')
                    || matches!(value.first(), Some(b'=' | b'!' | b'~'));
                let mark = if special { "=" } else { "" };
                write!(f, "{mark}{}", String::from_utf8_lossy(value))
            }
        }
    }
}

text_form!(
    ValuePattern,
    "ValuePattern",
    "A value: exact, prefix (`abc*`), regex (`~^a`), present (`*`), absent (`!`), or `=` and a literal",
    ["gold", "Mozilla/*", "~^[0-9]+$", "*", "!"]
);

/// A pattern for the value of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedValue {
    /// The name as the protocol compares it (header field names in lower case).
    pub name: Box<str>,
    /// What the value must be.
    pub pattern: ValuePattern,
}

impl Covers for NamedValue {
    fn covers(&self, other: &Self) -> bool {
        self.name == other.name && self.pattern.covers(&other.pattern)
    }
}
