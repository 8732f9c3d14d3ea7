//! JSON Schema by parts: typed parts come from their types, the blocks that no single type describes are joined by hand.
//!
//! It validates nothing; schemas are plain [`serde_json::Value`]s of draft 2020-12. Start with [`Parts`].

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Collects the definitions of typed parts for one document.
#[derive(Debug)]
pub struct Parts {
    generator: SchemaGenerator,
}

impl Parts {
    /// No parts yet.
    pub fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_deserialize();
        Self {
            generator: settings.into_generator(),
        }
    }

    /// The schema of a type, as a reference to its definition where it has one.
    pub fn of<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// The schema of a type itself, for [`merge`]; what it refers to is still defined by reference.
    pub fn inline<T: JsonSchema>(&mut self) -> Value {
        T::json_schema(&mut self.generator).to_value()
    }

    /// The finished document: the root with a title, all definitions, and variables allowed wherever they expand.
    pub fn finish(mut self, title: &str, root: Value) -> Value {
        let definitions = self.generator.take_definitions(true);
        let head = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
        });
        let mut document = merge(head, root);
        let mut definitions = Value::Object(definitions);
        allow_variables(&mut document);
        each_value(&mut definitions, allow_variables);
        if let Value::Object(definitions) = &mut definitions {
            definitions.insert(VARIABLE.to_owned(), variable());
        }
        merge(document, json!({ "$defs": definitions }))
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self::new()
    }
}

/// The schema of a type as a whole, without references to other places.
pub fn inlined<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let generator = settings.into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// A block with these keys and no others; all are optional but those in `required`.
pub fn object<'a>(
    properties: impl IntoIterator<Item = (&'a str, Value)>,
    required: &[&str],
) -> Value {
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

/// A block whose keys are names, all with values of one kind.
pub fn map_of(values: Value) -> Value {
    object_of([("type", "object".into()), ("additionalProperties", values)])
}

/// A list of elements of one kind.
pub fn list_of(elements: Value) -> Value {
    object_of([("type", "array".into()), ("items", elements)])
}

/// Any of several forms.
pub fn any_of(forms: impl IntoIterator<Item = Value>) -> Value {
    json!({ "anyOf": forms.into_iter().collect::<Vec<_>>() })
}

/// Exactly this value.
pub fn constant(value: impl Into<Value>) -> Value {
    json!({ "const": value.into() })
}

/// The schema with a description for the editor; an existing one is replaced.
pub fn describe(mut schema: Value, text: &str) -> Value {
    match &mut schema {
        Value::Object(members) => {
            members.insert("description".to_owned(), text.into());
            schema
        }
        // `true` allows anything, and cannot carry a text.
        _ => json!({ "description": text }),
    }
}

/// Joins two schemas of blocks into one that has the keys of both: members that are objects are joined key by key, lists
/// are appended without repeating, for the rest `right` wins. Use [`Parts::inline`] for typed sides.
pub fn merge(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Object(mut left), Value::Object(right)) => {
            for (name, value) in right {
                let joined = match left.remove(&name) {
                    Some(existing) => merge(existing, value),
                    None => value,
                };
                left.insert(name, joined);
            }
            Value::Object(left)
        }
        (Value::Array(mut left), Value::Array(right)) => {
            for value in right {
                if !left.contains(&value) {
                    left.push(value);
                }
            }
            Value::Array(left)
        }
        (_, right) => right,
    }
}

fn object_of<const N: usize>(members: [(&str, Value); N]) -> Value {
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

const VARIABLE: &str = "Variable";

fn variable() -> Value {
    json!({
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
        "description": "A value with a variable of the environment, such as ${PORT} or ${PORT:-8080}.",
    })
}

/// Lets every scalar that is bound in form be written with a variable as well: it is checked after expansion.
fn allow_variables(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    for name in ["properties", "patternProperties"] {
        if let Some(properties) = members.get_mut(name) {
            each_value(properties, allow_variables);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            allow_variables(inner);
        }
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Value::Array(forms)) = members.get_mut(name) {
            forms.iter_mut().for_each(allow_variables);
        }
    }
    if is_bound_scalar(members) {
        let mut outer = Map::new();
        for name in ["description", "default", "examples", "title", "$schema"] {
            if let Some(value) = members.remove(name) {
                outer.insert(name.to_owned(), value);
            }
        }
        let inner = Value::Object(std::mem::take(members));
        outer.insert(
            "anyOf".to_owned(),
            json!([inner, { "$ref": format!("#/$defs/{VARIABLE}") }]),
        );
        *members = outer;
    }
}

fn each_value(object: &mut Value, change: impl FnMut(&mut Value)) {
    if let Value::Object(members) = object {
        members.values_mut().for_each(change);
    }
}

fn is_bound_scalar(members: &Map<String, Value>) -> bool {
    let is_type = |wanted: &str| match members.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        _ => false,
    };
    ["integer", "number", "boolean"].into_iter().any(is_type)
        || (is_type("string") && members.contains_key("pattern"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Duration, Located, Node, OneOrMany};

    #[derive(JsonSchema, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Block {
        /// How long.
        timeout: Located<Duration>,
        #[serde(default)]
        size: u16,
        #[serde(default)]
        hosts: OneOrMany<String>,
        rest: Option<Node>,
    }

    #[test]
    fn a_document_joined_from_parts() {
        let mut parts = Parts::new();
        let generic = object([("listen", json!({ "type": "string" }))], &["listen"]);
        let joined = merge(generic, parts.inline::<Block>());
        let root = object([("listeners", map_of(joined))], &[]);
        let document = parts.finish("Portcullis", root);
        let block = &document["properties"]["listeners"]["additionalProperties"];
        assert_eq!(block["required"], json!(["listen", "timeout"]));
        assert_eq!(block["additionalProperties"], json!(false));
        assert_eq!(
            block["properties"]["timeout"]["$ref"],
            json!("#/$defs/Duration")
        );
        assert_eq!(
            block["properties"]["timeout"]["description"],
            json!("How long.")
        );
        assert_eq!(
            block["properties"]["size"]["anyOf"][0]["maximum"],
            json!(65535)
        );
        assert_eq!(
            block["properties"]["hosts"]["anyOf"][0]["type"],
            json!("string")
        );
        assert_eq!(
            document["$defs"]["Duration"]["anyOf"][1]["$ref"],
            json!("#/$defs/Variable")
        );
        assert_eq!(document["$defs"]["Variable"]["type"], json!("string"));
        assert_eq!(document["title"], json!("Portcullis"));
    }

    #[test]
    fn merging_joins_blocks_and_lists() {
        let left = json!({ "a": [1, 2], "b": { "c": 1 }, "d": 1 });
        let right = json!({ "a": [2, 3], "b": { "e": 2 }, "d": 2 });
        assert_eq!(
            merge(left, right),
            json!({ "a": [1, 2, 3], "b": { "c": 1, "e": 2 }, "d": 2 })
        );
    }
}
