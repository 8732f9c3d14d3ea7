//! Fields set, added and removed by configuration: one form for routes and for the `headers` filter.
//!
//! Values are fixed text, without operators: what depends on a request is the business of forwarding
//! ([`crate::forward`]) or of a filter of its own. Start at [`EditConfig`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_config::OneOrMany;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fields::{Fields, Name, is_field_value};
use crate::forward::is_token;
use crate::name::KnownField;

/// Fields to remove, to set and to add, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EditConfig {
    /// Fields that go, whatever their value.
    pub remove: Vec<FieldName>,
    /// Fields that have exactly this value afterwards.
    pub set: BTreeMap<FieldName, FieldValue>,
    /// Fields that are added to those that are there.
    pub add: BTreeMap<FieldName, OneOrMany<FieldValue>>,
}

impl EditConfig {
    /// Whether nothing is edited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Edits the fields of a head.
    #[inline]
    pub fn apply(&self, fields: &mut Fields) {
        if !self.is_empty() {
            self.apply_all(fields);
        }
    }

    fn apply_all(&self, fields: &mut Fields) {
        for name in &self.remove {
            fields.remove(name.name());
        }
        for (name, value) in &self.set {
            fields.set(name.name(), value.as_bytes());
        }
        for (name, values) in &self.add {
            for value in values {
                fields.append(name.name(), value.as_bytes());
            }
        }
    }
}

/// The name of a field that a configuration may touch: any but those that are the gateway's own business, such as
/// framing, connection management and Host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName {
    text: Box<str>,
    known: Option<KnownField>,
}

impl FieldName {
    /// The field with this name.
    ///
    /// # Errors
    /// It is not a name, or not one to be edited; the text says which.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = Self::any(text)?;
        match name.known {
            Some(KnownField::Host) => Err(
                "host is not edited as a field: use `rewrite: { host: … }` of a route".to_owned(),
            ),
            Some(field) if MANAGED.contains(&field) => Err(format!(
                "{text} is written by the gateway from what it knows about the message"
            )),
            _ => Ok(name),
        }
    }

    /// The field with this name, to look at and not to edit.
    ///
    /// # Errors
    /// It is not a name.
    pub fn any(text: &str) -> Result<Self, String> {
        if !is_token(text.as_bytes()) {
            return Err(format!("'{text}' is not a field name"));
        }
        let text = text.to_ascii_lowercase().into_boxed_str();
        Ok(Self {
            known: KnownField::classify(text.as_bytes()),
            text,
        })
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name as lists of fields take it.
    #[must_use]
    #[inline]
    pub fn name(&self) -> Name<'_> {
        match self.known {
            Some(field) => Name::Known(field),
            None => Name::Other(self.text.as_bytes()),
        }
    }

    /// Every value of this field.
    #[inline]
    pub fn values<'a>(&'a self, fields: &'a Fields) -> impl Iterator<Item = &'a [u8]> {
        fields.get_all_named(self.name())
    }
}

const MANAGED: &[KnownField] = &[
    KnownField::Connection,
    KnownField::ContentLength,
    KnownField::Http2Settings,
    KnownField::KeepAlive,
    KnownField::ProxyConnection,
    KnownField::Te,
    KnownField::Trailer,
    KnownField::TransferEncoding,
    KnownField::Upgrade,
];

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Serialize for FieldName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for FieldName {
    fn schema_name() -> Cow<'static, str> {
        "FieldName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

/// The value of a field: printable, on one line (RFC 9110 section 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldValue(Box<str>);

impl FieldValue {
    /// The text, if it may be a field's value.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (is_field_value(text.as_bytes()) && text.trim() == text).then(|| Self(text.into()))
    }

    /// The value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "not a field value: it has a control character, or a space at an end",
            )
        })
    }
}

impl JsonSchema for FieldValue {
    fn schema_name() -> Cow<'static, str> {
        "FieldValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^\\r\\n]*$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_remove_then_set_then_add() {
        let mut fields = Fields::new();
        for (name, value) in [("a", "1"), ("b", "2"), ("b", "3"), ("server", "x")] {
            fields.append(name, value.as_bytes());
        }
        let config: EditConfig = serde_json::from_str(
            r#"{"add": {"c": ["6", "7"], "A": ["0"]}, "set": {"B": "4"}, "remove": ["a", "Server"]}"#,
        )
        .unwrap();
        config.apply(&mut fields);
        let found: Vec<(&[u8], &[u8])> = fields
            .iter()
            .map(|field| (field.name, field.value))
            .collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"b", b"4"), (b"a", b"0"), (b"c", b"6"), (b"c", b"7")];
        assert_eq!(found, expected);
    }

    #[test]
    fn some_fields_are_not_for_editing() {
        let rows = [
            ("x-a", true),
            ("Set-Cookie", true),
            ("host", false),
            ("Content-Length", false),
            ("connection", false),
            ("a b", false),
            ("", false),
            ("a:", false),
        ];
        for (name, expected) in rows {
            assert_eq!(FieldName::parse(name).is_ok(), expected, "{name}");
        }
        for (value, expected) in [
            ("a b", true),
            ("", true),
            ("a\r\nb: c", false),
            (" a", false),
        ] {
            assert_eq!(FieldValue::new(value).is_some(), expected, "{value:?}");
        }
    }
}
