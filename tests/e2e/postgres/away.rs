//! Servers that are away: who takes over, and what clients are told.

use harness::Gateway;
use harness::postgres::Postgres;
use postgres::Client;
use postgres::error::SqlState;

use super::pooling::connect;
use super::{Site, document};

fn port(client: &mut Client) -> i32 {
    client.query_one("SHOW port", &[]).map_or(0, |row| {
        let port: &str = row.get(0);
        port.parse().unwrap()
    })
}

#[test]
fn clients_of_a_server_that_is_away_are_told_and_stay() {
    let keys = "pool: { mode: transaction, size: 2, unreachable_after: 200ms }";
    let Some(mut site) = Site::start(keys) else {
        return;
    };
    let mut clients: Vec<Client> = (0..4).map(|_| connect(site.address())).collect();
    assert!(clients.iter_mut().all(|client| port(client) > 0));
    site.server.kill();
    for client in &mut clients {
        let error = loop {
            let error = client.batch_execute("SELECT 1").unwrap_err();
            // The last words of a backend that was still there.
            let lost = [SqlState::ADMIN_SHUTDOWN, SqlState::CONNECTION_FAILURE];
            if !error.code().is_some_and(|code| lost.contains(code)) {
                break error;
            }
        };
        assert_eq!(error.code(), Some(&SqlState::CANNOT_CONNECT_NOW), "{error}");
    }
    let told = site.count(
        "portcullis_postgres_rejections_total",
        &[("reason", "unreachable")],
    );
    assert_eq!(told, 4);
    site.server.restart();
    for client in &mut clients {
        // Within a pause they are still told.
        while port(client) == 0 {}
    }
}

#[test]
fn another_endpoint_of_the_role_takes_over_at_once() {
    let (Some(mut one), Some(other)) = (Postgres::start(), Postgres::start()) else {
        return;
    };
    let cluster = format!(
        "endpoints:\n  - {{ address: \"{}\", role: replica }}\n  - {{ address: \"{}\", role: replica }}",
        one.address(),
        other.address()
    );
    let keys = "\
pool: { mode: transaction, unreachable_after: off }
routes:
  - { cluster: main, role: replica }";
    let gateway = Gateway::start(&document(keys, &cluster));
    let mut client = connect(gateway.addr("db"));
    let mut ports: Vec<i32> = (0..20).map(|_| port(&mut client)).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 2, "both are read from");
    one.kill();
    let left = i32::from(other.address().port());
    // One statement may have been sent to the server that died, before its connection was seen to be gone.
    let ports: Vec<i32> = (0..20).map(|_| port(&mut client)).collect();
    let answered = ports.iter().filter(|port| **port == left).count();
    let failed = ports.iter().filter(|port| **port == 0).count();
    assert!(answered >= 19 && answered + failed == 20, "{ports:?}");
    one.restart();
    // The other is back when its time in ejection is over, if it came to that.
    let statuses = gateway.admin_get("/clusters?format=json").text();
    assert!(statuses.contains("consecutive_failures"), "{statuses}");
}

#[test]
fn terminated_backends_ban_no_server() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 4, unreachable_after: off }")
    else {
        return;
    };
    let mut clients: Vec<Client> = (0..4).map(|_| connect(site.address())).collect();
    for _ in 0..10 {
        for client in &mut clients {
            client.batch_execute("BEGIN").unwrap();
        }
        site.server.sql(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
        for client in &mut clients {
            assert!(client.batch_execute("COMMIT").is_err());
            *client = connect(site.address());
            assert!(port(client) > 0);
        }
    }
    let ejected = site.gateway.admin_get("/clusters?format=json").text();
    assert!(ejected.contains("\"ejected_for_ms\":null"), "{ejected}");
}
