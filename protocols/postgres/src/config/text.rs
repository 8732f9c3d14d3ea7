//! Statements and tables as rules name them: the lexer's patterns with a text form for configurations.
//!
//! What they match is [`crate::sql`]'s. Start at [`StatementKind`].

use std::borrow::Cow;
use std::fmt;

use portcullis_route::Covers;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::sql::{Class, Relation, StatementPattern, names};

/// A kind of statement: `read`, `write`, `ddl`, or a verb such as `drop`, `drop_table`, `select`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementKind(pub StatementPattern);

impl StatementKind {
    /// Whether it is `read`.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self.0, StatementPattern::Class(Class::Read))
    }
}

impl Covers for StatementKind {
    fn covers(&self, other: &Self) -> bool {
        use crate::sql::Verb;
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

/// Tables by name: `orders`, `secret.*`, `"Mixed".orders`.
#[derive(Clone, PartialEq, Eq)]
pub struct TablePattern {
    text: Box<str>,
    /// What the lexer compares names with.
    pub relation: Relation,
}

impl TablePattern {
    /// Whether a name, as it stands in a text, means one of these tables. A name without a schema means any schema's.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        names(name, &self.relation)
    }
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
        self.relation == other.relation
    }
}

impl<'de> Deserialize<'de> for TablePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let relation = text.parse().map_err(D::Error::custom)?;
        Ok(Self {
            text: text.into(),
            relation,
        })
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
            "description": "A table, with its schema or not; `*` stands for any",
            "examples": ["orders", "secret.*", "public.orders"],
        })
    }
}
