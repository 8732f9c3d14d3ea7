//! Hostile clients: each gets its answer in Redis's words, is counted, and a neighbour notices nothing.

use harness::Connection;
use harness::redis::{RedisClient, RedisReply};

use super::{Site, bulk, is_error, ok};

#[test]
fn r1_browsers_are_closed_without_a_word() {
    let Some(site) = Site::start("") else { return };
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\n\r\nSET a 1\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut raw = Connection::connect(site.address()).unwrap();
        raw.send(request.as_bytes()).unwrap();
        let said = raw.read_to_end().unwrap().0;
        assert!(
            !said.starts_with(b"+") && !said.starts_with(b"$"),
            "{}",
            said.escape_ascii()
        );
    }
    let mut line = Connection::connect(site.address()).unwrap();
    line.send(b"SET a 1\r\n").unwrap();
    let said = line.read_to_end().unwrap().0;
    assert_eq!(said, b"-ERR Protocol error: expected '*', got 'S'\r\n");
    site.rejected("inline_command");
    assert_eq!(site.client().call(&["GET", "a"]), RedisReply::Nil);
    site.neighbour_is_well();
}

#[test]
fn r1_inline_commands_may_be_switched_on_and_browsers_are_closed_still() {
    let Some(site) = Site::start("limits: { inline: true }") else {
        return;
    };
    let mut line = site.client();
    line.send_raw(b"SET a \"1 2\"\r\n\r\nGET a\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(line.read(), ok());
    assert_eq!(line.read(), bulk("1 2"));
    assert_eq!(line.read(), RedisReply::Simple("PONG".to_owned()));
    let mut raw = Connection::connect(site.address()).unwrap();
    raw.send(b"POST / HTTP/1.1\r\nHost: a\r\n\r\nSET a 1\r\n")
        .unwrap();
    assert_eq!(raw.read_to_end().unwrap().0, b"");
    site.rejected("cross_protocol");
    site.neighbour_is_well();
}

#[test]
fn r2_wrong_lengths_are_refused_before_anything_is_held() {
    let Some(site) = Site::start("") else { return };
    let cases = [
        ("*1000000000\r\n", "invalid multibulk length"),
        ("*-1\r\n", "invalid multibulk length"),
        ("*03\r\n", "invalid multibulk length"),
        ("*+3\r\n", "invalid multibulk length"),
        ("*99999999999999999999", "too big mbulk count string"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$01\r\n", "invalid bulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\n$4\nPING\n", "invalid multibulk length"),
    ];
    let before = site.gateway.resident_bytes();
    for (wire, expected) in cases {
        let mut raw = Connection::connect(site.address()).unwrap();
        raw.send(wire.as_bytes()).unwrap();
        let said = raw.read_to_end().unwrap().0;
        let expected = format!("-ERR Protocol error: {expected}\r\n");
        assert_eq!(String::from_utf8_lossy(&said), expected, "{wire:?}");
    }
    site.rejected("argument_count");
    site.rejected("bulk_length");
    assert!(site.gateway.resident_bytes() < before + (8 << 20));
    site.neighbour_is_well();
}

#[test]
fn r2_errors_come_behind_the_replies_that_are_owed() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    client
        .send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*x\r\n");
    assert_eq!(client.read(), ok());
    assert_eq!(client.read(), bulk("1"));
    assert!(is_error(
        &client.read(),
        "ERR Protocol error: invalid multibulk length"
    ));
    site.neighbour_is_well();
}

#[test]
fn r4_who_does_not_read_is_closed() {
    let Some(site) = Site::start("limits: { output: 1MiB }") else {
        return;
    };
    let value = "x".repeat(512 << 10);
    assert_eq!(site.client().call(&["SET", "big", &value]), ok());
    // A subscriber that does not read.
    let mut deaf = site.client();
    assert_eq!(deaf.call(&["SUBSCRIBE", "news"]).array().len(), 3);
    let mut speaker = site.client();
    harness::eventually("the deaf one is closed", || {
        speaker.call(&["PUBLISH", "news", &value]).integer() == 0
    });
    // And one that asks for more than it reads.
    let mut greedy = site.client();
    let mut wire = Vec::new();
    for _ in 0..200 {
        RedisClient::write(&["GET", "big"], &mut wire);
    }
    greedy.send_raw(&wire);
    site.rejected("output_limit");
    site.neighbour_is_well();
}

#[test]
fn r4_strangers_cannot_pile_up_replies() {
    let Some(site) = Site::start("auth: { password: sesame }\nlimits: { output: 64KiB }") else {
        return;
    };
    let mut wire = Vec::new();
    for _ in 0..100_000 {
        RedisClient::write(&["GET", "a"], &mut wire);
    }
    let before = site.gateway.resident_bytes();
    let mut stranger = Connection::connect(site.address()).unwrap();
    // It may be closed while it sends.
    let _ = stranger.send(&wire);
    site.rejected("unauthenticated");
    assert!(site.gateway.resident_bytes() < before + (16 << 20));
    let mut known = site.client();
    assert_eq!(known.call(&["AUTH", "sesame"]), ok());
    assert_eq!(known.call(&["SET", "a", "1"]), ok());
}

#[test]
fn r5_a_million_commands_in_one_pipeline_keep_their_order() {
    let Some(site) = Site::start("") else { return };
    const COMMANDS: i64 = 300_000;
    let mut client = site.client();
    let address = site.address();
    let before = site.gateway.resident_bytes();
    let mut wire = Vec::new();
    for _ in 0..COMMANDS {
        RedisClient::write(&["INCR", "count"], &mut wire);
    }
    std::thread::scope(|scope| {
        let mut sender = client.sender();
        scope.spawn(move || std::io::Write::write_all(&mut sender, &wire).unwrap());
        for expected in 1..=COMMANDS {
            assert_eq!(client.read(), RedisReply::Integer(expected));
        }
    });
    assert!(site.gateway.resident_bytes() < before + (32 << 20));
    assert_eq!(
        RedisClient::connect(address).call(&["GET", "count"]),
        bulk(&COMMANDS.to_string())
    );
}

#[test]
fn r9_dangerous_commands_are_refused_unless_allowed() {
    let Some(site) = Site::start("allow_commands: [flushdb, \"config|get\"]") else {
        return;
    };
    let mut client = site.client();
    let calls: [&[&str]; 14] = [
        &["MONITOR"],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["DEBUG", "SLEEP", "1"],
        &["SHUTDOWN"],
        &["SCRIPT", "KILL"],
        &["FUNCTION", "FLUSH"],
        &["FLUSHALL"],
        &["REPLICAOF", "NO", "ONE"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["CLIENT", "PAUSE", "10000"],
        &["ACL", "LIST"],
        &["MODULE", "LIST"],
        &["CLUSTER", "RESET"],
        &["PSYNC", "?", "-1"],
    ];
    for call in calls {
        let reply = client.call(call);
        assert!(is_error(&reply, "ERR command '"), "{call:?}: {reply:?}");
    }
    site.rejected("server");
    site.rejected("other_clients");
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    assert_eq!(client.call(&["FLUSHDB"]), ok());
    assert_eq!(
        client.call(&["CONFIG", "GET", "databases"]).array().len(),
        2
    );
    site.neighbour_is_well();
}

#[test]
fn r11_long_patterns_are_refused_where_the_gateway_matches_them() {
    let pattern = "*a".repeat(600);
    let yaml = super::document(
        &format!(
            "routes:\n  - match: {{ key: \"{pattern}\" }}\n    cluster: main\n  - cluster: main"
        ),
        "",
        &["127.0.0.1:1".parse().unwrap()],
    );
    let exit = harness::Gateway::run(&yaml);
    assert_eq!(exit.code(), Some(78));
    assert!(
        exit.stderr.join("\n").contains("longer than 1024 bytes"),
        "{:?}",
        exit.stderr
    );
}

#[test]
fn r3_replies_that_are_no_resp_end_only_their_connection() {
    let replies: [&[u8]; 5] = [
        b"*1000000000000\r\n",
        b"$-7\r\n",
        b"?what\r\n",
        b"+OK\r\n+OK\r\n",
        &b"*1\r\n".repeat(100),
    ];
    for reply in replies {
        let reply = reply.to_vec();
        let said = reply.clone();
        let server = harness::Origin::raw(move |connection| {
            connection.fill()?;
            connection.send(&said)?;
            connection.read_to_end().map(|_| ())
        });
        let yaml = super::document("", "", &[server.address()]);
        let gateway = harness::Gateway::start(&yaml);
        let mut client = RedisClient::connect(gateway.addr("cache"));
        client.send(&["GET", "a"]);
        let first = client.read();
        let is_fine = first == ok() || is_error(&first, "ERR upstream");
        assert!(is_fine, "{}: {first:?}", reply.escape_ascii());
        // It goes on, over another connection.
        client.send(&["GET", "a"]);
        let _ = client.read();
    }
}

/// What is far larger than a client may have unread comes whole to one that reads, and never to one that does not.
#[test]
fn large_replies_wait_for_who_reads_them() {
    const SIZE: usize = 64 << 20;
    let Some(site) = Site::start("limits: { output: 8MiB }") else {
        return;
    };
    let last = (SIZE - 1).to_string();
    let made = site.servers[0]
        .client()
        .call(&["SETRANGE", "large", &last, "x"]);
    assert_eq!(made, RedisReply::Integer(i64::try_from(SIZE).unwrap()));
    for round in 0..4 {
        let mut client = site.client();
        let RedisReply::Bulk(value) = client.call(&["GET", "large"]) else {
            panic!("no value in round {round}");
        };
        assert_eq!((value.len(), value.last()), (SIZE, Some(&b'x')));
        assert_eq!(
            client.call(&["PING"]),
            RedisReply::Simple("PONG".to_owned())
        );
        site.neighbour_is_well();
    }
    let mut silent = site.client();
    silent.send(&["GET", "large"]);
    site.neighbour_is_well();
    site.rejected("output_limit");
    site.neighbour_is_well();
}
