//! Who comes in, by which method, and who the server then sees: psql as the client, PostgreSQL behind.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Stdio;

use harness::postgres::{Postgres, SUPERUSER, psql_command};
use harness::tls::{Authority, Issued, Order};
use harness::{Gateway, Scratch, eventually};

use super::{Site, document, gateway};

const LOGINS: &str = "portcullis_postgres_logins_total";

/// Runs psql with libpq's environment on top; what it printed, or what it said went wrong.
fn run(
    address: SocketAddr,
    user: &str,
    environment: &[(&str, &str)],
    sql: &str,
) -> Result<String, String> {
    let mut command = psql_command(address, user, "postgres");
    command.envs(environment.iter().copied());
    // No password is ever asked for on a terminal.
    command.arg("--no-password");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("start psql");
    // A client that was refused reads nothing.
    let _ = child.stdin.take().unwrap().write_all(sql.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// As [`run`] with a password.
fn enter(address: SocketAddr, user: &str, password: &str) -> Result<String, String> {
    run(
        address,
        user,
        &[("PGPASSWORD", password)],
        "SELECT current_user",
    )
}

/// What a server stores for a password.
fn stored(server: &Postgres, encryption: &str, user: &str, password: &str) -> String {
    server.sql(&format!(
        "SET password_encryption = '{encryption}'; CREATE ROLE {user} LOGIN PASSWORD '{password}'"
    ));
    server.sql(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"
    ))
}

/// A listener's TLS by this certificate, as a line of keys.
fn tls_keys(files: &Scratch, issued: &Issued, more: &str) -> String {
    let cert = files.write("cert.pem", &issued.cert);
    let key = files.write("key.pem", &issued.key);
    format!(
        "tls: {{ certificates: [{{ cert: {}, key: {} }}]{more} }}",
        cert.display(),
        key.display()
    )
}

#[test]
fn passwords_of_the_configuration() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let md5 = stored(&server, "md5", "hashed", "one");
    let scram = stored(&server, "scram-sha-256", "verified", "two");
    server.sql("CREATE ROLE plain LOGIN");
    let rows = [
        (
            "md5",
            vec![
                ("plain", "three", "three"),
                ("hashed", "one", md5.as_str()),
                ("verified", "two", scram.as_str()),
            ],
        ),
        (
            "scram-sha-256",
            vec![
                ("plain", "three", "three"),
                ("verified", "two", scram.as_str()),
            ],
        ),
    ];
    for (method, users) in rows {
        let listed: Vec<String> = users
            .iter()
            .map(|(name, _, password)| format!("{name}: {{ password: \"{password}\" }}"))
            .collect();
        let gateway = gateway(
            &format!(
                "auth: {{ method: {method}, users: {{ {} }} }}",
                listed.join(", ")
            ),
            server.address(),
        );
        let address = gateway.addr("db");
        for (name, password, _) in users {
            assert_eq!(
                enter(address, name, password).as_deref(),
                Ok(name),
                "{method}: {name}"
            );
            let error = enter(address, name, "wrong").expect_err("a wrong password");
            assert!(
                error.contains("password authentication failed"),
                "{method}: {error}"
            );
        }
    }
}

#[test]
fn nobody_learns_which_users_there_are() {
    for method in ["md5", "scram-sha-256"] {
        let Some(site) = Site::start(&format!(
            "auth: {{ method: {method}, users: {{ app: {{ password: secret }} }} }}"
        )) else {
            return;
        };
        let wrong = enter(site.address(), "app", "wrong").unwrap_err();
        let unknown = enter(site.address(), "nobody", "wrong").unwrap_err();
        let empty = run(site.address(), "app", &[("PGOPTIONS", "")], "SELECT 1").unwrap_err();
        let last = |text: &str| {
            text.rsplit_once("FATAL:")
                .map(|(_, last)| last.trim().to_owned())
        };
        assert_eq!(
            last(&wrong).as_deref(),
            Some("password authentication failed for user \"app\"")
        );
        assert_eq!(
            last(&unknown).as_deref(),
            Some("password authentication failed for user \"nobody\"")
        );
        assert!(empty.contains("no password supplied"), "{empty}");
        assert_eq!(
            site.count(LOGINS, &[("reason", "wrong_password")]),
            1,
            "{method}"
        );
        assert_eq!(
            site.count(LOGINS, &[("reason", "unknown_user")]),
            1,
            "{method}"
        );
        assert_eq!(site.count(LOGINS, &[("reason", "ok")]), 0, "{method}");
    }
}

#[test]
fn passwords_of_a_file() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let verifier = stored(&server, "scram-sha-256", "verified", "two");
    server.sql("CREATE ROLE plain LOGIN");
    let files = Scratch::new();
    let list = files.write(
        "userlist.txt",
        format!("\"plain\" \"three\"\n\"verified\" \"{verifier}\"\n"),
    );
    let gateway = gateway(
        &format!("auth: {{ userlist: {} }}", list.display()),
        server.address(),
    );
    for (name, password) in [("plain", "three"), ("verified", "two")] {
        assert_eq!(
            enter(gateway.addr("db"), name, password).as_deref(),
            Ok(name)
        );
        assert!(enter(gateway.addr("db"), name, "wrong").is_err(), "{name}");
    }
}

#[test]
fn p6_a_server_is_asked_for_users() {
    let Some(server) = Postgres::start() else {
        return;
    };
    stored(&server, "scram-sha-256", "current", "one");
    stored(&server, "scram-sha-256", "expired", "two");
    server.sql("ALTER ROLE expired VALID UNTIL '2001-01-01'");
    stored(&server, "scram-sha-256", "later", "three");
    server.sql("ALTER ROLE later VALID UNTIL '2200-01-01'");
    server.sql("CREATE ROLE bare LOGIN");
    let gateway = gateway("auth: { auth_query: { user: postgres } }", server.address());
    let address = gateway.addr("db");
    assert_eq!(enter(address, "current", "one").as_deref(), Ok("current"));
    assert_eq!(enter(address, "later", "three").as_deref(), Ok("later"));
    for (name, password, reason) in [
        ("expired", "two", "password_expired"),
        ("bare", "x", "no_password"),
        ("nobody", "x", "unknown_user"),
        ("current", "x", "wrong_password"),
    ] {
        let error = enter(address, name, password).unwrap_err();
        assert!(
            error.contains(&format!(
                "password authentication failed for user \"{name}\""
            )),
            "{error}"
        );
        assert_eq!(
            gateway
                .stats()
                .counter(LOGINS, &[("listener", "db"), ("reason", reason)]),
            1,
            "{name}"
        );
    }
}

#[test]
fn p6_parameters_of_clients_do_not_reach_the_query_for_users() {
    let Some(server) = Postgres::start() else {
        return;
    };
    stored(&server, "scram-sha-256", "victim", "right");
    // An attacker's verifier under a name that an unqualified query would find in the attacker's schema.
    let forged = stored(&server, "scram-sha-256", "attacker", "forged");
    server.sql(&format!(
        "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC; \
         CREATE TABLE evil.users (name text, password text); INSERT INTO evil.users VALUES ('victim', '{forged}'); \
         CREATE TABLE public.users (name text, password text); \
         INSERT INTO public.users SELECT rolname, rolpassword FROM pg_authid WHERE rolname = 'victim'"
    ));
    let keys = "auth: { auth_query: { user: postgres, ttl: 1ms, query: \"SELECT name, password FROM users WHERE name = $1\" } }";
    let gateway = gateway(keys, server.address());
    let address = gateway.addr("db");
    let rows = ["-csearch_path=evil", "-c search_path=evil,public"];
    for options in rows {
        let with = |password| {
            run(
                address,
                "victim",
                &[("PGPASSWORD", password), ("PGOPTIONS", options)],
                "SHOW search_path",
            )
        };
        let error = with("forged").expect_err(options);
        assert!(error.contains("password authentication failed"), "{error}");
        let path = options.split_once('=').unwrap().1;
        assert_eq!(
            with("right").map(|path| path.replace(' ', "")).as_deref(),
            Ok(path)
        );
    }
}

#[test]
fn the_proof_of_a_client_goes_on_to_the_server() {
    let hba = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let Some(server) = Postgres::with(&[], hba) else {
        return;
    };
    let verifier = stored(&server, "scram-sha-256", "app", "secret");
    let keys = format!(
        "upstream: {{ auth_minimum: scram-sha-256 }}\nauth: {{ users: {{ app: {{ password: \"{verifier}\" }} }} }}\npool: {{ mode: transaction, size: 2 }}"
    );
    let gateway = gateway(&keys, server.address());
    for _ in 0..3 {
        assert_eq!(
            enter(gateway.addr("db"), "app", "secret").as_deref(),
            Ok("app")
        );
    }
    assert!(enter(gateway.addr("db"), "app", "wrong").is_err());
    // And a password that the gateway knows, and one that is another user's to the server.
    server.sql("CREATE ROLE worker LOGIN PASSWORD 'upstream'");
    let keys = "upstream: { user: worker, password: upstream }\nauth: { users: { app: { password: secret } } }";
    let gateway = super::gateway(keys, server.address());
    assert_eq!(
        enter(gateway.addr("db"), "app", "secret").as_deref(),
        Ok("worker")
    );
}

#[test]
fn a_server_that_asks_for_less_than_it_must_is_not_trusted() {
    let Some(server) = Postgres::start() else {
        return;
    };
    server.sql("CREATE ROLE app LOGIN PASSWORD 'secret'");
    let keys =
        "upstream: { auth_minimum: scram-sha-256 }\nauth: { users: { app: { password: secret } } }";
    let gateway = gateway(keys, server.address());
    assert!(enter(gateway.addr("db"), "app", "secret").is_err());
}

#[test]
fn tls_is_asked_for_by_psql() {
    let authority = Authority::new("test");
    let files = Scratch::new();
    let tls = tls_keys(&files, &authority.issue(&["127.0.0.1", "localhost"]), "");
    let Some(site) = Site::start(&format!(
        "{tls}\nauth: {{ users: {{ postgres: {{ password: secret }} }} }}"
    )) else {
        return;
    };
    let roots = files
        .write("roots.pem", authority.pem())
        .display()
        .to_string();
    let other = files
        .write("other.pem", Authority::new("other").pem())
        .display()
        .to_string();
    let rows = [
        ("require", vec![("PGSSLMODE", "require")], None),
        (
            "verify-full",
            vec![("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &*roots)],
            None,
        ),
        (
            "channel binding",
            vec![("PGSSLMODE", "require"), ("PGCHANNELBINDING", "require")],
            None,
        ),
        (
            "no channel binding",
            vec![("PGSSLMODE", "require"), ("PGCHANNELBINDING", "disable")],
            None,
        ),
        (
            "another authority",
            vec![("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &*other)],
            Some("certificate verify failed"),
        ),
        (
            "no TLS",
            vec![("PGSSLMODE", "disable")],
            Some("without encryption are not accepted"),
        ),
    ];
    for (row, mut environment, error) in rows {
        environment.push(("PGPASSWORD", "secret"));
        let outcome = run(site.address(), SUPERUSER, &environment, "SELECT 'in'");
        match error {
            None => assert_eq!(outcome.as_deref(), Ok("in"), "{row}"),
            Some(text) => {
                let said = outcome.expect_err(row);
                assert!(said.contains(text), "{row}: {said}");
            }
        }
    }
    assert_eq!(
        site.count(
            "portcullis_postgres_rejections_total",
            &[("reason", "tls_required")]
        ),
        1
    );
}

#[test]
fn cleartext_passwords_cross_nothing_but_tls() {
    let files = Scratch::new();
    let tls = tls_keys(&files, &Authority::new("test").issue(&["127.0.0.1"]), "");
    let Some(site) = Site::start(&format!(
        "{tls}\nauth: {{ method: cleartext, users: {{ postgres: {{ password: secret }} }} }}"
    )) else {
        return;
    };
    let with = |mode, password| {
        run(
            site.address(),
            SUPERUSER,
            &[("PGSSLMODE", mode), ("PGPASSWORD", password)],
            "SELECT 'in'",
        )
    };
    assert_eq!(with("require", "secret").as_deref(), Ok("in"));
    assert!(with("require", "wrong").is_err());
    let error = with("disable", "secret").unwrap_err();
    assert!(
        error.contains("without encryption are not accepted"),
        "{error}"
    );
}

#[test]
fn certificates_name_users() {
    let authority = Authority::new("clients");
    let files = Scratch::new();
    let roots = files.write("roots.pem", authority.pem());
    let client = format!(
        ", client_certificates: {{ mode: optional, roots: {} }}",
        roots.display()
    );
    let tls = tls_keys(&files, &authority.issue(&["127.0.0.1"]), &client);
    let Some(site) = Site::start(&format!("{tls}\nauth: {{ method: certificate }}")) else {
        return;
    };
    site.server
        .sql("CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN");
    let alice = authority.fill(Order::of(&["alice.test"]).subject("alice", "Test"));
    let cert = files.write("alice.pem", &alice.cert).display().to_string();
    let key_file = files.write("alice.key", &alice.key);
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let key = key_file.display().to_string();
    let shown = [
        ("PGSSLMODE", "require"),
        ("PGSSLCERT", &*cert),
        ("PGSSLKEY", &*key),
    ];
    let who = "SELECT current_user";
    assert_eq!(
        run(site.address(), "alice", &shown, who).as_deref(),
        Ok("alice")
    );
    let error = run(site.address(), "bob", &shown, who).unwrap_err();
    assert!(
        error.contains("authentication failed for user \"bob\""),
        "{error}"
    );
    assert!(
        run(
            site.address(),
            "alice",
            &[
                ("PGSSLMODE", "require"),
                ("PGSSLCERT", "/none"),
                ("PGSSLKEY", "/none")
            ],
            who
        )
        .is_err()
    );
    assert_eq!(site.count(LOGINS, &[("reason", "certificate_other")]), 1);
    assert_eq!(site.count(LOGINS, &[("reason", "certificate_missing")]), 1);
}

/// A file that the server may read and nobody else.
fn give(server: &Postgres, name: &str, contents: &str) {
    let path = server.data().join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(server.data()).unwrap();
    // Who is not root owns it already.
    let _ = chown(Path::new(&path), Some(owner.uid()), Some(owner.gid()));
}

#[test]
fn servers_are_reached_by_tls() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let authority = Authority::new("servers");
    let issued = authority.issue(&["db.test"]);
    give(&server, "server.crt", &issued.cert);
    give(&server, "server.key", &issued.key);
    server.sql("ALTER SYSTEM SET ssl = on");
    server.sql("SELECT pg_reload_conf()");
    eventually("the server has TLS", || server.sql("SHOW ssl") == "on");
    let files = Scratch::new();
    let roots = files.write("roots.pem", authority.pem());
    let other = files.write("other.pem", Authority::new("other").pem());
    let start = |roots: &Path, name: &str| {
        let cluster = format!(
            "endpoints: [\"{}\"]\ntls: {{ roots: {}, sni: {name} }}",
            server.address(),
            roots.display()
        );
        Gateway::start(&document("timeouts: { startup: 2s }", &cluster))
    };
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let good = start(&roots, "db.test");
    assert_eq!(
        run(good.addr("db"), SUPERUSER, &[], encrypted).as_deref(),
        Ok("t")
    );
    for (row, gateway) in [
        ("another authority", start(&other, "db.test")),
        ("another name", start(&roots, "else.test")),
    ] {
        let error = run(gateway.addr("db"), SUPERUSER, &[], encrypted);
        assert!(error.is_err(), "{row}: {error:?}");
    }
}
