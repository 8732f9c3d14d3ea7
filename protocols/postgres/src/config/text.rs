//! Statements and tables as rules name them: the lexer's patterns with a text form for configurations.
//!
//! What a statement does is [`crate::sql`]'s to say. Start at [`StatementKind`] and [`TablePattern`].

use std::borrow::Cow;
use std::fmt;

use portcullis_route::Covers;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::sql::{Class, StatementInfo, StatementPattern, Verb, fold_name};

/// A kind of statement: `read`, `write`, `ddl`, or a verb such as `drop`, `drop_table`, `select`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementKind(pub StatementPattern);

/// The verbs that a statement may carry inside.
const INNER: [Verb; 6] = [
    Verb::Insert,
    Verb::Update,
    Verb::Delete,
    Verb::Merge,
    Verb::Execute,
    Verb::Notify,
];

impl StatementKind {
    /// Whether it is `read`.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self.0, StatementPattern::Class(Class::Read))
    }

    /// Whether everything that a statement does is of one of these kinds: where [`StatementPattern::matches`] finds what is
    /// forbidden, this finds what is not allowed. A `select` with a `delete` in its WITH is both.
    #[must_use]
    pub fn cover_all(kinds: &[Self], statement: &StatementInfo) -> bool {
        let is_class = |kind: &Self| matches!(kind.0, StatementPattern::Class(_));
        if kinds
            .iter()
            .any(|kind| is_class(kind) && kind.0.matches(statement))
        {
            return true;
        }
        let names = |verb: Verb| kinds.iter().any(|kind| kind.names(verb));
        let is_named = |verb: &Verb| !statement.inner.has(*verb) || names(*verb);
        names(statement.verb) && INNER.iter().all(is_named)
    }

    /// Whether it means this verb, whatever class a statement has.
    fn names(self, verb: Verb) -> bool {
        match self.0 {
            StatementPattern::Verb(named) => named == verb,
            StatementPattern::Create => matches!(verb, Verb::Create(_)),
            StatementPattern::Alter => matches!(verb, Verb::Alter(_)),
            StatementPattern::Drop => matches!(verb, Verb::Drop(_)),
            StatementPattern::Ddl => {
                matches!(verb, Verb::Create(_) | Verb::Alter(_) | Verb::Drop(_))
            }
            StatementPattern::Class(_) => false,
        }
    }
}

impl Covers for StatementKind {
    fn covers(&self, other: &Self) -> bool {
        use StatementPattern::{Alter, Class as Of, Create, Ddl, Drop, Verb as Is};
        match (self.0, other.0) {
            (ours, theirs) if ours == theirs => true,
            (Ddl, Create | Alter | Drop | Is(Verb::Create(_) | Verb::Alter(_) | Verb::Drop(_))) => {
                true
            }
            (Create, Is(Verb::Create(_)))
            | (Alter, Is(Verb::Alter(_)))
            | (Drop, Is(Verb::Drop(_))) => true,
            // What cannot be read is no read.
            (Of(Class::Write), Of(Class::Unknown)) => true,
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for StatementKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pattern = text.parse().map_err(D::Error::custom)?;
        Ok(Self(pattern))
    }
}

impl JsonSchema for StatementKind {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StatementKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "A kind of statement: read, write, ddl, or a verb",
            "examples": ["read", "write", "ddl", "drop", "drop_table", "truncate", "select"],
        })
    }
}

/// Tables by name: `orders`, `secret.*`, `tmp_*`, `"Mixed".orders`, `*`.
///
/// The gateway knows no `search_path`. A name without a schema can be in any, so `secret.orders` means it too; `secret.*`
/// does not, since it would mean all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct TablePattern {
    text: Box<str>,
    schema: Option<NamePattern>,
    name: NamePattern,
}

/// A name, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NamePattern {
    Exact(Box<[u8]>),
    /// Empty for any.
    Prefix(Box<[u8]>),
}

/// A text that names no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a table: expected name, schema.name or schema.*, in double quotes where case matters"
)]
pub struct TablePatternError;

impl NamePattern {
    fn parse(text: &str) -> Result<Self, TablePatternError> {
        if let Some(front) = text.strip_suffix('*') {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
            if !front.bytes().all(is_plain) {
                return Err(TablePatternError);
            }
            let front = front.to_ascii_lowercase().into_bytes();
            return Ok(Self::Prefix(front.into()));
        }
        let folded = fold_name(text.as_bytes());
        if folded.is_empty() {
            return Err(TablePatternError);
        }
        Ok(Self::Exact(folded.into()))
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Prefix(front) => name.starts_with(front),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (ours, theirs) if ours == theirs => true,
            (Self::Prefix(ours), Self::Prefix(theirs) | Self::Exact(theirs)) => {
                theirs.starts_with(ours)
            }
            (Self::Exact(_), _) => false,
        }
    }
}

impl TablePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// See [`TablePatternError`].
    pub fn parse(text: &str) -> Result<Self, TablePatternError> {
        let parts: Vec<&[u8]> = split_name(text.as_bytes()).collect();
        let part = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|_| TablePatternError)?;
            NamePattern::parse(text)
        };
        let (schema, name) = match &parts[..] {
            [name] => (None, part(name)?),
            [schema, name] => (Some(part(schema)?), part(name)?),
            _ => return Err(TablePatternError),
        };
        Ok(Self {
            text: text.into(),
            schema,
            name,
        })
    }

    /// Whether a name as it stands in a statement can be one of these tables. True of names that cannot be read. This is
    /// what forbids.
    #[must_use]
    pub fn can_be(&self, written: &[u8]) -> bool {
        self.means(written).unwrap_or(true)
    }

    /// Whether a name as it stands in a statement is one of these tables. False of names that cannot be read. This is what
    /// allows.
    #[must_use]
    pub fn is(&self, written: &[u8]) -> bool {
        self.means(written).unwrap_or(false)
    }

    /// `None` if the name cannot be read.
    fn means(&self, written: &[u8]) -> Option<bool> {
        let (schema, name) = last_two(written)?;
        let schema_fits = match (&self.schema, schema) {
            (None, _) => true,
            (Some(pattern), Some(schema)) => pattern.matches(&schema),
            (Some(_), None) => matches!(self.name, NamePattern::Exact(_)),
        };
        Some(schema_fits && self.name.matches(&name))
    }
}

/// The parts of a dotted name as they are written. A dot in double quotes is no end.
fn split_name(written: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    written.split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b'.' && !quoted
    })
}

type Part<'a> = Cow<'a, [u8]>;

/// The schema, if there is one, and the name, folded. `None` if they cannot be read. Of more parts the last two count.
fn last_two(written: &[u8]) -> Option<(Option<Part<'_>>, Part<'_>)> {
    let (mut schema, mut name) = (None, None);
    for part in split_name(written) {
        let folded = fold_name(part.trim_ascii());
        if folded.is_empty() {
            return None;
        }
        schema = name.replace(folded);
    }
    Some((schema, name?))
}

impl fmt::Debug for TablePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Covers for TablePattern {
    fn covers(&self, other: &Self) -> bool {
        let schema_covers = match (&self.schema, &other.schema) {
            (None, _) => true,
            (Some(ours), Some(theirs)) => ours.covers(theirs),
            (Some(_), None) => false,
        };
        schema_covers && self.name.covers(&other.name)
    }
}

impl<'de> Deserialize<'de> for TablePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl JsonSchema for TablePattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TablePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "A table, with its schema or not; a `*` at the end of a part stands for any end",
            "examples": ["orders", "secret.*", "public.orders", "tmp_*"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_under_their_names() {
        // Pattern, name as written, can it be, is it.
        let rows = [
            ("orders", "orders", true, true),
            ("orders", "ORDERS", true, true),
            ("orders", "public.Orders", true, true),
            ("orders", "\"Orders\"", false, false),
            ("\"Orders\"", "\"Orders\"", true, true),
            ("secret.*", "secret.data", true, true),
            ("secret.*", "\"secret\" . data", true, true),
            ("secret.*", "db.secret.data", true, true),
            ("secret.*", "data", false, false),
            ("secret.*", "\"secret.data\"", false, false),
            ("secret.*", "public.data", false, false),
            ("secret.data", "data", true, true),
            ("secret.data", "public.data", false, false),
            ("tmp_*", "shop.TMP_1", true, true),
            ("*", "anything.at_all", true, true),
            ("orders", "U&\"orders\"", true, false),
            ("orders", "", true, false),
        ];
        for (pattern, written, can_be, is) in rows {
            let parsed = TablePattern::parse(pattern).unwrap();
            assert_eq!(
                parsed.can_be(written.as_bytes()),
                can_be,
                "{pattern} can be {written}"
            );
            assert_eq!(parsed.is(written.as_bytes()), is, "{pattern} is {written}");
        }
    }

    #[test]
    fn what_names_no_table_is_refused() {
        for text in ["", ".", "a.", "a.b.c", "*a", "a b", "\"open", "a-b"] {
            assert_eq!(TablePattern::parse(text), Err(TablePatternError), "{text}");
        }
    }

    #[test]
    fn wider_patterns_cover_narrower_ones() {
        let rows = [
            ("*", "secret.*", true),
            ("secret.*", "secret.data", true),
            ("secret.*", "secret.*", true),
            ("secret.data", "secret.*", false),
            ("orders", "public.orders", true),
            ("public.orders", "orders", false),
            ("tmp_*", "tmp_a*", true),
        ];
        for (wide, narrow, covers) in rows {
            let parse = |text| TablePattern::parse(text).unwrap();
            assert_eq!(
                parse(wide).covers(&parse(narrow)),
                covers,
                "{wide}, {narrow}"
            );
        }
    }
}
