//! A [`Node`] as a field of a derived struct: the subtree is captured whole, with its places.
//!
//! Serde has no way to hand a foreign value to a visitor, so our own deserializer leaves it in a slot of the thread and the
//! visitor picks it up at once. Other deserializers come out as nodes without places. Start with [`hand_over`].

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{Node, Value};
use crate::Span;

/// The newtype name by which our deserializer knows that a whole node is wanted.
pub(crate) const NODE: &str = "\0portcullis node";

thread_local! {
    static SLOT: Cell<Option<Node>> = const { Cell::new(None) };
}

/// Gives `node` to a visitor that asked for [`NODE`].
pub(crate) fn hand_over<'de, V: Visitor<'de>, E: serde::de::Error>(
    node: Node,
    visitor: V,
) -> Result<V::Value, E> {
    SLOT.set(Some(node));
    let result = visitor.visit_unit();
    SLOT.set(None);
    result
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NODE, Capture)
    }
}

struct Capture;

impl<'de> Visitor<'de> for Capture {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(SLOT
            .take()
            .unwrap_or_else(|| Node::new(Value::Null, Span::NONE)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, other: D) -> Result<Node, D::Error> {
        Json::deserialize(other).map(Node::from)
    }
}

impl Serialize for Node {
    /// As [`Node::to_json`]: variables stay unexpanded.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl JsonSchema for Node {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::from(true)
    }
}
