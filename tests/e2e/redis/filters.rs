//! Filters and what is refused by default: by command, category, user, prefix of keys, and size, large commands included.

use harness::redis::RedisReply;
use harness::{Scratch, eventually};

use super::{Site, bulk, is_error, ok};

const REFUSED: &str = "ERR command is not allowed by the gateway";
const LIMITED: &str = "ERR rate limit exceeded";

#[test]
fn what_is_dangerous_is_refused_unless_it_is_allowed() {
    let Some(site) = Site::start("allow_commands: [flushdb]") else {
        return;
    };
    let mut client = site.client();
    for call in [
        &["FLUSHALL"][..],
        &["CONFIG", "GET", "*"],
        &["DEBUG", "OBJECT", "a"],
        &["SHUTDOWN", "NOSAVE"],
        &["MONITOR"],
        &["CLIENT", "KILL", "ID", "1"],
        &["REPLICAOF", "NO", "ONE"],
        &["MODULE", "LIST"],
        &["ACL", "LIST"],
        &["SCRIPT", "KILL"],
    ] {
        assert!(is_error(&client.call(call), "ERR command '"), "{call:?}");
    }
    assert_eq!(client.call(&["FLUSHDB"]), ok());
    site.rejected("whole_keyspace");
    site.rejected("server");
}

#[test]
fn large_commands_are_refused_by_what_they_will_be() {
    let keys = "filters:\n\
                \x20 - deny: { command: set, value_over: 100KB }\n\
                \x20 - deny: { command: rpush, arguments_over: 5000 }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let mut client = site.client();
    let fits = "x".repeat(90_000);
    let large = "x".repeat(200_000);
    assert_eq!(client.call(&["SET", "a", &fits]), ok());
    assert!(is_error(&client.call(&["SET", "a", &large]), REFUSED));
    // What is refused is read to its end, and the pipeline goes on.
    assert_eq!(client.call(&["STRLEN", "a"]), RedisReply::Integer(90_000));
    let mut push = vec!["RPUSH", "list"];
    push.extend(std::iter::repeat_n("an element of some length", 4000));
    assert_eq!(client.call(&push), RedisReply::Integer(4000));
    push.extend(std::iter::repeat_n("an element of some length", 2000));
    assert!(is_error(&client.call(&push), REFUSED));
    assert_eq!(client.call(&["LLEN", "list"]), RedisReply::Integer(4000));
    site.rejected("denied");
    site.neighbour_is_well();
}

#[test]
fn limits_know_commands_categories_users_and_prefixes() {
    let keys = "auth: { users: { one: { password: x }, two: { password: x } } }\n\
                filters:\n\
                \x20 - rate_limit: { per: [redis.user, redis.category], rate: 2/m, burst: 2 }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let (mut one, mut two) = (site.client(), site.client());
    for (client, user) in [(&mut one, "one"), (&mut two, "two")] {
        assert_eq!(client.call(&["AUTH", user, "x"]), ok());
    }
    assert_eq!(one.call(&["SET", "a", "1"]), ok());
    assert_eq!(one.call(&["INCR", "a"]), RedisReply::Integer(2));
    assert!(is_error(&one.call(&["DEL", "a"]), LIMITED));
    // Another category, and another user.
    assert_eq!(one.call(&["GET", "a"]), bulk("2"));
    assert_eq!(two.call(&["INCR", "a"]), RedisReply::Integer(3));
    site.rejected("rate_limited");
}

#[test]
fn concurrency_is_counted_by_command_and_prefix() {
    let keys = "filters:\n\
                \x20 - concurrency: { per: [redis.command, redis.key_prefix], max: 1 }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let (mut waits, mut other) = (site.client(), site.client());
    waits.send(&["BLPOP", "queue:a", "0"]);
    eventually("it waits", || {
        let text = site.servers[0].client().call(&["INFO", "clients"]).text();
        text.contains("blocked_clients:1")
    });
    let refused = other.call(&["BLPOP", "queue:b", "0"]);
    assert!(
        is_error(&refused, "ERR too many commands under way"),
        "{refused:?}"
    );
    assert_eq!(
        other.call(&["RPUSH", "jobs:a", "1"]),
        RedisReply::Integer(1)
    );
    let popped = other.call(&["BLPOP", "jobs:a", "0"]).array();
    assert_eq!(popped, [bulk("jobs:a"), bulk("1")]);
    assert_eq!(
        other.call(&["RPUSH", "queue:a", "2"]),
        RedisReply::Integer(1)
    );
    assert_eq!(waits.read().array(), [bulk("queue:a"), bulk("2")]);
}

#[test]
fn the_access_log_has_all_commands_and_all_their_bytes() {
    let scratch = Scratch::new();
    let path = scratch.path().join("access.log");
    let keys = format!(
        "auth: {{ users: {{ default: {{ rules: \"nopass +@all -del ~a* &*\" }} }} }}\n\
         filters:\n  - access_log: {{ path: \"{}\", format: json }}",
        path.display()
    );
    let Some(site) = Site::start(&keys) else {
        return;
    };
    let mut client = site.client();
    let large = "x".repeat(1_000_000);
    assert_eq!(client.call(&["SET", "a", &large]), ok());
    for call in [
        &["DEL", "a"][..],
        &["GET"],
        &["GET", "b"],
        &["FLUSHALL"],
        &["CONFIG", "NONE"],
    ] {
        client.call(call);
    }
    let reasons = [
        "acl_command",
        "arguments",
        "acl_key",
        "whole_keyspace",
        "unknown_command",
    ];
    let mut text = String::new();
    eventually("all lines are there", || {
        text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().count() == reasons.len() + 1
    });
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("\"bytes_received\":1000032"),
        "{}",
        lines[0]
    );
    for (line, reason) in lines[1..].iter().zip(reasons) {
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
    }
    let up = [("direction", "up")];
    assert!(site.count("portcullis_redis_bytes_total", &up) > 1_000_000);
    let page = site.gateway.admin_get("/redis/keys").text();
    assert!(page.contains("1000032 a"), "{page}");
}
