use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Result<Node, Diagnostics> {
    parse(&Source::new("test.yaml", text))
}

#[test]
fn values() {
    let rows = [
        ("a: 5s", json!({ "a": "5s" })),
        ("a: 8080", json!({ "a": 8080 })),
        ("a: '8080'", json!({ "a": "8080" })),
        ("a: \"true\"", json!({ "a": "true" })),
        ("a: true", json!({ "a": true })),
        ("a: off", json!({ "a": "off" })),
        ("a: yes", json!({ "a": "yes" })),
        ("a: 0755", json!({ "a": "0755" })),
        ("a: 1_000", json!({ "a": "1_000" })),
        ("a: -5", json!({ "a": -5 })),
        ("a: 1.5", json!({ "a": 1.5 })),
        ("a: 12:30", json!({ "a": "12:30" })),
        ("a: 127.0.0.1:80", json!({ "a": "127.0.0.1:80" })),
        ("a: :8080", json!({ "a": ":8080" })),
        ("a: ${PORT}", json!({ "a": "${PORT}" })),
        ("a: /v1/*", json!({ "a": "/v1/*" })),
        ("a:", json!({ "a": null })),
        ("a: |\n  x\n  y\n", json!({ "a": "x\ny\n" })),
        (
            "404: x\n1.10: y\ntrue: z\n",
            json!({ "404": "x", "1.10": "y", "true": "z" }),
        ),
        ("", json!({})),
        ("# nothing\n", json!({})),
        (
            "a: &x { b: 1 }\nc: *x\nd: { <<: *x, e: 2 }\n",
            json!({ "a": { "b": 1 }, "c": { "b": 1 }, "d": { "b": 1, "e": 2 } }),
        ),
        ("\u{feff}a: 1\n", json!({ "a": 1 })),
        ("a: 1\r\nb: 2\r\n", json!({ "a": 1, "b": 2 })),
    ];
    for (text, expected) in rows {
        let node = read(text).unwrap_or_else(|errors| panic!("row {text:?}: {errors}"));
        // Order of keys aside.
        assert_eq!(node, Node::from(expected), "row {text:?}");
    }
}

#[test]
fn places() {
    let text = "listeners:\n  web:\n    listen: \"é:80\"\n    on: [ a, 'b' ]\n    tls: { cert: x }\n  - broken\n";
    let source = Source::new("test.yaml", text.replace("  - broken\n", ""));
    let node = parse(&source).unwrap();
    let web = node.find("listeners.web").unwrap();
    let rows = [
        ("listeners.web.listen", "\"é:80\"", 3, 13),
        ("listeners.web.on", "[ a, 'b' ]", 4, 9),
        ("listeners.web.on[1]", "'b'", 4, 14),
        ("listeners.web.tls", "{ cert: x }", 5, 10),
        ("listeners.web.tls.cert", "x", 5, 18),
    ];
    for (path, text, line, column) in rows {
        let span = node.find(path).unwrap().span;
        assert_eq!(source.slice(span), Some(text), "row {path}");
        assert_eq!((span.line, span.column), (line, column), "row {path}");
    }
    assert_eq!(source.slice(web.label_span()), Some("web"));
    assert_eq!((web.span.line, web.span.column), (3, 5));
    assert!(source.slice(web.span).unwrap().ends_with("{ cert: x }"));
    let (key, _) = web.entry("on").unwrap();
    assert_eq!(
        (source.slice(key.span), key.span.line, key.span.column),
        (Some("on"), 4, 5)
    );
}

#[test]
fn errors() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let mut deep_blocks = String::new();
    for depth in 0..100 {
        deep_blocks.extend([" ".repeat(depth).as_str(), "a:\n"]);
    }
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let uses = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{uses}]").unwrap();
        }
        text
    };
    let large = " ".repeat(MAX_BYTES + 1);
    let rows = [
        ("unclosed", "a: [1, 2\n", "this is not valid YAML: ", true),
        ("tab", "a:\n\tb: 1\n", "tabs", true),
        (
            "two documents",
            "a: 1\n---\nb: 2\n",
            "this is not valid YAML: ",
            true,
        ),
        (
            "unknown anchor",
            "a: *b\n",
            "this is not valid YAML: ",
            true,
        ),
        (
            "duplicate",
            "a: 1\nb: 2\na: 3\n",
            "the key 'a' is given twice",
            true,
        ),
        (
            "duplicate by quotes",
            "a: 1\n'a': 3\n",
            "the key 'a' is given twice",
            true,
        ),
        (
            "key is a list",
            "? [a]\n: b\n",
            "a key must be a name",
            true,
        ),
        (
            "variable in brackets",
            "a: { b: ${PORT} }\n",
            "within { } and [ ] a variable needs quotes",
            true,
        ),
        (
            "too deep in brackets",
            &deep,
            "this is nested more than 32 levels deep",
            true,
        ),
        (
            "too deep in blocks",
            &deep_blocks,
            "this is nested more than 32 levels deep",
            true,
        ),
        ("alias bomb", &bomb, "this is too large", true),
        ("too large", &large, "test.yaml is larger than 1 MiB", false),
        ("infinite", "a: .inf\n", "this is not valid YAML: ", true),
        (
            "foreign tag",
            "a: !exec x\n",
            "this is not valid YAML: ",
            true,
        ),
    ];
    for (name, text, expected, has_place) in rows {
        let errors = read(text).expect_err(name);
        let report = errors.to_string();
        assert!(report.contains(expected), "row {name}: {report}");
        let sorted = errors.sorted();
        assert_eq!(
            sorted[0].span().is_some(),
            has_place,
            "row {name}: {report}"
        );
    }
}

#[test]
fn depth_is_bounded_and_fits_the_stack_of_any_thread() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(read(&nested(MAX_DEPTH)).is_ok(), "{open}");
        assert!(read(&nested(MAX_DEPTH + 1)).is_err(), "{open}");
    }
    // Each anchor alone is shallow, together they are not.
    let mut text = "a0: &a0 [1]\n".to_owned();
    for level in 1..2 * MAX_DEPTH {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert!(read(&text).is_err());
}

#[test]
fn all_duplicates_are_reported_and_the_first_counts() {
    let source = Source::new("test.yaml", "a: 1\na: 2\nb: { c: 1, c: 2 }\na: 3\n");
    let mut diagnostics = Diagnostics::new(&source);
    let node = parse_into(&source, &mut diagnostics).unwrap();
    assert_eq!(diagnostics.count(), 3);
    assert_eq!(node.to_json(), json!({ "a": 1, "b": { "c": 1 } }));
}

/// Bytes that YAML gives a meaning to, and a few that it does not.
fn yaml_like() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "b: ",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"",
        "|\n",
        ">\n",
        "&x ",
        "*x",
        "<<: ",
        "? ",
        "!!str ",
        "!t ",
        "# c",
        "${",
        "$$",
        "é",
        "\t",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "~",
        "1.5",
        "\0",
        "\r\n",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..60).prop_map(|pieces| pieces.concat())
}

fn check(text: &str) {
    let source = Source::new("test.yaml", text);
    let mut diagnostics = Diagnostics::new(&source);
    let node = crate::load(&source, &|_| None, &mut diagnostics);
    if let Some(node) = &node {
        let _ = node.read::<serde_json::Value>(&mut diagnostics);
        assert!(source.slice(node.span).is_some() || node.span.is_none());
    } else {
        assert!(!diagnostics.is_empty());
    }
    let _ = diagnostics.render(true);
    let _ = diagnostics.to_json();
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn broken_yaml_does_no_harm(text in yaml_like()) {
        check(&text);
    }

    /// What JSON can say, YAML reads back as the same.
    #[test]
    fn json_is_yaml(text in "[ -~é]{0,40}", number in any::<i64>(), flag in any::<bool>()) {
        let json = json!({ "text": text, "list": [number, flag, null], "é": {} });
        let node = read(&json.to_string()).unwrap();
        prop_assert_eq!(node.to_json(), json);
    }
}
