use serde_json::json;

use super::*;
use crate::{SourceId, parse};

fn source() -> Arc<Source> {
    Source::new("web.yaml", "a: 1\nb:\n  c: 2\nd: 3\n")
}

#[test]
fn a_report_in_order_with_everything() {
    let source = source();
    let node = parse(&source).unwrap();
    let mut diagnostics = Diagnostics::new(&source);
    diagnostics
        .error_in("clusters.api", "no endpoints")
        .expected("at least one");
    diagnostics
        .error(node.get("d").unwrap().span, "the port is taken")
        .expected("a port of its own")
        .help("use another")
        .also(node.get("a").unwrap().span, "taken here")
        .also(Span::NONE, "nowhere");
    diagnostics
        .error_at(node.get("b").unwrap(), "unknown cluster 'c'")
        .suggest("d");
    assert_eq!(
        diagnostics.to_string(),
        "\
error: unknown cluster 'c', did you mean 'd'?
 --> web.yaml:2:1
  |
2 | b:
  | ^

error: the port is taken
 --> web.yaml:4:4
  |
1 | a: 1
  |    - taken here
...
4 | d: 3
  |    ^ expected a port of its own
  |
  = help: use another

error: clusters.api: no endpoints
 |
 = note: expected at least one
"
    );
    assert_eq!(
        diagnostics.to_json(),
        json!([
            { "message": "unknown cluster 'c', did you mean 'd'?", "file": "web.yaml", "line": 2, "column": 1, "end_column": 2,
              "suggestion": "d" },
            { "message": "the port is taken", "file": "web.yaml", "line": 4, "column": 4, "end_column": 5,
              "expected": "a port of its own", "help": ["use another"],
              "related": [{ "message": "taken here", "file": "web.yaml", "line": 1, "column": 4 }] },
            { "message": "no endpoints", "path": "clusters.api", "expected": "at least one" },
        ])
    );
}

#[test]
fn failures_past_parsing_point_at_the_deepest_place() {
    let source = source();
    let node = parse(&source).unwrap();
    let rows = [
        ("b.c", Some((3, 6))),
        ("b.x.y", Some((2, 1))),
        ("x", None),
        ("", None),
    ];
    for (path, place) in rows {
        let mut diagnostics = Diagnostics::new(&source);
        diagnostics.build_error(&node, &BuildError::new(path, "cannot be"));
        let sorted = diagnostics.sorted();
        let found = sorted[0].span().map(|span| (span.line, span.column));
        assert_eq!(found, place, "row {path:?}");
    }
}

#[test]
fn the_report_is_bounded_and_the_count_is_not() {
    let source = source();
    let mut diagnostics = Diagnostics::new(&source);
    for number in 0..1500 {
        diagnostics
            .error(Span::NONE, format!("error {number}"))
            .help("none");
    }
    assert_eq!(diagnostics.count(), 1500);
    assert_eq!(diagnostics.sorted().len(), MAX_KEPT);
    let report = diagnostics.to_string();
    assert_eq!(report.matches("error: ").count(), MAX_PRINTED);
    assert!(report.ends_with("... and 1400 more errors\n"), "{report}");
    let mut other = Diagnostics::default();
    other.absorb(diagnostics);
    assert_eq!(other.count(), 1500);
}

#[test]
fn color_only_when_asked_for_and_no_foreign_escapes() {
    let source = Source::new("web.yaml", "a: \"\\e[31m\" # \u{1b}[31m\n");
    let mut diagnostics = Diagnostics::new(&source);
    let span = Span {
        source: SourceId(0),
        start: 0,
        end: 1,
        line: 1,
        column: 1,
    };
    diagnostics.error(span, "with \u{1b}[31m in it");
    assert!(
        !diagnostics.render(false).contains('\u{1b}'),
        "{}",
        diagnostics.render(false)
    );
    assert!(diagnostics.render(true).contains('\u{1b}'));
    assert_eq!(Diagnostics::default().to_string(), "");
}

#[test]
fn spans_that_fit_no_text_do_no_harm() {
    let source = Source::new("web.yaml", "é\n");
    let mut diagnostics = Diagnostics::new(&source);
    for (start, end) in [(1, 1), (0, 1), (1, 900), (900, 901), (3, 3)] {
        let span = Span {
            source: SourceId(0),
            start,
            end,
            line: 1,
            column: 1,
        };
        diagnostics.error(span, "x");
    }
    let foreign = Span {
        source: SourceId(7),
        start: 0,
        end: 1,
        line: 1,
        column: 1,
    };
    diagnostics.error(foreign, "x");
    assert_eq!(diagnostics.to_string().matches("error: x").count(), 6);
}
