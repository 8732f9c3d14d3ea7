//! Tables for what is written: defaults, mistakes, and what a reload sees as a change.

use std::time::Duration;

use super::*;
use crate::forward::ServerField;
use crate::normalize::{EscapedSlashes, Underscores};
use crate::testing::read;

fn parsed(yaml: &str) -> HttpConfig {
    let (config, mistakes) = read(yaml);
    assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
    config.unwrap()
}

#[test]
fn defaults_are_safe() {
    let config = parsed("cluster: a");
    let limits = config.limits;
    assert_eq!(
        (limits.head_bytes(), limits.uri_bytes(), limits.fields()),
        (32 * 1024, 8 * 1024, 100)
    );
    assert_eq!(limits.body_bytes(), 1 << 30);
    assert_eq!(limits.interim_responses(), 16);
    let timeouts = config.timeouts;
    assert_eq!(timeouts.head(), Duration::from_secs(10));
    assert_eq!(timeouts.request(), Some(Duration::from_hours(1)));
    assert_eq!(timeouts.max_connection_age(), None);
    assert!(config.forward.trusted_proxies.is_empty());
    assert_eq!(config.normalize.underscores, Underscores::Drop);
    assert!(config.local_reply.reason_header);
    assert_eq!(config.retry_budget.whole_percent(), 20);
}

#[test]
fn every_block_is_read() {
    let config = parsed(
        "cluster: a\n\
         limits: { head: 16KiB, uri: 1KiB, fields: 10, body: 1MiB, pipelined_requests: 4KiB, interim_responses: 2 }\n\
         timeouts: { head: 1s, body_progress: 2s, request: off, response: 3s, idle: 4s, tunnel_idle: 5s, max_connection_age: 1h }\n\
         forward: { trusted_proxies: [10.0.0.0/8, \"::1\"], x_forwarded: false, forwarded: true, request_id: false, via: off, server: remove }\n\
         normalize: { escaped_slashes: reject, merge_slashes: true, underscores: keep }\n\
         local_reply: { reason_header: false }\n\
         retry_budget: { percent: 0.5%, min_per_second: 0 }\n",
    );
    assert_eq!(config.limits.head_bytes(), 16 * 1024);
    assert_eq!(config.timeouts.request(), None);
    assert_eq!(
        config.timeouts.max_connection_age(),
        Some(Duration::from_hours(1))
    );
    assert_eq!(config.forward.via_name(), None);
    assert_eq!(config.forward.server, ServerField::Remove);
    assert!(config.forward.is_trusted("10.1.2.3".parse().unwrap()));
    assert!(!config.forward.is_trusted("11.1.2.3".parse().unwrap()));
    assert_eq!(config.normalize.escaped_slashes, EscapedSlashes::Reject);
    assert_eq!(config.retry_budget.whole_percent(), 1);
}

#[test]
fn mistakes_have_places() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "nothing",
            "limits: { head: 1KiB }",
            &["1: the listener does not say where requests go"],
        ),
        (
            "both",
            "cluster: a\nroutes: [{ cluster: b }]",
            &["1: a listener has either a cluster or routes"],
        ),
        (
            "unknown cluster",
            "cluster: aa",
            &["1: unknown cluster 'aa', did you mean 'a'?"],
        ),
        (
            "unknown key",
            "cluster: a\nlimts: {}",
            &["2: unknown key 'limts', did you mean 'limits'?"],
        ),
        ("no routes", "routes: []", &["1: there are no routes"]),
        (
            "not a list",
            "routes: { cluster: a }",
            &["1: routes must be a list"],
        ),
        (
            "limits that refuse everything",
            "cluster: a\nlimits: { head: 0B, uri: 0B,\n  fields: 0, body: 0B, interim_responses: 0 }",
            &[
                "2: a limit of 0 refuses everything",
                "2: a limit of 0 refuses everything",
                "3: a limit of 0 refuses everything",
            ],
        ),
        ("h3", "cluster: a\nhttp3: true", &["2: unknown key 'http3'"]),
        (
            "bad via",
            "cluster: a\nforward: { via: 'a b' }",
            &["2: expected a token: letters, digits and !#$%&'*+-.^_`|~"],
        ),
    ];
    for (name, yaml, expected) in rows {
        assert_eq!(read(yaml).1, *expected, "{name}");
    }
}

#[test]
fn only_a_change_is_a_change() {
    let before =
        "routes: [{ match: { path: /a }, cluster: a }]\nfilters: [{ rate_limit: { rate: 5/s } }]";
    let moved = "\n\nfilters:\n  - rate_limit:\n      rate: 5/s\nroutes:\n  - cluster: a\n    match: { path: /a }\n";
    let other_rate =
        "routes: [{ match: { path: /a }, cluster: a }]\nfilters: [{ rate_limit: { rate: 6/s } }]";
    let other_path =
        "routes: [{ match: { path: /b }, cluster: a }]\nfilters: [{ rate_limit: { rate: 5/s } }]";
    for (name, yaml, expected) in [
        ("same", before, true),
        ("moved", moved, true),
        ("other rate", other_rate, false),
        ("other path", other_path, false),
    ] {
        assert_eq!(parsed(before) == parsed(yaml), expected, "{name}");
    }
}

#[test]
fn the_schema_names_every_key_and_holds_what_it_refers_to() {
    let schema = HttpConfig::schema();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap();
    for key in [
        "cluster",
        "routes",
        "filters",
        "limits",
        "timeouts",
        "forward",
        "normalize",
        "local_reply",
        "retry_budget",
    ] {
        assert!(properties.contains_key(key), "{key}");
    }
    let routes = serde_json::to_string(&properties["routes"]).unwrap();
    for key in ["\"match\"", "\"redirect\"", "\"rate_limit\"", "\"without\""] {
        assert!(routes.contains(key), "{key}");
    }
    let mut references = Vec::new();
    find_references(&schema, &mut references);
    assert!(!references.is_empty(), "filters share definitions");
    for reference in references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(schema.pointer(place).is_some(), "{reference}");
    }
}

fn find_references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| find_references(item, found)),
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str() {
                    Some(reference) if key == "$ref" => found.push(reference.to_owned()),
                    _ => find_references(value, found),
                }
            }
        }
        _ => {}
    }
}
