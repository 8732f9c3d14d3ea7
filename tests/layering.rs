//! Which package may depend on which, checked against what cargo says.
//!
//! A failure here means that an arrow points the wrong way: move the code, not the table.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

/// From the bottom up. A package depends on rows below its own only; `protocols/*` is every package there.
const ROWS: &[&[&str]] = &[
    &["codec", "config", "stats", "limit"],
    &["route", "cluster", "filter", "tls"],
    &["http", "net"],
    &["proxy"],
    &["protocols/*"],
    &["portcullis"],
];

/// The one arrow inside a row: gRPC is a message codec over HTTP/2.
const EXCEPTIONS: &[(&str, &str)] = &[("grpc", "http2")];

/// Development only: these may depend on anything, and the rest on `testkit` for its tests alone.
const DEVELOPMENT: &[&str] = &["testkit", "tests", "fuzz", "xtask"];

/// Sockets, clocks and runtimes, and who may use them: `true` where a feature must be able to leave them out.
const RUNTIMES: &[&str] = &[
    "tokio",
    "tokio-util",
    "mio",
    "socket2",
    "rustix",
    "hickory-resolver",
];
const RUNTIME_USERS: &[(&str, bool)] = &[
    ("net", true),
    ("proxy", false),
    ("protocols/*", true),
    ("portcullis", false),
];

/// One dependency of one package, in the words of the tables above.
#[derive(Debug, Clone, Copy)]
struct Edge<'a> {
    from: &'a str,
    place: &'a str,
    to: &'a str,
    to_place: &'a str,
    is_development: bool,
    is_optional: bool,
}

#[test]
fn dependencies_point_downwards() {
    let broken = violations(&metadata());
    assert!(
        broken.is_empty(),
        "dependencies against the layering:\n{}",
        broken.join("\n")
    );
}

#[test]
fn wrong_arrows_are_found() {
    let edge = |from, place, to, to_place| Edge {
        from,
        place,
        to,
        to_place,
        is_development: false,
        is_optional: false,
    };
    let protocol = "protocols/*";
    let rows = [
        ("down", edge("net", "net", "codec", "codec"), true),
        ("up", edge("codec", "codec", "net", "net"), false),
        ("sideways", edge("http", "http", "net", "net"), false),
        (
            "between protocols",
            edge("tcp", protocol, "http1", protocol),
            false,
        ),
        (
            "the exception",
            edge("grpc", protocol, "http2", protocol),
            true,
        ),
        (
            "binary to protocol",
            edge("portcullis", "portcullis", "tcp", protocol),
            true,
        ),
        (
            "testkit outside tests",
            edge("codec", "codec", "testkit", "testkit"),
            false,
        ),
        (
            "runtime in a pure crate",
            edge("http", "http", "tokio", ""),
            false,
        ),
        (
            "runtime always on",
            edge("tcp", protocol, "tokio", ""),
            false,
        ),
        (
            "runtime in proxy",
            edge("proxy", "proxy", "tokio", ""),
            true,
        ),
        ("library", edge("codec", "codec", "nom", ""), true),
    ];
    for (name, edge, allowed) in rows {
        assert_eq!(violation(edge).is_none(), allowed, "{name}");
    }
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

fn violations(metadata: &Value) -> Vec<String> {
    let packages = || metadata["packages"].as_array().unwrap().iter();
    let place = |name: &str| {
        let package = packages().find(|package| short(package) == name)?;
        let is_protocol = package["manifest_path"].as_str()?.contains("/protocols/");
        Some(if is_protocol {
            "protocols/*"
        } else {
            short(package)
        })
    };
    let mut broken = Vec::new();
    for package in packages() {
        let from = short(package);
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = short(dependency);
            let is_ours = dependency["path"].is_string();
            broken.extend(violation(Edge {
                from,
                place: place(from).unwrap(),
                to,
                to_place: if is_ours { place(to).unwrap_or(to) } else { "" },
                is_development: dependency["kind"] == "dev",
                is_optional: dependency["optional"] == true,
            }));
        }
    }
    broken
}

/// The name without the project's prefix.
fn short(package: &Value) -> &str {
    let name = package["name"].as_str().unwrap();
    name.strip_prefix("portcullis-").unwrap_or(name)
}

fn violation(edge: Edge<'_>) -> Option<String> {
    let Edge { from, to, .. } = edge;
    if DEVELOPMENT.contains(&edge.place) {
        return None;
    }
    if edge.to_place.is_empty() {
        return runtime_violation(edge);
    }
    if edge.is_development && to == "testkit" || EXCEPTIONS.contains(&(from, to)) {
        return None;
    }
    let row = |place: &str| ROWS.iter().position(|row| row.contains(&place));
    match (row(edge.place), row(edge.to_place)) {
        (Some(upper), Some(lower)) if lower < upper => None,
        (None, _) => Some(format!("{from} is in no row of the picture")),
        _ => Some(format!("{from} must not depend on {to}")),
    }
}

fn runtime_violation(edge: Edge<'_>) -> Option<String> {
    let Edge { from, to, .. } = edge;
    if edge.is_development || !RUNTIMES.contains(&to) {
        return None;
    }
    let user = RUNTIME_USERS.iter().find(|(place, _)| *place == edge.place);
    match user {
        None => Some(format!(
            "{from} must not depend on {to}: sockets and clocks belong to net"
        )),
        Some((_, true)) if !edge.is_optional => {
            Some(format!("{from} must make {to} optional, behind a feature"))
        }
        Some(_) => None,
    }
}
