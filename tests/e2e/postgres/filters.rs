//! Rules and limits on statements: the refusal, its SQLSTATE, its counter, and that the session goes on in step.

use postgres::SimpleQueryMessage;

use super::Site;
use super::pooling::connect;

fn code(error: &postgres::Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

#[test]
fn rules_refuse_statements_and_the_session_goes_on() {
    let Some(site) = Site::start(
        "pool: { mode: transaction, size: 1 }\n\
         filters:\n  - deny: { statement: [drop, truncate] }\n  - deny: { without_where: true }\n  - deny: { tables: [secrets] }",
    ) else {
        return;
    };
    site.server
        .sql("CREATE TABLE t (a int); CREATE TABLE secrets (a int)");
    let mut client = connect(site.address());
    for sql in [
        "DROP TABLE t",
        "/* x */ truncate t",
        "DELETE FROM t",
        "WITH d AS (DELETE FROM t RETURNING a) SELECT * FROM d",
        "SELECT * FROM secrets",
        "SELECT 1; DROP TABLE t",
    ] {
        let error = client.batch_execute(sql).unwrap_err();
        assert_eq!(code(&error), "42501", "{sql}");
        let error = client
            .query("SELECT a FROM secrets WHERE a = $1", &[&1_i32])
            .unwrap_err();
        assert_eq!(code(&error), "42501", "prepared");
        let one: i32 = client.query_one("SELECT 1", &[]).unwrap().get(0);
        assert_eq!(one, 1, "{sql}");
    }
    client.batch_execute("DELETE FROM t WHERE a = 1").unwrap();
    assert_eq!(
        site.count(
            "portcullis_postgres_rejections_total",
            &[("reason", "denied")]
        ),
        12
    );
}

#[test]
fn a_refusal_fails_the_transaction_that_it_is_in() {
    let Some(site) = Site::start(
        "pool: { mode: transaction, size: 1 }\nfilters: [{ deny: { statement: [drop] } }]",
    ) else {
        return;
    };
    site.sql("CREATE TABLE t (a int)");
    let mut client = connect(site.address());
    client.batch_execute("BEGIN").unwrap();
    client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(
        code(&client.batch_execute("DROP TABLE t").unwrap_err()),
        "42501"
    );
    assert_eq!(
        code(&client.batch_execute("SELECT 1").unwrap_err()),
        "25P02"
    );
    client.batch_execute("COMMIT").unwrap();
    assert_eq!(site.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn statements_are_limited_by_rate() {
    let Some(site) = Site::start(
        "pool: { mode: transaction, size: 1 }\nfilters: [{ rate_limit: { per: [postgres.user, postgres.statement], rate: 3/h } }]",
    ) else {
        return;
    };
    let mut client = connect(site.address());
    for _ in 0..3 {
        client.batch_execute("SELECT 1").unwrap();
    }
    assert_eq!(
        code(&client.batch_execute("SELECT 1").unwrap_err()),
        "53400"
    );
    client.batch_execute("SHOW work_mem").unwrap();
}

#[test]
fn results_are_cut_off_at_a_bound() {
    let Some(site) = Site::start(
        "pool: { mode: transaction, size: 1 }\nfilters: [{ result_limit: { rows: 1000 } }]",
    ) else {
        return;
    };
    let mut client = connect(site.address());
    let rows = client
        .simple_query("SELECT generate_series(1, 1000)")
        .unwrap();
    let rows = rows
        .iter()
        .filter(|row| matches!(row, SimpleQueryMessage::Row(_)));
    assert_eq!(rows.count(), 1000);
    for _ in 0..3 {
        let error = client
            .simple_query("SELECT generate_series(1, 1000000)")
            .unwrap_err();
        assert_eq!(code(&error), "53400");
        let error = client
            .query("SELECT generate_series(1, 1001)", &[])
            .unwrap_err();
        assert_eq!(code(&error), "53400");
    }
    let mut other = connect(site.address());
    let one: i32 = other.query_one("SELECT 1", &[]).unwrap().get(0);
    assert_eq!(one, 1);
}

#[test]
fn slow_statements_are_cancelled() {
    let Some(site) =
        Site::start("pool: { mode: transaction, size: 1 }\ntimeouts: { query: 200ms }")
    else {
        return;
    };
    let mut client = connect(site.address());
    assert_eq!(
        code(&client.batch_execute("SELECT pg_sleep(600)").unwrap_err()),
        "57014"
    );
    client.batch_execute("SELECT 1").unwrap();
    assert_eq!(
        site.count(
            "portcullis_postgres_rejections_total",
            &[("reason", "query_timeout")]
        ),
        1
    );
}

#[test]
fn what_a_filter_holds_for_a_statement_ends_with_it() {
    let Some(site) =
        Site::start("pool: { mode: transaction, size: 2 }\nfilters: [{ concurrency: { max: 1 } }]")
    else {
        return;
    };
    let mut one = connect(site.address());
    let mut other = connect(site.address());
    for _ in 0..3 {
        for client in [&mut one, &mut other] {
            client.batch_execute("SELECT 1").unwrap();
            client.query_one("SELECT $1::int", &[&1_i32]).unwrap();
        }
    }
    one.batch_execute("BEGIN").unwrap();
    one.batch_execute("SELECT 1").unwrap();
    other.batch_execute("SELECT 1").unwrap();
    one.batch_execute("SELECT 1; COMMIT").unwrap();
}

#[test]
fn each_statement_of_a_transaction_has_its_own_time() {
    let Some(site) =
        Site::start("pool: { mode: transaction, size: 1 }\nfilters: [{ query_timeout: 3s }]")
    else {
        return;
    };
    let mut client = connect(site.address());
    client.batch_execute("BEGIN").unwrap();
    for _ in 0..3 {
        client.batch_execute("SELECT pg_sleep(1.2)").unwrap();
    }
    client.batch_execute("COMMIT").unwrap();
}

#[test]
fn p14_what_cannot_be_parsed_is_refused_where_a_rule_needs_to_know() {
    let deny = "filters:\n  - deny: { statement: [drop] }";
    let rows = [
        (deny.to_owned(), "42501"),
        (format!("on_unparsable: allow\n{deny}"), "42601"),
        // Nothing depends on it.
        (String::new(), "42601"),
    ];
    for (keys, wanted) in rows {
        let Some(site) = Site::start(&format!("pool: {{ mode: transaction, size: 1 }}\n{keys}"))
        else {
            return;
        };
        let mut client = connect(site.address());
        for text in [
            "SELECT 'no end",
            "/* no end",
            "SELECT $x$ no end",
            "SELECT \"no end",
        ] {
            let error = client.batch_execute(text).unwrap_err();
            assert_eq!(code(&error), wanted, "{keys}: {text}");
            let error = client.prepare(text).unwrap_err();
            assert_eq!(code(&error), wanted, "{keys}, prepared: {text}");
        }
        let one: i32 = client.query_one("SELECT 1", &[]).unwrap().get(0);
        assert_eq!(one, 1);
    }
}
