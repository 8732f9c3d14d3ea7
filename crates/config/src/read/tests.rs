use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use crate::{
    ByteSize, Diagnostics, Duration, Located, Node, OneOrMany, Rate, Source, Span, Value, load,
};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Root {
    #[serde(default)]
    listeners: BTreeMap<String, Listener>,
    #[serde(default)]
    pages: BTreeMap<u16, String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Listener {
    listen: Located<String>,
    protocol: Protocol,
    port: Option<u16>,
    timeout: Option<Duration>,
    body: Option<ByteSize>,
    tls: Option<bool>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    hosts: OneOrMany<Located<String>>,
    pair: Option<(u8, u8)>,
    extra: Option<Node>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    Tcp,
    Http,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Filter {
    RateLimit(RateLimit),
    Deny { networks: Vec<String> },
    Log,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    rate: Rate,
    per: Vec<String>,
}

/// A block with a check over all of it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Between")]
#[allow(dead_code)]
struct Ordered(Between);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    low: u32,
    high: u32,
}

impl TryFrom<Between> for Ordered {
    type Error = String;

    fn try_from(between: Between) -> Result<Self, String> {
        if between.low > between.high {
            return Err("'low' is above 'high'".to_owned());
        }
        Ok(Self(between))
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> (Option<T>, Diagnostics) {
    let source = Source::new("web.yaml", text);
    let mut diagnostics = Diagnostics::new(&source);
    let lookup = |name: &str| (name == "PORT").then(|| "8080".to_owned());
    let root =
        load(&source, &lookup, &mut diagnostics).and_then(|node| node.read(&mut diagnostics));
    (root, diagnostics)
}

fn messages(diagnostics: &Diagnostics) -> Vec<String> {
    let sorted = diagnostics.sorted();
    sorted
        .iter()
        .map(|diagnostic| {
            let span = diagnostic.span().unwrap_or(Span::NONE);
            format!("{}:{} {}", span.line, span.column, diagnostic.message())
        })
        .collect()
}

#[test]
fn pictures() {
    let rows = [
        (
            "unknown key and misspelled value",
            "\
listeners:
  web:
    lisen: 0.0.0.0:80
    protocol: htp
",
            "\
error: unknown key 'lisen', did you mean 'listen'?
 --> web.yaml:3:5
  |
3 |     lisen: 0.0.0.0:80
  |     ^^^^^ expected one of 'listen', 'protocol', 'port', 'timeout', 'body', 'tls', 'filters', 'hosts', 'pair' or 'extra'

error: unknown value 'htp', did you mean 'http'?
 --> web.yaml:4:15
  |
4 |     protocol: htp
  |               ^^^ expected one of 'tcp' or 'http'
",
        ),
        (
            "wrong types and values",
            "\
listeners:
  web:
    listen: 5
    protocol: [http]
    port: 70000
    timeout: 5 parsecs
    tls:
      - maybe
",
            "\
error: expected a string, found the number 5
 --> web.yaml:3:13
  |
3 |     listen: 5
  |             ^
  |
  = help: put it in quotes: \"5\"

error: expected one of 'tcp' or 'http', found a list
 --> web.yaml:4:15
  |
4 |     protocol: [http]
  |               ^^^^^^

error: the number 70000 is out of range
 --> web.yaml:5:11
  |
5 |     port: 70000
  |           ^^^^^ expected a whole number from 0 to 65535

error: unknown unit 'parsecs'
 --> web.yaml:6:14
  |
6 |     timeout: 5 parsecs
  |              ^^^^^^^^^ expected a duration such as 5s, 250ms or 1m30s

error: expected true or false, found a list
 --> web.yaml:7:5
  |
7 |     tls:
  |     ^^^
",
        ),
        (
            "list elements, nested blocks and missing keys",
            "\
listeners:
  web:
    protocol: http
    filters:
      - rate_limit: { rate: 100 }
      - deny:
          networks: 10.0.0.0/8
      - rate_limit
      - lgo
",
            "\
error: the key 'listen' is missing here
 --> web.yaml:2:3
  |
2 |   web:
  |   ^^^

error: the key 'per' is missing here
 --> web.yaml:5:21
  |
5 |       - rate_limit: { rate: 100 }
  |                     ^^^^^^^^^^^^^

error: the number 100 does not say per what time
 --> web.yaml:5:29
  |
5 |       - rate_limit: { rate: 100 }
  |                             ^^^ expected a rate such as 100/s, 5000/m or 10/h

error: expected a list, found the text '10.0.0.0/8'
 --> web.yaml:7:21
  |
7 |           networks: 10.0.0.0/8
  |                     ^^^^^^^^^^

error: 'rate_limit' needs settings: write 'rate_limit: ...'
 --> web.yaml:8:9
  |
8 |       - rate_limit
  |         ^^^^^^^^^^

error: unknown value 'lgo', did you mean 'log'?
 --> web.yaml:9:9
  |
9 |       - lgo
  |         ^^^ expected one of 'rate_limit', 'deny' or 'log'
",
        ),
        (
            "duplicate key, and the rest is still read",
            "\
listeners:
  web: { listen: a, protocol: tcp }
  web: { listen: b, protocol: udp }
  db: { listen: a, protocol: udp }
",
            "\
error: the key 'web' is given twice
 --> web.yaml:3:3
  |
2 |   web: { listen: a, protocol: tcp }
  |   --- first given here
3 |   web: { listen: b, protocol: udp }
  |   ^^^

error: unknown value 'udp'
 --> web.yaml:4:30
  |
4 |   db: { listen: a, protocol: udp }
  |                              ^^^ expected one of 'tcp' or 'http'
",
        ),
        (
            "unset variable",
            "\
listeners:
  web:
    listen: \"${HOST}:80\"
    protocol: tcp
    port: ${PORT}
    timeout: ${TIMEOUT}
",
            "\
error: the variable 'HOST' is not set
 --> web.yaml:3:14
  |
3 |     listen: \"${HOST}:80\"
  |              ^^^^^^^
  |
  = help: set it, or give a default: ${HOST:-default}

error: the variable 'TIMEOUT' is not set
 --> web.yaml:6:14
  |
6 |     timeout: ${TIMEOUT}
  |              ^^^^^^^^^^
  |
  = help: set it, or give a default: ${TIMEOUT:-default}
",
        ),
        (
            "not a block at all",
            "- web\n",
            "\
error: expected a block of keys, found a list
 --> web.yaml:1:1
  |
1 | - web
  | ^^^^^
",
        ),
    ];
    for (name, text, expected) in rows {
        let (root, diagnostics) = read::<Root>(text);
        assert!(root.is_none(), "row {name}");
        assert_eq!(diagnostics.to_string(), expected, "row {name}");
    }
}

#[test]
fn all_errors_at_once() {
    let rows: [(&str, &str, &[&str]); 9] = [
        (
            "all missing keys of all blocks",
            "listeners:\n  a: {}\n  b: {}\n",
            &[
                "2:6 the key 'listen' is missing here",
                "2:6 the key 'protocol' is missing here",
                "3:6 the key 'listen' is missing here",
                "3:6 the key 'protocol' is missing here",
            ],
        ),
        (
            "a missing key next to a broken one",
            "listeners:\n  a: { listen: [] }\n",
            &[
                "2:6 the key 'protocol' is missing here",
                "2:16 expected a string, found a list",
            ],
        ),
        (
            "several unknown keys",
            "listeners:\n  a: { listen: a, protocol: tcp, x1: 1, y1: 2 }\nzzz: 1\n",
            &[
                "2:34 unknown key 'x1'",
                "2:41 unknown key 'y1'",
                "3:1 unknown key 'zzz'",
            ],
        ),
        (
            "keys that are numbers",
            "pages: { 404: a, 70000: b, x: c }\n",
            &[
                "1:18 the number 70000 is out of range",
                "1:28 expected a whole number from 0 to 65535, found the text 'x'",
            ],
        ),
        (
            "choices with too much and too little",
            "listeners:\n  a:\n    listen: a\n    protocol: { tcp: 5 }\n    filters: [{ log: , deny: 5 }, {}, 5, { log: }]\n",
            &[
                "4:22 'tcp' takes no settings",
                "5:24 expected one key here, found 2",
                "5:35 expected one of 'rate_limit', 'deny' or 'log', found a block of keys",
                "5:39 expected one of 'rate_limit', 'deny' or 'log', found the number 5",
            ],
        ),
        (
            "a list where a variant wants a block",
            "listeners:\n  a: { listen: a, protocol: tcp, filters: [{ deny: [a] }] }\n",
            &["2:52 expected a block of keys, found a list"],
        ),
        (
            "elements of one-or-many and of fixed lists",
            "listeners:\n  a: { listen: a, protocol: tcp, hosts: [a, 5, b, {}], pair: [1, 2, 3] }\n  b: { listen: a, protocol: tcp, hosts: 7, pair: [1] }\n",
            &[
                "2:45 expected a string, found the number 5",
                "2:51 expected a string, found a block of keys",
                "2:62 expected a list of 2 elements, found 3 elements",
                "3:41 expected a string, found the number 7",
                "3:50 expected a list of 2 elements, found 1 element",
            ],
        ),
        (
            "nothing where something must be",
            "listeners:\n  a:\n    listen:\n    protocol: tcp\n    timeout:\n",
            &["3:5 expected a string, found nothing"],
        ),
        (
            "only whole numbers are counts",
            "pages: { 1: 5 }\n",
            &["1:13 expected a string, found the number 5"],
        ),
    ];
    for (name, text, expected) in rows {
        let (root, diagnostics) = read::<Root>(text);
        assert!(root.is_none(), "row {name}");
        assert_eq!(messages(&diagnostics), expected, "row {name}");
    }
}

#[test]
fn checks_of_whole_blocks() {
    let rows: [(&str, &[&str]); 4] = [
        ("{ low: 1, high: 2 }", &[]),
        ("{ low: 3, high: 2 }", &["1:1 'low' is above 'high'"]),
        // What the check would say of a block that was never complete is nobody's mistake.
        (
            "{ low: 3, high: x }",
            &["1:17 expected a whole number from 0 to 4294967295, found the text 'x'"],
        ),
        ("{ low: 3 }", &["1:1 the key 'high' is missing here"]),
    ];
    for (text, expected) in rows {
        let (block, diagnostics) = read::<Ordered>(text);
        assert_eq!(messages(&diagnostics), expected, "row {text:?}");
        assert_eq!(block.is_some(), expected.is_empty(), "row {text:?}");
    }
}

#[test]
fn checks_of_inner_blocks_point_at_them() {
    let text =
        "a:\n  - { low: 3, high: 2 }\n  - { low: 1, high: 2 }\nb:\n  - low: 9\n    high: 2\n";
    let (blocks, diagnostics) = read::<BTreeMap<String, Vec<Located<Ordered>>>>(text);
    assert!(blocks.is_none());
    assert_eq!(
        messages(&diagnostics),
        ["2:5 'low' is above 'high'", "5:5 'low' is above 'high'"]
    );
}

#[test]
fn a_whole_block_reads_with_places() {
    let text = "\
listeners:
  web:
    listen: 'a:80'
    protocol: http
    port: ${PORT}
    timeout: 1m30s
    tls: true
    hosts: example.com
    pair: [1, 2]
    filters:
      - log
      - rate_limit: { rate: 5/s, per: [client.ip] }
    extra:
      any: [1, ${PORT:-x}]
pages: { 404: gone }
";
    // Within brackets a variable needs quotes.
    let (root, diagnostics) = read::<Root>(&text.replace("${PORT:-x}", "\"${PORT:-x}\""));
    let root = root.unwrap_or_else(|| panic!("{diagnostics}"));
    let web = &root.listeners["web"];
    assert_eq!(web.port, Some(8080));
    assert_eq!(web.filters.len(), 2);
    assert_eq!((web.listen.span.line, web.listen.span.column), (3, 13));
    assert_eq!(
        (web.hosts[0].value.as_str(), web.hosts[0].span.line),
        ("example.com", 8)
    );
    assert_eq!(root.pages[&404], "gone");
    let extra = web.extra.as_ref().unwrap();
    let any = extra.get("any").unwrap();
    assert_eq!(any.span.line, 14);
    assert_eq!(any.to_json(), serde_json::json!([1, "${PORT:-x}"]));
    assert_eq!(any.as_sequence().unwrap()[1].as_str(), Some("8080"));
    // A captured node reads later, with errors at its place.
    let mut later = Diagnostics::default();
    assert_eq!(
        extra
            .read::<BTreeMap<String, Vec<u16>>>(&mut later)
            .unwrap()["any"],
        [1, 8080]
    );
    assert!(extra.read::<Between>(&mut later).is_none());
    assert_eq!(
        messages(&later),
        [
            "13:5 the key 'low' is missing here",
            "13:5 the key 'high' is missing here",
            "14:7 unknown key 'any'",
        ]
    );
}

#[test]
fn quoted_text_is_no_number() {
    let (root, diagnostics) =
        read::<Root>("listeners: { a: { listen: a, protocol: tcp, port: '80' } }");
    assert!(root.is_none());
    assert_eq!(
        messages(&diagnostics),
        ["1:51 expected a whole number from 0 to 65535, found the text '80'"]
    );
}

#[test]
fn messages_name_variables_not_what_they_hold() {
    let (root, diagnostics) = read::<Root>("pages: ${PORT}\n");
    assert!(root.is_none());
    assert_eq!(
        messages(&diagnostics),
        ["1:8 expected a block of keys, found the text '${PORT}'"]
    );
}

#[test]
fn other_deserializers_read_the_same_types_without_places() {
    let json = serde_json::json!({ "listen": "a", "protocol": "tcp", "hosts": ["b"], "extra": { "x": [1] } });
    let listener: Listener = serde_json::from_value(json).unwrap();
    assert!(listener.listen.span.is_none());
    assert_eq!(listener.hosts[0].value, "b");
    assert_eq!(
        listener.extra.unwrap().to_json(),
        serde_json::json!({ "x": [1] })
    );
}

#[test]
fn unknown_keys_of_blocks_taken_apart_by_hand() {
    let mut diagnostics = Diagnostics::default();
    Node::unknown_key("lisen", Span::NONE, &["listen", "tls"], &mut diagnostics);
    assert_eq!(
        messages(&diagnostics),
        ["0:0 unknown key 'lisen', did you mean 'listen'?"]
    );
}

fn any_node() -> impl Strategy<Value = Node> {
    let word = prop::sample::select(vec![
        "listeners",
        "listen",
        "protocol",
        "tcp",
        "http",
        "filters",
        "rate_limit",
        "rate",
        "1/s",
        "log",
        "deny",
        "networks",
        "5s",
        "64KiB",
        "x",
        "",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        word.clone().prop_map(Into::into),
    ];
    let tree = leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::vec((word.clone(), inner), 0..5).prop_map(|entries| {
                let named = entries
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                serde_json::Value::Object(named.collect())
            }),
        ]
    });
    tree.prop_map(|root| {
        let listener = Node::from(root);
        let name = crate::Key {
            name: "a".to_owned(),
            span: Span::NONE,
        };
        Node::new(Value::Mapping(vec![(name, listener)]), Span::NONE)
    })
}

proptest! {
    /// Something is read exactly when nothing was reported, whatever the tree.
    #[test]
    fn nothing_is_read_after_an_error(node in any_node()) {
        let mut diagnostics = Diagnostics::default();
        let listeners = node.read::<BTreeMap<String, Listener>>(&mut diagnostics);
        prop_assert_eq!(listeners.is_some(), diagnostics.is_empty());
    }
}
