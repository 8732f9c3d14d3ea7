//! Which statements pass which rules.

use portcullis_config::{Diagnostics, Source, load};

use super::super::testing::{chain, context, passes, problems, request};
use super::*;

const PASS: Option<&str> = None;
const DENIED: Option<&str> = Some("denied 42501");
const UNPARSABLE: Option<&str> = Some("unparsable 42501");

fn check(rows: &[(&str, &str, Option<&str>)]) {
    for (rule, sql, refused) in rows {
        let chain = chain(&format!("[{{{rule}}}]"));
        let mut cx = context("192.0.2.1");
        let found = passes(&chain, &mut request(sql), &mut cx).err();
        assert_eq!(found.as_deref(), *refused, "{rule}: {sql}");
    }
}

#[test]
fn deny_refuses_what_it_names() {
    let kinds = "deny: {statement: [drop, truncate, delete]}";
    let tables = "deny: {tables: [secret.*, salaries]}";
    let both = "deny: {statement: update, tables: orders}";
    let unbounded = "deny: {without_where: true}";
    let several = "deny: {multi_statement: true}";
    check(&[
        (kinds, "select 1", PASS),
        (kinds, "DROP TABLE a", DENIED),
        (kinds, "select 1; drop index i", DENIED),
        (kinds, "/* x */ truncate t", DENIED),
        (
            kinds,
            "with gone as (delete from t returning *) select * from gone",
            DENIED,
        ),
        (kinds, "select 'drop table a'", PASS),
        (kinds, "", PASS),
        (tables, "select * from secret.data", DENIED),
        (tables, "select * from salaries", DENIED),
        (tables, "select * from a, hr.salaries", DENIED),
        (tables, "select * from data", PASS),
        (tables, "insert into a select * from \"secret\".b", DENIED),
        (tables, "copy secret.data to stdout", DENIED),
        (both, "update orders set a = 1", DENIED),
        (both, "update stock set a = 1", PASS),
        (both, "select * from orders", PASS),
        (unbounded, "delete from t", DENIED),
        (unbounded, "delete from t where a = 1", PASS),
        (unbounded, "update t set a = 1", DENIED),
        (
            unbounded,
            "with x as (delete from t returning 1) select 1",
            DENIED,
        ),
        (unbounded, "select 1", PASS),
        (several, "select 1; select 2", DENIED),
        (several, "select 1;", PASS),
    ]);
}

#[test]
fn what_cannot_be_understood_is_refused_where_that_matters() {
    let kinds = "deny: {statement: drop}";
    let lenient = "deny: {statement: drop, on_unparsable: allow}";
    check(&[
        (kinds, "select 'open", UNPARSABLE),
        (
            kinds,
            "do $$ begin execute 'drop table a'; end $$",
            UNPARSABLE,
        ),
        (lenient, "select 'open", PASS),
        (lenient, "do $$ begin end $$", PASS),
        (lenient, "drop table a; select 'open", DENIED),
        ("deny: {users: bob}", "select 'open", PASS),
        ("deny: {statement: drop, users: bob}", "select 'open", PASS),
        ("deny: {multi_statement: true}", "do $$ begin end $$", PASS),
        ("allow: {statement: [select]}", "select 'open", UNPARSABLE),
        (
            "allow: {statement: [select], on_unparsable: allow}",
            "select 'open",
            PASS,
        ),
        ("allow: {users: ann}", "select 'open", PASS),
    ]);
    let unknown = chain("[{deny: {statement: drop}}]");
    let mut call = request("select 1");
    call.set_unknown();
    let found = passes(&unknown, &mut call, &mut context("192.0.2.1"));
    assert_eq!(found.err().as_deref(), UNPARSABLE, "a function by number");
}

#[test]
fn allow_refuses_what_it_does_not_name() {
    let reads = "allow: {statement: [read, begin, commit]}";
    let selects = "allow: {statement: [select, delete]}";
    let report = "allow: {for: {users: [\"rep*\", ann]}, statement: read}";
    let others = "allow: {for: {users: bob}, statement: read}";
    let tables = "allow: {tables: [public.*, orders]}";
    check(&[
        (reads, "select 1", PASS),
        (reads, "select 1; select 2", PASS),
        (reads, "begin", PASS),
        (reads, "rollback", DENIED),
        (reads, "select 1; delete from t", DENIED),
        (reads, "select nextval('s')", DENIED),
        (reads, "", PASS),
        (
            selects,
            "with x as (delete from t returning 1) select 1",
            PASS,
        ),
        (
            selects,
            "with x as (update t set a = 1 returning 1) select 1",
            DENIED,
        ),
        (selects, "insert into t values (1)", DENIED),
        (report, "delete from t", DENIED),
        (others, "delete from t", PASS),
        (tables, "select * from public.a, orders", PASS),
        (tables, "select * from a", DENIED),
        (tables, "select 1", PASS),
        (tables, "select * from secret.data", DENIED),
        (tables, "do $$ begin end $$", DENIED),
        ("allow: {client: 192.0.2.0/24}", "drop table a", PASS),
        ("allow: {client: 10.0.0.0/8}", "select 1", DENIED),
        (
            "allow: {databases: \"shop*\", users: ann}",
            "select 1",
            PASS,
        ),
        ("allow: {databases: shop, users: bob}", "select 1", DENIED),
    ]);
}

#[test]
fn a_shadow_refuses_nothing() {
    check(&[(
        "deny: {statement: drop, shadow: true}",
        "drop table a",
        PASS,
    )]);
}

#[test]
fn clients_who_can_do_nothing_are_known_at_start_up() {
    let rows = [
        ("[{deny: {users: ann}}]", true),
        ("[{deny: {users: bob}}]", false),
        ("[{deny: {users: ann, statement: drop}}]", false),
        ("[{deny: {users: ann, shadow: true}}]", false),
        ("[{allow: {client: 10.0.0.0/8}}]", true),
        ("[{allow: {client: 10.0.0.0/8, statement: select}}]", true),
        ("[{allow: {for: {users: bob}, client: 10.0.0.0/8}}]", false),
        (
            "[access_log, {allow: {users: ann}}, {rate_limit: {rate: 1/s}}]",
            false,
        ),
        ("[{deny: {client: [192.0.2.0/24]}}]", true),
    ];
    for (yaml, refused) in rows {
        let source = Source::new("test.yaml", yaml);
        let mut diagnostics = Diagnostics::new(&source);
        let node = load(&source, &|_| None, &mut diagnostics).unwrap();
        let rules = ClientRules::read(&node);
        let found = rules.refuses(&request(""), &context("192.0.2.1"));
        assert_eq!(found.is_some(), refused, "{yaml}");
    }
}

#[test]
fn mistakes_are_said() {
    let rows = [
        ("[deny]", "refuses everything"),
        ("[allow]", "lets everything in"),
        ("[{allow: {for: {users: ann}}}]", "lets everything in"),
        (
            "[{allow: {users: ann, client: []}}]",
            "`client` lists nothing",
        ),
        (
            "[{allow: {for: {users: []}, statement: select}}]",
            "`users` lists nothing",
        ),
        (
            "[{deny: {statement: [], users: ann}}]",
            "`statement` lists nothing",
        ),
        ("[{deny: {statement: drp}}]", "test.yaml:1:"),
        ("[{deny: {statements: drop}}]", "did you mean 'statement'"),
        ("[{deny: {tables: [a.b.c]}}]", "not the name of a table"),
        (
            "[{deny: {client: [10.0.0.1/8]}}]",
            "bits set past its prefix",
        ),
    ];
    for (yaml, message) in rows {
        let report = problems(yaml);
        assert!(report.contains(message), "{yaml}\n{report}");
    }
}
