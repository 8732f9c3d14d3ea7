//! Keys with other names upstream: tenants that share a server and never meet, held against servers of their own.
//!
//! Start at [`tenants`].

use std::collections::BTreeSet;
use std::net::SocketAddr;

use harness::redis::{Redis, RedisClient, RedisReply};
use harness::redis_cluster::RedisCluster;
use harness::{Gateway, Scratch, portcullis};
use portcullis_testkit::Random;

use super::ways::gateway;
use super::{bulk, is_error, ok};

/// Users with a prefix each, one whose keys have another here, and one who sees all as it is.
const TENANTS: &str = "auth:
  users:
    one: { password: x }
    two: { password: x }
    stripped: { password: x }
    plain: { password: x }
allow_commands: [flushdb, flushall]
routes:
  - { match: { user: one }, cluster: main, key: { add_prefix: \"one:\" } }
  - { match: { user: two }, cluster: main, key: { add_prefix: \"t[w]o?:\" } }
  - { match: { user: stripped }, cluster: main, key: { strip_prefix: \"app:\", add_prefix: \"three:\", allow_scripts: true } }
  - { cluster: main }";

fn tenants(server: SocketAddr) -> Gateway {
    gateway(TENANTS, &[("main", server, "")])
}

fn as_user(gateway: &Gateway, user: &str) -> RedisClient {
    let mut client = RedisClient::connect(gateway.addr("cache"));
    assert_eq!(client.call(&["AUTH", user, "x"]), ok());
    client
}

fn names(reply: RedisReply) -> BTreeSet<String> {
    reply.array().into_iter().map(RedisReply::text).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn keys_have_a_prefix_upstream_and_none_here() {
    let Some(server) = Redis::start() else { return };
    let gateway = tenants(server.address());
    let (mut one, mut two) = (as_user(&gateway, "one"), as_user(&gateway, "two"));
    assert_eq!(one.call(&["MSET", "a", "1", "b", "1"]), ok());
    assert_eq!(two.call(&["SET", "a", "2"]), ok());
    let mut plain = as_user(&gateway, "plain");
    let all = set(["one:a", "one:b", "t[w]o?:a"]);
    assert_eq!(names(plain.call(&["KEYS", "*"])), all);
    assert_eq!(one.call(&["GET", "a"]), bulk("1"));
    assert_eq!(two.call(&["GET", "a"]), bulk("2"));
    assert_eq!(two.call(&["GET", "b"]), RedisReply::Nil);
    assert_eq!(names(one.call(&["KEYS", "*"])), set(["a", "b"]));
    assert_eq!(names(two.call(&["KEYS", "*"])), set(["a"]));
    assert_eq!(names(two.call(&["KEYS", "b"])), set([]));
    let scanned = two.call(&["SCAN", "0", "COUNT", "100"]).array();
    assert_eq!(names(scanned[1].clone()), set(["a"]));
    let refused = "ERR command cannot be kept to keys with the prefix of its route";
    for call in [
        &["DBSIZE"][..],
        &["RANDOMKEY"],
        &["FLUSHDB"],
        &["FLUSHALL"],
        &["EVAL", "return 1", "0"],
    ] {
        assert!(is_error(&one.call(call), refused), "{call:?}");
    }
    gateway.wait_stat(
        "portcullis_redis_rejections_total",
        &[("listener", "cache"), ("reason", "beyond_prefix")],
        |count| count == 5,
    );
    assert_eq!(one.call(&["DEL", "a", "b"]), RedisReply::Integer(2));
    assert_eq!(names(plain.call(&["KEYS", "*"])), set(["t[w]o?:a"]));
}

#[test]
fn keys_in_replies_are_called_as_in_commands() {
    let Some(server) = Redis::start() else { return };
    let gateway = tenants(server.address());
    let mut one = as_user(&gateway, "one");
    let mut push = as_user(&gateway, "one");
    one.send(&["BLPOP", "none", "list", "0"]);
    assert_eq!(push.call(&["RPUSH", "list", "x"]), RedisReply::Integer(1));
    assert_eq!(one.read().array(), [bulk("list"), bulk("x")]);
    assert_eq!(push.call(&["RPUSH", "list", "y"]), RedisReply::Integer(1));
    let popped = one.call(&["LMPOP", "1", "list", "LEFT"]).array();
    assert_eq!(popped[0], bulk("list"));
    assert_eq!(one.call(&["ZADD", "z", "1", "m"]), RedisReply::Integer(1));
    assert_eq!(one.call(&["BZPOPMIN", "z", "0"]).array()[0], bulk("z"));
    one.call(&["XADD", "stream", "1-1", "f", "one:v"]);
    let streams = one.call(&["XREAD", "STREAMS", "stream", "0"]).array();
    let stream = streams[0].clone().array();
    assert_eq!(stream[0], bulk("stream"));
    let entry = stream[1].clone().array()[0].clone().array();
    assert_eq!(entry[1].clone().array(), [bulk("f"), bulk("one:v")]);
    one.send(&["XREAD", "BLOCK", "0", "STREAMS", "stream", "$"]);
    // The wait begins before the next one, or that is read at once: either way it is seen.
    let mut plain = as_user(&gateway, "plain");
    harness::eventually("it waits", || {
        let text = plain.call(&["INFO", "clients"]).text();
        text.contains("blocked_clients:1")
    });
    push.call(&["XADD", "stream", "2-1", "f", "v"]);
    let streams = one.read().array();
    assert_eq!(streams[0].clone().array()[0], bulk("stream"));
    one.call(&["MULTI"]);
    one.call(&["RPUSH", "list", "z"]);
    one.call(&["LMPOP", "1", "list", "LEFT"]);
    one.call(&["GET", "none"]);
    let results = one.call(&["EXEC"]).array();
    assert_eq!(results[1].clone().array()[0], bulk("list"));
    // SORT looks at keys that elements make.
    one.call(&["RPUSH", "ids", "2", "1"]);
    one.call(&[
        "MSET", "w_1", "9", "w_2", "1", "n_1", "first", "n_2", "second",
    ]);
    plain.call(&[
        "MSET", "w_1", "1", "w_2", "9", "n_1", "wrong", "n_2", "wrong",
    ]);
    let sorted = one.call(&["SORT", "ids", "BY", "w_*", "GET", "n_*", "GET", "#"]);
    let expected = [bulk("second"), bulk("2"), bulk("first"), bulk("1")];
    assert_eq!(sorted.array(), expected);
}

#[test]
fn what_is_taken_off_must_be_there() {
    let Some(server) = Redis::start() else { return };
    let gateway = tenants(server.address());
    let mut client = as_user(&gateway, "stripped");
    assert_eq!(client.call(&["SET", "app:a", "1"]), ok());
    let refused = "ERR key does not begin with the prefix of its route";
    assert!(is_error(&client.call(&["GET", "a"]), refused));
    assert!(is_error(&client.call(&["MGET", "app:a", "a"]), refused));
    assert_eq!(server.client().call(&["GET", "three:a"]), bulk("1"));
    for pattern in ["*", "app:*", "a*", "*a", "app:[a-c]", "?pp:a"] {
        let found = names(client.call(&["KEYS", pattern]));
        assert_eq!(found, set(["app:a"]), "{pattern}");
    }
    assert_eq!(names(client.call(&["KEYS", "b*"])), set([]));
    let script = "return redis.call('GET', KEYS[1])";
    assert_eq!(client.call(&["EVAL", script, "1", "app:a"]), bulk("1"));
    // A large value goes there too.
    let large = "x".repeat(200_000);
    assert_eq!(client.call(&["SET", "app:large", &large]), ok());
    assert_eq!(client.call(&["GET", "app:large"]), bulk(&large));
    let length = server.client().call(&["STRLEN", "three:large"]);
    assert_eq!(length, RedisReply::Integer(200_000));
}

#[test]
fn messages_of_keys_are_not_shown_to_tenants() {
    let Some(server) = Redis::with(&["notify-keyspace-events KEA"]) else {
        return;
    };
    let gateway = tenants(server.address());
    let (mut one, mut two) = (as_user(&gateway, "one"), as_user(&gateway, "two"));
    let refused = "ERR command cannot be kept to keys with the prefix of its route";
    let reply = one.call(&["SUBSCRIBE", "__keyevent@0__:set"]);
    assert!(is_error(&reply, refused), "{reply:?}");
    assert_eq!(one.call(&["PSUBSCRIBE", "*"]).array().len(), 3);
    assert_eq!(two.call(&["SET", "secret", "1"]), ok());
    // Channels are everybody's.
    assert_eq!(
        two.call(&["PUBLISH", "news", "hello"]),
        RedisReply::Integer(1)
    );
    let heard = one.read().array();
    assert_eq!(heard[2..], [bulk("news"), bulk("hello")]);
}

/// Slots are those of the names that keys have upstream.
#[test]
fn keys_with_a_prefix_are_where_their_slots_are() {
    let Some(cluster) = RedisCluster::start(3) else {
        return;
    };
    let Some(mirrored) = Redis::start() else {
        return;
    };
    let keys = "routes:
  - { match: { key: \"plain:*\" }, cluster: mirrored, mirror: { cluster: main, commands: all } }
  - { cluster: main, key: { add_prefix: \"p:\" }, collapse: true }";
    let topology = ", redis: { topology: redis_cluster }";
    let gateway = gateway(
        keys,
        &[
            ("main", cluster.address(0), topology),
            ("mirrored", mirrored.address(), ""),
        ],
    );
    let mut client = RedisClient::connect(gateway.addr("cache"));
    let names: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    let mut set = vec!["MSET".to_owned()];
    for name in &names {
        set.extend([name.clone(), name.clone()]);
    }
    assert_eq!(client.call(&set), ok());
    for name in &names {
        assert_eq!(client.call(&["GET", name]), bulk(name));
    }
    let listed = self::names(client.call(&["KEYS", "*"]));
    assert_eq!(listed, names.iter().cloned().collect());
    // Copies of what is split for one server are split again, by slots.
    let mut set = vec!["MSET".to_owned()];
    for number in 0..50 {
        set.extend([format!("plain:{number}"), "1".to_owned()]);
    }
    assert_eq!(client.call(&set), ok());
    harness::eventually("all copies are there", || {
        let sizes = (0..3).map(|node| cluster.client(node).call(&["DBSIZE"]).integer());
        sizes.sum::<i64>() == 150
    });
    let redirects = [("listener", "cache"), ("kind", "moved")];
    let redirects = gateway
        .stats()
        .counter("portcullis_redis_redirects_total", &redirects);
    assert_eq!(redirects, 0);
}

/// A command of a seeded run, on few keys, so that tenants would meet if they could.
fn command(random: &mut Random) -> Vec<String> {
    let key = |random: &mut Random| {
        ["a", "b", "c", "one:a", "t", "a*", "[b]"][random.below(7)].to_owned()
    };
    let (first, second) = (key(random), key(random));
    let value = random.below(100).to_string();
    let words: Vec<&str> = match random.below(22) {
        0 | 1 => vec!["SET", &first, &value],
        2 => vec!["GET", &first],
        3 => vec!["MSET", &first, &value, &second, &value],
        4 => vec!["MGET", &first, &second],
        5 => vec!["DEL", &first, &second],
        6 => vec!["EXISTS", &first, &second, &first],
        7 => vec!["RENAME", &first, &second],
        8 => vec!["RPUSH", &first, &value, &second],
        9 => vec!["LMPOP", "2", &first, &second, "LEFT"],
        10 => vec!["BLPOP", &first, &second, "0.01"],
        11 => vec!["ZADD", &first, &value, &second],
        12 => vec!["ZMPOP", "1", &first, "MIN"],
        13 => vec!["ZUNIONSTORE", &first, "2", &first, &second],
        14 => vec!["XADD", &first, "*", "f", &second],
        15 => vec!["XLEN", &first],
        16 => vec!["COPY", &first, &second, "REPLACE"],
        17 => vec!["TYPE", &first],
        18 => vec!["SORT", &first, "ALPHA", "STORE", &second],
        19 => vec!["SORT", &first, "ALPHA", "BY", "*", "GET", "*", "GET", "#"],
        20 => vec!["KEYS", "*"],
        _ => vec!["KEYS", &first],
    };
    words.into_iter().map(str::to_owned).collect()
}

/// As a server with nothing else in it would answer; `XADD` and the order of `KEYS` are the server's.
fn comparable(words: &[String], reply: RedisReply) -> String {
    match &*words[0] {
        "XADD" => "an id, or an error".to_owned(),
        "KEYS" => format!("{:?}", names(reply)),
        _ => format!("{reply:?}"),
    }
}

/// The law: each of several tenants of one server hears what a server of its own would say.
#[test]
fn tenants_never_meet() {
    let servers: Option<Vec<Redis>> = (0..3).map(|_| Redis::start()).collect();
    let Some(servers) = servers else { return };
    let gateway = tenants(servers[0].address());
    let (mut random, seed) = Random::from_environment(23);
    let mut pairs = [
        (as_user(&gateway, "one"), servers[1].client()),
        (as_user(&gateway, "two"), servers[2].client()),
    ];
    for step in 0..1500 {
        let (tenant, own) = &mut pairs[random.below(2)];
        let is_transaction = random.below(10) == 0;
        let count = if is_transaction {
            1 + random.below(4)
        } else {
            1
        };
        let commands: Vec<Vec<String>> = (0..count)
            .map(|_| command(&mut random))
            .filter(|words| !is_transaction || words[0] != "KEYS")
            .collect();
        let mut heard = [Vec::new(), Vec::new()];
        for (client, heard) in [tenant, own].into_iter().zip(&mut heard) {
            if is_transaction {
                client.call(&["MULTI"]);
            }
            for words in &commands {
                let reply = client.call(words);
                heard.push(comparable(words, reply));
            }
            if is_transaction {
                let results = client.call(&["EXEC"]).array().into_iter();
                let results = commands.iter().zip(results);
                heard.extend(results.map(|(words, reply)| comparable(words, reply)));
            }
        }
        let [of_tenant, of_own] = heard;
        assert_eq!(of_tenant, of_own, "seed {seed}, step {step}: {commands:?}");
    }
}

#[test]
fn listeners_whose_clients_would_meet_are_warned_of() {
    let listener = |name: &str, prefix: &str| {
        format!(
            "  {name}:\n    listen: 127.0.0.1:0\n    protocol: redis\n    \
             routes: [{{ cluster: main, key: {{ add_prefix: \"{prefix}\" }} }}]\n"
        )
    };
    let rows = [("a:b:", true), ("b:", false), ("a:", false)];
    for (prefix, is_warned) in rows {
        let files = Scratch::new();
        let text = format!(
            "listeners:\n{}{}clusters: {{ main: {{ endpoints: [127.0.0.1:1] }} }}\n",
            listener("one", "a:"),
            listener("two", prefix)
        );
        let file = files.write("portcullis.yaml", text);
        let output = portcullis().args(["check", "-c"]).arg(file).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{prefix}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        let warning = "with the listener 'one': clients of the key prefix 'a:' reach keys of the prefix 'a:b:'";
        assert_eq!(said.contains(warning), is_warned, "{prefix}: {said}");
    }
}
