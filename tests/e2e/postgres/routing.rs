//! Which server a statement comes to: row P13 of `ATTACKS.md`. Two servers that know nothing of each other say who they are.

use std::net::SocketAddr;

use harness::postgres::{Postgres, psql_command};
use harness::tls::Authority;
use harness::{Gateway, Scratch};

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

/// Where rules lead a client: the name of the server that it comes to, or what it is told.
fn place(address: SocketAddr, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = psql_command(address, "postgres", "postgres");
    command.args(arguments).envs(environment.iter().copied());
    command.args(["--command", "SELECT name FROM place"]);
    let output = command.output().expect("run psql");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

#[test]
fn rules_lead_clients_to_different_clusters() {
    let (Some(main), Some(copy)) = (Postgres::start(), Postgres::start()) else {
        return;
    };
    for (server, name) in [(&main, "main"), (&copy, "copy")] {
        server.sql(&format!(
            "CREATE TABLE place AS SELECT '{name}' AS name; GRANT SELECT ON place TO PUBLIC; CREATE ROLE eve LOGIN"
        ));
    }
    let files = Scratch::new();
    let issued = Authority::new("test").issue(&["main.test", "copy.test"]);
    let cert = files.write("cert.pem", &issued.cert);
    let key = files.write("key.pem", &issued.key);
    let rules = [
        "match: { database: shop_* }, cluster: copy, database: postgres",
        "match: { database: postgres, user: eve }, cluster: copy",
        "match: { application: [batch, report_*] }, cluster: copy",
        "match: { sni: copy.test }, cluster: copy",
        "match: { application: near, network: 127.0.0.0/8 }, cluster: copy",
        "match: { application: far, network: 10.0.0.0/8 }, cluster: copy",
        "match: { database: postgres }, cluster: main",
    ];
    let rules = rules.map(|rule| format!("      - {{ {rule} }}\n")).concat();
    let gateway = Gateway::start(&format!(
        "listeners:\n  db:\n    listen: 127.0.0.1:0\n    protocol: postgres\n    auth: {{ method: trust, require_tls: false }}\n    \
         upstream: {{ auth_minimum: trust }}\n    pool: {{ mode: transaction, size: 2 }}\n    \
         tls: {{ certificates: [{{ cert: {}, key: {} }}] }}\n    routes:\n{rules}\
         clusters:\n  main: {{ endpoints: [\"{}\"] }}\n  copy: {{ endpoints: [\"{}\"] }}\n",
        cert.display(),
        key.display(),
        main.address(),
        copy.address()
    ));
    let named = |name| ["--host", name];
    let tls = [("PGSSLMODE", "require"), ("PGHOSTADDR", "127.0.0.1")];
    let address = gateway.addr("db");
    let nothing: (&[&str], &[(&str, &str)]) = (&[], &[]);
    let rows = [
        ("nothing", nothing, "main"),
        ("a database", (&["--dbname", "shop_1"], &[]), "copy"),
        ("a user", (&["--username", "eve"], &[]), "copy"),
        ("an application", (&[], &[("PGAPPNAME", "batch")]), "copy"),
        ("a pattern", (&[], &[("PGAPPNAME", "report_7")]), "copy"),
        ("a name in TLS", (&named("copy.test"), &tls), "copy"),
        ("another name", (&named("main.test"), &tls), "main"),
        ("a network", (&[], &[("PGAPPNAME", "near")]), "copy"),
        ("another network", (&[], &[("PGAPPNAME", "far")]), "main"),
    ];
    for (name, (arguments, environment), wanted) in rows {
        assert_eq!(place(address, arguments, environment), wanted, "{name}");
    }
    let refused = place(address, &["--dbname", "other"], &[]);
    assert!(refused.contains("\"other\" does not exist"), "{refused}");
}
