//! Path patterns: exact, prefix, glob and regex behind one text form.
//!
//! Paths are matched byte by byte as given: the protocol has decoded and normalised them, and cut the
//! query off. Start at [`PathPattern::parse`].

use std::fmt;

use super::glob::{Glob, Step};
use super::regex::Regex;
use super::{PatternError, check_length, text_form};
use crate::{Covers, Match};

/// A pattern for a path. Case matters.
///
/// | text | matches |
/// |---|---|
/// | `/a/b` | exactly this |
/// | `/a/*` | `/a`, `/a/` and everything below |
/// | `/a/*/c`, `/a/*.png` | `*` stands for bytes of one segment; alone in a segment, for at least one |
/// | `/a/**/c`, `/a/**.png` | `**` stands for any bytes; alone in a segment, for any number of segments |
/// | `/a/*/c/*` | a `*` that is the whole last segment is always "this and everything below" |
/// | `~^/v[0-9]+/` | a regex, unanchored unless it says otherwise |
/// | `*` | every path, also `*` itself |
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Form);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Form {
    Any,
    Exact(Box<[u8]>),
    /// Without the final `/*`.
    Prefix(Box<[u8]>),
    Glob(Box<Glob>, Box<str>),
    Regex(Regex),
}

impl PathPattern {
    /// Parses any of the forms in the table above.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_length(text)?;
        if text == "*" {
            return Ok(Self::any());
        }
        if let Some(regex) = text.strip_prefix('~') {
            return Ok(Self(Form::Regex(Regex::parse(regex)?)));
        }
        if !text.starts_with('/') {
            return Err(PatternError::new(format!(
                "path '{text}' must start with `/` (or `~` for a regex, or be `*` for all)"
            )));
        }
        if let Some(found) = text.bytes().find(|byte| matches!(byte, b'?' | b'#')) {
            return Err(PatternError::new(format!(
                "path '{text}' contains '{}': paths are matched without query and fragment",
                char::from(found)
            )));
        }
        check_normal(text)?;
        let form = match text.strip_suffix("/*") {
            Some(prefix) if !prefix.contains('*') => Form::Prefix(prefix.as_bytes().into()),
            None if !text.contains('*') => Form::Exact(text.as_bytes().into()),
            _ => Form::Glob(Box::new(Glob::parse(text)?), text.into()),
        };
        Ok(Self(form))
    }

    /// The pattern that every path matches.
    pub fn any() -> Self {
        Self(Form::Any)
    }

    /// For `/a/*`: what stands before the `/*` (`/a`); empty for `/*`. A prefix rewrite replaces it.
    pub fn prefix(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Prefix(prefix) => Some(prefix),
            _ => None,
        }
    }

    /// For a pattern without star and regex: the path itself.
    pub fn exact(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Exact(path) => Some(path),
            _ => None,
        }
    }
}

impl Match<[u8]> for PathPattern {
    fn matches(&self, path: &[u8]) -> bool {
        match &self.0 {
            Form::Any => true,
            Form::Exact(exact) => **exact == *path,
            Form::Prefix(prefix) => has_prefix(path, prefix),
            Form::Glob(glob, _) => glob.matches(path),
            Form::Regex(regex) => regex.is_match(path),
        }
    }
}

/// Refuses what no path in normal form (RFC 3986 section 6.2.2) has: it would never match, and a rule that denies would let
/// everything pass.
fn check_normal(text: &str) -> Result<(), PatternError> {
    let refuse = |what: String| {
        Err(PatternError::new(format!(
            "path '{text}' can never match: {what}"
        )))
    };
    if let Some(segment) = text
        .split('/')
        .find(|segment| matches!(*segment, "." | ".."))
    {
        return refuse(format!("'{segment}' is resolved before"));
    }
    if let Some(found) = text
        .chars()
        .find(|found| !found.is_ascii_graphic() || *found == '\\')
    {
        return refuse(format!("a path has {found:?} only as an escape"));
    }
    for escape in text.split('%').skip(1) {
        let digits = escape.get(..2).unwrap_or(escape);
        let Ok(byte) = u8::from_str_radix(digits, 16) else {
            return refuse(format!("'%{digits}' is no escape"));
        };
        let plain = char::from(byte);
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return refuse(format!("'%{digits}' is made '{plain}' before"));
        }
        if digits.bytes().any(|digit| digit.is_ascii_lowercase()) {
            let upper = digits.to_ascii_uppercase();
            return refuse(format!("'%{digits}' is made '%{upper}' before"));
        }
    }
    Ok(())
}

/// Segment-wise: `/a` is a prefix of `/a` and `/a/b`, not of `/ab`. The empty prefix needs the `/`.
fn has_prefix(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.first() == Some(&b'/') || (rest.is_empty() && !prefix.is_empty()))
}

impl Covers for PathPattern {
    fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Any, _) => true,
            (Form::Regex(ours), Form::Regex(theirs)) => ours == theirs,
            (_, Form::Any | Form::Regex(_)) => false,
            (_, Form::Exact(path)) => self.matches(path),
            (Form::Exact(_) | Form::Regex(_), _) => false,
            (Form::Prefix(ours), Form::Prefix(theirs)) => {
                ours.is_empty() || has_prefix(theirs, ours)
            }
            (Form::Prefix(ours), Form::Glob(theirs, _)) => prefix_covers(ours, theirs.steps()),
            (Form::Glob(ours, _), Form::Glob(theirs, _)) => ours.covers(theirs.steps()),
            (Form::Glob(ours, _), Form::Prefix(theirs)) => {
                let steps: Vec<Step> = theirs
                    .iter()
                    .map(|&byte| Step::Byte(byte))
                    .chain([Step::Rest])
                    .collect();
                // The empty prefix does not match the empty path, and no glob does: paths start with `/`.
                !theirs.is_empty() && ours.covers(&steps)
            }
        }
    }
}

/// Whether the bytes that every match of `steps` begins with already settle the prefix.
fn prefix_covers(prefix: &[u8], steps: &[Step]) -> bool {
    let head: Vec<u8> = steps
        .iter()
        .map_while(|step| match step {
            Step::Byte(byte) => Some(*byte),
            _ => None,
        })
        .collect();
    let ends_here = head == prefix && steps.get(head.len()) == Some(&Step::Rest);
    ends_here
        || head
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.first() == Some(&b'/'))
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Any => f.write_str("*"),
            Form::Exact(path) => f.write_str(&String::from_utf8_lossy(path)),
            Form::Prefix(prefix) => write!(f, "{}/*", String::from_utf8_lossy(prefix)),
            Form::Glob(_, text) => f.write_str(text),
            Form::Regex(regex) => write!(f, "~{regex}"),
        }
    }
}

text_form!(
    PathPattern,
    "PathPattern",
    "A path: exact (`/a`), prefix (`/a/*`), glob (`/a/*/b`, `/a/**.png`), regex (`~^/v[0-9]+/`) or `*`",
    ["/healthz", "/api/*", "/users/*/profile", "~^/v[0-9]+/"]
);
