//! A primary with streaming replicas: reads and writes apart, failovers, and servers that must not be used.

use harness::Gateway;
use harness::postgres::Postgres;
use postgres::error::SqlState;
use postgres::{Client, NoTls};

use super::document;
use super::pooling::connect;

const KEYS: &str = "\
pool: { mode: transaction, size: 4 }
safe_functions: [pg_is_in_recovery]
routes:
  - { name: reads, match: { statement: read }, cluster: main, role: prefer_replica }
  - { name: writes, cluster: main, role: primary }";

fn recovering(client: &mut Client) -> bool {
    client
        .query_one("SELECT pg_is_in_recovery()", &[])
        .unwrap()
        .get(0)
}

/// A primary and a replica, and a gateway before them with these keys besides the routes.
struct Pair {
    primary: Postgres,
    replica: Postgres,
    gateway: Gateway,
}

impl Pair {
    fn start(keys: &str) -> Option<Self> {
        let primary = Postgres::start()?;
        let replica = primary.replica();
        let gateway = start(keys, &[&primary, &replica]);
        Some(Self {
            primary,
            replica,
            gateway,
        })
    }

    fn connect(&self) -> Client {
        connect(self.gateway.addr("db"))
    }
}

fn start(keys: &str, servers: &[&Postgres]) -> Gateway {
    let addresses: Vec<String> = servers
        .iter()
        .map(|server| format!("\"{}\"", server.address()))
        .collect();
    let cluster = format!("endpoints: [{}]", addresses.join(", "));
    Gateway::start(&document(&format!("{KEYS}\n{keys}"), &cluster))
}

/// What the admin address says of a server.
fn status(gateway: &Gateway, server: &Postgres) -> serde_json::Value {
    let text = gateway.admin_get("/clusters?format=json").text();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let endpoints = all["clusters"][0]["endpoints"].as_array().unwrap();
    let name = server.address().to_string();
    let found = endpoints.iter().find(|endpoint| endpoint["name"] == *name);
    found.unwrap_or_else(|| panic!("{text}")).clone()
}

/// Waits until the admin address says this of a server.
fn wait_for(
    gateway: &Gateway,
    server: &Postgres,
    holds: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    loop {
        let status = status(gateway, server);
        if holds(&status) {
            return status;
        }
    }
}

/// Carries out a write, on a new connection if the old one is lost.
fn write(gateway: &Gateway, writer: &mut Client, sql: &str) {
    while writer.batch_execute(sql).is_err() {
        *writer = loop {
            let mut config = postgres::Config::new();
            let address = gateway.addr("db");
            config
                .host(&address.ip().to_string())
                .port(address.port())
                .user("postgres");
            if let Ok(client) = config.dbname("postgres").connect(NoTls) {
                break client;
            }
        };
    }
}

#[test]
fn reads_go_to_the_replica_and_writes_follow_the_primary() {
    let Some(mut pair) = Pair::start("") else {
        return;
    };
    let mut client = pair.connect();
    // Roles are found within a second of the start.
    while !recovering(&mut client) {}
    client.batch_execute("CREATE TABLE t (a int)").unwrap();
    client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    client.batch_execute("BEGIN").unwrap();
    assert!(
        !recovering(&mut client),
        "a transaction stays where it began"
    );
    client.batch_execute("COMMIT").unwrap();
    assert!(recovering(&mut client));

    pair.primary.kill();
    pair.replica.promote();
    // Writes find the new primary, once it is known as one.
    let mut writer = pair.connect();
    write(&pair.gateway, &mut writer, "INSERT INTO t VALUES (2)");
    assert_eq!(pair.replica.sql("SELECT count(*) FROM t"), "2");
}

#[test]
fn an_old_primary_is_fenced_and_its_transactions_end() {
    let Some(pair) = Pair::start("") else {
        return;
    };
    let mut client = pair.connect();
    client.batch_execute("CREATE TABLE t (a int)").unwrap();
    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .unwrap();
    // The replica becomes a primary, and the old one knows nothing of it.
    pair.replica.promote();
    let old = wait_for(&pair.gateway, &pair.primary, |old| old["fenced"] == true);
    assert_eq!(old["replication"]["timeline"], 1, "{old}");
    let new = status(&pair.gateway, &pair.replica);
    assert_eq!(
        (&new["role"], &new["replication"]["timeline"]),
        (&"primary".into(), &2.into())
    );

    let error = loop {
        if let Err(error) = client.batch_execute("INSERT INTO t VALUES (2)") {
            break error;
        }
    };
    let told = error.code().cloned();
    assert!(
        error.is_closed() || told == Some(SqlState::READ_ONLY_SQL_TRANSACTION),
        "{error:?}"
    );
    let stats = pair.gateway.stats();
    let labels = [("listener", "db"), ("reason", "demoted")];
    assert_eq!(
        stats.counter("portcullis_postgres_rejections_total", &labels),
        1
    );
    let mut client = pair.connect();
    for value in 10..20 {
        client
            .batch_execute(&format!("INSERT INTO t VALUES ({value})"))
            .unwrap();
        assert!(!recovering(&mut client), "nobody reads from the old one");
    }
    assert_eq!(pair.replica.sql("SELECT count(*) FROM t"), "10");
    assert_eq!(pair.primary.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_replica_that_lags_is_left_out_until_it_has_caught_up() {
    let Some(pair) = Pair::start("max_lag: { bytes: 100KiB }") else {
        return;
    };
    let mut client = pair.connect();
    client.batch_execute("CREATE TABLE t (a text)").unwrap();
    while !recovering(&mut client) {}
    pair.replica.sql("SELECT pg_wal_replay_pause()");
    client
        .batch_execute("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
        .unwrap();
    let lags = |status: &serde_json::Value| status["replication"]["lag_bytes"].as_u64();
    let behind = wait_for(&pair.gateway, &pair.replica, |status| {
        lags(status) > Some(100 * 1024)
    });
    assert_eq!(behind["role"], "replica", "{behind}");
    for _ in 0..10 {
        assert!(!recovering(&mut client));
    }
    pair.replica.sql("SELECT pg_wal_replay_resume()");
    while !recovering(&mut client) {}
    wait_for(&pair.gateway, &pair.replica, |status| {
        lags(status) == Some(0)
    });
}

#[test]
fn lag_in_time_counts_what_has_not_arrived() {
    let Some(pair) = Pair::start("max_lag: { time: 1s }") else {
        return;
    };
    let mut client = pair.connect();
    client.batch_execute("CREATE TABLE t (a text)").unwrap();
    while !recovering(&mut client) {}
    pair.replica.sql("SELECT pg_wal_replay_pause()");
    client.batch_execute("INSERT INTO t VALUES ('x')").unwrap();
    while recovering(&mut client) {}
    let behind = status(&pair.gateway, &pair.replica);
    assert!(
        behind["replication"]["lag_ms"].as_u64() > Some(1000),
        "{behind}"
    );
}

#[test]
fn a_client_reads_what_it_has_written_from_a_replica_that_has_it() {
    let Some(pair) = Pair::start("read_your_writes: lsn") else {
        return;
    };
    let mut client = pair.connect();
    client.batch_execute("CREATE TABLE t (a int)").unwrap();
    let count = |client: &mut Client| -> i64 {
        client
            .query_one("SELECT count(*) FROM t", &[])
            .unwrap()
            .get(0)
    };
    for written in 1..20 {
        client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(count(&mut client), written);
    }
    // Once the replica has it, it is read from there.
    while !recovering(&mut client) {}
    assert_eq!(count(&mut client), 19);

    pair.replica.sql("SELECT pg_wal_replay_pause()");
    client
        .batch_execute("BEGIN; INSERT INTO t VALUES (1); COMMIT")
        .unwrap();
    let mut other = pair.connect();
    while !recovering(&mut other) {}
    let position = |status: &serde_json::Value| status["replication"]["position"].as_u64();
    let before = position(&status(&pair.gateway, &pair.primary));
    pair.primary.sql("CREATE TABLE u (a int)");
    wait_for(&pair.gateway, &pair.primary, |status| {
        position(status) > before
    });
    for _ in 0..10 {
        assert_eq!(count(&mut client), 20, "the replica does not have it yet");
        assert!(!recovering(&mut client));
        assert_eq!(
            count(&mut other),
            19,
            "who has written nothing reads anywhere"
        );
    }
    pair.replica.sql("SELECT pg_wal_replay_resume()");
    while !recovering(&mut client) {}
    assert_eq!(count(&mut client), 20);
}

/// Two replicas of a dead primary, the one that received more of its log first: the other can follow that one, but not the
/// other way round.
fn further_first(one: Postgres, other: Postgres) -> (Postgres, Postgres) {
    let received = |replica: &Postgres| -> u64 {
        // What was on its way arrives until the receiver sees the end.
        while replica.sql("SELECT count(*) FROM pg_stat_wal_receiver") != "0" {}
        let received = replica.sql("SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn");
        received.parse().unwrap()
    };
    if received(&one) < received(&other) {
        (other, one)
    } else {
        (one, other)
    }
}

#[test]
fn a_second_replica_follows_the_new_primary() {
    let Some(mut primary) = Postgres::start() else {
        return;
    };
    let (first, second) = (primary.replica(), primary.replica());
    let gateway = start("", &[&primary, &first, &second]);
    let mut client = connect(gateway.addr("db"));
    while !recovering(&mut client) {}
    client.batch_execute("CREATE TABLE t (a int)").unwrap();
    primary.kill();
    let (first, second) = further_first(first, second);
    first.promote();
    wait_for(&gateway, &first, |status| status["role"] == "primary");
    let mut writer = connect(gateway.addr("db"));
    write(&gateway, &mut writer, "INSERT INTO t VALUES (1)");
    // It still looks for the dead one; told of the new one, it follows into its timeline.
    let address = first.address();
    second.sql(&format!(
        "ALTER SYSTEM SET primary_conninfo = 'host={} port={} user=postgres'",
        address.ip(),
        address.port()
    ));
    second.sql("SELECT pg_reload_conf()");
    let followed = wait_for(&gateway, &second, |status| {
        status["replication"]["timeline"] == 2
    });
    assert_eq!(
        (&followed["role"], &followed["fenced"]),
        (&"replica".into(), &false.into())
    );
    while !recovering(&mut writer) {}
}
