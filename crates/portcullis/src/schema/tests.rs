//! The schema accepts what the gateway accepts, and knows the keys that the gateway knows.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_config::{Diagnostics, Source};
use portcullis_proxy::Registry;
use serde_json::Value;

use super::document;
use super::validate::problems;
use crate::load::{ConfigSource, load_text, testing};
use crate::protocols::registry;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Checks a text with the gateway's own reader and with the schema.
#[track_caller]
fn check(name: &str, text: &str, registry: &Registry) {
    if let Err(report) = load_text(name, Ok(text.to_owned()), registry).into_result() {
        panic!("{name}: {}", report.text(false));
    }
    let source = Source::new(name, text);
    let mut diagnostics = Diagnostics::new(&source);
    let node = portcullis_config::parse_into(&source, &mut diagnostics).unwrap();
    let found = problems(&document(registry), &node.to_json());
    assert!(found.is_empty(), "{name}: {found:#?}");
}

#[test]
fn every_example_fits() {
    let Ok(folder) = fs::read_dir(root().join("examples")) else {
        return;
    };
    let files = certificate_files();
    for entry in folder {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let text = ConfigSource::File(path.clone()).text().unwrap();
            let text = with_files(&text, files.path());
            check(&path.display().to_string(), &text, &registry());
        }
    }
}

/// A certificate and its key: examples name files that their readers have, not this test.
fn certificate_files() -> tempfile::TempDir {
    let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("any.pem"), made.cert.pem()).unwrap();
    fs::write(
        folder.path().join("any.key"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    folder
}

/// The text with every PEM file's name led to those in `folder`.
fn with_files(text: &str, folder: &Path) -> String {
    let name = regex::Regex::new(r"[A-Za-z0-9_/-]+\.(pem|key)(?-u:\b)").unwrap();
    let led = format!("{}/any.$1", folder.display());
    name.replace_all(text, led.as_str()).into_owned()
}

#[test]
fn every_example_in_the_readme_fits() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        return;
    };
    let blocks = readme.split("```yaml\n").skip(1);
    for (index, block) in blocks.enumerate() {
        let text = block.split("```").next().unwrap();
        if text.contains("listeners:") {
            check(&format!("README block {index}"), text, &registry());
        }
    }
}

#[test]
fn mistakes_do_not_fit() {
    let rows = [
        (
            "listeners: { web: { listen: ':80', protocol: fake, cluster: a } }",
            true,
        ),
        (
            "listeners: { web: { listen: ':${PORT}', protocol: fake, cluster: a } }",
            true,
        ),
        (
            "listeners: { web: { lisen: ':80', protocol: fake, cluster: a } }",
            false,
        ),
        (
            "listeners: { web: { listen: ':80', protocol: other, cluster: a } }",
            false,
        ),
        (
            "listeners: { web: { listen: ':80', protocol: fake } }",
            false,
        ),
        (
            "listeners: { 'we b': { listen: ':80', protocol: fake, cluster: a } }",
            false,
        ),
        (
            "listeners: { web: { listen: 80, protocol: fake, cluster: a } }",
            false,
        ),
        ("clusters: {}", false),
    ];
    let schema = document(&testing::registry());
    for (text, fits) in rows {
        let source = Source::new("test", text);
        let node = portcullis_config::parse(&source).unwrap();
        let found = problems(&schema, &node.to_json());
        assert_eq!(found.is_empty(), fits, "{text}: {found:#?}");
    }
}

#[test]
fn references_lead_somewhere() {
    fn visit(root: &Value, schema: &Value) {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            assert!(
                root.pointer(&target[1..]).is_some(),
                "{target} leads nowhere"
            );
        }
        match schema {
            Value::Object(members) => members.values().for_each(|member| visit(root, member)),
            Value::Array(items) => items.iter().for_each(|item| visit(root, item)),
            _ => {}
        }
    }
    let schema = document(&registry());
    visit(&schema, &schema);
    let listeners = &schema["properties"]["listeners"]["additionalProperties"]["oneOf"];
    assert!(listeners.as_array().is_some_and(|all| all.len() >= 2));
}

#[test]
fn checks_that_protocols_bring_are_described() {
    let registry = testing::registry().with_control::<testing::Late>();
    let schema = document(&registry);
    for (check, fits) in [
        ("{ late: { word: hello }, interval: 1s }", true),
        ("{ late: { word: 7 } }", false),
        ("{ other: {} }", false),
    ] {
        let text = format!(
            "listeners: {{ web: {{ listen: '127.0.0.1:80', protocol: late, cluster: a }} }}\nclusters: {{ a: {{ endpoints: ['a:1'], health_check: {check} }} }}"
        );
        let node = portcullis_config::parse(&Source::new("test", text)).unwrap();
        let found = problems(&schema, &node.to_json());
        assert_eq!(found.is_empty(), fits, "{check}: {found:#?}");
    }
}

/// What the schema calls a key, reading knows, and the other way round: reading says which keys it knows when it
/// meets one that it does not.
#[test]
fn schema_and_reading_know_the_same_keys() {
    let registry = registry();
    let schema = document(&registry);
    let listeners = schema["properties"]["listeners"]["additionalProperties"]["oneOf"]
        .as_array()
        .unwrap();
    for listener in listeners {
        let protocol = listener["properties"]["protocol"]["const"]
            .as_str()
            .unwrap();
        let keys: Vec<&String> = listener["properties"].as_object().unwrap().keys().collect();
        for key in keys {
            let text = format!(
                "listeners:\n  web:\n    listen: 127.0.0.1:80\n    protocol: {protocol}\n    {key}: {{}}\nclusters: {{}}\n"
            );
            let (_, report) = load_text("test", Ok(text), &registry).into_parts();
            let text = report.text(false);
            assert!(!text.contains("unknown key"), "{protocol} {key}: {text}");
        }
    }
}
