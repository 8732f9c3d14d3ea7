//! What is under way when something ends it: rows P10 and P17 of `ATTACKS.md`. The pool has one server connection, so whoever
//! comes next would get the replies that were meant for another.

use std::fs;
use std::process::Command;

use harness::Scratch;

use super::Site;
use super::wire::{
    Message, V3, Wire, extended, field, message, parse, query, startup, tags, value,
};

/// The SQLSTATE of an answer, where it has an error.
fn state(answer: &[Message]) -> Option<String> {
    let error = answer.iter().find(|(tag, _)| *tag == b'E')?;
    Some(field(&error.1, b'C'))
}

#[test]
fn p10_a_statement_that_takes_too_long_ends_alone_in_its_pipeline() {
    let keys = "\
pool: { mode: transaction, size: 1 }
filters:
  - query_timeout: 300ms";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut client = Wire::login(site.address());
    let mut next = Wire::login(site.address());
    for round in 0..5 {
        let mine = |part: &str| format!("SELECT '{part} of round {round}'");
        client.client.send(
            [
                extended(&mine("first")),
                extended("SELECT pg_sleep(600)"),
                extended(&mine("third")),
                query("SELECT pg_sleep(600)"),
                query(&mine("fifth")),
            ]
            .concat(),
        );
        next.client.send(query(&mine("neighbour")));
        let answers: Vec<Vec<Message>> = (0..5).map(|_| client.until_ready()).collect();
        assert_eq!(value(&answers[0]), format!("first of round {round}"));
        assert_eq!(state(&answers[1]).as_deref(), Some("57014"));
        assert_eq!(value(&answers[2]), format!("third of round {round}"));
        assert_eq!(state(&answers[3]).as_deref(), Some("57014"));
        assert_eq!(value(&answers[4]), format!("fifth of round {round}"));
        assert_eq!(
            value(&next.until_ready()),
            format!("neighbour of round {round}")
        );
    }
}

#[test]
fn p10_replies_of_a_server_that_goes_reach_nobody_else() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut next = Wire::login(site.address());
    for round in 0..10 {
        let mut client = Wire::login(site.address());
        let backend = client.value("SELECT pg_backend_pid()");
        // Rows that fill every buffer between the server and a client that does not read.
        let rows = format!(
            "SELECT 'mine', repeat('x', 1000) FROM generate_series(1, {})",
            50_000
        );
        client
            .client
            .send([query(&rows), query("SELECT 'mine'")].concat());
        client.client.read_exact(1 + round * 5_000);
        site.server
            .sql(&format!("SELECT pg_terminate_backend({backend})"));
        if round % 2 == 0 {
            client.client.reset();
        } else {
            // What came before and the server's last words; it was in no transaction, so it could go on.
            client.client.send(message(b'X', b""));
            let rest = client.client.read_to_end().0;
            assert!(!rest.windows(4).any(|part| part == b"next"));
        }
        assert_eq!(next.value("SELECT 'next'"), "next", "round {round}");
    }
}

#[test]
fn p17_replication_takes_nothing_from_the_pool() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut neighbour = Wire::login(site.address());
    let mut replica = Wire::connect(site.address());
    let parameters = [
        ("user", "postgres"),
        ("database", "postgres"),
        ("replication", "true"),
    ];
    let opened = replica.ask(startup(V3, &parameters));
    assert_eq!(tags(&opened).chars().last(), Some('Z'));
    let system = replica.ask(query("IDENTIFY_SYSTEM"));
    assert_eq!(tags(&system), "TDCZ");
    // The place to start at is the third value of the row.
    let place = site.server.sql("SELECT pg_current_wal_lsn()");
    replica
        .client
        .send(query(&format!("START_REPLICATION PHYSICAL {place}")));
    let first = replica.read();
    assert_eq!(first.0, b'W', "{}", first.1.escape_ascii());
    // Both directions are open, and the pool's one connection is everybody else's.
    neighbour.ask(query("CREATE TABLE t AS SELECT 1 AS a"));
    let (tag, wal) = replica.read();
    assert_eq!((tag, wal[0]), (b'd', b'w'));
    assert_eq!(neighbour.value("SELECT a FROM t"), "1");
    // It ends both, in order, and can ask again.
    replica.client.send(message(b'c', b""));
    let rest = replica.until_ready();
    assert!(
        tags(&rest).ends_with("cCCZ") || tags(&rest).ends_with("cCZ"),
        "{}",
        tags(&rest)
    );
    assert_eq!(tags(&replica.ask(query("IDENTIFY_SYSTEM"))), "TDCZ");
    drop(replica);
    // The connection is closed behind it: it was opened for replication and is good for nothing else.
    while site
        .server
        .sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'")
        != "0"
    {}
    assert_eq!(neighbour.value("SELECT 'still here'"), "still here");
}

#[test]
fn p17_a_base_backup_comes_through_while_others_write() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    site.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
    let folder = Scratch::new();
    let target = folder.path().join("copy");
    let address = site.address();
    let mut backup = Command::new("pg_basebackup")
        .args([
            "--checkpoint=fast",
            "--no-sync",
            "--wal-method=stream",
            "--username=postgres",
        ])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg("--pgdata")
        .arg(&target)
        .spawn()
        .unwrap();
    let mut client = Wire::login(address);
    let mut rounds = 0;
    let ended = loop {
        client.ask(query("INSERT INTO t SELECT generate_series(1, 10)"));
        rounds += 1;
        if let Some(ended) = backup.try_wait().unwrap() {
            break ended;
        }
    };
    assert!(ended.success());
    assert!(fs::exists(target.join("backup_manifest")).unwrap());
    let wanted = (1000 + rounds * 10).to_string();
    assert_eq!(client.value("SELECT count(*) FROM t"), wanted);
}

/// Sends a byte at a time, with a round trip to the gateway's admin side between two, until it is sent away; its last words.
#[track_caller]
fn dribble(site: &Site, mut wire: Wire) -> Vec<u8> {
    while wire.client.try_send(b"x") {
        let _ = site.gateway.admin_get("/ready");
    }
    wire.client.connection().read_to_end().unwrap().0
}

#[test]
fn p4_who_dribbles_a_message_does_not_keep_the_server_connection() {
    let keys =
        "pool: { mode: transaction, size: 1 }\ntimeouts: { message: 3s, transaction_idle: 500ms }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut large = vec![b'Q', 0, 0x80, 0, 0];
    large.extend(b"SELECT '".iter().chain(&vec![b'x'; 300_000]));
    let rows = [
        ("a large message", large, "08P01", "message_timeout"),
        ("a transaction", query("BEGIN"), "25P03", "transaction_idle"),
        (
            "no Sync",
            [parse("", "SELECT 1"), message(b'H', b"")].concat(),
            "25P03",
            "transaction_idle",
        ),
    ];
    for (row, begins, wanted, reason) in rows {
        let sent = site.count(
            "portcullis_postgres_rejections_total",
            &[("reason", reason)],
        );
        let mut slow = Wire::login(site.address());
        let mut next = Wire::login(site.address());
        let is_large = begins.len() > 1000;
        slow.client.send(begins);
        if !is_large {
            // It has the connection; then a message that never ends.
            slow.read();
            slow.client.send([b'Q', 0, 0, 0x10, 0]);
        }
        let words = dribble(&site, slow);
        assert_eq!(
            super::wire::state(&words[words.iter().position(|byte| *byte == b'E').unwrap()..]),
            wanted,
            "{row}"
        );
        assert_eq!(next.value("SELECT 'next'"), "next", "{row}");
        let counted = site.count(
            "portcullis_postgres_rejections_total",
            &[("reason", reason)],
        );
        assert_eq!(counted, sent + 1, "{row}");
    }
}

#[test]
fn p10_who_takes_nothing_does_not_keep_the_server_connection() {
    let keys = "pool: { mode: transaction, size: 1 }\ntimeouts: { unread: 500ms }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut deaf = Wire::login(site.address());
    let mut next = Wire::login(site.address());
    deaf.client.send(query(
        "SELECT repeat('x', 1000) FROM generate_series(1, 200000)",
    ));
    deaf.client.read_exact(1);
    assert_eq!(next.value("SELECT 'next'"), "next");
    let labels = [("listener", "db"), ("reason", "unread_timeout")];
    site.gateway
        .wait_stat("portcullis_postgres_rejections_total", &labels, |count| {
            count == 1
        });
}

#[test]
fn f8_half_a_message_does_not_hold_up_a_drain() {
    let Some(Site { server, gateway }) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let address = gateway.addr("db");
    let mut slow = Wire::login(address);
    slow.client.send(query("BEGIN"));
    slow.until_ready();
    slow.client.send([b'Q', 0, 0, 0x10, 0, b'S']);
    let mut idle = Wire::login(address);
    gateway.signal(harness::Signal::TERM);
    // Who is idle is told at once, whatever the other does.
    let (tag, body) = idle.read();
    assert_eq!((tag, field(&body, b'C').as_str()), (b'E', "57P01"));
    // And it ends with the last client, not with the drain's time.
    drop(slow);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    drop(server);
}
