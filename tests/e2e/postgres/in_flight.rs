//! What is under way when something ends it: rows P10 and P17 of `ATTACKS.md`. The pool has one server connection, so whoever
//! comes next would get the replies that were meant for another.

use std::fs;
use std::process::Command;

use harness::Scratch;

use super::Site;
use super::wire::{
    Message, V3, Wire, bind, execute, field, message, parse, query, startup, sync, tags, value,
};

/// A text by the extended protocol, to its Sync.
fn extended(text: &str) -> Vec<u8> {
    [parse("", text), bind(""), execute(), sync()].concat()
}

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
        .send(query(&format!("START_REPLICATION {place} PHYSICAL")));
    assert_eq!(replica.read().0, b'W');
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
