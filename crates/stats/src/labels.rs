//! The labels of a series: what tells it from the others of its family.
//!
//! Sorted by name, so that the order in which a caller wrote them does not make two series out of one. Values come from the
//! configuration or from fixed lists, never from a peer: nothing here bounds their number except the registry's series limit.
//! Start at [`Labels`].

use std::fmt::{self, Write as _};

/// Label names and values, sorted by name, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Box<[(&'static str, Box<str>)]>);

impl Labels {
    /// `outer` with `inner` added. Where both have a name, `inner` wins.
    pub(crate) fn merged(outer: &Self, inner: &[(&'static str, &str)]) -> Self {
        let mut all = outer.0.to_vec();
        for &(name, value) in inner {
            debug_assert!(is_label_name(name), "not a label name: {name}");
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value.into(),
                None => all.push((name, value.into())),
            }
        }
        all.sort_unstable_by_key(|(name, _)| *name);
        Self(all.into_boxed_slice())
    }

    /// All labels but the one called `name`; `None` where there is no such label.
    pub(crate) fn without(&self, name: &str) -> Option<Self> {
        self.value(name)?;
        let rest = self.0.iter().filter(|(known, _)| *known != name);
        Some(Self(rest.cloned().collect()))
    }

    /// The names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }

    /// The value of the label `name`, when there is one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Whether every one of `wanted` is among these labels with that value.
    pub fn contains(&self, wanted: &[(&str, &str)]) -> bool {
        wanted
            .iter()
            .all(|(name, value)| self.value(name) == Some(value))
    }

    /// Writes `{a="b",extra="x"}` as the Prometheus text format wants it, or nothing when there is no label at all.
    pub(crate) fn write(&self, extra: Option<(&'static str, &str)>, out: &mut String) {
        let mut separator = '{';
        for (name, value) in self.iter().chain(extra) {
            out.push(separator);
            separator = ',';
            out.push_str(name);
            out.push_str("=\"");
            escape(value, out);
            out.push('"');
        }
        if separator == ',' {
            out.push('}');
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(None, &mut text);
        f.write_str(&text)
    }
}

/// Exposition format 0.0.4: backslash, double quote and line feed are escaped in label values. Other control characters are legal
/// there but spoil terminals, so they are replaced.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => {
                let _ = out.write_char(other);
            }
        }
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, and not `le`, which histograms use themselves.
fn is_label_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name != "le"
        && name.bytes().all(word)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}
