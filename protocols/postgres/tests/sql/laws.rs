//! What the analysis promises whatever the bytes. Cases that people can read are in `vectors/sql`.

use std::fmt::Write as _;

use portcullis_postgres::sql::{
    Analysis, Class, Effects, Fingerprint, Lexer, MAX_STATEMENTS, MAX_TABLES, Options, Relation,
    Relations, StatementPattern, TokenKind, Verb, analyse, normalise,
};
use proptest::prelude::*;

use super::corpus::CORPUS;

fn analysed(sql: &str) -> Analysis {
    let mut analysis = Analysis::new();
    analyse(sql.as_bytes(), &Options::default(), &mut analysis);
    analysis
}

fn fingerprint(sql: &str) -> Fingerprint {
    analysed(sql).fingerprint
}

fn normal(sql: &str) -> String {
    let mut out = Vec::new();
    normalise(sql.as_bytes(), &Options::default(), &mut out, usize::MAX);
    String::from_utf8(out).unwrap()
}

/// Everything that must hold for any bytes.
fn holds(sql: &[u8], options: &Options) {
    let mut analysis = Analysis::new();
    analyse(sql, options, &mut analysis);
    let mut end = 0;
    for statement in &analysis.statements {
        let span = statement.span.range();
        assert!(span.start >= end && span.end <= sql.len() && !span.is_empty());
        end = span.end;
        assert!(statement.tables.len() <= MAX_TABLES);
        for table in &statement.tables {
            assert!(span.start <= table.range().start && table.range().end <= span.end);
            assert!(!table.is_empty());
        }
        if let Some(name) = statement.name {
            assert!(span.start <= name.range().start && name.range().end <= span.end);
        }
        if statement.class == Class::Read {
            let allowed = Effects::COPY_OUT;
            assert!(allowed.contains(statement.effects));
        }
    }
    assert!(analysis.statements.len() <= MAX_STATEMENTS);
    let mut out = Vec::new();
    let whole = normalise(sql, options, &mut out, usize::MAX);
    if analysis.complete {
        assert!(whole);
        let mut again = Analysis::new();
        analyse(&out, options, &mut again);
        assert_eq!(
            again.fingerprint,
            analysis.fingerprint,
            "{} -> {}",
            sql.escape_ascii(),
            out.escape_ascii()
        );
    }
    let mut room = Vec::from(*b"before ");
    normalise(sql, options, &mut room, 10);
    assert!(room.starts_with(b"before ") && room.len() <= 17);
    let mut tokens = Lexer::new(sql, options.standard_conforming_strings);
    let mut at = 0;
    loop {
        let token = tokens.next_token();
        assert!(token.span.range().start >= at && token.span.range().end <= sql.len());
        at = token.span.range().end;
        if token.kind == TokenKind::End {
            break;
        }
        assert!(!token.span.is_empty());
    }
}

fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "a",
        "b.c",
        "\"T\"",
        "(",
        ")",
        ",",
        ";",
        "1",
        "'x'",
        "$1",
        "$$y$$",
        "-",
        "+",
        "?",
        "=",
        "::",
        ".",
        "..",
        ":=",
        "IN",
        "VALUES",
        "ARRAY",
        "[",
        "]",
        "WITH",
        "AS",
        "DELETE",
        "UPDATE",
        "SET",
        "INSERT",
        "INTO",
        "WHERE",
        "BEGIN",
        "ATOMIC",
        "END",
        "CREATE",
        "FUNCTION",
        "--\n",
        "/* z */",
        "E'\\''",
        "U&\"q\"",
        "JOIN",
        "ON",
        "lower",
        "f",
        "*",
        "ANY",
        "COPY",
        "TO",
        "STDOUT",
        "EXPLAIN",
        "ANALYZE",
        "PREPARE",
        "RULE",
        "DO",
        "\n",
        "0x1F",
        "1.5",
        "@-",
        "CASE",
        "TABLE",
        "DROP",
        "ONLY",
        "LATERAL",
        "USING",
        "RECURSIVE",
        "SEARCH",
    ]);
    prop::collection::vec((words, prop::sample::select(vec!["", " "])), 0..60).prop_map(|words| {
        words
            .into_iter()
            .fold(String::new(), |mut text, (word, space)| {
                let _ = write!(text, "{word}{space}");
                text
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_bytes_hold(sql in prop::collection::vec(any::<u8>(), 0..300), conforming: bool, truncated: bool, safe: bool) {
        holds(&sql, &Options {
            standard_conforming_strings: conforming,
            truncated,
            ascii_safe: safe,
            hints: true,
            ..Options::default()
        });
    }

    #[test]
    fn any_words_hold(sql in pieces(), conforming: bool) {
        holds(sql.as_bytes(), &Options { standard_conforming_strings: conforming, ..Options::default() });
    }

    /// A text is its statements one by one, wherever it is cut at the semicolons between them.
    #[test]
    fn splits_agree(indices in prop::collection::vec(0..CORPUS.len(), 1..5)) {
        let texts: Vec<&str> = indices.iter().map(|&index| CORPUS[index]).collect();
        let whole = analysed(&texts.join(";"));
        let mut one_by_one = Vec::new();
        for text in &texts {
            one_by_one.extend(analysed(text).statements);
        }
        prop_assert_eq!(whole.statements.len(), one_by_one.len());
        for (one, other) in whole.statements.iter().zip(&one_by_one) {
            prop_assert_eq!(one.verb, other.verb);
            prop_assert_eq!(one.class, other.class);
            prop_assert_eq!(one.effects, other.effects);
            prop_assert_eq!(one.fingerprint, other.fingerprint);
            prop_assert_eq!(one.tables.len(), other.tables.len());
        }
    }

    /// Values, comments, whitespace, case and the length of lists change no fingerprint; no value is written.
    #[test]
    fn values_leave_no_trace(
        number in 1_000_000_000_u64..,
        text in "[a-z0-9 ;(),?$-]{12,30}",
        count in 1_usize..20,
    ) {
        let list = vec![number.to_string(); count].join(", ");
        let one = format!("SELECT a, f('{text}') FROM t WHERE b = {number} AND c IN ({list}) AND d = E'\\'{text}' /* {text} */");
        let other = "select A , F( $1 )from T -- x\n where B=$2 and C in($3) and D= 'z';";
        prop_assert_eq!(fingerprint(&one), fingerprint(other));
        let written = normal(&one);
        prop_assert!(!written.contains(&text) && !written.contains(&number.to_string()), "{}", written);
        let rows = vec![format!("('{text}', {number}, DEFAULT)"); count].join(", ");
        let insert = format!("INSERT INTO t VALUES {rows}");
        prop_assert_eq!(fingerprint(&insert), fingerprint("INSERT INTO t VALUES ($1, $2, DEFAULT)"));
    }
}

#[test]
fn corpus_holds_cut_at_every_byte() {
    for sql in CORPUS {
        holds(sql.as_bytes(), &Options::default());
        for end in (0..sql.len()).step_by(1 + sql.len() / 40) {
            holds(&sql.as_bytes()[..end], &Options::default());
        }
    }
}

/// No literal of the corpus is in what is written of it, wherever the text is cut.
#[test]
fn no_literal_survives() {
    let secret = "s3cr3t";
    let texts = [
        "SELECT 's3cr3t'",
        "SELECT E'\\'s3cr3t'",
        "SELECT $$s3cr3t$$",
        "SELECT $a$ $$s3cr3t $a$",
        "SELECT U&'s3cr3t'",
        "SELECT 'x' -- \n 's3cr3t'",
        "SELECT N's3cr3t', B's3cr3t', X's3cr3t'",
        "/* s3cr3t */ SELECT 1 -- s3cr3t",
        "ALTER ROLE x PASSWORD 's3cr3t'",
        "COPY t FROM PROGRAM 's3cr3t'",
        "SELECT 'a''s3cr3t'",
        "DO 's3cr3t'",
        "SET x = 's3cr3t'",
        "INSERT INTO t VALUES (1,'s3cr3t'),(2,'s3cr3t')",
        "SELECT a ? 's3cr3t' FROM t",
    ];
    for text in texts {
        for end in 0..=text.len() {
            let written = normal(&text[..end]);
            assert!(!written.contains(secret), "{text} cut at {end}: {written}");
        }
    }
}

#[test]
fn fingerprints_are_those_of_earlier_releases() {
    let table = [
        (
            "SELECT abalance FROM pgbench_accounts WHERE aid = 42;",
            "89771ed787230624",
        ),
        (
            "INSERT INTO t (a, b) VALUES (1, 2), (3, 4)",
            "f9e31421f7acf130",
        ),
        ("BEGIN; COMMIT", "34011034e53f8e35"),
        (
            "SELECT * FROM a_table_with_a_name_that_is_longer_than_sixty_four_bytes_and_then_some_more",
            "4052a3858b30801a",
        ),
    ];
    for (sql, expected) in table {
        assert_eq!(fingerprint(sql).to_string(), expected, "{sql}");
    }
}

#[test]
fn different_statements_differ() {
    let mut seen = std::collections::HashMap::new();
    for sql in CORPUS {
        if let Some(other) = seen.insert(fingerprint(sql), sql) {
            assert_eq!(normal(other), normal(sql));
        }
    }
}

#[test]
fn deep_and_long_texts_are_linear_and_end() {
    let many = 30_000;
    let texts = [
        "(".repeat(many),
        "SELECT ".to_owned() + &"(".repeat(many) + &")".repeat(many),
        "[".repeat(many),
        "/*".repeat(many),
        "SELECT ".to_owned() + &"$a ".repeat(many),
        "SELECT ".to_owned() + &"'x' ".repeat(many),
        ";".repeat(many),
        "SELECT 1;".repeat(many),
        "WITH a AS (".repeat(many),
        "SELECT * FROM a,".repeat(many),
        "SELECT 1 IN (".repeat(many),
        "VALUES (1),".repeat(many),
        "-".repeat(many),
        "+ ".repeat(many),
        "CREATE FUNCTION f() BEGIN ATOMIC ".repeat(many),
        "a.".repeat(many),
        "e'".repeat(many),
        "$".repeat(many),
        "SELECT '".to_owned() + &"' -- \n '".repeat(many),
        "\"".repeat(many),
        "- ".repeat(many),
    ];
    for text in texts {
        holds(text.as_bytes(), &Options::default());
    }
}

#[test]
fn ctes_beyond_the_known_ones_count_as_tables() {
    let ctes: Vec<String> = (0..100).map(|n| format!("c{n} AS (SELECT 1)")).collect();
    let sql = format!("WITH {} SELECT * FROM c0, c99, t", ctes.join(", "));
    let analysis = analysed(&sql);
    let tables: Vec<_> = analysis.statements[0]
        .tables
        .iter()
        .map(|table| table.of(sql.as_bytes()))
        .collect();
    assert_eq!(tables, [&b"c99"[..], b"t"]);
}

#[test]
fn more_statements_than_are_listed_are_incomplete() {
    let analysis = analysed(&"SELECT 1;".repeat(MAX_STATEMENTS));
    assert!(analysis.complete && analysis.is_read());
    let analysis = analysed(&"SELECT 1;".repeat(MAX_STATEMENTS + 1));
    assert!(!analysis.complete && !analysis.is_read());
}

#[test]
fn tables_match_rules() {
    let rules: Relations = ["secret", "hr.Pay", "\"Mixed\""]
        .iter()
        .map(|rule| rule.parse().unwrap())
        .collect();
    let long = format!("SELECT * FROM {}", "x".repeat(70));
    let long_rule: Relations = std::iter::once("x".repeat(63).parse().unwrap()).collect();
    assert!(analysed(&long).statements[0].names_any(long.as_bytes(), &long_rule));
    let table = [
        ("SELECT * FROM SECRET", true),
        ("SELECT * FROM hidden.secret", true),
        ("SELECT * FROM \"secret\"", true),
        ("SELECT * FROM \"Secret\"", false),
        ("SELECT * FROM pay", true),
        ("SELECT * FROM hr.pay", true),
        ("SELECT * FROM db.HR.pay", true),
        ("SELECT * FROM x.pay", false),
        ("SELECT * FROM mixed", false),
        ("SELECT * FROM \"Mixed\"", true),
        ("SELECT * FROM U&\"\\0073ecret\"", true),
        ("SELECT 1", false),
        ("SELECT secret FROM t", false),
        ("DROP TABLE a, secret", true),
        ("COMMENT ON COLUMN secret.c IS 'x'", true),
    ];
    for (sql, expected) in table {
        assert_eq!(
            analysed(sql).statements[0].names_any(sql.as_bytes(), &rules),
            expected,
            "{sql}"
        );
    }
    for bad in ["", "a.", "a b", "1", "a.b.c", "'x'"] {
        assert!(bad.parse::<Relation>().is_err(), "{bad}");
    }
}

#[test]
fn patterns_are_read_and_match() {
    let table = [
        ("drop", "DROP TABLE t", true),
        ("drop", "TRUNCATE t", false),
        ("drop table", "DROP TABLE t", true),
        ("drop_table", "DROP VIEW t", false),
        ("DROP  materialized View", "DROP MATERIALIZED VIEW t", true),
        ("truncate", "TRUNCATE t", true),
        ("read", "SELECT 1", true),
        ("write", "SELECT 1", false),
        ("write", "SELECT 'x", true),
        ("unknown", "SELECT 'x", true),
        ("ddl", "CREATE TABLE t ()", true),
        ("delete", "WITH a AS (DELETE FROM t) SELECT 1", true),
        ("delete", "EXPLAIN ANALYZE DELETE FROM t", true),
        ("insert", "SELECT 1", false),
        ("start", "BEGIN", true),
        ("end", "COMMIT", true),
        ("abort", "ROLLBACK", true),
        ("rollback to", "ROLLBACK TO a", true),
        ("notify", "SELECT pg_notify('a', 'b')", true),
        ("update", "PREPARE p AS UPDATE t SET a = 1", true),
        ("set local", "SET LOCAL a = 1", true),
    ];
    for (pattern, sql, expected) in table {
        let parsed: StatementPattern = pattern.parse().unwrap();
        assert_eq!(
            parsed.matches(&analysed(sql).statements[0]),
            expected,
            "{pattern}: {sql}"
        );
    }
    assert!(
        "drop_gadget".parse::<StatementPattern>().is_err()
            && "".parse::<StatementPattern>().is_err()
    );
    for verb in Verb::PLAIN {
        assert!(verb.label().parse::<StatementPattern>().is_ok());
    }
}

/// Whatever a worker has read before, in whatever order, it says the same of a text as one that has read nothing.
#[test]
fn what_was_seen_changes_nothing() {
    let remembering = Options {
        seen: Some(std::rc::Rc::default()),
        ..Options::default()
    };
    let digits = |sql: &str, to: &str| -> String {
        let mut out = String::new();
        let mut inside = false;
        for letter in sql.chars() {
            if !letter.is_ascii_digit() {
                out.push(letter);
            } else if !inside {
                out.push_str(to);
            }
            inside = letter.is_ascii_digit();
        }
        out
    };
    let mut one = Analysis::new();
    for sql in CORPUS {
        let quoted = sql.replace('\'', "'''");
        let texts = [
            (*sql).to_owned(),
            digits(sql, "7"),
            digits(sql, "00123456789"),
            digits(sql, "x"),
            sql.replace('\'', "'; "),
            sql.replacen('\'', "'--", 1),
            quoted,
        ];
        for text in texts.iter().chain(&texts).chain(&texts) {
            analyse(text.as_bytes(), &remembering, &mut one);
            let mut other = Analysis::new();
            analyse(text.as_bytes(), &Options::default(), &mut other);
            assert_eq!(one.statements, other.statements, "{text}");
            assert_eq!(one.fingerprint, other.fingerprint, "{text}");
            assert_eq!(one.complete, other.complete, "{text}");
        }
    }
}
