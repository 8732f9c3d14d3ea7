//! What routes do on the way besides renaming: reads elsewhere, copies, requests that clients share.

use std::net::SocketAddr;

use harness::Gateway;
use harness::redis::{Redis, RedisClient, RedisReply};
use portcullis_testkit::Random;

use super::scripted::Scripted;
use super::{bulk, is_error, ok};

/// A gateway on one worker, with the listener `cache` that has these keys, and these clusters.
pub(super) fn gateway(keys: &str, clusters: &[(&str, SocketAddr, &str)]) -> Gateway {
    let indented: Vec<String> = keys.lines().map(|line| format!("    {line}\n")).collect();
    let indented = indented.concat();
    let clusters: Vec<String> = clusters
        .iter()
        .map(|(name, at, more)| format!("  {name}: {{ endpoints: [\"{at}\"]{more} }}\n"))
        .collect();
    let clusters = clusters.concat();
    Gateway::start(&format!(
        "runtime: {{ workers: {{ count: 1 }} }}\n\
         listeners:\n  cache:\n    listen: 127.0.0.1:0\n    protocol: redis\n{indented}\
         clusters:\n{clusters}"
    ))
}

fn client(gateway: &Gateway) -> RedisClient {
    RedisClient::connect(gateway.addr("cache"))
}

#[test]
fn what_only_reads_goes_to_its_own_cluster() {
    let (Some(writes), Some(reads)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let gateway = gateway(
        "routes:\n  - { cluster: writes, read_cluster: reads }",
        &[
            ("writes", writes.address(), ""),
            ("reads", reads.address(), ""),
        ],
    );
    // Two servers that are not each other's replicas show who was asked.
    for (server, value) in [(&writes, "written"), (&reads, "read")] {
        assert_eq!(server.client().call(&["SET", "a", value]), ok());
    }
    let mut client = client(&gateway);
    assert_eq!(client.call(&["GET", "a"]), bulk("read"));
    assert_eq!(client.call(&["MGET", "a"]).array(), [bulk("read")]);
    assert_eq!(client.call(&["SET", "b", "1"]), ok());
    assert_eq!(client.call(&["EXISTS", "b"]), RedisReply::Integer(0));
    assert_eq!(client.call(&["DBSIZE"]), RedisReply::Integer(1));
    assert_eq!(client.call(&["GETEX", "a"]), bulk("written"));
    // Scripts, transactions and what is read to be watched are where commands go that write.
    let script = "return redis.call('GET', KEYS[1])";
    for command in ["EVAL", "EVAL_RO"] {
        let got = client.call(&[command, script, "1", "a"]);
        assert_eq!(got, bulk("written"), "{command}");
    }
    assert_eq!(client.call(&["MULTI"]), ok());
    client.call(&["GET", "a"]);
    assert_eq!(client.call(&["EXEC"]).array(), [bulk("written")]);
    assert_eq!(client.call(&["WATCH", "a"]), ok());
    assert_eq!(client.call(&["GET", "a"]), bulk("written"));
    assert_eq!(client.call(&["UNWATCH"]), ok());
    assert_eq!(client.call(&["GET", "a"]), bulk("read"));
}

const MIRRORED: &str = "portcullis_redis_mirrored_total";

#[track_caller]
fn wait_mirrored(gateway: &Gateway, result: &str, least: u64) {
    let labels = [("listener", "cache"), ("result", result)];
    gateway.wait_stat(MIRRORED, &labels, |count| count >= least);
}

#[test]
fn writes_are_copied_to_a_mirror_with_other_shards() {
    let servers: Option<Vec<Redis>> = (0..3).map(|_| Redis::start()).collect();
    let Some(servers) = servers else { return };
    let other = servers[2].address();
    let text = format!(
        "runtime: {{ workers: {{ count: 1 }} }}\n\
         listeners:\n  cache:\n    listen: 127.0.0.1:0\n    protocol: redis\n    allow_commands: [flushdb]\n    \
         routes:\n      - {{ match: {{ key: \"private:*\" }}, cluster: main }}\n      \
         - {{ cluster: main, mirror: {{ cluster: mirror }}, key: {{ add_prefix: \"t:\" }} }}\n\
         clusters:\n  main: {{ endpoints: [\"{}\"] }}\n  \
         mirror: {{ endpoints: [\"{}\", \"{other}\"], redis: {{ topology: shards }} }}\n",
        servers[0].address(),
        servers[1].address(),
    );
    let gateway = Gateway::start(&text);
    let mut client = client(&gateway);
    for number in 0..20 {
        let key = format!("key:{number}");
        assert_eq!(client.call(&["SET", &key, "1"]), ok());
    }
    assert_eq!(
        client.call(&["MSET", "key:0", "2", "key:1", "2", "key:2", "2"]),
        ok()
    );
    assert_eq!(
        client.call(&["DEL", "key:3", "key:4"]),
        RedisReply::Integer(2)
    );
    assert_eq!(client.call(&["SET", "private:1", "1"]), ok());
    assert_eq!(client.call(&["GET", "key:0"]), bulk("2"));
    // Whether it is carried out, only the servers know.
    assert_eq!(client.call(&["MULTI"]), ok());
    client.call(&["SET", "key:transaction", "1"]);
    client.call(&["EXEC"]);
    let large = "x".repeat(100_000);
    assert_eq!(client.call(&["SET", "key:large", &large]), ok());
    wait_mirrored(&gateway, "transaction", 1);
    wait_mirrored(&gateway, "too_large", 1);
    // Twenty, and the parts of two that are split.
    wait_mirrored(&gateway, "ok", 22);
    let mut keys = Vec::new();
    for server in &servers[1..] {
        let some = server.client().call(&["KEYS", "*"]).array();
        assert!(!some.is_empty(), "all copies are at one shard");
        keys.extend(some.into_iter().map(RedisReply::text));
    }
    keys.sort();
    let expected = (0..20).filter(|number| !matches!(number, 3 | 4));
    let mut expected: Vec<String> = expected.map(|number| format!("t:key:{number}")).collect();
    expected.sort();
    assert_eq!(keys, expected);
    assert_eq!(
        gateway.stats().counter(MIRRORED, &[("result", "unplaced")]),
        0
    );
}

#[test]
fn a_mirror_that_says_nothing_delays_nobody_and_loses_copies() {
    let Some(server) = Redis::start() else { return };
    let silent = Scripted::start();
    let gateway = gateway(
        "routes:\n  - { cluster: main, mirror: { cluster: mirror, commands: all, pending: 10 } }",
        &[
            ("main", server.address(), ""),
            ("mirror", silent.address, ""),
        ],
    );
    let mut client = client(&gateway);
    let mut wire = Vec::new();
    for _ in 0..200 {
        RedisClient::write(&["INCR", "a"], &mut wire);
    }
    client.send_raw(&wire);
    for number in 1..=200 {
        assert_eq!(client.read(), RedisReply::Integer(number));
    }
    wait_mirrored(&gateway, "dropped", 190);
    for _ in 0..10 {
        silent.asked("INCR a").answer("-ERR no");
    }
    wait_mirrored(&gateway, "error", 10);
    // There is room again. What the mirror says is nobody's.
    assert_eq!(client.call(&["GET", "a"]), bulk("200"));
    silent.asked("GET a").answer("$5|wrong");
    wait_mirrored(&gateway, "ok", 1);
    assert_eq!(client.call(&["GET", "a"]), bulk("200"));
    let dropped = gateway.stats().counter(MIRRORED, &[("result", "dropped")]);
    assert_eq!(dropped, 190);
}

#[test]
fn a_share_of_reads_is_copied_and_a_mirror_that_is_away_costs_nothing() {
    let (Some(server), Some(mirror)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let gateway = gateway(
        "routes:\n  - { match: { key: \"half:*\" }, cluster: main, mirror: { cluster: mirror, commands: reads, percent: 50% } }\n  \
         - { cluster: main, mirror: { cluster: away } }",
        &[
            ("main", server.address(), ""),
            ("mirror", mirror.address(), ""),
            ("away", harness::ClosedPort::new().address(), ""),
        ],
    );
    let mut client = client(&gateway);
    for _ in 0..400 {
        assert_eq!(client.call(&["GET", "half:a"]), RedisReply::Nil);
        assert_eq!(client.call(&["SET", "half:b", "1"]), ok());
    }
    assert_eq!(client.call(&["SET", "other", "1"]), ok());
    wait_mirrored(&gateway, "lost", 1);
    let is_share = |count| (130..=270).contains(&count);
    let labels = [("listener", "cache"), ("result", "ok")];
    gateway.wait_stat(MIRRORED, &labels, is_share);
    assert_eq!(mirror.client().call(&["DBSIZE"]), RedisReply::Integer(0));
}

const COLLAPSED: &str = "portcullis_redis_collapsed_total";

#[track_caller]
fn wait_collapsed(gateway: &Gateway, count: u64) {
    let labels = [("listener", "cache")];
    gateway.wait_stat(COLLAPSED, &labels, |seen| seen == count);
}

/// Two upstream connections, so that commands of clients on different ones are in no order.
const SEVERAL: &str = ", redis: { connections: 2 }";

/// A client that shares the upstream connection with this number.
fn client_over(gateway: &Gateway, number: i64) -> RedisClient {
    loop {
        let mut client = client(gateway);
        if client.call(&["CLIENT", "ID"]).integer() % 2 == number {
            return client;
        }
    }
}

#[test]
fn clients_that_ask_for_the_same_share_a_request() {
    let server = Scripted::start();
    let rules = "auth: { users: { default: { rules: \"nopass +@all ~*\" }, other: { password: x, rules: \"+@all ~other:*\" } } }\n\
                 routes:\n  - { cluster: main, collapse: true }";
    let gateway = gateway(rules, &[("main", server.address, "")]);
    let mut clients: Vec<RedisClient> = (0..5).map(|_| client(&gateway)).collect();
    let mut other = client(&gateway);
    assert_eq!(other.call(&["AUTH", "other", "x"]), ok());
    clients[0].send(&["GET", "a"]);
    let asked = server.asked("GET a");
    for client in &mut clients[1..] {
        client.send(&["GET", "a"]);
    }
    wait_collapsed(&gateway, 4);
    // Whoever may not read it is not told, and another key, database or version is another request.
    let denied = other.call(&["GET", "a"]);
    assert!(is_error(&denied, "NOPERM"), "{denied:?}");
    let mut elsewhere = client(&gateway);
    elsewhere.send(&["GET", "b"]);
    let other_key = server.asked("GET b");
    // One that goes away takes nothing from the others.
    drop(clients.remove(0));
    asked.answer("$1|1");
    for client in &mut clients {
        assert_eq!(client.read(), bulk("1"));
    }
    other_key.answer("$1|b");
    assert_eq!(elsewhere.read(), bulk("b"));
    // It is over: who asks now asks anew.
    clients[0].send(&["GET", "a"]);
    server.asked("GET a").answer("$1|2");
    assert_eq!(clients[0].read(), bulk("2"));
    server.is_asked_nothing();
    wait_collapsed(&gateway, 4);
}

#[test]
fn nobody_reads_what_is_older_than_what_he_was_answered() {
    let server = Scripted::start();
    let keys = "routes:\n  - { cluster: main, collapse: true }";
    let gateway = gateway(keys, &[("main", server.address, SEVERAL)]);
    let (mut reader, mut writer) = (client_over(&gateway, 0), client_over(&gateway, 1));
    let (mut third, mut away) = (client_over(&gateway, 1), client_over(&gateway, 0));
    reader.send(&["GET", "a"]);
    let old = server.asked("GET a");
    // While its write is under way, and after that was answered.
    writer.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nnew\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    server.asked("SET a new").answer("+OK");
    server.asked("GET a").answer("$3|new");
    assert_eq!(writer.read(), ok());
    assert_eq!(writer.read(), bulk("new"));
    writer.send(&["GET", "a"]);
    let second = server.asked("GET a");
    // The third was answered before either was sent, and takes part in the one over its connection.
    third.send(&["GET", "a"]);
    wait_collapsed(&gateway, 1);
    away.send(&["GET", "a"]);
    wait_collapsed(&gateway, 2);
    second.answer("$3|new");
    assert_eq!(writer.read(), bulk("new"));
    assert_eq!(third.read(), bulk("new"));
    // Nor does one that has read something newer by another command.
    third.send(&["GETRANGE", "a", "0", "9"]);
    server.asked("GETRANGE a 0 9").answer("$3|new");
    assert_eq!(third.read(), bulk("new"));
    third.send(&["GET", "a"]);
    server.asked("GET a").answer("$3|new");
    assert_eq!(third.read(), bulk("new"));
    // A client that comes now may have been told anything before.
    let mut late = client_over(&gateway, 1);
    late.send(&["GET", "a"]);
    server.asked("GET a").answer("$3|new");
    assert_eq!(late.read(), bulk("new"));
    let mut late = client_over(&gateway, 0);
    late.send(&["GET", "a"]);
    let newest = server.asked("GET a");
    old.answer("$3|old");
    assert_eq!(reader.read(), bulk("old"));
    assert_eq!(away.read(), bulk("old"));
    newest.answer("$3|new");
    assert_eq!(late.read(), bulk("new"));
    wait_collapsed(&gateway, 2);
}

#[test]
fn a_shared_request_that_is_lost_is_everybodys_error() {
    let server = Scripted::start();
    let keys = "routes:\n  - { cluster: main, collapse: true }\ntimeouts: { command: 300ms }";
    let gateway = gateway(keys, &[("main", server.address, "")]);
    let mut clients: Vec<RedisClient> = (0..3).map(|_| client(&gateway)).collect();
    for client in &mut clients {
        client.send(&["GET", "a"]);
    }
    let _unanswered = server.asked("GET a");
    wait_collapsed(&gateway, 2);
    for client in &mut clients {
        let reply = client.read();
        assert!(is_error(&reply, "ERR upstream timeout"), "{reply:?}");
    }
    clients[0].send(&["GET", "a"]);
    server.asked("GET a").answer("$-1");
    assert_eq!(clients[0].read(), RedisReply::Nil);
}

#[test]
fn large_values_are_shared_in_pieces() {
    let Some(server) = Redis::start() else { return };
    let keys = "routes:\n  - { cluster: main, collapse: true }";
    let gateway = gateway(keys, &[("main", server.address(), "")]);
    let value = "x".repeat(1 << 20);
    assert_eq!(server.client().call(&["SET", "a", &value]), ok());
    let mut clients: Vec<RedisClient> = (0..8).map(|_| client(&gateway)).collect();
    for _ in 0..20 {
        for client in &mut clients {
            client.send(&["GET", "a"]);
        }
        for client in &mut clients {
            assert_eq!(client.read(), bulk(&value));
        }
    }
}

/// The law of shared requests: a number that only grows is never seen to shrink over one connection, whatever is shared.
#[test]
fn what_grows_never_shrinks_for_clients_that_share() {
    let Some(server) = Redis::start() else { return };
    let keys = "routes:\n  - { cluster: main, collapse: true }";
    let gateway = gateway(keys, &[("main", server.address(), SEVERAL)]);
    let (_, seed) = Random::from_environment(5);
    std::thread::scope(|scope| {
        for number in 0..12 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut random = Random::from_seed(seed ^ (number << 32));
                let mut client = client(gateway);
                let mut last = 0;
                for step in 0..400 {
                    let mut wire = Vec::new();
                    let commands = 1 + random.below(3);
                    for _ in 0..commands {
                        let is_write = random.below(8) == 0;
                        let call = if is_write {
                            ["INCR", "a"]
                        } else {
                            ["GET", "a"]
                        };
                        RedisClient::write(&call, &mut wire);
                    }
                    client.send_raw(&wire);
                    for _ in 0..commands {
                        let seen = match client.read() {
                            RedisReply::Integer(seen) => seen,
                            RedisReply::Nil => 0,
                            reply => reply.text().parse().unwrap(),
                        };
                        assert!(seen >= last, "seed {seed}, client {number}, step {step}");
                        last = seen;
                    }
                }
            });
        }
    });
    let labels = [("listener", "cache")];
    gateway.wait_stat(COLLAPSED, &labels, |count| count > 0);
}

/// Replies that wait behind one that does not come are bytes that the client has to read, too.
#[test]
fn r4_replies_that_wait_for_others_are_limited() {
    let Some(server) = Redis::start() else { return };
    let silent = Scripted::start();
    let keys = "limits: { output: 4MiB }\nroutes:\n  - { match: { key: \"slow:*\" }, cluster: slow }\n  \
                - { cluster: main }";
    let gateway = gateway(
        keys,
        &[("main", server.address(), ""), ("slow", silent.address, "")],
    );
    let value = "x".repeat(1 << 20);
    assert_eq!(server.client().call(&["SET", "big", &value]), ok());
    let mut greedy = client(&gateway);
    let mut wire = Vec::new();
    for key in ["slow:a", "big", "big", "big", "big", "big"] {
        RedisClient::write(&["GET", key], &mut wire);
    }
    greedy.send_raw(&wire);
    let unanswered = silent.asked("GET slow:a");
    gateway.wait_stat(
        "portcullis_redis_rejections_total",
        &[("listener", "cache"), ("reason", "output_limit")],
        |count| count == 1,
    );
    unanswered.answer("$-1");
    // A neighbour is served, as large as its reply is.
    assert_eq!(client(&gateway).call(&["GET", "big"]), bulk(&value));
}
