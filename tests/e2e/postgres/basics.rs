//! A conversation as psql has it: queries, errors, transactions, COPY, large results.

use std::fmt::Write as _;

use super::Site;

/// Every mode, with what is the same in all of them.
const MODES: [&str; 3] = ["session", "transaction", "statement"];

#[test]
fn queries_and_errors_in_every_mode() {
    for mode in MODES {
        let Some(site) = Site::start(&format!("pool: {{ mode: {mode}, size: 2 }}")) else {
            return;
        };
        assert_eq!(site.sql("SELECT 1 + 1; SELECT 'x'"), "2\nx", "{mode}");
        let error = site.error("SELECT 1/0");
        assert!(error.contains("division by zero"), "{mode}: {error}");
        assert_eq!(
            site.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)"),
            "",
            "{mode}"
        );
        assert_eq!(
            site.sql("SELECT count(*), sum(a) FROM t"),
            "1000|500500",
            "{mode}"
        );
    }
}

#[test]
fn transactions_hold_together() {
    for mode in ["session", "transaction"] {
        let Some(site) = Site::start(&format!("pool: {{ mode: {mode}, size: 2 }}")) else {
            return;
        };
        site.sql("CREATE TABLE t (a int)");
        site.sql("BEGIN;\nINSERT INTO t VALUES (1);\nROLLBACK;\nBEGIN;\nINSERT INTO t VALUES (2);\nCOMMIT;");
        assert_eq!(site.sql("SELECT a FROM t"), "2", "{mode}");
    }
}

#[test]
fn transactions_are_refused_in_statement_mode() {
    let Some(site) = Site::start("pool: { mode: statement, size: 2 }") else {
        return;
    };
    let error = site.error("BEGIN");
    assert!(error.contains("statement pooling mode"), "{error}");
    assert_eq!(site.sql("SELECT 1"), "1");
}

#[test]
fn copy_goes_both_ways() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    site.sql("CREATE TABLE t (a int, b text)");
    let mut script = String::from("COPY t FROM STDIN;\n");
    for row in 0..20_000 {
        writeln!(script, "{row}\tvalue {row}").unwrap();
    }
    script.push_str("\\.\nSELECT count(*) FROM t;\n");
    assert_eq!(site.sql(&script), "20000");
    let copied = site.sql("COPY (SELECT a FROM t ORDER BY a) TO STDOUT");
    assert_eq!(copied.lines().count(), 20_000);
    assert!(copied.starts_with("0\n1\n2\n"));
    // A server that stops reading in the middle ignores the rest of the data.
    let error = site.error("COPY t FROM STDIN;\nnot a number\tx\n1\ty\n\\.\n");
    assert!(error.contains("invalid input syntax"), "{error}");
    assert_eq!(site.sql("SELECT count(*) FROM t"), "20000");
}

#[test]
fn large_rows_and_large_statements_pass() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let large = site.sql("SELECT repeat('x', 5000000)");
    assert_eq!(large.len(), 5_000_000);
    let text = "y".repeat(1_000_000);
    assert_eq!(site.sql(&format!("SELECT length('{text}')")), "1000000");
    assert_eq!(site.sql("SELECT 1"), "1");
}

#[test]
fn parameters_are_the_clients_own() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let with = |options: &str, sql: &str| {
        let mut command = harness::postgres::psql_command(site.address(), "postgres", "postgres");
        let output = command
            .env("PGOPTIONS", options)
            .args(["-c", sql])
            .output()
            .unwrap();
        let text = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        String::from_utf8_lossy(&text).trim_end().to_owned()
    };
    assert_eq!(
        with("-c search_path=a,b -c work_mem=7MB", "SHOW search_path"),
        "a,b"
    );
    assert_eq!(with("", "SHOW work_mem"), "4MB");
    assert_eq!(
        with(
            "-c work_mem=8MB",
            "SET work_mem='9MB'; RESET work_mem; SELECT current_setting('work_mem')"
        ),
        "4MB"
    );
    let error = with("-c no_such_parameter=1", "SELECT 1");
    assert!(
        error.contains("unrecognized configuration parameter"),
        "{error}"
    );
}

#[test]
fn a_reset_goes_back_to_what_the_client_began_with() {
    for mode in ["session", "transaction"] {
        let Some(site) = Site::start(&format!("pool: {{ mode: {mode}, size: 1 }}")) else {
            return;
        };
        let mut command = harness::postgres::psql_command(site.address(), "postgres", "postgres");
        command.env("PGOPTIONS", "-c search_path=mine");
        for sql in [
            "SET search_path = other",
            "RESET search_path",
            "SHOW search_path",
            "DISCARD ALL",
            "SHOW search_path",
        ] {
            command.args(["-c", sql]);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            text.lines().filter(|line| *line == "mine").count(),
            2,
            "{mode}: {text}"
        );
    }
}
