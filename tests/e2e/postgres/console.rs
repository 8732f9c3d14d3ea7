//! The administrators' console, and the page of statements.

use harness::Gateway;
use harness::postgres::{Postgres, psql};

use super::pooling::connect;
use super::{Site, document};

const KEYS: &str =
    "pool: { mode: transaction, size: 2 }\nconsole: { admins: [postgres], viewers: [eve] }";

#[test]
fn administrators_see_and_steer_pools() {
    let Some(site) = Site::start(KEYS) else {
        return;
    };
    site.sql("SELECT 1");
    let console = |user: &str, sql: &str| psql(site.address(), user, "pgbouncer", sql);
    let pools = console("postgres", "SHOW POOLS").unwrap();
    assert!(pools.starts_with("postgres|postgres|"), "{pools}");
    assert!(pools.ends_with("|transaction"), "{pools}");
    assert!(
        console("postgres", "SHOW VERSION")
            .unwrap()
            .starts_with("portcullis ")
    );
    assert!(
        console("postgres", "SHOW STATS")
            .unwrap()
            .starts_with("postgres|")
    );
    assert!(
        console("postgres", "SHOW DATABASES")
            .unwrap()
            .starts_with("postgres|")
    );
    assert!(
        console("postgres", "SHOW LISTS")
            .unwrap()
            .contains("pools|1")
    );

    let mut client = connect(site.address());
    assert_eq!(console("postgres", "PAUSE").unwrap(), "");
    assert!(
        console("postgres", "SHOW STATE")
            .unwrap()
            .contains("paused|yes")
    );
    let waiting = std::thread::spawn(move || {
        let one: i32 = client.query_one("SELECT 1", &[]).unwrap().get(0);
        one
    });
    site.gateway.wait_stat(
        "portcullis_postgres_clients_waiting",
        &[("listener", "db")],
        |waiting| waiting == 1,
    );
    assert_eq!(console("postgres", "RESUME").unwrap(), "");
    assert_eq!(waiting.join().unwrap(), 1);
    assert_eq!(console("postgres", "RECONNECT").unwrap(), "");

    // Who may look may not steer, and others may not come in (CVE-2026-6667).
    assert!(console("eve", "SHOW POOLS").is_ok());
    assert!(
        console("eve", "PAUSE")
            .unwrap_err()
            .contains("administrators")
    );
    assert!(
        console("mallory", "SHOW POOLS")
            .unwrap_err()
            .contains("not allowed")
    );
    assert!(
        console("postgres", "SHOW NOTHING")
            .unwrap_err()
            .contains("SHOW HELP")
    );
}

#[test]
fn statements_are_listed_without_their_values() {
    let Some(site) = Site::start(KEYS) else {
        return;
    };
    for value in 0..5 {
        site.sql(&format!("SELECT 'secret-{value}' AS x, {value}"));
    }
    let page = |form: &str| {
        site.gateway
            .admin_get(&format!("/postgres/statements{form}"))
            .text()
    };
    // Each worker lays its counts down once a second.
    while !page("?format=json").contains("\"calls\":5") {}
    let json: serde_json::Value = serde_json::from_str(&page("?format=json")).unwrap();
    assert!(!json.to_string().contains("secret"), "{json}");
    let text = page("");
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("select ? as x"), "{text}");
}

#[test]
fn passwords_are_not_shown() {
    let Some(site) = Site::start(
        "auth: { users: { postgres: { password: hunter2, upstream_password: hunter3 } } }\nupstream: { auth_minimum: trust }",
    ) else {
        return;
    };
    let dump = site.gateway.admin_get("/config_dump").text();
    assert!(!dump.contains("hunter"), "{dump}");
    assert!(dump.contains("[hidden]"));
}

/// The cells of the rows that psql prints.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split('|').collect()).collect()
}

#[test]
fn clients_and_servers_are_listed_one_by_one() {
    let Some(site) = Site::start(KEYS) else {
        return;
    };
    let console = |sql: &str| psql(site.address(), "postgres", "pgbouncer", sql).unwrap();
    let mut holder = connect(site.address());
    let mut other = connect(site.address());
    holder.batch_execute("BEGIN").unwrap();
    let pid: i32 = holder
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    other.batch_execute("BEGIN").unwrap();
    let address = site.address();
    let waiting = std::thread::spawn(move || connect(address).batch_execute("BEGIN"));
    site.gateway.wait_stat(
        "portcullis_postgres_clients_waiting",
        &[("listener", "db")],
        |waiting| waiting == 1,
    );

    let clients = console("SHOW CLIENTS");
    let clients = cells(&clients);
    let states = |wanted: &str| clients.iter().filter(|row| row[3] == wanted).count();
    assert_eq!(
        (states("active"), states("waiting"), states("idle")),
        (2, 1, 1),
        "{clients:?}"
    );
    let own = clients.iter().find(|row| row[3] == "idle").unwrap();
    assert_eq!((own[0], own[2], own[17]), ("C", "pgbouncer", "psql"));
    assert_eq!(
        own[7],
        site.address().port().to_string(),
        "where it came to"
    );

    let servers = console("SHOW SERVERS");
    let servers = cells(&servers);
    assert_eq!(servers.len(), 2, "{servers:?}");
    let server = servers.iter().find(|row| row[15] == pid.to_string());
    let server = server.unwrap_or_else(|| panic!("{servers:?}"));
    assert_eq!(
        (server[0], server[1], server[3]),
        ("S", "postgres", "active")
    );
    assert_eq!(server[5], site.server.address().port().to_string());
    let client = clients.iter().find(|row| row[13] == server[14]).unwrap();
    assert_eq!(client[14], server[13], "each knows the other");

    holder.batch_execute("COMMIT").unwrap();
    waiting.join().unwrap().unwrap();
    other.batch_execute("COMMIT").unwrap();
    let servers = console("SHOW SERVERS");
    assert!(
        cells(&servers)
            .iter()
            .all(|row| row[3] != "active" || row[14].is_empty()),
        "{servers}"
    );
    drop((holder, other));
    while cells(&console("SHOW CLIENTS")).len() > 1 {}
}

/// What the console says of prepared statements: each client's number, and each server connection's.
fn prepared(site: &Site) -> (Vec<String>, Vec<String>) {
    let console = |sql: &str| psql(site.address(), "postgres", "pgbouncer", sql).unwrap();
    let numbers = |text: &str, database: &str| {
        let rows = cells(text).into_iter();
        let mut numbers: Vec<String> = rows
            .filter(|row| row[2] == database)
            .map(|row| row[18].to_owned())
            .collect();
        numbers.sort();
        numbers
    };
    (
        numbers(&console("SHOW CLIENTS"), "postgres"),
        numbers(&console("SHOW SERVERS"), "postgres"),
    )
}

#[test]
fn prepared_statements_are_counted_on_both_sides() {
    // Where a connection changes hands its statements stay for the next; where it is reset they go.
    for (mode, left) in [("transaction", "2"), ("session", "0")] {
        let keys = format!("pool: {{ mode: {mode}, size: 1 }}\nconsole: {{ admins: [postgres] }}");
        let Some(site) = Site::start(&keys) else {
            return;
        };
        let shown = |clients: &[&str], servers: &[&str]| {
            let lists = [clients, servers].map(|list| list.iter().map(|it| (*it).to_owned()));
            let [clients, servers] = lists.map(Iterator::collect::<Vec<_>>);
            prepared(&site) == (clients, servers)
        };
        let mut one = connect(site.address());
        let texts = ["SELECT 1", "SELECT 2"];
        let kept = texts.map(|text| one.prepare(text).unwrap());
        assert!(shown(&["2"], &["2"]), "{mode}: {:?}", prepared(&site));
        if mode == "transaction" {
            let mut other = connect(site.address());
            let _alike = other.prepare(texts[0]).unwrap();
            assert!(shown(&["1", "2"], &["2"]), "{:?}", prepared(&site));
        }
        drop((kept, one));
        while !shown(&[], &[left]) {}
    }
}

#[test]
fn reload_does_what_the_admin_address_does() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let cluster = format!("endpoints: [\"{}\"]", server.address());
    let gateway = Gateway::start(&document(KEYS, &cluster));
    let console = |sql: &str| psql(gateway.addr("db"), "postgres", "pgbouncer", sql);
    let size = || {
        let config = console("SHOW CONFIG").unwrap();
        let rows = cells(&config).into_iter();
        let mut sizes = rows.filter(|row| row[0] == "default_pool_size");
        sizes.next().map(|row| row[1].to_owned())
    };
    assert_eq!(size().as_deref(), Some("2"));
    gateway.rewrite(&document(&KEYS.replace("size: 2", "size: 7"), &cluster));
    assert_eq!(console("RELOAD").unwrap(), "");
    assert_eq!(size().as_deref(), Some("7"));

    gateway.rewrite(&document(&KEYS.replace("size: 2", "size: 0"), &cluster));
    let refused = console("RELOAD").unwrap_err();
    assert!(refused.contains("is refused"), "{refused}");
    assert!(refused.contains("nobody is served"), "{refused}");
    assert_eq!(size().as_deref(), Some("7"), "the one before goes on");
    assert!(
        psql(gateway.addr("db"), "eve", "pgbouncer", "RELOAD")
            .unwrap_err()
            .contains("administrators")
    );
}

#[test]
fn kill_ends_those_who_hold_a_connection() {
    let Some(site) = Site::start(KEYS) else {
        return;
    };
    let mut client = connect(site.address());
    client.batch_execute("BEGIN").unwrap();
    psql(site.address(), "postgres", "pgbouncer", "KILL postgres").unwrap();
    site.gateway.wait_stat(
        "portcullis_postgres_rejections_total",
        &[("listener", "db"), ("reason", "killed")],
        |killed| killed == 1,
    );
    assert!(client.batch_execute("COMMIT").is_err());
    psql(site.address(), "postgres", "pgbouncer", "RESUME postgres").unwrap();
    assert_eq!(site.sql("SELECT 1"), "1");
}
