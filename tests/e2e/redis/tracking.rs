//! CLIENT TRACKING and MONITOR: what servers say unasked, to those who asked for it.

use std::process::Command;

use harness::Connection;
use harness::redis::RedisReply;
use harness::tool;

use super::{Site, is_error, ok};
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
        is_error(&said, "ERR CLIENT TRACKING needs RESP3"),
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
