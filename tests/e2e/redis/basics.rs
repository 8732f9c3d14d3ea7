//! Commands, pipelines and values of all sizes; who may come in; filters; what is counted.

use harness::redis::RedisReply;
use harness::{eventually, tool};
use std::process::Command;

use super::{Site, bulk, is_error, ok};

#[test]
fn commands_and_pipelines_are_answered_in_order() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    assert_eq!(
        client.call(&["PING"]),
        RedisReply::Simple("PONG".to_owned())
    );
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    let mut wire = Vec::new();
    for number in 0..500 {
        let number = number.to_string();
        harness::redis::RedisClient::write(&["SET", "key", &number], &mut wire);
        harness::redis::RedisClient::write(&["GET", "key"], &mut wire);
        harness::redis::RedisClient::write(&["ECHO", &number], &mut wire);
    }
    client.send_raw(&wire);
    for number in 0..500 {
        let number = number.to_string();
        assert_eq!(client.read(), ok());
        assert_eq!(client.read(), bulk(&number));
        assert_eq!(client.read(), bulk(&number));
    }
    // Clients share one connection to the server.
    let mut others: Vec<_> = (0..20).map(|_| site.client()).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.send(&["SET", &format!("of{number}"), &number.to_string()]);
    }
    for other in &mut others {
        assert_eq!(other.read(), ok());
    }
    let opened = "portcullis_redis_upstream_connections_total";
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert!(site.count(opened, &[]) <= workers);
    let labels = [("command", "set")];
    assert_eq!(site.count("portcullis_redis_commands_total", &labels), 521);
}

/// Commands that are alike are sent on, answered and counted together; what is said of each is its own all the same.
#[test]
fn what_is_said_in_one_go_is_counted_one_by_one() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    assert_eq!(client.call(&["RPUSH", "list", "a"]), RedisReply::Integer(1));
    let long = "v".repeat(70_000);
    assert_eq!(client.call(&["SET", "long", &long]), ok());
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let mut wire = Vec::new();
    let mut say = |words: &[&str]| harness::redis::RedisClient::write(words, &mut wire);
    for _ in 0..20 {
        say(&["set", "k", "1"]);
        say(&["get", "k"]);
        say(&["GET", "list"]);
        say(&["GET", "k"]);
        say(&["OBJECT", "ENCODING", "k"]);
        say(&["OBJECT", "REFCOUNT", "list"]);
        say(&["GET", "long"]);
        say(&["GET"]);
        say(&["MGET", "k", "none"]);
        say(&["GET", "none"]);
    }
    client.send_raw(&wire);
    for round in 0..20 {
        assert_eq!(client.read(), ok(), "{round}");
        assert_eq!(client.read(), bulk("1"), "{round}");
        assert!(is_error(&client.read(), wrong), "{round}");
        assert_eq!(client.read(), bulk("1"), "{round}");
        assert_eq!(client.read(), bulk("int"), "{round}");
        assert_eq!(client.read(), RedisReply::Integer(1), "{round}");
        assert_eq!(client.read(), bulk(&long), "{round}");
        assert!(is_error(&client.read(), "ERR wrong number"), "{round}");
        let both = vec![bulk("1"), RedisReply::Nil];
        assert_eq!(client.read(), RedisReply::Array(both), "{round}");
        assert_eq!(client.read(), RedisReply::Nil, "{round}");
    }
    let counts = [
        ("portcullis_redis_commands_total", "set", 21),
        // Those that lack arguments too.
        ("portcullis_redis_commands_total", "get", 120),
        ("portcullis_redis_commands_total", "object|encoding", 20),
        ("portcullis_redis_commands_total", "object|refcount", 20),
        ("portcullis_redis_command_errors_total", "get", 40),
        (
            "portcullis_redis_command_duration_seconds_count",
            "get",
            120,
        ),
    ];
    for (family, command, count) in counts {
        let counted = site.count(family, &[("command", command)]);
        assert_eq!(counted, count, "{family} of {command}");
    }
}

#[test]
fn values_of_all_sizes_pass() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    for size in [0, 1, 64 << 10, (64 << 10) + 1, 1 << 20, 20_u32 << 20] {
        let value: Vec<u8> = (0..size)
            .map(|byte| (byte.wrapping_mul(31) % 251) as u8)
            .collect();
        assert_eq!(client.call(&[&b"SET"[..], b"k", &value]), ok(), "{size}");
        assert!(client.call(&["GET", "k"]).bytes() == value, "{size}");
        // And in a pipeline, with small ones around.
        let mut wire = Vec::new();
        harness::redis::RedisClient::write(&["ECHO", "before"], &mut wire);
        harness::redis::RedisClient::write(&[&b"SET"[..], b"k", &value], &mut wire);
        harness::redis::RedisClient::write(&["STRLEN", "k"], &mut wire);
        client.send_raw(&wire);
        assert_eq!(client.read(), bulk("before"));
        assert_eq!(client.read(), ok());
        assert_eq!(client.read(), RedisReply::Integer(size.into()));
    }
    assert_eq!(
        site.count("portcullis_redis_pinned_connections_active", &[]),
        0
    );
}

#[test]
fn users_are_let_in_by_password_and_held_to_their_rules() {
    let keys = "auth:\n  password: sesame\n  users:\n    reader: { password: open, rules: \"+@read +auth ~public:*\" }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut client = site.client();
    assert!(is_error(
        &client.call(&["GET", "a"]),
        "NOAUTH Authentication required."
    ));
    assert!(is_error(&client.call(&["AUTH", "wrong"]), "WRONGPASS"));
    assert!(is_error(&client.call(&["HELLO", "3"]), "NOAUTH"));
    assert_eq!(client.call(&["AUTH", "sesame"]), ok());
    assert_eq!(client.call(&["SET", "public:a", "1"]), ok());
    let mut reader = site.client();
    assert_eq!(reader.call(&["AUTH", "reader", "open"]), ok());
    assert_eq!(reader.call(&["GET", "public:a"]), bulk("1"));
    let denied = "NOPERM this user has no permissions to run the 'set' command";
    assert!(is_error(&reader.call(&["SET", "public:a", "2"]), denied));
    let denied = "NOPERM this user has no permissions to access one of the keys";
    assert!(is_error(&reader.call(&["GET", "private:a"]), denied));
    site.rejected("unauthenticated");
    site.rejected("acl_command");
    site.rejected("acl_key");
    // A large command of a stranger is refused by its first bytes.
    let mut stranger = site.client();
    stranger.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n");
    assert!(is_error(
        &stranger.read(),
        "ERR Protocol error: unauthenticated bulk length"
    ));
}

#[test]
fn filters_refuse_limit_and_log() {
    let keys = "filters:\n\
                \x20 - deny: { command: [keys, \"@pubsub\"] }\n\
                \x20 - deny: { key: \"admin:*\" }\n\
                \x20 - deny: { value_over: 10B }\n\
                \x20 - rate_limit: { per: [redis.command, redis.key_prefix], rate: 2/m, burst: 2 }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut client = site.client();
    let refused = "ERR command is not allowed by the gateway";
    assert!(is_error(&client.call(&["KEYS", "*"]), refused));
    assert!(is_error(&client.call(&["PUBLISH", "a", "b"]), refused));
    assert!(is_error(&client.call(&["GET", "admin:1"]), refused));
    assert!(is_error(
        &client.call(&["SET", "a", "more than ten bytes"]),
        refused
    ));
    assert_eq!(client.call(&["SET", "s:1", "1"]), ok());
    assert_eq!(client.call(&["SET", "s:2", "1"]), ok());
    assert!(is_error(
        &client.call(&["SET", "s:3", "1"]),
        "ERR rate limit exceeded"
    ));
    assert_eq!(client.call(&["SET", "t:1", "1"]), ok());
    site.rejected("denied");
    site.rejected("rate_limited");
}

#[test]
fn a_fault_is_made_on_purpose() {
    let keys = "filters: [{ fault: { abort: { error: \"LOADING made on purpose\" } } }]";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let reply = site.client().call(&["GET", "a"]);
    assert_eq!(
        reply,
        RedisReply::Error("LOADING made on purpose".to_owned())
    );
}

#[test]
fn routes_choose_by_key_command_and_database() {
    let (Some(first), Some(second)) = (
        harness::redis::Redis::start(),
        harness::redis::Redis::start(),
    ) else {
        return;
    };
    let keys = "routes:\n\
                \x20 - match: { key: \"session:*\" }\n\
                \x20   cluster: second\n\
                \x20 - match: { database: 3 }\n\
                \x20   cluster: second\n\
                \x20 - cluster: main";
    let text = super::document(keys, "", &[first.address()]);
    let text = format!(
        "{text}  second: {{ endpoints: [\"{}\"] }}\n",
        second.address()
    );
    let gateway = harness::Gateway::start(&text);
    let mut client = harness::redis::RedisClient::connect(gateway.addr("cache"));
    assert_eq!(client.call(&["MSET", "session:1", "a", "other", "b"]), ok());
    assert_eq!(second.client().call(&["GET", "session:1"]), bulk("a"));
    assert_eq!(first.client().call(&["GET", "other"]), bulk("b"));
    let both = client.call(&["MGET", "other", "session:1"]).array();
    assert_eq!(both, [bulk("b"), bulk("a")]);
    assert_eq!(client.call(&["SELECT", "3"]), ok());
    assert_eq!(client.call(&["SET", "other", "c"]), ok());
    let mut third = second.client();
    assert_eq!(third.call(&["SELECT", "3"]), ok());
    assert_eq!(third.call(&["GET", "other"]), bulk("c"));
}

#[test]
fn redis_cli_and_its_pipe_work() {
    let Some(cli) = tool("redis-cli") else { return };
    let Some(site) = Site::start("") else { return };
    let port = site.address().port().to_string();
    let run = |args: &[&str]| {
        let output = Command::new(&cli)
            .args(["-p", &port])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run(&["SET", "a", "1"]).trim(), "OK");
    assert_eq!(run(&["-3", "HGETALL", "none"]).trim(), "");
    let mut wire = Vec::new();
    for number in 0..1000 {
        let key = format!("k{number}");
        harness::redis::RedisClient::write(&["SET", &key, "v"], &mut wire);
    }
    let scratch = harness::Scratch::new();
    let file = std::fs::File::open(scratch.write("wire", &wire)).unwrap();
    let output = Command::new(&cli)
        .args(["-p", &port, "--pipe"])
        .stdin(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("errors: 0, replies: 1000"), "{said}");
    eventually("all are there", || {
        site.servers[0].client().call(&["DBSIZE"]) == RedisReply::Integer(1001)
    });
}

#[test]
fn keys_that_are_used_much_or_are_large_are_shown() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    for number in 0..2000 {
        let key = if number % 2 == 0 {
            "hot".to_owned()
        } else {
            format!("cold:{number}")
        };
        assert_eq!(client.call(&["SET", &key, "v"]), ok());
    }
    assert_eq!(client.call(&["SET", "big", &"x".repeat(40_000)]), ok());
    let page = site.gateway.admin_get("/redis/keys").text();
    assert!(page.contains(" hot\n"), "{page}");
    let (_, sizes) = page.split_once("big (bytes)").unwrap();
    let line = sizes.lines().find(|line| line.ends_with(" big")).unwrap();
    let bytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(bytes > 40_000, "{page}");
    let json = site.gateway.admin_get("/redis/keys?format=json").text();
    assert!(
        json.contains("\"key\":\"hot\"") || json.contains("\"key\": \"hot\""),
        "{json}"
    );
}

#[test]
fn slow_commands_are_shown() {
    let keys = "slow_log: { threshold: 50ms, entries: 2, keys: hash }\n\
                filters:\n  - fault: { delay: { time: 100ms } }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut client = site.client();
    for call in [
        &["SET", "secret", "value"][..],
        &["GET", "secret"],
        &["INCR", "secret"],
    ] {
        client.call(call);
    }
    let page = site.gateway.admin_get("/redis/slowlog").text();
    assert!(page.contains(": 3 slow commands\n"), "{page}");
    assert!(
        page.contains("us incr ") && page.contains(" ERR\n"),
        "{page}"
    );
    assert!(page.contains("us get "), "{page}");
    assert!(
        !page.contains("us set ") && !page.contains("secret"),
        "{page}"
    );
    let json = site.gateway.admin_get("/redis/slowlog?format=json").text();
    assert!(json.contains("127.0.0.1"), "{json}");
}

#[test]
fn a_server_is_checked_by_ping() {
    let (Some(server), Some(strict)) = (
        harness::redis::Redis::start(),
        harness::redis::Redis::with(&["requirepass sesame"]),
    ) else {
        return;
    };
    let keys = "redis: { topology: shards }\nhealth_check: { redis: {}, interval: 20ms, unhealthy_threshold: 1, healthy_threshold: 1 }";
    let mut site = Site::over(vec![server, strict], "upstream: { password: sesame }", keys);
    let healthy = |site: &Site, wanted: u64| {
        let labels = [("cluster", "main")];
        let name = "portcullis_cluster_endpoints_available";
        site.gateway
            .wait_stat(name, &labels, |count| count == wanted);
    };
    healthy(&site, 2);
    site.servers.remove(0);
    healthy(&site, 1);
}
