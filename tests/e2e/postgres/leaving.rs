//! Clients that leave in the middle of everything, and what split or pipelined messages do to others: rows P9 and P12 of
//! `ATTACKS.md`. The pool has one server connection, so whoever comes next gets what the last one left.

use super::Site;
use super::wire::{Wire, bind, execute, extended, field, message, parse, query, sync, tags, value};

const ONE: &str = "pool: { mode: transaction, size: 1 }";

/// Conversations that write to `t` and never commit.
fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let join = |parts: &[Vec<u8>]| parts.concat();
    vec![
        (
            "a transaction",
            join(&[
                query("BEGIN"),
                query("INSERT INTO t VALUES (1)"),
                query("SELECT 'mine'"),
            ]),
        ),
        (
            "COPY",
            join(&[
                query("COPY t FROM STDIN"),
                message(b'd', b"1\n"),
                message(b'd', b"2\n"),
            ]),
        ),
        (
            "Parse, Bind, Execute",
            join(&[
                query("BEGIN"),
                parse("s", "INSERT INTO t VALUES (1)"),
                bind("s"),
                execute(),
                message(b'H', b""),
                parse("", "SELECT 'mine'"),
                bind(""),
                execute(),
                sync(),
            ]),
        ),
        (
            "errors",
            join(&[
                query("BEGIN"),
                query("SELECT 1/0"),
                parse("", "nonsense"),
                bind(""),
                sync(),
            ]),
        ),
    ]
}

#[test]
fn p9_who_leaves_at_any_byte_leaves_nothing_behind() {
    let Some(site) = Site::start(ONE) else { return };
    site.sql("CREATE TABLE t (a int)");
    let mut next = Wire::login(site.address());
    for (row, bytes) in conversations() {
        for cut in 0..=bytes.len() {
            let mut leaver = Wire::login(site.address());
            leaver.client.send(&bytes[..cut]);
            if cut % 2 == 0 {
                leaver.client.reset();
            } else {
                drop(leaver);
            }
            assert_eq!(
                next.value("SELECT count(*) FROM t"),
                "0",
                "{row} cut at {cut}"
            );
        }
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(site.server.sql(open), "0");
}

#[test]
fn p9_who_leaves_before_reading_leaves_no_rows_behind() {
    let Some(site) = Site::start(ONE) else { return };
    let mut next = Wire::login(site.address());
    for number in 0..20 {
        let mut leaver = Wire::login(site.address());
        leaver
            .client
            .send(query("SELECT generate_series(1, 200000), 'mine'"));
        leaver.client.read_exact(1 + number * 1000);
        leaver.client.reset();
        assert_eq!(next.value("SELECT 'next'"), "next", "{number}");
    }
}

#[test]
fn p12_unnamed_statements_stay_with_their_client() {
    let Some(site) = Site::start(ONE) else { return };
    let mut clients: Vec<Wire> = (0..4).map(|_| Wire::login(site.address())).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            let text = format!("SELECT 'client {number} round {round}'");
            let answer = client.ask([parse("", &text), sync()].concat());
            assert_eq!(tags(&answer), "1Z");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.ask([bind(""), execute(), sync()].concat());
            assert_eq!(tags(&answer), "2DCZ");
            assert_eq!(value(&answer), format!("client {number} round {round}"));
        }
    }
}

#[test]
fn p12_flush_brings_what_is_there() {
    let Some(site) = Site::start(ONE) else { return };
    let mut client = Wire::login(site.address());
    let describe = message(b'D', b"Ss\0");
    client
        .client
        .send([parse("s", "SELECT 1"), describe, message(b'H', b"")].concat());
    for wanted in *b"1tT" {
        assert_eq!(client.read().0, wanted);
    }
    client
        .client
        .send([bind("s"), execute(), message(b'H', b"")].concat());
    for wanted in *b"2DC" {
        assert_eq!(client.read().0, wanted);
    }
    assert_eq!(tags(&client.ask(sync())), "Z");
}

#[test]
fn p12_errors_in_a_pipeline_skip_to_their_sync() {
    let Some(site) = Site::start(ONE) else { return };
    let mut client = Wire::login(site.address());
    let mut other = Wire::login(site.address());
    let bad_text = extended("nonsense");
    let bad_name = [bind("nobody"), execute(), sync()].concat();
    let bad_run = extended("SELECT 1/0");
    client.client.send(
        [
            extended("SELECT 'a'"),
            bad_text,
            extended("SELECT 'b'"),
            bad_name,
            bad_run,
            extended("SELECT 'c'"),
        ]
        .concat(),
    );
    let rows = [
        ("12DCZ", Ok("a")),
        ("EZ", Err("42601")),
        ("12DCZ", Ok("b")),
        ("EZ", Err("26000")),
        ("12EZ", Err("22012")),
        ("12DCZ", Ok("c")),
    ];
    for (wanted, outcome) in rows {
        let answer = client.until_ready();
        // The planner may find a division by zero before it binds.
        let seen = tags(&answer);
        assert!(
            seen == wanted || (outcome == Err("22012") && seen == "1EZ"),
            "{seen} for {wanted}"
        );
        match outcome {
            Ok(text) => assert_eq!(value(&answer), text),
            Err(state) => {
                let error = answer.iter().find(|(tag, _)| *tag == b'E').unwrap();
                assert_eq!(field(&error.1, b'C'), state);
            }
        }
    }
    assert_eq!(other.value("SELECT 'other'"), "other");
}

#[test]
fn p12_statement_names_are_bounded() {
    let Some(site) = Site::start(
        "pool: { mode: transaction, size: 1, prepared_statements: 5 }\nlimits: { client_statements: 10 }",
    ) else {
        return;
    };
    let mut client = Wire::login(site.address());
    for number in 0..10 {
        let answer = client.ask(
            [
                parse(&format!("s{number}"), &format!("SELECT {number}")),
                sync(),
            ]
            .concat(),
        );
        assert_eq!(tags(&answer), "1Z");
    }
    let small = site.gateway.resident_bytes();
    let mut refused = 0;
    for number in 10..5_000 {
        let answer = client.ask(
            [
                parse(&format!("s{number}"), &format!("SELECT {number}")),
                sync(),
            ]
            .concat(),
        );
        assert_eq!(tags(&answer), "EZ", "{number}");
        assert_eq!(field(&answer[0].1, b'C'), "53400");
        refused += 1;
    }
    assert_eq!(refused, 4_990);
    let grown = site.gateway.resident_bytes().saturating_sub(small);
    assert!(grown < 16 << 20, "{grown}");
    // Those that it has work, and a closed one makes room.
    let answer = client.ask([bind("s3"), execute(), sync()].concat());
    assert_eq!(value(&answer), "3");
    let answer = client.ask(
        [
            message(b'C', b"Ss3\0"),
            parse("new", "SELECT 99"),
            bind("new"),
            execute(),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(tags(&answer), "312DCZ");
    assert_eq!(value(&answer), "99");
    // A million texts, one name: as drivers do that close what they use.
    for number in 0..2_000 {
        let answer = client.ask(
            [
                parse("", &format!("SELECT {number}")),
                bind(""),
                execute(),
                sync(),
            ]
            .concat(),
        );
        assert_eq!(value(&answer), number.to_string());
    }
    let known: usize = site
        .sql("SELECT count(*) FROM pg_prepared_statements")
        .parse()
        .unwrap();
    assert!(known <= 6, "{known}");
    let mut other = Wire::login(site.address());
    assert_eq!(other.value("SELECT 'other'"), "other");
}
