//! Beside the `sqlparser` crate: wherever it parses a statement of the corpus, number, verb and "plain query" agree.

use portcullis_postgres::sql::{Analysis, Class, Effects, Options, Verb, analyse};
use sqlparser::ast::{Query, SetExpr, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::corpus::CORPUS;

/// The verb's group in our words, when the oracle has a kind of its own for it.
fn group(statement: &Statement) -> Option<&'static str> {
    let group = match statement {
        Statement::Query(query) => body(query),
        Statement::Insert(_) => "insert",
        Statement::Update { .. } => "update",
        Statement::Delete(_) => "delete",
        Statement::Merge { .. } => "merge",
        Statement::Copy { .. } => "copy",
        Statement::Truncate { .. } => "truncate",
        Statement::Drop { .. } | Statement::DropFunction { .. } => "drop",
        Statement::CreateTable(_)
        | Statement::CreateIndex(_)
        | Statement::CreateView { .. }
        | Statement::CreateSchema { .. }
        | Statement::CreateDatabase { .. }
        | Statement::CreateSequence { .. }
        | Statement::CreateFunction(_)
        | Statement::CreateTrigger { .. }
        | Statement::CreatePolicy { .. }
        | Statement::CreateType { .. }
        | Statement::CreateExtension { .. }
        | Statement::CreateRole { .. } => "create",
        Statement::AlterTable { .. } | Statement::AlterRole { .. } => "alter",
        Statement::StartTransaction { .. } => "begin",
        Statement::Commit { .. } => "commit",
        Statement::Savepoint { .. } => "savepoint",
        Statement::ReleaseSavepoint { .. } => "release",
        Statement::Explain { .. } => "explain",
        Statement::Prepare { .. } => "prepare",
        Statement::Execute { .. } => "execute",
        Statement::Deallocate { .. } => "deallocate",
        Statement::Declare { .. } => "declare",
        Statement::Fetch { .. } => "fetch",
        Statement::Close { .. } => "close",
        Statement::Discard { .. } => "discard",
        Statement::Grant { .. } => "grant",
        Statement::Revoke { .. } => "revoke",
        Statement::Comment { .. } => "comment",
        Statement::Call(_) => "call",
        Statement::LISTEN { .. } => "listen",
        Statement::NOTIFY { .. } => "notify",
        Statement::UNLISTEN { .. } => "unlisten",
        _ => return None,
    };
    Some(group)
}

fn body(query: &Query) -> &'static str {
    match &*query.body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } => "select",
        SetExpr::Values(_) => "values",
        SetExpr::Insert(_) => "insert",
        SetExpr::Update(_) => "update",
        SetExpr::Delete(_) => "delete",
        SetExpr::Merge(_) => "merge",
        SetExpr::Table(_) => "table",
    }
}

/// What the oracle's tree, printed, has of writes. Crude on purpose: it only has to doubt what we call a read.
fn may_write(statement: &Statement) -> bool {
    let shown = format!("{statement:?}");
    [
        "Insert(",
        "Update(",
        "Delete(",
        "Merge(",
        "into: Some",
        "LockClause",
    ]
    .iter()
    .any(|mark| shown.contains(mark))
}

#[test]
fn corpus_agrees() {
    let (mut parsed, mut compared, mut reads) = (0, 0, 0);
    for sql in CORPUS {
        let mut analysis = Analysis::new();
        analyse(sql.as_bytes(), &Options::default(), &mut analysis);
        assert!(analysis.complete, "{sql}");
        assert_eq!(analysis.statements.len(), 1, "{sql}");
        let ours = &analysis.statements[0];
        assert_ne!(ours.verb, Verb::Other, "{sql}");
        assert_ne!(ours.class, Class::Unknown, "{sql}");
        let Ok(theirs) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else {
            continue;
        };
        parsed += 1;
        assert_eq!(theirs.len(), 1, "{sql}");
        if let Some(group) = group(&theirs[0]) {
            compared += 1;
            assert_eq!(ours.verb.group(), group, "{sql}");
        }
        if ours.class == Class::Read {
            reads += 1;
            let explained = ours.verb == Verb::Explain;
            assert!(
                explained || !may_write(&theirs[0]),
                "{sql}: {:?}",
                theirs[0]
            );
        } else if ours.verb == Verb::Select && !may_write(&theirs[0]) {
            // Only for a call that is not known, or one with an effect.
            assert!(ours.effects.intersects(Effects::UNSAFE_CALL), "{sql}");
        }
    }
    println!(
        "{} statements: {parsed} parsed, {compared} compared, {reads} reads",
        CORPUS.len()
    );
    assert!(
        CORPUS.len() >= 250 && parsed * 10 >= CORPUS.len() * 9 && compared > 200 && reads > 100
    );
}

/// The tables that the oracle's visitor finds are all among ours.
#[test]
fn no_table_is_missed() {
    use std::ops::ControlFlow;
    for sql in CORPUS {
        let Ok(theirs) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else {
            continue;
        };
        let mut analysis = Analysis::new();
        analyse(sql.as_bytes(), &Options::default(), &mut analysis);
        let text = |span: &portcullis_postgres::sql::Span| {
            String::from_utf8_lossy(span.of(sql.as_bytes())).into_owned()
        };
        let ours: Vec<String> = analysis.statements[0].tables.iter().map(text).collect();
        let ctes = ["recent", "tree", "moved", "q"];
        let _ = sqlparser::ast::visit_relations(&theirs, |relation| {
            let name = relation.to_string();
            let function = sql.contains(&format!("{name}("));
            assert!(
                ours.contains(&name)
                    || ctes.contains(&&*name)
                    || function
                    || analysis.statements[0].tables_truncated,
                "{sql}: {name} not in {ours:?}"
            );
            ControlFlow::<()>::Continue(())
        });
    }
}
