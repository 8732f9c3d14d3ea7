//! Whatever was seen before, an analysis is the same as one that is made anew.

use std::rc::Rc;

use super::super::{Analysis, Options, analyse};
use super::*;

fn remembering() -> Options {
    Options {
        seen: Some(Rc::default()),
        ..Options::default()
    }
}

/// How many entries there are.
fn kept(options: &Options) -> usize {
    let seen = options.seen.as_ref().unwrap();
    seen.sets.borrow().iter().map(|set| set.entries.len()).sum()
}

fn fits(options: &Options, sql: &str) -> bool {
    let seen = options.seen.as_ref().unwrap();
    let sets = seen.sets.borrow();
    let mut entries = sets.iter().flat_map(|set| &set.entries);
    entries.any(|entry| {
        entry.hash == front_hash(sql.as_bytes()) && entry.fits(sql.as_bytes()).is_some()
    })
}

#[track_caller]
fn assert_same(options: &Options, sql: &str) {
    let (mut one, mut other) = (Analysis::new(), Analysis::new());
    analyse(sql.as_bytes(), options, &mut one);
    let plain = Options {
        seen: None,
        ..options.clone()
    };
    analyse(sql.as_bytes(), &plain, &mut other);
    assert_eq!(one.statements, other.statements, "{sql}");
    assert_eq!(one.fingerprint, other.fingerprint, "{sql}");
    assert_eq!(
        (one.complete, one.hint),
        (other.complete, other.hint),
        "{sql}"
    );
}

#[test]
fn other_values_are_the_same_text() {
    let rows = [
        (
            "SELECT a FROM t WHERE b = 1;",
            "SELECT a FROM t WHERE b = 123456;",
        ),
        (
            "SELECT a FROM t WHERE b = 12",
            "SELECT a FROM t WHERE b = 0",
        ),
        (
            "SELECT a FROM t WHERE b = -1 AND c=2",
            "SELECT a FROM t WHERE b = -17 AND c=33",
        ),
        (
            "SELECT a FROM t WHERE b = 'x' and c",
            "SELECT a FROM t WHERE b = '' and c",
        ),
        (
            "SELECT 'x'::text, 1 FROM t, u",
            "SELECT 'a \" b -- c'::text, 10 FROM t, u",
        ),
        (
            "UPDATE t SET a = 5 WHERE b IN (1,2)",
            "UPDATE t SET a = 55 WHERE b IN (7,7)",
        ),
        (
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO t VALUES (1, 'b'), (1, 'b')",
        ),
        (
            "SELECT 1 FROM a; SELECT 2 FROM b",
            "SELECT 100 FROM a; SELECT 2000 FROM b",
        ),
        ("BEGIN", "BEGIN"),
        ("SET a = 1", "SET a = 1"),
        (
            "SELECT a FROM t1 WHERE b = 1",
            "SELECT a FROM t1 WHERE b = 2",
        ),
        ("SELECT $1, 1 FROM t", "SELECT $1, 222 FROM t"),
        ("SELECT 1.5, 2 FROM t", "SELECT 1.5, 22 FROM t"),
        ("SELECT a[1:2] FROM t", "SELECT a[10:20] FROM t"),
    ];
    for (seen, text) in rows {
        let options = remembering();
        for _ in 0..3 {
            assert_same(&options, seen);
        }
        assert_eq!(kept(&options), 1, "{seen}");
        assert!(fits(&options, text), "{text}");
        assert_same(&options, text);
    }
}

#[test]
fn other_texts_are_not() {
    let rows = [
        (
            "SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE b = 1;",
        ),
        (
            "SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE b = 1.5",
        ),
        (
            "SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE b = 1e5",
        ),
        (
            "SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE b = 0x1F",
        ),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = x"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = "),
        (
            "SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE b = 1; DROP TABLE t",
        ),
        (
            "SELECT a FROM t WHERE b = 1",
            "SELECT a FROM t WHERE b = 1 OR pg_sleep(1) IS NULL",
        ),
        (
            "SELECT a FROM t WHERE b = 'x'",
            "SELECT a FROM t WHERE b = 'x''y'",
        ),
        (
            "SELECT a FROM t WHERE b = 'x'",
            "SELECT a FROM t WHERE b = 'x",
        ),
        (
            "SELECT a FROM t WHERE b = 'x'",
            "SELECT a FROM t WHERE b = 'x' 'y'",
        ),
        (
            "SELECT a FROM t WHERE b = 'x'",
            "SELECT a FROM t WHERE b = 'x'\n'; DROP TABLE t'",
        ),
        (
            "SELECT a FROM t WHERE b = E'x'",
            "SELECT a FROM t WHERE b = E'\\'x'",
        ),
        (
            "SELECT a FROM t WHERE b = U&'x'",
            "SELECT a FROM t WHERE b = U&'y'",
        ),
        (
            "SELECT a FROM t WHERE b = $$x$$",
            "SELECT a FROM t WHERE b = $$y$$",
        ),
        (
            "SELECT a FROM t WHERE b = $1",
            "SELECT a FROM t WHERE b = $2",
        ),
        ("SELECT a FROM t1", "SELECT a FROM t2"),
        ("SELECT a FROM \"t1\"", "SELECT a FROM \"t2\""),
        ("SELECT 1x1f FROM t", "SELECT 0x1f FROM t"),
        ("SET a = 1", "SET a = 2"),
        ("SET a = 'x'", "SET a = 'y'"),
        ("SET ROLE 'x'", "SET ROLE 'none'"),
        ("SELECT 1 /* 2 */", "SELECT 1 /* 3 */"),
    ];
    for (seen, text) in rows {
        let options = remembering();
        for _ in 0..3 {
            assert_same(&options, seen);
        }
        assert!(!fits(&options, text), "{text}");
        assert_same(&options, text);
        assert_same(&options, seen);
    }
}

#[test]
fn how_strings_are_read_is_part_of_what_was_seen() {
    let standard = remembering();
    let escaping = Options {
        standard_conforming_strings: false,
        ..standard.clone()
    };
    let unsafe_ascii = Options {
        ascii_safe: false,
        ..standard.clone()
    };
    let texts = [
        "SELECT a FROM t WHERE b = 'x\\'",
        "SELECT a FROM t WHERE b = 'x'",
        "SELECT a FROM t WHERE b = '\u{e9}'",
        "SELECT a FROM t WHERE b = '\\' OR c = '; DROP TABLE t'",
    ];
    for _ in 0..4 {
        for text in texts {
            for options in [&standard, &escaping, &unsafe_ascii] {
                assert_same(options, text);
            }
        }
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let options = remembering();
    for number in 0..2_000 {
        let letters = format!("{number:04}");
        let name: String = letters
            .bytes()
            .map(|byte| (byte - b'0' + b'a') as char)
            .collect();
        for text in [
            format!("SELECT {name} FROM t WHERE b = 1"),
            format!("SELECT a FROM t WHERE b = 1 AND {name}"),
            format!(
                "SELECT a FROM {name} WHERE b IN ({})",
                vec!["1"; 20].join(",")
            ),
        ] {
            for _ in 0..2 {
                assert_same(&options, &text);
            }
        }
    }
    assert!(kept(&options) <= SETS * ALIKE);
    let long = format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(LONGEST));
    let options = remembering();
    for text in [long, format!("SELECT {}", vec!["1"; 20].join(","))] {
        for _ in 0..3 {
            assert_same(&options, &text);
        }
    }
    assert_eq!(kept(&options), 0);
}
