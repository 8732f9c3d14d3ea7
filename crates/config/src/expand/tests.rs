use super::*;
use crate::{Source, parse};

fn lookup(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "EMPTY" => Some(String::new()),
        "NESTED" => Some("${PORT}".to_owned()),
        _ => None,
    }
}

#[test]
fn texts() {
    let rows = [
        ("plain", Ok("plain")),
        ("${PORT}", Ok("8080")),
        ("a${PORT}b${PORT}", Ok("a8080b8080")),
        ("${NONE:-x y}", Ok("x y")),
        ("${NONE:-}", Ok("")),
        ("${PORT:-x}", Ok("8080")),
        ("${EMPTY}", Ok("")),
        ("${EMPTY:-x}", Ok("x")),
        ("${NESTED}", Ok("${PORT}")),
        ("$${PORT}", Ok("${PORT}")),
        ("a$$b", Ok("a$b")),
        ("^/x$", Ok("^/x$")),
        ("$1 $PORT", Ok("$1 $PORT")),
        ("é${PORT}", Ok("é8080")),
        ("${NONE}", Err("the variable 'NONE' is not set")),
        ("${PORT", Err("'${' without '}'")),
        ("${}", Err("'' is not the name of a variable")),
        ("${1X}", Err("'1X' is not the name of a variable")),
        ("${A B}", Err("'A B' is not the name of a variable")),
    ];
    for (text, expected) in rows {
        let result = expand(text, &lookup, MAX_EXPANDED).map_err(|error| error.message);
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(result, expected, "row {text:?}");
    }
}

#[test]
fn only_values_expand_and_errors_have_places() {
    let text = "${PORT}: ${PORT}\nb: [\"x${NONE}\", '${OTHER}y']\nc: |\n  ${LAST}\n";
    let source = Source::new("test.yaml", text);
    let mut node = parse(&source).unwrap();
    let mut diagnostics = Diagnostics::new(&source);
    node.expand(&lookup, &mut diagnostics);
    assert_eq!(node.get("${PORT}").and_then(Node::as_str), Some("8080"));
    let places: Vec<_> = diagnostics
        .sorted()
        .iter()
        .map(|diagnostic| source.slice(diagnostic.span().unwrap()).unwrap().to_owned())
        .collect();
    assert_eq!(&places[..2], ["${NONE}", "${OTHER}"]);
    assert_eq!(places.len(), 3);
}

#[test]
fn expansion_is_bounded() {
    let source = Source::new("test.yaml", format!("a: [{}]\n", "'${BIG}', ".repeat(100)));
    let mut node = parse(&source).unwrap();
    let mut diagnostics = Diagnostics::new(&source);
    node.expand(&|_| Some("x".repeat(100_000)), &mut diagnostics);
    assert_eq!(diagnostics.count(), 100 - MAX_EXPANDED / 100_000);
    assert!(
        diagnostics
            .to_string()
            .contains("variables expand to more than 4 MiB of text")
    );
}
