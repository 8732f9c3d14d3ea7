//! The vectors, and how an analysis is written in them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use portcullis_postgres::sql::{
    Access, Analysis, Class, FunctionSet, Isolation, Options, ParameterValue, Span, StatementInfo,
    Verb, analyse, fold_name, normalise,
};
use portcullis_testkit::vectors::{self, Vector};

fn options(vector: &Vector) -> Options {
    let mut safe = FunctionSet::default();
    assert!(safe.insert("add_tax") && safe.insert("shop.total"));
    Options {
        standard_conforming_strings: !vector.has("backslashes"),
        truncated: vector.has("truncated"),
        ascii_safe: !vector.has("unsafe_encoding"),
        hints: vector.has("hints"),
        safe_functions: Some(Arc::new(safe)),
        ..Options::default()
    }
}

fn text(span: Span, sql: &[u8]) -> String {
    String::from_utf8_lossy(span.of(sql)).into_owned()
}

fn show(analysis: &Analysis, sql: &[u8], options: &Options) -> String {
    let mut shown = String::new();
    if let Some(hint) = analysis.hint {
        writeln!(shown, "hint {hint:?}").unwrap();
    }
    for statement in &analysis.statements {
        show_statement(&mut shown, statement, sql);
    }
    let mut out = Vec::new();
    normalise(sql, options, &mut out, 400);
    writeln!(shown, "= {}", String::from_utf8_lossy(&out).escape_debug()).unwrap();
    if !analysis.complete {
        shown.push_str("incomplete\n");
    }
    shown
}

fn show_statement(shown: &mut String, statement: &StatementInfo, sql: &[u8]) {
    write!(shown, "{} {}", statement.verb, statement.class.label()).unwrap();
    let inner: Vec<_> = [
        Verb::Insert,
        Verb::Update,
        Verb::Delete,
        Verb::Merge,
        Verb::Execute,
        Verb::Notify,
    ]
    .into_iter()
    .filter(|&verb| statement.inner.has(verb))
    .map(Verb::label)
    .collect();
    if !inner.is_empty() {
        write!(shown, ", inside {}", inner.join(" ")).unwrap();
    }
    let tables: Vec<_> = statement
        .tables
        .iter()
        .map(|&span| text(span, sql))
        .collect();
    if !tables.is_empty() {
        write!(shown, ", tables {}", tables.join(" ")).unwrap();
    }
    if statement.tables_truncated {
        shown.push_str(", any table");
    }
    let effects: Vec<_> = statement.effects.labels().collect();
    if !effects.is_empty() {
        write!(shown, ", effects {}", effects.join(" ")).unwrap();
    }
    if let Some(name) = statement.name {
        write!(shown, ", name {}", text(name, sql)).unwrap();
    }
    if let Some(parameter) = statement.parameter {
        let value = match parameter.value {
            ParameterValue::Text(span) => text(span, sql),
            other => format!("{other:?}"),
        };
        let name = String::from_utf8_lossy(&parameter.name(sql)).into_owned();
        let local = if parameter.local { " locally" } else { "" };
        write!(shown, ", sets {name} to {value}{local}").unwrap();
    }
    let modes = statement.transaction;
    match modes.access {
        Some(Access::ReadOnly) => shown.push_str(", read only"),
        Some(Access::ReadWrite) => shown.push_str(", read write"),
        None => {}
    }
    match modes.isolation {
        Some(Isolation::Serializable) => shown.push_str(", serializable"),
        Some(other) => write!(shown, ", {other:?}").unwrap(),
        None => {}
    }
    if let Some(deferrable) = modes.deferrable {
        write!(shown, ", deferrable {deferrable}").unwrap();
    }
    if statement.has_where {
        shown.push_str(", where");
    }
    shown.push('\n');
}

#[test]
fn vectors_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sql");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 5);
    for file in files {
        let mut analysis = Analysis::new();
        vectors::check_file(file, |vector| {
            let options = options(vector);
            // The same room again and again: nothing of one text may be left in the next.
            let mut analysis = Analysis::new();
            analyse(&vector.input, &options, &mut analysis);
            show(&analysis, &vector.input, &options)
        });
        analyse(b"", &Options::default(), &mut analysis);
        assert!(analysis.statements.is_empty());
    }
}

#[test]
fn names_are_folded_as_the_server_folds_them() {
    let long = "x".repeat(70);
    let table: &[(&str, &str)] = &[
        ("Orders", "orders"),
        ("\"Orders\"", "Orders"),
        ("public . \"T\"", "public.T"),
        ("\"a\"\"b\"", "a\"b"),
        ("a /* b */ . c", "a.c"),
        (&long, &long[..63]),
        ("U&\"d\\0061t\"", ""),
        ("'x'", ""),
        ("a b", ""),
        ("", ""),
    ];
    for (written, folded) in table {
        assert_eq!(
            fold_name(written.as_bytes()),
            folded.as_bytes(),
            "{written}"
        );
    }
}

#[test]
fn classes_have_labels() {
    assert_eq!(
        [Class::Read, Class::Write, Class::Unknown].map(Class::label),
        ["read", "write", "unknown"]
    );
}
