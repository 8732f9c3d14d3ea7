//! YAML to [`Node`]s: the only file that knows the YAML library.
//!
//! It checks what YAML itself demands (syntax, unique keys) and its bounds; what the keys mean is not its business.
//! Start with [`parse`], or [`parse_into`] to go on after errors that leave a usable tree.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{AliasLimits, DuplicateKeyPolicy};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

use crate::node::{Key, Node, Value};
use crate::{Diagnostics, Source, Span};

/// The largest text accepted, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The deepest nesting of lists and blocks accepted. The YAML library recurses: even in a debug build, this depth takes
/// half of the 2 MiB of stack that threads have by default.
pub const MAX_DEPTH: usize = 32;
/// The number of nodes that all uses of anchors together may repeat.
const MAX_REPEATED: usize = 50_000;

/// Parses a text of at most 1 MiB, nested at most 32 deep, into a tree; variables stay as written.
///
/// # Errors
/// All that is wrong: a syntax error ends the parse, duplicate and unusable keys are reported together.
pub fn parse(source: &Arc<Source>) -> Result<Node, Diagnostics> {
    let mut diagnostics = Diagnostics::new(source);
    match parse_into(source, &mut diagnostics) {
        Some(node) if diagnostics.is_empty() => Ok(node),
        _ => Err(diagnostics),
    }
}

/// The same for callers that want to find further errors: `None` only after a syntax error, otherwise a tree in which the
/// first of duplicate keys counts. An empty text is an empty block.
pub fn parse_into(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Option<Node> {
    diagnostics.add_source(source);
    if source.text().len() > MAX_BYTES {
        let message = format!("{} is larger than 1 MiB", source.name());
        diagnostics.error(Span::NONE, message);
        return None;
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(source.text(), options()) {
        Ok(root) => {
            let mut tree = Tree {
                source,
                diagnostics,
            };
            let root = tree.node(root, None);
            Some(match root.value {
                Value::Null => Node::empty_block(root.span),
                _ => root,
            })
        }
        Err(error) => {
            report(source, &error, diagnostics);
            None
        }
    }
}

fn options() -> serde_saphyr::Options {
    let mut limits = AliasLimits::default();
    limits.max_total_replayed_events = MAX_REPEATED;
    limits.max_replay_stack_depth = 8;
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
        },
        alias_limits: limits,
        // The tree reports duplicates itself, all of them and with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // `off` and `no` are words here, as in YAML 1.2.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn report(source: &Source, error: &serde_saphyr::Error, diagnostics: &mut Diagnostics) {
    let error = error.without_snippet();
    let span = error
        .location()
        .map_or(Span::NONE, |location| place(source, location));
    let line = source
        .text()
        .lines()
        .nth((span.line as usize).saturating_sub(1));
    let diagnostic = diagnostics.error(span, words(error));
    if line.is_some_and(|line| line.contains("${") && line.contains(['{', '[']) && !span.is_none())
    {
        diagnostic.help("within { } and [ ] a variable needs quotes: \"${PORT}\"");
    }
}

/// The library's message, or our own where it speaks of its bounds.
fn words(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let message = UserMessageFormatter.format_message(error);
    match error {
        Error::AliasError { error, .. } => words(error),
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => format!("this is nested more than {MAX_DEPTH} levels deep"),
        // The scanner has its own bound for brackets, which is no budget.
        _ if message == "recursion limit exceeded" => {
            format!("this is nested more than {MAX_DEPTH} levels deep")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "this is too large: it has too many parts, or repeats too much through anchors"
                .to_owned()
        }
        _ => format!("this is not valid YAML: {message}"),
    }
}

/// The library's place in our terms. Byte offsets are missing from some syntax errors: those are found by line and column.
fn place(source: &Source, location: serde_saphyr::Location) -> Span {
    if location.line() == 0 {
        return Span::NONE;
    }
    let (line, column) = (location.line() as u32, location.column() as u32);
    let bytes = location.span();
    let (start, length) = match (bytes.byte_offset(), bytes.byte_len()) {
        (Some(start), Some(length)) => (start as usize, length as usize),
        _ => (source.offset(line, column), 0),
    };
    let start = start.min(source.text().len());
    Span {
        source: source.id(),
        start: start as u32,
        end: (start + length).min(source.text().len()) as u32,
        line,
        column,
    }
}

/// What the library tells, before keys are checked.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    String(String),
    Sequence(Vec<Spanned<Self>>),
    Mapping(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(u64::try_from(value).map_or(Raw::Int(value), Raw::UInt))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::UInt(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

/// Turns what the library tells into nodes, reporting keys that cannot stand.
struct Tree<'a> {
    source: &'a Source,
    diagnostics: &'a mut Diagnostics,
}

impl Tree<'_> {
    fn node(&mut self, raw: Spanned<Raw>, key: Option<&Key>) -> Node {
        let span = place(self.source, raw.defined);
        match raw.value {
            Raw::Null => Node::new(
                Value::Null,
                key.filter(|_| span.start == span.end)
                    .map_or(span, |key| key.span),
            ),
            Raw::Bool(value) => Node::new(Value::Bool(value), span),
            Raw::Int(value) => Node::new(Value::Int(value), span),
            Raw::UInt(value) => Node::new(Value::UInt(value), span),
            Raw::Float(value) => Node::new(Value::Float(value), span),
            Raw::String(text) => Node::new(Value::String(text), span),
            Raw::Sequence(items) => {
                let items: Vec<Node> = items
                    .into_iter()
                    .map(|item| self.node(item, None))
                    .collect();
                let last = items.last().map(|item| item.span);
                self.container(Value::Sequence(items), span, last, key)
            }
            Raw::Mapping(entries) => {
                let entries = self.entries(entries);
                let last = entries.last().map(|(key, node)| key.span.until(node.span));
                self.container(Value::Mapping(entries), span, last, key)
            }
        }
    }

    fn container(&self, value: Value, span: Span, last: Option<Span>, key: Option<&Key>) -> Node {
        let end = last.map_or(span, |last| span.until(last));
        let span = self.closed(end);
        let mut node = Node::new(value, span);
        if let Some(key) = key.filter(|key| key.span.line != span.line) {
            node.label = key.span;
        }
        node
    }

    /// The library says where `{` and `[` are, but not where they end: that is at the bracket after the last child.
    fn closed(&self, span: Span) -> Span {
        let text = self.source.text().get(span.range()).unwrap_or_default();
        let bracket = match text.chars().next() {
            Some('{') => '}',
            Some('[') => ']',
            _ => return span,
        };
        let rest = self
            .source
            .text()
            .get(span.end as usize..)
            .unwrap_or_default();
        let skipped = rest.len() - rest.trim_start_matches([' ', '\t', ',', '"', '\'']).len();
        let found = rest
            .get(skipped..)
            .is_some_and(|rest| rest.starts_with(bracket));
        Span {
            end: span.end + if found { skipped as u32 + 1 } else { 0 },
            ..span
        }
    }

    fn entries(&mut self, raw: Vec<(Spanned<Raw>, Spanned<Raw>)>) -> Vec<(Key, Node)> {
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut entries = Vec::with_capacity(raw.len());
        for (key, value) in raw {
            let Some(key) = self.key(key) else { continue };
            let node = self.node(value, Some(&key));
            if let Some(first) = seen.get(&key.name) {
                self.diagnostics
                    .error(key.span, format!("the key '{}' is given twice", key.name))
                    .also(*first, "first given here");
                continue;
            }
            seen.insert(key.name.clone(), key.span);
            entries.push((key, node));
        }
        entries
    }

    /// Numbers and the like are taken as names in the form they were written in.
    fn key(&mut self, raw: Spanned<Raw>) -> Option<Key> {
        let span = place(self.source, raw.defined);
        let written = || self.source.slice(span).map(|text| text.trim().to_owned());
        let name = match raw.value {
            Raw::String(name) => Some(name),
            Raw::Bool(_) | Raw::Int(_) | Raw::UInt(_) | Raw::Float(_) => written(),
            Raw::Null | Raw::Sequence(_) | Raw::Mapping(_) => None,
        };
        if name.is_none() {
            self.diagnostics
                .error(span, "a key must be a name")
                .expected("a name such as 'web'");
        }
        name.map(|name| Key { name, span })
    }
}

#[cfg(test)]
mod tests;
