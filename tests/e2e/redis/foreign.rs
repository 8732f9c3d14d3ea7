//! Commands that the gateway does not know, which servers do: here Redis's own under other names.

use harness::eventually;
use harness::redis::{Redis, RedisReply};

use super::{Site, bulk, is_error, ok};

const RENAMED: [&str; 8] = [
    "rename-command SET my.set",
    "rename-command GET my.get",
    "rename-command DEL my.del",
    "rename-command BLPOP my.blpop",
    "rename-command SUBSCRIBE my.subscribe",
    "rename-command FLUSHALL my.flushall",
    "rename-command EVAL my.eval",
    "rename-command TIME my.time",
];

fn site(shards: usize, keys: &str) -> Option<Site> {
    let servers: Option<Vec<Redis>> = (0..shards).map(|_| Redis::with(&RENAMED)).collect();
    let cluster = "redis: { topology: shards }";
    Some(Site::over(servers?, keys, cluster))
}

#[test]
fn commands_that_only_servers_know_go_where_their_keys_are() {
    let Some(site) = site(3, "") else { return };
    let mut client = site.client();
    for number in 0..30 {
        let key = format!("key:{number}");
        assert_eq!(client.call(&["My.Set", &key, &key]), ok());
    }
    for number in 0..30 {
        let key = format!("key:{number}");
        assert_eq!(client.call(&["MY.GET", &key]), bulk(&key));
        // Where the gateway's own table puts it.
        assert_eq!(
            client.call(&["STRLEN", &key]).integer(),
            i64::try_from(key.len()).unwrap()
        );
    }
    let apart = client.call(&["my.del", "key:1", "key:2", "key:3", "key:4", "key:5"]);
    assert!(is_error(&apart, "CROSSSLOT"), "{apart:?}");
    assert_eq!(client.call(&["my.del", "{key:1}", "key:1"]).integer(), 1);
    assert_eq!(client.call(&["my.time"]).array().len(), 2);
    // Large ones too.
    let large = "x".repeat(300 << 10);
    assert_eq!(client.call(&["my.set", "large", &large]), ok());
    assert_eq!(client.call(&["my.get", "large"]), bulk(&large));
    // And in a transaction.
    assert_eq!(client.call(&["MULTI"]), ok());
    let queued = RedisReply::Simple("QUEUED".to_owned());
    assert_eq!(client.call(&["my.set", "a", "1"]), queued);
    assert_eq!(client.call(&["my.get", "a"]), queued);
    assert_eq!(client.call(&["EXEC"]).array(), [ok(), bulk("1")]);
    let labels = [("command", "foreign")];
    assert!(site.count("portcullis_redis_commands_total", &labels) > 60);
    let asked = [("command", "command|info")];
    assert_eq!(site.count("portcullis_redis_commands_total", &asked), 0);
}

#[test]
fn servers_are_asked_for_keys_that_only_they_can_tell() {
    let Some(site) = site(3, "") else { return };
    let mut client = site.client();
    let set = "return redis.call('my.set', KEYS[1], ARGV[1])";
    for number in 0..20 {
        let key = format!("key:{number}");
        assert_eq!(client.call(&["my.eval", set, "1", &key, &key]), ok());
        assert_eq!(client.call(&["my.get", &key]), bulk(&key));
    }
    let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
    let mut apart = vec!["my.eval", "return 1", "20"];
    apart.extend(keys.iter().map(String::as_str));
    let apart = client.call(&apart);
    assert!(is_error(&apart, "CROSSSLOT"), "{apart:?}");
    let none = client.call(&["my.eval", "return ARGV[1]", "0", "key:1"]);
    assert_eq!(none, bulk("key:1"));
    // In a transaction, which is where its first key is.
    assert_eq!(client.call(&["MULTI"]), ok());
    let queued = RedisReply::Simple("QUEUED".to_owned());
    for number in ["1", "2"] {
        let call = ["my.eval", set, "1", "key:7", number];
        assert_eq!(client.call(&call), queued);
    }
    assert_eq!(client.call(&["EXEC"]).array(), [ok(), ok()]);
    assert_eq!(client.call(&["my.get", "key:7"]), bulk("2"));
    // What the server makes of it is the server's to say.
    let said = client.call(&["my.eval", "return 1", "many", "key:1"]);
    assert!(is_error(&said, "ERR value is not an integer"), "{said:?}");
}

#[test]
fn what_waits_has_a_connection_of_its_own() {
    let Some(site) = site(1, "") else { return };
    let mut waiting = site.client();
    waiting.send(&["my.blpop", "list", "0"]);
    eventually("the server holds it", || {
        let info = site.servers[0].client().call(&["INFO", "clients"]).text();
        info.contains("blocked_clients:1")
    });
    let mut client = site.client();
    for _ in 0..4 {
        assert_eq!(client.call(&["my.set", "a", "1"]), ok());
    }
    assert_eq!(client.call(&["LPUSH", "list", "x"]).integer(), 1);
    assert_eq!(waiting.read().array(), [bulk("list"), bulk("x")]);
    // One that goes takes its connection along.
    waiting.send(&["my.blpop", "list", "0"]);
    eventually("the server holds it", || {
        let info = site.servers[0].client().call(&["INFO", "clients"]).text();
        info.contains("blocked_clients:1")
    });
    drop(waiting);
    eventually("nobody waits", || {
        let info = site.servers[0].client().call(&["INFO", "clients"]).text();
        info.contains("blocked_clients:0")
    });
}

#[test]
fn what_no_server_knows_or_would_do_harm_is_refused() {
    let Some(site) = site(1, "") else { return };
    let mut client = site.client();
    let mut server = site.servers[0].client();
    for call in [&["my.nosuch", "a"][..], &["NOSUCH"], &["my.get", "a", "b"]] {
        let said = client.call(call);
        // A server has its own name of what was renamed.
        let expected = server.call(call).text().replace("'get'", "'my.get'");
        assert_eq!(said, RedisReply::Error(expected), "{call:?}");
        assert_eq!(client.call(call), said, "{call:?}");
    }
    let large = "x".repeat(100 << 10);
    let rows = [
        (&["my.flushall"][..], "is not allowed by the gateway"),
        (&["my.subscribe", "a"], "is not supported by the gateway"),
        // All of it would have to be shown to the server.
        (
            &["my.eval", "return 1", "1", "a", &large],
            "has keys that the gateway cannot tell",
        ),
    ];
    for (call, expected) in rows {
        let said = client.call(call).text();
        assert!(said.ends_with(expected), "{said}");
    }
    for reason in ["foreign_dangerous", "foreign_stateful", "foreign_keys"] {
        site.rejected(reason);
    }
    // A refusal in a transaction fails it.
    assert_eq!(client.call(&["MULTI"]), ok());
    assert!(is_error(&client.call(&["my.nosuch"]), "ERR unknown"));
    assert!(is_error(&client.call(&["EXEC"]), "EXECABORT"));
    site.rejected("unknown_command");
}

#[test]
fn rules_and_filters_know_them() {
    let keys = "auth: { users: { reader: { password: r, rules: \"+@read ~open:*\" }, \
                writer: { password: w, rules: \"+@all -my.del ~*\" } } }\n\
                filters:\n  - deny: { command: my.get, key: \"open:secret\" }\n  - deny: { command: \"@write\", key: \"fixed:*\" }";
    let Some(site) = site(2, keys) else { return };
    let mut writer = site.client();
    assert!(is_error(&writer.call(&["my.get", "a"]), "NOAUTH"));
    assert_eq!(writer.call(&["AUTH", "writer", "w"]), ok());
    assert_eq!(writer.call(&["my.set", "open:a", "1"]), ok());
    assert!(is_error(&writer.call(&["my.del", "open:a"]), "NOPERM"));
    let denied = writer.call(&["my.set", "fixed:a", "1"]);
    assert!(is_error(&denied, "ERR command is not allowed"));
    let mut reader = site.client();
    assert_eq!(reader.call(&["AUTH", "reader", "r"]), ok());
    assert_eq!(reader.call(&["my.get", "open:a"]), bulk("1"));
    assert!(is_error(&reader.call(&["my.get", "closed:a"]), "NOPERM"));
    assert!(is_error(&reader.call(&["my.set", "open:a", "2"]), "NOPERM"));
    let denied = reader.call(&["my.get", "open:secret"]);
    assert!(is_error(&denied, "ERR command is not allowed"));
}

#[test]
fn operators_may_say_what_a_command_is() {
    let keys = "unknown_commands: refuse\n\
                commands:\n  - { name: my.set, keys: { first: 1 } }\n  - { name: my.eval, keys: { first: 3 } }";
    let Some(site) = site(2, keys) else { return };
    let mut client = site.client();
    assert_eq!(client.call(&["my.set", "a", "1"]), ok());
    let script = "return redis.call('my.get', KEYS[1])";
    assert_eq!(client.call(&["my.eval", script, "1", "a"]), bulk("1"));
    assert!(is_error(&client.call(&["my.get", "a"]), "ERR unknown"));
}

#[test]
fn a_server_that_says_nothing_is_no_server_without_the_command() {
    let Some(mut site) = site(1, "") else { return };
    site.servers.clear();
    let mut client = site.client();
    let said = client.call(&["my.set", "a", "1"]);
    assert!(is_error(&said, "ERR upstream"), "{said:?}");
}
