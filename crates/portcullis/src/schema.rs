//! The JSON Schema of the whole configuration, put together from the parts that each crate describes.
//!
//! Editors complete and check with it; the gateway itself reads by types and reports better. The two agree: a test
//! compares the keys. Start at [`document`].

use portcullis_cluster::ClusterConfig;
use portcullis_config::schema::{self, Parts};
use portcullis_proxy::Registry;
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use crate::load::{ListenerKeys, protocol_names, protocol_schema};
use crate::logs::LogsConfig;
use crate::model::{AdminConfig, DrainConfig, ListenerLimits, ProcessLimits, RuntimeConfig};

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod validate;

/// The JSON Schema (draft 2020-12) of a configuration with these protocols.
#[must_use]
pub fn document(registry: &Registry) -> Value {
    let mut definitions = Definitions::default();
    let listeners: Vec<Value> = protocol_names(registry)
        .into_iter()
        .filter_map(|name| {
            let own = with_common_limits(protocol_schema(registry, name)?);
            let own = definitions.embed(name, own);
            let common = definitions.embed_type::<ListenerKeys>("listener");
            Some(listener(name, own, common))
        })
        .collect();
    let named = |schema: Value| {
        schema::merge(
            schema::map_of(schema),
            json!({ "propertyNames": { "pattern": NAME } }),
        )
    };
    let properties = [
        ("admin", definitions.embed_type::<AdminConfig>("admin")),
        ("logs", definitions.embed_type::<LogsConfig>("logs")),
        (
            "runtime",
            definitions.embed_type::<RuntimeConfig>("runtime"),
        ),
        ("limits", definitions.embed_type::<ProcessLimits>("limits")),
        ("drain", definitions.embed_type::<DrainConfig>("drain")),
        (
            "listeners",
            schema::describe(
                named(json!({ "oneOf": listeners })),
                "What is accepted, by name.",
            ),
        ),
        (
            "clusters",
            schema::describe(
                named(definitions.embed("cluster", cluster(registry))),
                "Where it goes, by name.",
            ),
        ),
    ];
    finish(&schema::object(properties, &["listeners"]), &definitions)
}

/// Allows variables everywhere, also in the definitions, and puts the document together.
fn finish(root: &Value, definitions: &Definitions) -> Value {
    let both =
        json!({ "properties": { "root": root, "definitions": { "properties": definitions.0 } } });
    let mut both = Parts::new().finish("Portcullis configuration", both);
    let mut take = |pointer| {
        both.pointer_mut(pointer)
            .map(Value::take)
            .unwrap_or_default()
    };
    let (root, own) = (
        take("/properties/root"),
        take("/properties/definitions/properties"),
    );
    let (variable, kind, title) = (take("/$defs"), take("/$schema"), take("/title"));
    let head = json!({ "$schema": kind, "title": title });
    let definitions = schema::merge(own, variable);
    schema::merge(schema::merge(head, root), json!({ "$defs": definitions }))
}

/// As `check_name` has it.
const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";

/// The listener of one protocol: the keys that all have and its own, in one block.
fn listener(protocol: &str, own: Value, common: Value) -> Value {
    let title = json!({
        "title": format!("{protocol} listener"),
        "properties": { "protocol": Value::Null },
    });
    let own_limits = own.pointer("/properties/limits").cloned();
    let mut joined = schema::merge(schema::merge(common, own), title);
    if let (Some(own), Some(limits)) = (own_limits, joined.pointer_mut("/properties/limits")) {
        *limits = own;
    }
    if let Some(name) = joined.pointer_mut("/properties/protocol") {
        *name = schema::constant(protocol);
    }
    joined
}

/// A cluster, with the health checks that protocols bring.
fn cluster(registry: &Registry) -> Value {
    let mut cluster = schema_for!(ClusterConfig).to_value();
    let checks = cluster.pointer_mut("/$defs/HealthCheckConfig/properties");
    if let Some(checks) = checks.and_then(Value::as_object_mut) {
        let probes = registry.probes();
        checks.extend(probes.map(|(name, probe)| (name.to_owned(), probe)));
    }
    cluster
}

/// The protocol's `limits`, if it has any, together with those of every listener: they share one block.
fn with_common_limits(mut own: Value) -> Value {
    let limits = own.pointer("/properties/limits").cloned();
    let pointer = limits
        .as_ref()
        .and_then(|limits| limits.get("$ref")?.as_str()?.strip_prefix('#'));
    let Some(limits) =
        pointer.map_or_else(|| limits.clone(), |pointer| own.pointer(pointer).cloned())
    else {
        return own;
    };
    let mut common = schema_for!(ListenerLimits).to_value();
    if let Some(common) = common.as_object_mut() {
        common.retain(|keyword, _| keyword == "properties");
    }
    if let Some(place) = own.pointer_mut("/properties/limits") {
        *place = schema::merge(limits, common);
    }
    own
}

/// The definitions of all parts, under names that do not clash.
#[derive(Default)]
struct Definitions(Map<String, Value>);

impl Definitions {
    fn embed_type<T: JsonSchema>(&mut self, part: &str) -> Value {
        self.embed(part, schema_for!(T).to_value())
    }

    /// Moves the definitions of a part here and makes its references point to them. A definition that another
    /// part has as well is shared; a different one of the same name gets the part's name in front.
    fn embed(&mut self, part: &str, mut schema: Value) -> Value {
        self.hoist(part, &mut schema);
        schema
    }

    fn hoist(&mut self, part: &str, schema: &mut Value) {
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            if let Some(Value::Object(own)) = object.remove("$defs") {
                let renamed = self.take_in(part, own);
                redirect(schema, &renamed);
            }
        }
        // Parts may hold parts with definitions of their own.
        match schema {
            Value::Object(members) => members
                .values_mut()
                .for_each(|member| self.hoist(part, member)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hoist(part, item)),
            _ => {}
        }
    }

    /// Takes in definitions and says which of them got other names.
    fn take_in(&mut self, part: &str, own: Map<String, Value>) -> Map<String, Value> {
        let clashes = |(name, definition): &(&String, &Value)| {
            self.0.get(*name).is_some_and(|other| other != *definition)
        };
        let renamed: Map<String, Value> = own
            .iter()
            .filter(clashes)
            .map(|(name, _)| (name.clone(), Value::from(self.free_name(part, name))))
            .collect();
        for (name, mut definition) in own {
            redirect(&mut definition, &renamed);
            self.hoist(part, &mut definition);
            let to = renamed.get(&name).and_then(Value::as_str).unwrap_or(&name);
            self.0.insert(to.to_owned(), definition);
        }
        renamed
    }

    fn free_name(&self, part: &str, name: &str) -> String {
        let mut free = format!("{part}_{name}");
        while self.0.contains_key(&free) {
            free.push('_');
        }
        free
    }
}

/// Makes references follow definitions that were renamed. A part inside with definitions of its own means those.
fn redirect(schema: &mut Value, renamed: &Map<String, Value>) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, renamed)),
        Value::Object(members) if !members.contains_key("$defs") => {
            for (keyword, value) in members {
                let target = value
                    .as_str()
                    .and_then(|target| target.strip_prefix("#/$defs/"));
                let to = target
                    .and_then(|target| renamed.get(target))
                    .and_then(Value::as_str);
                match to {
                    Some(to) if keyword == "$ref" => *value = Value::from(format!("#/$defs/{to}")),
                    _ => redirect(value, renamed),
                }
            }
        }
        _ => {}
    }
}
