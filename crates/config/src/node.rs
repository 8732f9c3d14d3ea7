//! The raw configuration: a tree of [`Node`]s, each knowing where it was written.
//!
//! A node is not typed and not YAML any more: [`parse`](crate::parse) makes it from YAML, [`Node::read`] makes types of it,
//! and other front ends may build it from [`serde_json::Value`]. Start with [`Node::entries`] and [`Node::read`].

pub(crate) mod capture;
mod path;

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::Span;

/// A value with its place in the text.
///
/// Two nodes are equal when their values are, wherever they were written and however their variables were spelled; the
/// order of keys does not matter. That is the comparison a reload needs.
#[derive(Debug, Clone)]
pub struct Node {
    /// What was written, with variables expanded.
    pub value: Value,
    /// Where the value was written. A block or list begins at its first character and ends with its last child.
    pub span: Span,
    /// What to point at when the block as a whole is meant: its key, if the block starts on a later line.
    pub(crate) label: Span,
    /// The text before variables were expanded, if that made a difference.
    pub(crate) unexpanded: Option<Box<str>>,
    /// An error was already reported for it, so whoever reads it fails without another report.
    pub(crate) broken: bool,
}

/// The kinds of values.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number below zero.
    Int(i64),
    /// A whole number from zero on.
    UInt(u64),
    /// A number with a fraction or an exponent; always finite when parsed.
    Float(f64),
    /// Text, with variables expanded.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// A block of keys, in the order written. Keys are unique in what [`parse`](crate::parse) returns.
    Mapping(Vec<(Key, Node)>),
}

/// A key with its place in the text. Keys are never expanded.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key as text; a number used as a key is kept as it was written.
    pub name: String,
    /// Where the key was written.
    pub span: Span,
}

impl Node {
    /// A value at a place; [`Span::NONE`] for values made by code.
    pub fn new(value: Value, span: Span) -> Self {
        Self {
            value,
            span,
            label: span,
            unexpanded: None,
            broken: false,
        }
    }

    /// A block without keys.
    pub fn empty_block(span: Span) -> Self {
        Self::new(Value::Mapping(Vec::new()), span)
    }

    /// The keys and values if this is a block.
    pub fn as_mapping(&self) -> Option<&[(Key, Self)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements if this is a list.
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The text if this is text, with variables expanded.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The keys and values of a block in the order written; nothing for any other kind.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Self)> {
        let entries = self.as_mapping().unwrap_or_default();
        entries.iter().map(|(key, node)| (key, node))
    }

    /// The value under a key; `None` when there is none or this is not a block.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The key itself, with its place, and the value under it.
    pub fn entry(&self, name: &str) -> Option<(&Key, &Self)> {
        self.entries().find(|(key, _)| key.name == name)
    }

    /// Two blocks: one with only the named keys, one with all the others. Both keep their places and point where this one
    /// does. What is not a block comes back twice, so that reading either says what was expected.
    #[must_use]
    pub fn split(&self, names: &[&str]) -> (Self, Self) {
        let Value::Mapping(entries) = &self.value else {
            return (self.clone(), self.clone());
        };
        let (named, rest) = entries
            .iter()
            .cloned()
            .partition(|(key, _)| names.contains(&key.name.as_str()));
        let with = |entries| Self {
            value: Value::Mapping(entries),
            span: self.span,
            label: self.label,
            unexpanded: None,
            broken: self.broken,
        };
        (with(named), with(rest))
    }

    /// Where to point when the node as a whole is meant: the key it stands under if it is a block that starts on a later
    /// line, otherwise the value.
    pub fn label_span(&self) -> Span {
        self.label
    }

    /// Whether an error was already reported for this very value (an unset variable, say): reading it fails silently.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The value as JSON with variables *not* expanded, for dumps: a secret from the environment stays `${SECRET}`.
    pub fn to_json(&self) -> Json {
        if let Some(text) = &self.unexpanded {
            return Json::from(text.as_ref());
        }
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Int(value) => Json::from(*value),
            Value::UInt(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::String(text) => Json::from(text.as_str()),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|(key, node)| (key.name.clone(), node.to_json()))
                .collect(),
        }
    }

    /// What was found here, in the words of messages: `a list`, `the number 5`. Variables stay unexpanded.
    pub fn describe(&self) -> Cow<'static, str> {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => value.to_string().into(),
            Value::Int(value) => format!("the number {value}").into(),
            Value::UInt(value) => format!("the number {value}").into(),
            Value::Float(value) => format!("the number {value}").into(),
            Value::String(text) => {
                let text = self.unexpanded.as_deref().unwrap_or(text);
                format!("the text '{}'", shorten(text)).into()
            }
            Value::Sequence(_) => "a list".into(),
            Value::Mapping(_) => "a block of keys".into(),
        }
    }
}

/// At most a line's worth of text for a message.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::UInt(a), Self::UInt(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b).is_eq(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Sequence(a), Self::Sequence(b)) => a == b,
            (Self::Mapping(a), Self::Mapping(b)) => same_entries(a, b),
            _ => false,
        }
    }
}

impl Eq for Node {}
impl Eq for Value {}

/// Keys are unique, so equal length and every key of one found in the other is equality.
fn same_entries(left: &[(Key, Node)], right: &[(Key, Node)]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let in_order = left.iter().zip(right).all(|(a, b)| a.0 == b.0);
    if in_order {
        return left.iter().zip(right).all(|(a, b)| a.1 == b.1);
    }
    let known: std::collections::HashMap<&str, &Node> = right
        .iter()
        .map(|(key, node)| (key.name.as_str(), node))
        .collect();
    left.iter()
        .all(|(key, node)| known.get(key.name.as_str()) == Some(&node))
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

impl From<Json> for Node {
    /// The same value with no place in any text.
    fn from(json: Json) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Value::UInt(value),
                (None, Some(value)) => Value::Int(value),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::String(text),
            Json::Array(items) => Value::Sequence(items.into_iter().map(Self::from).collect()),
            Json::Object(entries) => Value::Mapping(
                entries
                    .into_iter()
                    .map(|(name, value)| {
                        let span = Span::NONE;
                        (Key { name, span }, Self::from(value))
                    })
                    .collect(),
            ),
        };
        Self::new(value, Span::NONE)
    }
}

#[cfg(test)]
mod tests;
