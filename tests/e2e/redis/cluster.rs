//! A real Redis Cluster behind the gateway, to clients that know nothing of it: slots that move and nodes that die do not show.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::redis::{RedisClient, RedisReply};
use harness::redis_cluster::RedisCluster;
use harness::{Connection, Gateway, eventually};

use super::{Site, bulk, document, is_error, ok};

/// A gateway in front of a cluster, of which it is told one node.
struct Clustered {
    cluster: RedisCluster,
    site: Site,
}

/// Three primaries. `None` is to skip the test.
fn start() -> Option<Clustered> {
    let cluster = RedisCluster::start(3)?;
    let site = over(&cluster, "");
    Some(Clustered { cluster, site })
}

fn over(cluster: &RedisCluster, settings: &str) -> Site {
    let redis = format!("redis: {{ topology: redis_cluster{settings} }}");
    let gateway = Gateway::start(&document("", &redis, &[cluster.address(0)]));
    Site {
        servers: Vec::new(),
        gateway,
    }
}

impl Clustered {
    fn redirects(&self, kind: &str) -> u64 {
        self.site
            .count("portcullis_redis_redirects_total", &[("kind", kind)])
    }
}

#[test]
fn keys_are_where_their_slots_are() {
    let Some(Clustered { cluster, site }) = start() else {
        return;
    };
    let mut client = site.client();
    let keys: Vec<String> = (0..300).map(|number| format!("key:{number}")).collect();
    for key in &keys[..20] {
        assert_eq!(client.call(&["SET", key, key]), ok());
        assert_eq!(client.call(&["GET", key]), bulk(key));
    }
    let mut set = vec!["MSET".to_owned()];
    for key in &keys {
        set.extend([key.clone(), key.clone()]);
    }
    assert_eq!(client.call(&set), ok());
    let mut get = vec!["MGET".to_owned(), "none".to_owned()];
    get.extend(keys.iter().cloned());
    let values = client.call(&get).array();
    assert_eq!(values[0], RedisReply::Nil);
    keys.iter()
        .zip(&values[1..])
        .for_each(|(key, value)| assert_eq!(*value, bulk(key)));
    let sizes = (0..3).map(|node| cluster.client(node).call(&["DBSIZE"]).integer());
    let sizes: Vec<i64> = sizes.collect();
    assert!(sizes.iter().all(|size| *size > 50), "{sizes:?}");
    assert_eq!(client.call(&["DBSIZE"]), RedisReply::Integer(300));
    let listed = client.call(&["KEYS", "key:*"]).array();
    let listed: BTreeSet<String> = listed.into_iter().map(RedisReply::text).collect();
    assert_eq!(listed, keys.iter().cloned().collect());
    let mut del = vec!["DEL".to_owned()];
    del.extend(keys);
    assert_eq!(client.call(&del), RedisReply::Integer(300));
    let redirects = site.count("portcullis_redis_redirects_total", &[("kind", "moved")]);
    assert_eq!(redirects, 0, "the map was right from the first command on");
}

#[test]
fn r10_what_needs_one_slot_is_refused_over_several() {
    let Some(Clustered { cluster, site }) = start() else {
        return;
    };
    let mut client = site.client();
    // Another slot of the same node: a server would refuse that too.
    let (slot, node) = cluster.place("a");
    let mut keys = (0..1000).map(|number| format!("key:{number}"));
    let is_beside =
        |key: &String| matches!(cluster.place(key), (at, on) if at != slot && on == node);
    let beside = keys.find(is_beside).unwrap();
    let cross = "CROSSSLOT Keys in request don't hash to the same slot";
    let refused = client.call(&["SUNION", "a", &beside]);
    assert!(is_error(&refused, cross), "{refused:?}");
    assert_eq!(client.call(&["MSET", "a", "1", &beside, "2"]), ok());
    let both = client.call(&["MGET", "a", &beside]).array();
    assert_eq!(both, [bulk("1"), bulk("2")]);
    let script = "return redis.call('GET', KEYS[1])";
    assert_eq!(
        client.call(&["EVAL", script, "2", "{a}", "a"]),
        RedisReply::Nil
    );
    assert_eq!(client.call(&["RENAME", "a", "x{a}"]), ok());
    // A transaction is in one slot.
    assert_eq!(client.call(&["MULTI"]), ok());
    assert_eq!(client.call(&["SET", "{a}1", "1"]).text(), "QUEUED");
    assert_eq!(client.call(&["GET", "{a}1"]).text(), "QUEUED");
    assert_eq!(client.call(&["EXEC"]).array(), [ok(), bulk("1")]);
    assert_eq!(client.call(&["MULTI"]), ok());
    assert_eq!(client.call(&["SET", "a", "1"]).text(), "QUEUED");
    assert!(is_error(&client.call(&["SET", &beside, "1"]), cross));
    assert!(is_error(&client.call(&["EXEC"]), "EXECABORT"));
}

#[test]
fn there_is_one_database() {
    let Some(all) = start() else { return };
    let site = &all.site;
    let mut client = site.client();
    assert_eq!(client.call(&["SELECT", "0"]), ok());
    let refused = client.call(&["SELECT", "1"]);
    assert!(is_error(
        &refused,
        "ERR SELECT is not allowed in cluster mode"
    ));
    site.neighbour_is_well();
}

#[test]
fn messages_reach_subscribers_at_any_node_once() {
    let Some(Clustered { cluster, site }) = start() else {
        return;
    };
    let mut listener = site.client();
    assert_eq!(listener.call(&["SUBSCRIBE", "news"]).array().len(), 3);
    assert_eq!(listener.call(&["PSUBSCRIBE", "n*"]).array().len(), 3);
    assert_eq!(listener.call(&["SSUBSCRIBE", "shard"]).array().len(), 3);
    // Whoever says it, and wherever.
    let speakers = (0..4).map(|_| site.client());
    for (number, mut speaker) in speakers
        .chain((0..3).map(|node| cluster.client(node)))
        .enumerate()
    {
        let text = number.to_string();
        assert!(speaker.call(&["PUBLISH", "news", &text]).integer() >= 0);
        let mut seen = [listener.read().array(), listener.read().array()];
        seen.sort_by_key(Vec::len);
        assert_eq!(seen[0], [bulk("message"), bulk("news"), bulk(&text)]);
        assert_eq!(seen[1].len(), 4);
    }
    let mut speaker = site.client();
    assert_eq!(speaker.call(&["SPUBLISH", "shard", "x"]).integer(), 1);
    let seen = listener.read().array();
    assert_eq!(seen, [bulk("smessage"), bulk("shard"), bulk("x")]);
    listener.send(&["UNSUBSCRIBE"]);
    assert_eq!(listener.read().array()[1], bulk("news"));
    assert_eq!(
        listener.call(&["PUNSUBSCRIBE", "n*"]).array()[2].integer(),
        0
    );
    assert_eq!(speaker.call(&["PUBLISH", "news", "x"]).integer(), 0);
    // A sharded channel whose slot moves is ended by its node, and the client is told.
    let (slot, from) = cluster.place("shard");
    let to = (from + 1) % 3;
    cluster.begin_move(&slot, from, to);
    cluster.end_move(&slot, from, to);
    let told = listener.read().array();
    assert_eq!(told[..2], [bulk("sunsubscribe"), bulk("shard")]);
    // Whoever asks the old node for it is closed, until the map is read again.
    let mut wire = Vec::new();
    RedisClient::write(&["SSUBSCRIBE", "shard"], &mut wire);
    let mut again = None;
    eventually("it can be subscribed to again", || {
        let mut raw = Connection::connect(site.address()).unwrap();
        raw.send(&wire).unwrap();
        let is_there = raw.read_until(b"shard\r\n:1\r\n").is_ok();
        again = is_there.then_some(raw);
        is_there
    });
    assert_eq!(speaker.call(&["SPUBLISH", "shard", "y"]).integer(), 1);
    again.unwrap().read_until(b"shard\r\n$1\r\ny\r\n").unwrap();
}

/// Counts in one slot until told to stop: every reply is one more than the one before, wherever the counter is.
fn count_on(mut client: RedisClient, name: &str, is_over: &AtomicBool) -> i64 {
    let key = format!("{{moving}}{name}");
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        count += 1;
        assert_eq!(client.call(&["INCR", &key]), RedisReply::Integer(count));
        let pair = [format!("{key}:value"), count.to_string()];
        assert_eq!(client.call(&["SET", &pair[0], &pair[1]]), ok());
        assert_eq!(client.call(&["GET", &pair[0]]), bulk(&pair[1]));
    }
    count
}

/// As [`count_on`], with commands under way all the time: none overtakes another.
fn count_without_pause(mut client: RedisClient, is_over: &AtomicBool) -> i64 {
    let (mut sent, mut seen) = (0, 0);
    while sent > seen || !is_over.load(Ordering::Relaxed) {
        if sent - seen < 32 && !is_over.load(Ordering::Relaxed) {
            client.send(&["INCR", "{moving}pipeline"]);
            sent += 1;
        } else {
            seen += 1;
            assert_eq!(client.read(), RedisReply::Integer(seen));
        }
    }
    seen
}

#[test]
fn r7_a_slot_moves_while_clients_write() {
    let Some(mut all) = start() else { return };
    let (slot, from) = all.cluster.place("{moving}");
    // To a node that is there now and has no slots, and that the gateway has not heard of; and back.
    all.site.neighbour_is_well();
    let Some(to) = all.cluster.add() else { return };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let (client, is_over) = (all.site.client(), &is_over);
                scope.spawn(move || count_on(client, name, is_over))
            })
            .collect();
        let (client, stop) = (all.site.client(), &is_over);
        let pipeline = scope.spawn(move || count_without_pause(client, stop));
        for (from, to) in [(from, to), (to, from)] {
            let (asked, moved) = (all.redirects("ask"), all.redirects("moved"));
            all.cluster.begin_move(&slot, from, to);
            all.cluster.move_keys(&slot, from, to);
            eventually("somebody was sent to the new node", || {
                all.redirects("ask") > asked
            });
            all.cluster.end_move(&slot, from, to);
            eventually("and then for good", || all.redirects("moved") > moved);
        }
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.join().unwrap() > 0);
        }
        assert!(pipeline.join().unwrap() > 0);
    });
    let rejected = "portcullis_redis_rejections_total";
    for reason in ["redirect_refused", "redirect_limit"] {
        assert_eq!(all.site.count(rejected, &[("reason", reason)]), 0);
    }
    all.site.neighbour_is_well();
}

#[test]
fn f8_a_node_dies_and_its_replica_takes_over() {
    let Some(mut all) = start() else { return };
    let (_, node) = all.cluster.place("a");
    let mut client = all.site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    let Some(replica) = all.cluster.add_replica(node) else {
        return;
    };
    all.cluster.kill(node);
    eventually("it is noticed", || {
        matches!(client.call(&["GET", "a"]), RedisReply::Error(_))
    });
    let (_, other) = all.cluster.place_at(replica, "b");
    assert_ne!(other, node, "a key of a node that is well");
    assert_eq!(client.call(&["SET", "b", "1"]), ok());
    all.cluster.take_over(replica);
    eventually("the replica is asked", || {
        client.call(&["GET", "a"]) == bulk("1")
    });
    assert_eq!(client.call(&["SET", "a", "2"]), ok());
    assert_eq!(client.call(&["GET", "a"]), bulk("2"));
}

#[test]
fn a_command_that_waits_goes_where_its_slot_goes() {
    let Some(all) = start() else { return };
    let (slot, from) = all.cluster.place("list");
    let to = (from + 1) % 3;
    let mut waiting = all.site.client();
    waiting.send(&["BLPOP", "list", "0"]);
    let mut server = all.cluster.client(from);
    eventually("it waits", || {
        server
            .call(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:1")
    });
    all.cluster.begin_move(&slot, from, to);
    all.cluster.end_move(&slot, from, to);
    let mut server = all.cluster.client(to);
    eventually("it waits at the other node", || {
        server
            .call(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:1")
    });
    let mut pusher = all.site.client();
    assert_eq!(pusher.call(&["RPUSH", "list", "x"]).integer(), 1);
    assert_eq!(waiting.read().array(), [bulk("list"), bulk("x")]);
    // Who leaves takes nothing with him.
    waiting.send(&["BLPOP", "list", "0"]);
    eventually("it waits again", || {
        server
            .call(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:1")
    });
    all.cluster.begin_move(&slot, to, from);
    all.cluster.end_move(&slot, to, from);
    let mut server = all.cluster.client(from);
    eventually("it waits at the first node", || {
        server
            .call(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:1")
    });
    drop(waiting);
    eventually("nobody waits", || {
        server
            .call(&["INFO", "clients"])
            .text()
            .contains("blocked_clients:0")
    });
    let pinned = "portcullis_redis_pinned_connections_active";
    all.site
        .gateway
        .wait_stat(pinned, &[("listener", "cache")], |count| count == 0);
}

#[test]
fn a_transaction_whose_slot_moved_fails_once() {
    let Some(all) = start() else { return };
    let (slot, from) = all.cluster.place("a");
    let mut client = all.site.client();
    assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil);
    let to = (from + 1) % 3;
    all.cluster.begin_move(&slot, from, to);
    all.cluster.end_move(&slot, from, to);
    assert_eq!(client.call(&["MULTI"]), ok());
    assert!(is_error(&client.call(&["SET", "a", "1"]), "MOVED"));
    assert!(is_error(&client.call(&["EXEC"]), "EXECABORT"));
    eventually("the map is read again", || {
        assert_eq!(client.call(&["MULTI"]), ok());
        client.call(&["SET", "a", "1"]);
        matches!(client.call(&["EXEC"]), RedisReply::Array(_))
    });
    assert_eq!(client.call(&["GET", "a"]), bulk("1"));
}

#[test]
fn a_reload_asks_the_nodes_anew_and_costs_nothing() {
    let Some(all) = start() else { return };
    let mut client = all.site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    for (seed, settings) in [(0, ", refresh_interval: 1m"), (1, ""), (2, "")] {
        let redis = format!("redis: {{ topology: redis_cluster{settings} }}");
        let seeds = [all.cluster.address(seed)];
        let reply = all.site.gateway.reload(&document("", &redis, &seeds));
        assert_eq!(reply.status, 200, "{}", reply.text());
        for key in ["a", "b", "c"] {
            assert_eq!(client.call(&["SET", key, settings]), ok());
            assert_eq!(client.call(&["GET", key]), bulk(settings));
        }
    }
    all.site.neighbour_is_well();
}
