//! CLIENT TRACKING and MONITOR: what servers say unasked, to those who asked for it.

use std::fmt::Write as _;
use std::process::Command;

use harness::redis::{RedisClient, RedisReply};
use harness::redis_cluster::RedisCluster;
use harness::{Connection, Gateway, eventually, tool};

use super::{Site, bulk, document, is_error, ok};
use crate::python::Python;

/// A client of RESP3, in bytes.
struct Raw(Connection);

impl Raw {
    #[track_caller]
    fn new(site: &Site) -> Self {
        let mut raw = Self(Connection::connect(site.address()).unwrap());
        raw.says("HELLO 3", "modules\r\n*0\r\n");
        raw
    }

    /// Says this, and hears so much that it ends so.
    #[track_caller]
    fn says(&mut self, words: &str, end: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let mut wire = format!("*{}\r\n", words.len());
        for word in words {
            wire = format!("{wire}${}\r\n{word}\r\n", word.len());
        }
        self.0.send(wire.as_bytes()).unwrap();
        self.hears(end)
    }

    #[track_caller]
    fn hears(&mut self, end: &str) -> String {
        let seen = self.0.read_until(end.as_bytes()).unwrap();
        String::from_utf8(seen).unwrap()
    }

    #[track_caller]
    fn hears_of(&mut self, key: &str) {
        let message = format!(
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n",
            key.len()
        );
        let seen = self.hears(&message);
        assert_eq!(seen, message);
    }
}

#[test]
fn clients_hear_of_changes_at_every_shard() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    let mut client = Raw::new(&site);
    client.says("CLIENT TRACKING ON", "+OK\r\n");
    let keys: Vec<String> = (0..9).map(|number| format!("key:{number}")).collect();
    let mut other = site.client();
    for key in &keys {
        client.says(&format!("GET {key}"), "_\r\n");
        assert_eq!(other.call(&["SET", key, "1"]), ok());
        client.hears_of(key);
        // Once, until it reads it again.
        assert_eq!(other.call(&["SET", key, "2"]), ok());
    }
    client.says("GET key:1", "$1\r\n2\r\n");
    // Its own changes too, and those in a transaction.
    client.says("SET key:1 3", "+OK\r\n");
    client.hears_of("key:1");
    client.says("MULTI", "+OK\r\n");
    client.says("GET key:1", "+QUEUED\r\n");
    client.says("EXEC", "*1\r\n$1\r\n3\r\n");
    assert_eq!(other.call(&["DEL", "key:1"]).integer(), 1);
    client.hears_of("key:1");
    client.says("CLIENT TRACKINGINFO", "$8\r\nprefixes\r\n*0\r\n");
    client.says("CLIENT TRACKING OFF", "+OK\r\n");
    client.says("GET key:2", "$1\r\n2\r\n");
    assert_eq!(other.call(&["DEL", "key:2"]).integer(), 1);
    assert_eq!(client.says("PING", "+PONG\r\n"), "+PONG\r\n");
    site.neighbour_is_well();
}

#[test]
fn modes_of_tracking_are_those_of_servers() {
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let mut other = site.client();
    let mut client = Raw::new(&site);
    client.says(
        "CLIENT TRACKING ON BCAST PREFIX a PREFIX b NOLOOP",
        "+OK\r\n",
    );
    for key in ["a1", "a2", "b1", "b2"] {
        assert_eq!(other.call(&["SET", key, "1"]), ok());
        client.hears_of(key);
        client.says(&format!("SET {key} 2"), "+OK\r\n");
    }
    assert_eq!(other.call(&["SET", "c", "1"]), ok());
    assert_eq!(client.says("PING", "+PONG\r\n"), "+PONG\r\n");
    let said = client.says("CLIENT TRACKING ON", "mode.\r\n");
    assert!(
        said.starts_with("-ERR You can't switch BCAST mode"),
        "{said}"
    );
    let said = client.says("CLIENT TRACKING ON BCAST PREFIX a1", "overlap.\r\n");
    assert!(said.starts_with("-ERR Prefix 'a1' overlaps"), "{said}");
    let mut client = Raw::new(&site);
    client.says("CLIENT TRACKING ON OPTIN", "+OK\r\n");
    client.says("GET a1", "$1\r\n2\r\n");
    client.says("CLIENT CACHING YES", "+OK\r\n");
    client.says("MGET a2 b2", "$1\r\n2\r\n$1\r\n2\r\n");
    for key in ["a1", "a2", "b2"] {
        assert_eq!(other.call(&["SET", key, "3"]), ok());
    }
    client.hears_of("a2");
    client.hears_of("b2");
    // What a client of RESP2 could not hear, it is not promised.
    let mut old = site.client();
    let said = old.call(&["CLIENT", "TRACKING", "ON"]);
    assert!(
        is_error(&said, "ERR CLIENT TRACKING needs RESP3 or REDIRECT"),
        "{said:?}"
    );
}

#[test]
fn whoever_would_miss_changes_is_closed() {
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let mut client = Raw::new(&site);
    client.says("CLIENT TRACKING ON", "+OK\r\n");
    let mut server = site.servers[0].client();
    let killed = server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert!(killed.integer() >= 1, "{killed:?}");
    assert_eq!(client.0.read_to_end().unwrap().0, b"");
    let labels = [("reason", "subscription_lost")];
    let ended = "portcullis_redis_connections_ended_total";
    site.gateway
        .wait_stat(ended, &[("listener", "cache"), labels[0]], |count| {
            count == 1
        });
    site.neighbour_is_well();
}

#[test]
fn keys_have_the_names_that_their_client_knows() {
    let keys = "auth: { users: { one: { password: p, rules: \"+@all ~* &*\" }, two: { password: p, rules: \"+@all ~* &*\" } } }\n\
                routes:\n  - { match: { user: one }, cluster: main, key: { add_prefix: \"1:\" } }\n  \
                - { match: { user: two }, cluster: main, key: { strip_prefix: \"x\", add_prefix: \"2:\" } }";
    let Some(site) = Site::shards(2, keys) else {
        return;
    };
    let as_user = |user: &str| {
        let mut raw = Raw(Connection::connect(site.address()).unwrap());
        raw.says(&format!("HELLO 3 AUTH {user} p"), "modules\r\n*0\r\n");
        raw
    };
    let (mut one, mut two) = (as_user("one"), as_user("two"));
    let mut writer = as_user("one");
    one.says("CLIENT TRACKING ON", "+OK\r\n");
    two.says("CLIENT TRACKING ON BCAST NOLOOP", "+OK\r\n");
    for number in 0..8 {
        let key = format!("key:{number}");
        one.says(&format!("GET {key}"), "_\r\n");
        writer.says(&format!("SET {key} 1"), "+OK\r\n");
        one.hears_of(&key);
    }
    // What others call their own is nobody else's business.
    assert_eq!(two.says("PING", "+PONG\r\n"), "+PONG\r\n");
    let mut server = site.servers[0].client();
    assert_eq!(server.call(&["SET", "2:a", "1"]), ok());
    two.hears_of("xa");
    let info = two.says("CLIENT TRACKINGINFO", "prefixes\r\n*1\r\n$0\r\n\r\n");
    assert!(info.contains("bcast") && info.contains("noloop"), "{info}");
    let mut two = as_user("two");
    two.says("CLIENT TRACKING ON BCAST PREFIX xa PREFIX xb", "+OK\r\n");
    for key in ["2:a", "2:c", "2:b"] {
        assert_eq!(server.call(&["SET", key, "2"]), ok());
    }
    two.hears_of("xa");
    two.hears_of("xb");
    let mut two = as_user("two");
    let refused = two.says("CLIENT TRACKING ON BCAST PREFIX a", "\r\n");
    assert!(refused.starts_with("-ERR key does not begin"), "{refused}");
    // All keys are forgotten by all.
    assert_eq!(server.call(&["FLUSHALL"]), ok());
    one.hears(">2\r\n$10\r\ninvalidate\r\n_\r\n");
}

#[test]
fn clients_of_resp2_have_another_that_is_told() {
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let mut ear = site.client();
    let id = ear.call(&["CLIENT", "ID"]).integer().to_string();
    let mut client = site.client();
    let on = ["CLIENT", "TRACKING", "ON", "REDIRECT", &id];
    let nobody = client.call(&on);
    assert!(
        is_error(&nobody, "ERR The client ID you want"),
        "{nobody:?}"
    );
    let channel = "__redis__:invalidate";
    assert_eq!(ear.call(&["SUBSCRIBE", channel]).array().len(), 3);
    assert_eq!(client.call(&on), ok());
    assert_eq!(
        client.call(&["CLIENT", "GETREDIR"]).integer().to_string(),
        id
    );
    let mut other = site.client();
    let told = |keys: RedisReply| [bulk("message"), bulk(channel), keys];
    for number in 0..6 {
        let key = format!("key:{number}");
        // In RESP2, as it speaks itself.
        assert_eq!(client.call(&["ZADD", &key, "1", "a"]).integer(), 1);
        let scores = client.call(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]);
        assert_eq!(scores.array(), [bulk("a"), bulk("1")]);
        assert_eq!(other.call(&["DEL", &key]).integer(), 1);
        assert_eq!(
            ear.read().array(),
            told(RedisReply::Array(vec![bulk(&key)]))
        );
    }
    let pong = ["pong", ""].map(bulk);
    assert_eq!(ear.call(&["PING"]).array(), pong);
    assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil);
    assert_eq!(site.servers[0].client().call(&["FLUSHALL"]), ok());
    assert_eq!(ear.read().array(), told(RedisReply::Nil));
    assert_eq!(client.call(&["CLIENT", "TRACKING", "OFF"]), ok());
    // All the modes, and a client of RESP3 that is told by another's.
    let on = [&on[..], &["BCAST", "PREFIX", "b", "NOLOOP"]].concat();
    assert_eq!(client.call(&on), ok());
    for key in ["a", "b", "c"] {
        assert_eq!(client.call(&["SET", key, "1"]), ok());
        assert_eq!(other.call(&["SET", key, "2"]), ok());
    }
    assert_eq!(ear.read().array(), told(RedisReply::Array(vec![bulk("b")])));
    let mut raw = Raw::new(&site);
    raw.says("SUBSCRIBE __redis__:invalidate", ":1\r\n");
    let said = raw.says("CLIENT ID", "\r\n");
    let raw_id = said.trim_start_matches(':').trim_end();
    let mut optin = Raw::new(&site);
    let on = format!("CLIENT TRACKING ON OPTIN REDIRECT {raw_id}");
    assert_eq!(optin.says(&on, "\r\n"), "+OK\r\n");
    optin.says("CLIENT CACHING YES", "+OK\r\n");
    optin.says("GET a", "$1\r\n2\r\n");
    assert_eq!(other.call(&["SET", "a", "3"]), ok());
    raw.hears_of("a");
    // Who is told is gone: so the other would know nothing.
    drop(ear);
    let ended = "portcullis_redis_connections_ended_total";
    site.gateway
        .wait_stat(ended, &[("reason", "closed")], |count| count > 0);
    assert_eq!(other.call(&["SET", "b", "3"]), ok());
    site.gateway
        .wait_stat(ended, &[("reason", "tracking_lost")], |count| count == 1);
    site.neighbour_is_well();
}

#[test]
fn nobody_is_told_by_another_user() {
    let keys = "auth: { users: { one: { password: p, rules: \"+@all ~* &*\" }, two: { password: p, rules: \"+@all ~* &*\" } } }";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let as_user = |user: &str| {
        let mut client = site.client();
        assert_eq!(client.call(&["AUTH", user, "p"]), ok());
        client
    };
    let mut ear = as_user("one");
    let id = ear.call(&["CLIENT", "ID"]).integer().to_string();
    assert_eq!(
        ear.call(&["SUBSCRIBE", "__redis__:invalidate"])
            .array()
            .len(),
        3
    );
    let on = ["CLIENT", "TRACKING", "ON", "REDIRECT", &id];
    let refused = as_user("two").call(&on);
    assert!(
        is_error(&refused, "ERR The client ID you want"),
        "{refused:?}"
    );
    let mut one = as_user("one");
    assert_eq!(one.call(&on), ok());
    let refused = one.call(&["AUTH", "two", "p"]);
    assert!(is_error(&refused, "ERR AUTH cannot change"), "{refused:?}");
}

/// A Redis Cluster and a gateway in front of it, and a key of each node.
fn cluster(nodes: usize) -> Option<(RedisCluster, Site, Vec<String>)> {
    let cluster = RedisCluster::start(nodes)?;
    let redis = "redis: { topology: redis_cluster }";
    let gateway = Gateway::start(&document("", redis, &[cluster.address(0)]));
    let site = Site {
        servers: Vec::new(),
        gateway,
    };
    let key = |node: usize| {
        let mut names = (0..).map(|number| format!("key:{number}"));
        names.find(|name| cluster.place(name).1 == node).unwrap()
    };
    let keys = (0..nodes).map(key).collect();
    Some((cluster, site, keys))
}

fn move_slot(cluster: &RedisCluster, key: &str, to: usize) {
    let (slot, from) = cluster.place(key);
    cluster.begin_move(&slot, from, to);
    cluster.move_keys(&slot, from, to);
    cluster.end_move(&slot, from, to);
    // Else it may move back and forth between nodes that know less than others.
    cluster.agree();
}

#[test]
fn clients_hear_of_changes_at_every_node() {
    let Some((cluster, site, keys)) = cluster(3) else {
        return;
    };
    let mut client = Raw::new(&site);
    client.says("CLIENT TRACKING ON", "+OK\r\n");
    let mut other = site.client();
    for key in &keys {
        client.says(&format!("GET {key}"), "_\r\n");
        assert_eq!(other.call(&["SET", key, "1"]), ok());
        client.hears_of(key);
    }
    let values = format!("MGET {}", keys.join(" "));
    let three = "*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n";
    client.says(&values, three);
    assert_eq!(other.call(&["SET", &keys[1], "2"]), ok());
    client.hears_of(&keys[1]);
    // The slot moves: it hears of that, and reads on at the new node, unseen.
    move_slot(&cluster, &keys[0], 2);
    client.hears_of(&keys[0]);
    let read = client.says(&format!("GET {}", keys[0]), "$1\r\n1\r\n");
    assert_eq!(read, "$1\r\n1\r\n");
    assert_eq!(other.call(&["SET", &keys[0], "3"]), ok());
    client.hears_of(&keys[0]);
    // In a transaction too, and while a slot moves.
    client.says("MULTI", "+OK\r\n");
    client.says(&format!("GET {}", keys[0]), "+QUEUED\r\n");
    client.says("EXEC", "*1\r\n$1\r\n3\r\n");
    assert_eq!(other.call(&["DEL", &keys[0]]).integer(), 1);
    client.hears_of(&keys[0]);
    let (slot, from) = cluster.place(&keys[2]);
    assert_eq!(from, 2);
    cluster.begin_move(&slot, 2, 1);
    cluster.move_keys(&slot, 2, 1);
    client.hears_of(&keys[2]);
    client.says(&format!("GET {}", keys[2]), "$1\r\n1\r\n");
    cluster.end_move(&slot, 2, 1);
    assert_eq!(other.call(&["SET", &keys[2], "4"]), ok());
    client.hears_of(&keys[2]);
    let redirects = "portcullis_redis_redirects_total";
    assert!(site.count(redirects, &[("kind", "ask")]) > 0);
    assert!(site.count(redirects, &[("kind", "moved")]) > 0);
    site.neighbour_is_well();
}

#[test]
fn what_a_tracking_client_says_stays_in_order_while_a_slot_moves() {
    let Some((cluster, site, keys)) = cluster(2) else {
        return;
    };
    let mut raw = Raw::new(&site);
    raw.says("CLIENT TRACKING ON OPTIN NOLOOP", "+OK\r\n");
    for round in 0..4 {
        move_slot(&cluster, &keys[0], (round + 1) % 2);
        let mut wire = Vec::new();
        let mut expected = String::new();
        for number in 1..=20 {
            RedisClient::write(&["APPEND", &keys[0], "x"], &mut wire);
            RedisClient::write(&["STRLEN", &keys[0]], &mut wire);
            let length = round * 20 + number;
            let _ = write!(expected, ":{length}\r\n:{length}\r\n");
        }
        raw.0.send(&wire).unwrap();
        // What was sent on is tracked in any case, and so it may hear of it.
        let end = expected.rsplit_once("\r\n:").map_or("", |(_, end)| end);
        let heard = raw.hears(&format!(":{end}:{end}"));
        let told = format!(
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{}\r\n",
            keys[0].len(),
            keys[0]
        );
        assert_eq!(heard.replace(&told, ""), expected);
    }
}

#[test]
fn whoever_would_miss_changes_of_a_cluster_is_closed() {
    let Some((mut cluster, site, keys)) = cluster(2) else {
        return;
    };
    let mut all = Raw::new(&site);
    all.says("CLIENT TRACKING ON BCAST", "+OK\r\n");
    let mut some = Raw::new(&site);
    some.says("CLIENT TRACKING ON", "+OK\r\n");
    let mut other = site.client();
    for key in &keys {
        assert_eq!(other.call(&["SET", key, "1"]), ok());
        all.hears_of(key);
    }
    // A node more, of whose keys nobody would tell it.
    let Some(new) = cluster.add() else { return };
    move_slot(&cluster, &keys[0], new);
    eventually("the gateway knows", || {
        other.call(&["GET", &keys[0]]) == bulk("1")
    });
    all.0.read_to_end().unwrap();
    some.says(&format!("GET {}", keys[0]), "$1\r\n1\r\n");
    assert_eq!(other.call(&["SET", &keys[0], "2"]), ok());
    some.hears_of(&keys[0]);
    cluster.kill(new);
    some.0.read_to_end().unwrap();
}

#[test]
fn monitor_shows_all_to_those_who_may() {
    let Some(site) = Site::shards(2, "allow_commands: [monitor]") else {
        return;
    };
    let mut monitor = site.client();
    assert_eq!(monitor.call(&["MONITOR"]), ok());
    let mut other = site.client();
    for number in 0..10 {
        let key = format!("key:{number}");
        assert_eq!(other.call(&["SET", &key, "1"]), ok());
        let RedisReply::Simple(line) = monitor.read() else {
            panic!("no line");
        };
        let shown = format!("\"SET\" \"{key}\" \"1\"");
        assert!(line.ends_with(&shown), "{line}");
    }
    assert!(is_error(&monitor.call(&["GET", "a"]), "ERR only QUIT"));
    let reset = RedisReply::Simple("RESET".to_owned());
    assert_eq!(monitor.call(&["RESET"]), reset);
    assert_eq!(other.call(&["SET", "a", "1"]), ok());
    let pong = RedisReply::Simple("PONG".to_owned());
    assert_eq!(monitor.call(&["PING"]), pong);
    let pinned = "portcullis_redis_pinned_connections_active";
    site.gateway
        .wait_stat(pinned, &[("listener", "cache")], |count| count == 0);
}

#[test]
fn monitor_is_refused_to_all_others() {
    let Some(site) = Site::start("") else { return };
    let said = site.client().call(&["MONITOR"]);
    assert!(is_error(&said, "ERR command 'monitor' is not allowed"));
    site.rejected("other_clients");
}

/// redis-py's own cache: what one client has kept, another's change takes out.
const CACHE: &str = r#"
import sys, time, redis
from redis.cache import CacheConfig
# It wants a later server than there is here, whose tracking is the same.
redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
port = int(sys.argv[1])
client = redis.Redis(port=port, protocol=3, decode_responses=True, cache_config=CacheConfig())
other = redis.Redis(port=port, decode_responses=True)
for number in range(20):
    other.set(f"k{number}", "old")
    assert client.get(f"k{number}") == "old"
    assert client.get(f"k{number}") == "old"
assert client.get_cache().size == 20, client.get_cache().size
for number in range(20):
    other.set(f"k{number}", "new")
for number in range(20):
    while client.get(f"k{number}") != "new":
        time.sleep(0.01)
print("well")
"#;

#[test]
fn redis_py_keeps_what_it_has_read() {
    let Some(python) = Python::with("redis", &["redis"]) else {
        return;
    };
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let port = site.address().port().to_string();
    let output = python.run(CACHE).arg(port).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "well");
}

#[test]
fn redis_cli_monitors() {
    let Some(cli) = tool("redis-cli") else { return };
    let Some(site) = Site::start("allow_commands: [monitor]") else {
        return;
    };
    let port = site.address().port().to_string();
    let mut child = Command::new(cli)
        .args(["-p", &port, "MONITOR"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pinned = "portcullis_redis_pinned_connections_active";
    site.gateway
        .wait_stat(pinned, &[("listener", "cache")], |count| count == 1);
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(output).map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("OK"));
    assert_eq!(site.client().call(&["SET", "a", "1"]), ok());
    let shown = lines.find(|line| line.ends_with("\"SET\" \"a\" \"1\""));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(shown.is_some());
}
