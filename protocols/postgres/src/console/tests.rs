//! Commands as people type them, who may give them, and results as drivers read them.

use portcullis_config::Located;

use super::*;
use crate::frame::backend;

#[test]
fn commands_are_understood() {
    let database = |name: &str| Some(name.to_owned());
    let rows = [
        ("", None),
        (" ;; ", None),
        ("SHOW POOLS", Some(Command::Show(Show::Pools))),
        ("show pools;", Some(Command::Show(Show::Pools))),
        (
            "\n Show\tStats_Totals ; ",
            Some(Command::Show(Show::StatsTotals)),
        ),
        ("show", Some(Command::Show(Show::Help))),
        ("PAUSE", Some(Command::Pause(None))),
        ("pause shop;", Some(Command::Pause(database("shop")))),
        ("pause Shop", Some(Command::Pause(database("Shop")))),
        (
            "resume \"my \"\"db\"\"; x\"",
            Some(Command::Resume(database("my \"db\"; x"))),
        ),
        ("RECONNECT shop", Some(Command::Reconnect(database("shop")))),
        ("kill shop", Some(Command::Kill("shop".to_owned()))),
        ("reload", Some(Command::Reload)),
    ];
    for (text, command) in rows {
        assert_eq!(Command::parse(text.as_bytes()), Ok(command), "{text}");
    }
}

#[test]
fn what_is_no_command_is_said_to_be_none() {
    let rows: [(&[u8], &str, &str); 13] = [
        (b"select 1", "console_unknown", "42601"),
        (b"selec", "console_unknown", "42601"),
        (b"show everything", "console_unknown_show", "42601"),
        (b"show \"pools\"", "console_unknown_show", "42601"),
        (b"show pools now", "console_too_much", "42601"),
        (b"reload now", "console_too_much", "42601"),
        (b"kill", "console_no_database", "42601"),
        (b"pause; kill shop", "console_several", "42601"),
        (b"set max_client_conn = 5", "console_unsupported", "0A000"),
        (b"SHUTDOWN WAIT_FOR_SERVERS", "console_unsupported", "0A000"),
        (b"suspend", "console_unsupported", "0A000"),
        (b"pause \"open", "console_malformed", "42601"),
        (b"show \xff", "console_malformed", "42601"),
    ];
    for (text, reason, state) in rows {
        let error = Command::parse(text).unwrap_err();
        let reply = error.reply();
        let name = text.escape_ascii();
        assert_eq!(
            (reply.reason, reply.sqlstate.as_str()),
            (reason, state),
            "{name}"
        );
        assert_eq!(
            reply.hint.is_some(),
            reason == "console_unsupported",
            "{name}"
        );
    }
}

#[test]
fn every_command_asks_who_gives_it() {
    let config = ConsoleConfig {
        admins: vec![Located::from("root".to_owned())],
        viewers: vec![Located::from("monitor".to_owned())],
        ..ConsoleConfig::default()
    };
    assert_eq!(Privilege::of("root", &config), Some(Privilege::Admin));
    assert_eq!(Privilege::of("monitor", &config), Some(Privilege::View));
    assert_eq!(Privilege::of("app", &config), None);
    for text in [
        "show stats",
        "show clients",
        "show statements",
        "show config",
    ] {
        let command = Command::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(Privilege::View.permits(&command), Ok(()), "{text}");
    }
    for text in ["pause", "resume shop", "reconnect", "kill shop", "reload"] {
        let command = Command::parse(text.as_bytes()).unwrap().unwrap();
        let refused = Privilege::View.permits(&command).unwrap_err();
        assert_eq!(refused.sqlstate, SqlState::INSUFFICIENT_PRIVILEGE, "{text}");
        assert_eq!(Privilege::Admin.permits(&command), Ok(()), "{text}");
    }
}

/// The messages of a buffer: type and body.
fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [tag, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        found.push((*tag, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty());
    found
}

/// Names and type ids of a RowDescription.
fn columns(body: &[u8]) -> Vec<(String, u32)> {
    let mut rest = &body[2..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        let name = String::from_utf8(rest[..end].to_vec()).unwrap();
        let fixed = &rest[end + 1..];
        found.push((name, u32::from_be_bytes(fixed[6..10].try_into().unwrap())));
        rest = &fixed[18..];
    }
    assert_eq!(
        found.len(),
        usize::from(u16::from_be_bytes([body[0], body[1]]))
    );
    found
}

fn values(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        let Ok(length) = usize::try_from(length) else {
            found.push(None);
            continue;
        };
        found.push(Some(String::from_utf8(rest[..length].to_vec()).unwrap()));
        rest = &rest[length..];
    }
    found
}

#[test]
fn results_are_written_as_drivers_read_them() {
    let mut bytes = BytesMut::new();
    let rows = [
        UserRow {
            name: "app".into(),
            pool_size: Some(5),
            pool_mode: None,
        },
        UserRow {
            name: "ö".into(),
            pool_size: None,
            pool_mode: None,
        },
    ];
    write_rows(&rows, &mut bytes);
    let [head, first, second, end] = &messages(&bytes)[..] else {
        panic!("{bytes:?}");
    };
    assert_eq!(head.0, backend::ROW_DESCRIPTION.0);
    let expected = [("name", 25), ("pool_size", 23), ("pool_mode", 25)];
    assert_eq!(
        columns(&head.1),
        expected.map(|(name, id)| (name.to_owned(), id))
    );
    assert_eq!(
        values(&first.1),
        [Some("app".to_owned()), Some("5".to_owned()), None]
    );
    assert_eq!(values(&second.1), [Some("ö".to_owned()), None, None]);
    assert_eq!(*end, (backend::COMMAND_COMPLETE.0, b"SHOW\0".to_vec()));
}

/// What the exporters of Prometheus look for, by result.
#[test]
fn exporters_find_their_columns() {
    fn of<R: Row>() -> Vec<&'static str> {
        R::COLUMNS.iter().map(|column| column.name).collect()
    }
    let rows: [(&str, Vec<&str>, &[&str]); 8] = [
        (
            "databases",
            of::<DatabaseRow>(),
            &[
                "name",
                "host",
                "port",
                "database",
                "force_user",
                "pool_size",
                "reserve_pool",
                "pool_mode",
                "max_connections",
                "current_connections",
                "paused",
                "disabled",
            ],
        ),
        (
            "pools",
            of::<PoolRow>(),
            &[
                "database",
                "user",
                "cl_active",
                "cl_waiting",
                "cl_active_cancel_req",
                "cl_waiting_cancel_req",
                "sv_active",
                "sv_active_cancel",
                "sv_being_canceled",
                "sv_idle",
                "sv_used",
                "sv_tested",
                "sv_login",
                "maxwait",
                "maxwait_us",
                "pool_mode",
            ],
        ),
        (
            "stats",
            of::<StatsRow>(),
            &[
                "database",
                "total_xact_count",
                "total_query_count",
                "total_received",
                "total_sent",
                "total_xact_time",
                "total_query_time",
                "total_wait_time",
                "avg_xact_count",
                "avg_query_count",
                "avg_recv",
                "avg_sent",
                "avg_xact_time",
                "avg_query_time",
                "avg_wait_time",
            ],
        ),
        (
            "stats_totals",
            of::<StatsTotalsRow>(),
            &[
                "database",
                "query_count",
                "query_time",
                "bytes_received",
                "bytes_sent",
                "wait_time",
                "xact_count",
                "xact_time",
            ],
        ),
        (
            "clients",
            of::<ClientRow>(),
            &[
                "type",
                "user",
                "database",
                "state",
                "addr",
                "application_name",
            ],
        ),
        ("lists", of::<ListRow>(), &["list", "items"]),
        (
            "config",
            of::<ConfigRow>(),
            &["key", "value", "default", "changeable"],
        ),
        ("version", of::<VersionRow>(), &["version"]),
    ];
    for (result, found, wanted) in rows {
        for column in wanted {
            assert!(found.contains(column), "{result}.{column}");
        }
    }
    assert_eq!(of::<ListRow>().len(), 2, "one exporter counts them");
    assert_eq!(of::<ConfigRow>().len(), 4, "likewise");
}

#[test]
fn totals_are_sums_of_all_databases() {
    let row = |database: &str, queries, sent| StatsRow {
        database: database.into(),
        queries,
        sent,
        average_queries: 1,
        ..StatsRow::default()
    };
    let stats = [row("a", 3, 10), row("b", 4, u64::MAX)];
    let totals = TotalsRow::of(&stats);
    let value = |name| totals.iter().find(|row| row.name == name).unwrap().value;
    assert_eq!(totals.len(), StatsRow::COLUMNS.len() - 1);
    assert_eq!(
        (value("total_query_count"), value("avg_query_count")),
        (7, 2)
    );
    assert_eq!(value("total_sent"), u64::MAX);
    assert_eq!(StatsTotalsRow::from(&stats[0]).queries, 3);
    assert_eq!(StatsAveragesRow::from(&stats[0]).queries, 1);
}

#[test]
fn help_is_a_notice() {
    let mut bytes = BytesMut::new();
    write_help(&mut bytes);
    let tags: Vec<u8> = messages(&bytes).iter().map(|message| message.0).collect();
    assert_eq!(
        tags,
        [backend::NOTICE_RESPONSE.0, backend::COMMAND_COMPLETE.0]
    );
}
