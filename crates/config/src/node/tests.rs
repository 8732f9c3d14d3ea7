use serde_json::json;

use super::*;
use crate::{Source, parse};

fn node(text: &str) -> Node {
    parse(&Source::new("test.yaml", text)).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn equality_ignores_places_spelling_and_order_of_keys() {
    let rows = [
        ("a: 1\nb: [x]\n", "{ b: [ 'x' ], a: 1 }", true),
        ("a: 1\n", "a: '1'\n", false),
        ("a: [1, 2]\n", "a: [2, 1]\n", false),
        ("a: 1\n", "a: 1\nb: 2\n", false),
        ("a: 1\nb: 2\n", "a: 1\nc: 2\n", false),
        ("a: 1.5\n", "a: 1.50\n", true),
        ("a: ~\n", "a:\n", true),
        ("a: -1\n", "a: 1\n", false),
    ];
    for (left, right, same) in rows {
        assert_eq!(node(left) == node(right), same, "row {left:?} {right:?}");
    }
}

#[test]
fn equality_compares_expanded_values_and_dumps_show_none() {
    let expand = |text: &str, value: &'static str| {
        let mut node = node(text);
        let mut errors = crate::Diagnostics::default();
        node.expand(&|_| Some(value.to_owned()), &mut errors);
        assert!(errors.is_empty());
        node
    };
    assert_eq!(expand("a: ${X}\n", "1"), expand("a: ${Y}\n", "1"));
    assert_ne!(expand("a: ${X}\n", "1"), expand("a: ${X}\n", "2"));
    let secret = expand("a: ${X}\nb: [plain]\n", "hush");
    assert_eq!(secret.to_json(), json!({ "a": "${X}", "b": ["plain"] }));
    assert_eq!(serde_json::to_value(&secret).unwrap(), secret.to_json());
    assert_eq!(secret.get("a").unwrap().as_str(), Some("hush"));
    assert_eq!(secret.get("a").unwrap().describe(), "the text '${X}'");
}

#[test]
fn split_keeps_places() {
    let block = node("listen: a\npool: 5\ntls: b\n");
    let (generic, own) = block.split(&["listen", "tls", "absent"]);
    let names =
        |node: &Node| -> Vec<String> { node.entries().map(|(key, _)| key.name.clone()).collect() };
    assert_eq!(names(&generic), ["listen", "tls"]);
    assert_eq!(names(&own), ["pool"]);
    assert_eq!(own.entry("pool").unwrap().0.span.line, 2);
    assert_eq!(own.get("pool").unwrap().span.column, 7);
    assert_eq!(own.label_span(), block.label_span());
    let list = node("- a\n");
    assert_eq!(list.split(&["a"]), (list.clone(), list));
}

#[test]
fn paths() {
    let node = node("a:\n  b: [{ c: 1 }, 2]\n  b.d: 3\n");
    let rows = [
        ("", Some(node.to_json())),
        ("a.b[0].c", Some(json!(1))),
        ("a.b[1]", Some(json!(2))),
        ("a.b.d", Some(json!(3))),
        ("a.b[2]", None),
        ("a.x", None),
        ("a.b[x]", None),
        ("ab", None),
    ];
    for (path, expected) in rows {
        assert_eq!(node.find(path).map(Node::to_json), expected, "row {path:?}");
    }
    let (nearest, rest) = node.nearest("a.b[0].x.y");
    assert_eq!((nearest.to_json(), rest), (json!({ "c": 1 }), "x.y"));
}

#[test]
fn json_both_ways() {
    let json = json!({ "a": [null, true, -1, 1, 1.5, "x"], "b": {} });
    assert_eq!(Node::from(json.clone()).to_json(), json);
}
