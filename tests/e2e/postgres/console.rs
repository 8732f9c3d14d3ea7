//! The administrators' console, and the page of statements.

use harness::postgres::psql;

use super::Site;
use super::pooling::connect;

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
