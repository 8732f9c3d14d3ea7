//! Which server a statement comes to: row P13 of `ATTACKS.md`. Two servers that know nothing of each other say who they are.

use harness::Gateway;
use harness::postgres::Postgres;

use super::wire::{Wire, bind, execute, parse, query, sync, value};

/// Two servers, and a gateway that sends reads to the second.
fn apart() -> Option<(Gateway, [Postgres; 2])> {
    let servers = [Postgres::start()?, Postgres::start()?];
    for (server, name) in servers.iter().zip(["main", "copy"]) {
        server.sql(&format!(
            "CREATE TABLE place AS SELECT '{name}' AS name; CREATE TABLE log (a int); \
             CREATE FUNCTION bump() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING a'"
        ));
    }
    let gateway = Gateway::start(&format!(
        "listeners:\n  db:\n    listen: 127.0.0.1:0\n    protocol: postgres\n    auth: {{ method: trust }}\n    \
         upstream: {{ auth_minimum: trust }}\n    pool: {{ mode: transaction, size: 2 }}\n    routes:\n      \
         - {{ name: reads, match: {{ statement: read }}, cluster: copy }}\n      - {{ name: writes, cluster: main }}\n\
         clusters:\n  main: {{ endpoints: [\"{}\"] }}\n  copy: {{ endpoints: [\"{}\"] }}\n",
        servers[0].address(),
        servers[1].address()
    ));
    Some((gateway, servers))
}

#[test]
fn p13_what_is_not_provably_a_read_goes_to_the_primary() {
    let Some((gateway, servers)) = apart() else {
        return;
    };
    let rows = [
        ("copy", "SELECT name FROM place"),
        ("copy", "/* INSERT */ SELECT name FROM place -- UPDATE"),
        (
            "copy",
            "WITH x AS (SELECT name FROM place) SELECT name FROM x",
        ),
        (
            "copy",
            "SELECT lower(name) FROM place WHERE name <> 'DELETE FROM place'",
        ),
        (
            "main",
            "WITH w AS (INSERT INTO log VALUES (1) RETURNING a) SELECT name FROM place, w",
        ),
        ("main", "SELECT name FROM place FOR UPDATE"),
        (
            "main",
            "SELECT name FROM (SELECT name FROM place FOR SHARE) x",
        ),
        ("main", "SELECT name FROM place, bump()"),
        ("main", "SELECT name FROM place WHERE bump() = 1"),
        (
            "main",
            "SELECT name FROM place WHERE EXISTS (SELECT pg_advisory_xact_lock(1))",
        ),
        ("main", "SELECT name FROM place; INSERT INTO log VALUES (1)"),
        (
            "main",
            "/* copy */ UPDATE place SET name = name RETURNING name",
        ),
        (
            "main",
            "/*+ read */ DELETE FROM log; SELECT name FROM place",
        ),
        (
            "main",
            "SELECT 1 /* /* */ ; SELECT */ INTO TEMP u; SELECT name FROM place",
        ),
        ("main", "SELECT name FROM place WHERE \"bump\"() = 1"),
        (
            "main",
            "SELECT name FROM place WHERE public . /**/ bump () = 1",
        ),
    ];
    for (wanted, text) in rows {
        let mut client = Wire::login(gateway.addr("db"));
        assert_eq!(client.value(text), wanted, "{text}");
        // A text of several statements cannot be prepared.
        if !text.contains(';') {
            let prepared = [parse("s", text), bind("s"), execute(), sync()].concat();
            assert_eq!(value(&client.ask(prepared)), wanted, "prepared: {text}");
        }
    }
    assert_eq!(servers[1].sql("SELECT count(*) FROM log"), "0");
}

#[test]
fn p13_a_transaction_stays_where_it_began() {
    let Some((gateway, servers)) = apart() else {
        return;
    };
    let mut client = Wire::login(gateway.addr("db"));
    client.ask(query("BEGIN"));
    assert_eq!(client.value("SELECT name FROM place"), "main");
    client.ask(query("INSERT INTO log VALUES (2)"));
    assert_eq!(client.value("SELECT count(*) FROM log"), "1");
    client.ask(query("COMMIT"));
    assert_eq!(
        client.value("SELECT count(*) FROM log"),
        "0",
        "a read of the copy"
    );
    assert_eq!(servers[0].sql("SELECT count(*) FROM log"), "1");
}
