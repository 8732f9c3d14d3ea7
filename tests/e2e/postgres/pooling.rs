//! Many clients on few server connections, and what must not pass from one to another.

use std::net::SocketAddr;
use std::thread;

use postgres::{Client, Config, NoTls};

use super::Site;
use super::wire::{Wire, message, parse, query, sync, tags, value};

/// A driver's connection through the gateway.
pub(super) fn connect(address: SocketAddr) -> Client {
    let mut config = Config::new();
    config
        .host(&address.ip().to_string())
        .port(address.port())
        .user("postgres")
        .dbname("postgres");
    config.connect(NoTls).expect("connect through the gateway")
}

fn backend(client: &mut Client) -> i32 {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0)
}

#[test]
fn clients_share_one_server_connection() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut clients: Vec<Client> = (0..10).map(|_| connect(site.address())).collect();
    let first = backend(&mut clients[0]);
    for client in &mut clients {
        assert_eq!(backend(client), first);
    }
}

#[test]
fn a_pool_never_exceeds_its_size_and_serves_everybody() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 3 }") else {
        return;
    };
    site.sql("CREATE TABLE seen (client int, pid int)");
    let address = site.address();
    let threads: Vec<_> = (0..12)
        .map(|number: i32| {
            thread::spawn(move || {
                let mut client = connect(address);
                for _ in 0..20 {
                    let mut transaction = client.transaction().unwrap();
                    transaction
                        .execute("INSERT INTO seen VALUES ($1, pg_backend_pid())", &[&number])
                        .unwrap();
                    transaction.commit().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(
        site.sql("SELECT count(*), count(DISTINCT client) FROM seen"),
        "240|12"
    );
    let servers: usize = site
        .sql("SELECT count(DISTINCT pid) FROM seen")
        .parse()
        .unwrap();
    assert!((1..=3).contains(&servers), "{servers}");
}

#[test]
fn prepared_statements_follow_their_client() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2, prepared_statements: 3 }")
    else {
        return;
    };
    let mut clients: Vec<Client> = (0..4).map(|_| connect(site.address())).collect();
    let texts: Vec<String> = (0..8)
        .map(|number| format!("SELECT {number} + $1::int"))
        .collect();
    let statements: Vec<Vec<_>> = clients
        .iter_mut()
        .map(|client| {
            texts
                .iter()
                .map(|text| client.prepare(text).unwrap())
                .collect()
        })
        .collect();
    for round in 0..5 {
        for (client, statements) in clients.iter_mut().zip(&statements) {
            for (number, statement) in statements.iter().enumerate() {
                let sum: i32 = client.query_one(statement, &[&round]).unwrap().get(0);
                assert_eq!(sum, i32::try_from(number).unwrap() + round);
            }
        }
    }
    // Dropped statements are closed, and their names are free again.
    drop(statements);
    for client in &mut clients {
        let one: i32 = client.query_one("SELECT 1::int", &[]).unwrap().get(0);
        assert_eq!(one, 1);
    }
}

#[test]
fn session_state_pins_and_is_gone_for_the_next() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    let rows = [
        (
            "SET work_mem = '17MB'",
            "SELECT current_setting('work_mem')",
            "17MB",
            "4MB",
        ),
        (
            "CREATE TEMP TABLE mine (a int)",
            "SELECT (to_regclass('pg_temp.mine') IS NOT NULL)::text",
            "true",
            "false",
        ),
        (
            "SELECT pg_advisory_lock(7)",
            "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "1",
            "0",
        ),
        (
            "SET ROLE pg_read_all_data",
            "SELECT current_user::text",
            "pg_read_all_data",
            "postgres",
        ),
        (
            "PREPARE mine AS SELECT 1",
            "SELECT count(*)::text FROM pg_prepared_statements WHERE name = 'mine'",
            "1",
            "0",
        ),
    ];
    for (set, ask, own, fresh) in rows {
        let mut owner = connect(site.address());
        let mut other = connect(site.address());
        owner.batch_execute(set).unwrap();
        let pid = backend(&mut owner);
        for _ in 0..5 {
            let seen: String = owner.query_one(ask, &[]).unwrap().get(0);
            assert_eq!(seen, own, "{set}");
            assert_eq!(backend(&mut owner), pid, "{set}");
            let seen: String = other.query_one(ask, &[]).unwrap().get(0);
            assert_eq!(seen, fresh, "{set}: seen by another client");
        }
        drop(owner);
        for _ in 0..5 {
            let mut next = connect(site.address());
            let seen: String = next.query_one(ask, &[]).unwrap().get(0);
            assert_eq!(seen, fresh, "{set}: left behind");
        }
    }
}

#[test]
fn settings_are_replayed_where_that_is_the_policy() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1, state: replay }") else {
        return;
    };
    let mut owner = connect(site.address());
    let mut other = connect(site.address());
    owner.batch_execute("SET work_mem = '17MB'").unwrap();
    for _ in 0..3 {
        let seen: String = owner
            .query_one("SELECT current_setting('work_mem')", &[])
            .unwrap()
            .get(0);
        assert_eq!(seen, "17MB");
        let seen: String = other
            .query_one("SELECT current_setting('work_mem')", &[])
            .unwrap()
            .get(0);
        assert_eq!(seen, "4MB");
    }
}

#[test]
fn session_state_is_refused_where_that_is_the_policy() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1, state: refuse }") else {
        return;
    };
    let mut client = connect(site.address());
    for sql in [
        "SET work_mem = '17MB'",
        "LISTEN x",
        "CREATE TEMP TABLE t (a int)",
    ] {
        let error = client.batch_execute(sql).unwrap_err();
        assert_eq!(
            error.code().map(postgres::error::SqlState::code),
            Some("0A000"),
            "{sql}"
        );
    }
    let counted = site.count(
        "portcullis_postgres_rejections_total",
        &[("reason", "state")],
    );
    assert_eq!(counted, 3);
    client.batch_execute("SET LOCAL work_mem = '17MB'").unwrap();
    let one: i32 = client.query_one("SELECT 1", &[]).unwrap().get(0);
    assert_eq!(one, 1);
}

#[test]
fn notifications_reach_who_listens() {
    use postgres::fallible_iterator::FallibleIterator as _;
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    let mut listener = connect(site.address());
    let mut other = connect(site.address());
    listener.batch_execute("LISTEN news").unwrap();
    for number in 0..3 {
        other
            .batch_execute(&format!("NOTIFY news, '{number}'"))
            .unwrap();
    }
    let mut notifications = listener.notifications();
    let mut iter = notifications.timeout_iter(harness::CEILING);
    for number in 0..3 {
        let notification = iter.next().unwrap().expect("a notification");
        assert_eq!(notification.payload(), number.to_string());
    }
}

#[test]
fn an_error_in_a_pipeline_leaves_everybody_in_step() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut one = connect(site.address());
    let mut two = connect(site.address());
    for _ in 0..5 {
        assert!(one.query_one("SELECT 1 / $1::int", &[&0_i32]).is_err());
        let answer: i32 = two.query_one("SELECT $1::int", &[&5_i32]).unwrap().get(0);
        assert_eq!(answer, 5);
        let answer: i32 = one
            .query_one("SELECT 4 / $1::int", &[&2_i32])
            .unwrap()
            .get(0);
        assert_eq!(answer, 2);
    }
}

#[test]
fn unknown_and_duplicate_statements_are_the_servers_errors() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let error = site.error("EXECUTE nothing");
    assert!(
        error.contains("prepared statement \"nothing\" does not exist"),
        "{error}"
    );
    assert_eq!(site.sql("SELECT 1"), "1");
}

#[test]
fn a_cancel_reaches_the_statement_of_its_client_only() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    let mut sleeper = connect(site.address());
    let token = sleeper.cancel_token();
    let sleeping = thread::spawn(move || {
        let error = sleeper.batch_execute("SELECT pg_sleep(600)").unwrap_err();
        let answer: i32 = sleeper.query_one("SELECT 1", &[]).unwrap().get(0);
        (error.code().map(|code| code.code().to_owned()), answer)
    });
    while site.server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'") != "1" {}
    token.cancel_query(NoTls).unwrap();
    assert_eq!(sleeping.join().unwrap(), (Some("57014".to_owned()), 1));
    // Its owner is idle: a late cancel hits nobody.
    let mut client = connect(site.address());
    let token = client.cancel_token();
    let _: i32 = client.query_one("SELECT 1", &[]).unwrap().get(0);
    token.cancel_query(NoTls).unwrap();
    let answer: i32 = client.query_one("SELECT 2", &[]).unwrap().get(0);
    assert_eq!(answer, 2);
}

#[test]
fn who_leaves_in_a_transaction_leaves_nothing_open() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    site.sql("CREATE TABLE t (a int)");
    for _ in 0..5 {
        let mut leaver = connect(site.address());
        leaver
            .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
            .unwrap();
        drop(leaver);
        assert_eq!(site.sql("SELECT count(*) FROM t"), "0");
    }
}

#[test]
fn a_terminated_backend_costs_nobody_else_anything() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    let mut one = connect(site.address());
    let mut two = connect(site.address());
    for _ in 0..3 {
        let pid = backend(&mut one);
        let killed = site
            .server
            .sql(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
        assert_eq!(killed, "t");
        let answer: i32 = two.query_one("SELECT 2", &[]).unwrap().get(0);
        assert_eq!(answer, 2);
        let answer: i32 = one.query_one("SELECT 1", &[]).unwrap().get(0);
        assert_eq!(answer, 1);
    }
}

#[test]
fn a_large_execute_of_a_prepared_statement_stays_one_message() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut wire = Wire::login(site.address());
    wire.ask([parse("mine", "SELECT length($1)"), sync()].concat());
    // Longer than what is looked into at once.
    let answer = wire.ask(query(&format!("EXECUTE mine('{}')", "x".repeat(1_000_000))));
    assert_eq!(tags(&answer), "TDCZ", "{}", answer[0].1.escape_ascii());
    assert_eq!(value(&answer), "1000000");
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn state_set_behind_what_is_looked_into_is_gone_for_the_next() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut one = Wire::login(site.address());
    let sql = format!(
        "SELECT length('{}'); SET statement_timeout = '77s'",
        "x".repeat(1_000_000)
    );
    assert_eq!(tags(&one.ask(query(&sql))), "TDCCZ");
    let mut other = Wire::login(site.address());
    assert_eq!(other.value("SHOW statement_timeout"), "0");
}

#[test]
fn state_set_by_one_of_many_portals_is_gone_for_the_next() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let bind = |portal: &str, statement: &str| {
        message(
            b'B',
            format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes(),
        )
    };
    let mut one = Wire::login(site.address());
    let set = "SELECT set_config('statement_timeout', '77s', false)";
    let mut messages = [parse("set", set), parse("one", "SELECT 1")].concat();
    messages.extend(bind("first", "set"));
    for portal in 0..20 {
        messages.extend(bind(&portal.to_string(), "one"));
    }
    messages.extend(message(b'E', b"first\0\0\0\0\0"));
    messages.extend(sync());
    assert!(tags(&one.ask(messages)).ends_with("2DCZ"));
    let mut other = Wire::login(site.address());
    assert_eq!(other.value("SHOW statement_timeout"), "0");
}

#[test]
fn a_large_error_is_the_clients_and_the_session_goes_on() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut wire = Wire::login(site.address());
    let raise = "DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 200000); END $$";
    for _ in 0..2 {
        let answer = wire.ask(query(raise));
        assert_eq!(tags(&answer), "EZ");
        assert!(answer[0].1.len() > 200_000);
        assert_eq!(wire.value("SELECT 1"), "1");
    }
}

#[test]
fn a_setting_that_is_reset_is_not_replayed() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1, state: replay }") else {
        return;
    };
    let mut owner = Wire::login(site.address());
    let mut other = Wire::login(site.address());
    for end in [
        "RESET work_mem",
        "RESET ALL",
        "DISCARD ALL",
        "SET work_mem TO DEFAULT",
    ] {
        owner.ask(query("SET work_mem = '17MB'"));
        assert_eq!(owner.value("SHOW work_mem"), "17MB");
        assert_eq!(tags(&owner.ask(query(end))), "CZ");
        assert_eq!(owner.value("SHOW work_mem"), "4MB", "after {end}");
        assert_eq!(other.value("SHOW work_mem"), "4MB");
        assert_eq!(
            owner.value("SHOW work_mem"),
            "4MB",
            "after {end} and another"
        );
    }
}

#[test]
fn a_reset_of_one_parameter_leaves_the_others() {
    for state in ["pin", "replay"] {
        let keys = format!("pool: {{ mode: transaction, size: 1, state: {state} }}");
        let Some(site) = Site::start(&keys) else {
            return;
        };
        let mut owner = Wire::begin(
            site.address(),
            &[("work_mem", "8MB"), ("statement_timeout", "1h")],
        );
        owner.ask(query("SET work_mem = '17MB'"));
        owner.ask(query("SET statement_timeout = '2h'"));
        owner.ask(query("RESET statement_timeout"));
        assert_eq!(owner.value("SHOW work_mem"), "17MB", "{state}");
        assert_eq!(owner.value("SHOW statement_timeout"), "1h", "{state}");
        // In a transaction that is rolled back it has not happened.
        owner.ask(query("SET statement_timeout = '3h'"));
        owner.ask(query("BEGIN"));
        owner.ask(query("RESET statement_timeout"));
        assert_eq!(owner.value("SHOW statement_timeout"), "1h", "{state}");
        owner.ask(query("ROLLBACK"));
        assert_eq!(owner.value("SHOW statement_timeout"), "3h", "{state}");
        owner.ask(query("DISCARD ALL"));
        let mut other = Wire::login(site.address());
        assert_eq!(other.value("SHOW statement_timeout"), "0", "{state}");
        assert_eq!(owner.value("SHOW work_mem"), "8MB", "{state}");
    }
}
