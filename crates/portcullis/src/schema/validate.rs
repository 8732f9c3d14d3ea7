//! A validator for the part of JSON Schema that our schema uses, for tests.
//!
//! A keyword that it does not know fails the test: silence would look like agreement. Start at [`problems`].

use serde_json::Value;

/// Keywords that describe and do not constrain.
const ANNOTATIONS: [&str; 10] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "$comment",
];

/// What is wrong with `value`, by path.
pub(crate) fn problems(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{path}: nothing is allowed here")),
        _ => schema
            .as_object()
            .expect("a schema is an object or a boolean"),
    };
    for (keyword, rule) in keywords {
        if ANNOTATIONS.contains(&keyword.as_str()) {
            continue;
        }
        apply(root, schema, (keyword, rule), value, path, found);
    }
}

fn apply(
    root: &Value,
    schema: &Value,
    (keyword, rule): (&str, &Value),
    value: &Value,
    path: &str,
    found: &mut Vec<String>,
) {
    let mut fail_unless = |good: bool| {
        if !good {
            found.push(format!(
                "{path}: {keyword} {rule} does not hold for {value}"
            ));
        }
    };
    let number = |value: &Value| value.as_f64();
    let fits = |schema: &Value| {
        let mut inner = Vec::new();
        check(root, schema, value, path, &mut inner);
        inner
    };
    match keyword {
        "$ref" => {
            let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
            let target = root
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{rule} leads nowhere"));
            check(root, target, value, path, found);
        }
        "type" => fail_unless(one_or_many(rule).iter().any(|name| is_of_type(value, name))),
        "const" => fail_unless(rule == value),
        "enum" => fail_unless(rule.as_array().unwrap().contains(value)),
        "minimum" => fail_unless(number(value).is_none_or(|n| n >= number(rule).unwrap())),
        "maximum" => fail_unless(number(value).is_none_or(|n| n <= number(rule).unwrap())),
        "exclusiveMinimum" => fail_unless(number(value).is_none_or(|n| n > number(rule).unwrap())),
        "minLength" => fail_unless(
            value
                .as_str()
                .is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
        ),
        "maxLength" => fail_unless(
            value
                .as_str()
                .is_none_or(|text| text.len() as u64 <= rule.as_u64().unwrap()),
        ),
        "minItems" => fail_unless(
            value
                .as_array()
                .is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
        ),
        "maxItems" => fail_unless(
            value
                .as_array()
                .is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
        ),
        "minProperties" => fail_unless(
            value
                .as_object()
                .is_none_or(|map| map.len() as u64 >= rule.as_u64().unwrap()),
        ),
        "maxProperties" => fail_unless(
            value
                .as_object()
                .is_none_or(|map| map.len() as u64 <= rule.as_u64().unwrap()),
        ),
        "pattern" => fail_unless(
            value
                .as_str()
                .is_none_or(|text| matches(rule.as_str().unwrap(), text)),
        ),
        "required" => {
            for name in rule.as_array().unwrap() {
                let there = value
                    .as_object()
                    .is_none_or(|map| map.contains_key(name.as_str().unwrap()));
                if !there {
                    found.push(format!("{path}: {name} is missing"));
                }
            }
        }
        "properties" => {
            for (name, schema) in rule.as_object().unwrap() {
                if let Some(child) = value.get(name) {
                    check(root, schema, child, &format!("{path}/{name}"), found);
                }
            }
        }
        "patternProperties" => {
            for (pattern, schema) in rule.as_object().unwrap() {
                for (name, child) in value.as_object().into_iter().flatten() {
                    if matches(pattern, name) {
                        check(root, schema, child, &format!("{path}/{name}"), found);
                    }
                }
            }
        }
        "additionalProperties" => {
            let known = schema.get("properties").and_then(Value::as_object);
            let patterns = schema.get("patternProperties").and_then(Value::as_object);
            let by_pattern = |name: &str| {
                let mut patterns = patterns.into_iter().flat_map(|patterns| patterns.keys());
                patterns.any(|pattern| matches(pattern, name))
            };
            for (name, child) in value.as_object().into_iter().flatten() {
                if known.is_none_or(|known| !known.contains_key(name)) && !by_pattern(name) {
                    check(root, rule, child, &format!("{path}/{name}"), found);
                }
            }
        }
        "propertyNames" => {
            for name in value.as_object().into_iter().flat_map(|map| map.keys()) {
                check(
                    root,
                    rule,
                    &Value::from(name.as_str()),
                    &format!("{path}/{name}"),
                    found,
                );
            }
        }
        "items" => {
            for (index, child) in value.as_array().into_iter().flatten().enumerate() {
                check(root, rule, child, &format!("{path}/{index}"), found);
            }
        }
        "uniqueItems" => fail_unless(value.as_array().is_none_or(|list| {
            list.iter()
                .enumerate()
                .all(|(index, item)| !list[..index].contains(item))
        })),
        "allOf" => rule
            .as_array()
            .unwrap()
            .iter()
            .for_each(|schema| found.extend(fits(schema))),
        "anyOf" | "oneOf" => {
            let tried: Vec<Vec<String>> = rule.as_array().unwrap().iter().map(fits).collect();
            let fitting = tried.iter().filter(|problems| problems.is_empty()).count();
            if fitting == 0 {
                let closest = tried.into_iter().min_by_key(Vec::len).unwrap_or_default();
                found.push(format!(
                    "{path}: no alternative fits, the closest has {closest:?}"
                ));
            } else if keyword == "oneOf" && fitting > 1 {
                found.push(format!("{path}: {fitting} alternatives fit"));
            }
        }
        "not" => fail_unless(!fits(rule).is_empty()),
        _ => panic!("the validator does not know the keyword {keyword} at {path}"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).unwrap().is_match(text)
}

fn one_or_many(rule: &Value) -> Vec<&str> {
    match rule {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => {
            value.is_u64()
                || value.is_i64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => panic!("unknown type {name}"),
    }
}

#[test]
fn the_validator_sees_what_is_wrong() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "a": { "type": "integer", "minimum": 1 },
            "b": { "$ref": "#/$defs/word" },
            "c": { "type": "array", "items": { "oneOf": [{ "const": 1 }, { "type": "string" }] } },
        },
        "required": ["a"],
        "additionalProperties": false,
        "$defs": { "word": { "type": "string", "pattern": "^[a-z]+$" } },
    });
    for (value, count) in [
        (serde_json::json!({ "a": 1, "b": "word", "c": [1, "x"] }), 0),
        (serde_json::json!({ "b": "word" }), 1),
        (
            serde_json::json!({ "a": 0, "b": "Word", "c": [2], "d": 1 }),
            4,
        ),
        (serde_json::json!([]), 1),
    ] {
        assert_eq!(
            problems(&schema, &value).len(),
            count,
            "{value} {:?}",
            problems(&schema, &value)
        );
    }
}
