//! Reads from replicas: which commands go there, in what turn, and who answers when some cannot.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use harness::redis::{Redis, RedisClient, RedisReply};
use harness::redis_cluster::RedisCluster;
use harness::{ClosedPort, Gate, Gateway, Origin, eventually};

use super::cluster_hostile::command;
use super::{Site, bulk, document, is_error, ok};

const FAILURES: &str = "portcullis_endpoint_failures_total";

/// Servers that each know their own name, so that it shows who answered: replicas in name only.
fn named(names: &[&str]) -> Option<Vec<Redis>> {
    let start = |name: &&str| {
        let server = Redis::start()?;
        assert_eq!(server.client().call(&["SET", "who", name]), ok());
        Some(server)
    };
    names.iter().map(start).collect()
}

/// A gateway over a primary and replicas that are configured.
fn over(primary: SocketAddr, replicas: &[SocketAddr], redis: &str) -> Site {
    let endpoint = |at: &SocketAddr| format!("{{ address: \"{at}\", role: replica }}");
    let mut endpoints = vec![format!("\"{primary}\"")];
    endpoints.extend(replicas.iter().map(endpoint));
    let text = format!(
        "listeners:\n  cache: {{ listen: \"127.0.0.1:0\", protocol: redis, cluster: main }}\n\
         clusters:\n  main: {{ endpoints: [{}], redis: {{ {redis} }} }}\n",
        endpoints.join(", ")
    );
    Site {
        servers: Vec::new(),
        gateway: Gateway::start(&text),
    }
}

fn addresses(servers: &[Redis]) -> Vec<SocketAddr> {
    servers.iter().map(Redis::address).collect()
}

/// Who answers, when asked so often.
fn who(client: &mut RedisClient, times: usize) -> BTreeSet<String> {
    (0..times)
        .map(|_| client.call(&["GET", "who"]).text())
        .collect()
}

/// Asks until all of these have answered, which takes a connection to each.
fn wait_for(client: &mut RedisClient, names: &[&str]) {
    let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    eventually("all answer", || who(client, names.len() * 2) == expected);
}

#[test]
fn commands_that_only_read_go_to_replicas_in_turn() {
    let Some(servers) = named(&["a", "b", "c"]) else {
        return;
    };
    let all = addresses(&servers);
    let site = over(all[0], &all[1..], "read_from: replica");
    let mut client = site.client();
    wait_for(&mut client, &["b", "c"]);
    let turns: Vec<String> = (0..10)
        .map(|_| client.call(&["GET", "who"]).text())
        .collect();
    assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");
    let many = client.call(&["MGET", "who", "none"]).array();
    assert_ne!(many[0], bulk("a"));
    // What writes, may write, is of one server, or belongs to a transaction, is the primary's.
    assert_eq!(client.call(&["GETSET", "who", "a"]), bulk("a"));
    let script = "return redis.call('GET', KEYS[1])";
    assert_eq!(client.call(&["EVAL", script, "1", "who"]), bulk("a"));
    assert_ne!(client.call(&["EVAL_RO", script, "1", "who"]), bulk("a"));
    assert_eq!(client.call(&["SET", "only", "here"]), ok());
    let scanned = client.call(&["SCAN", "0", "MATCH", "only"]).array();
    assert_eq!(scanned[1], RedisReply::Array(vec![bulk("only")]));
    assert_eq!(client.call(&["WATCH", "who"]), ok());
    assert_eq!(client.call(&["GET", "who"]), bulk("a"));
    assert_eq!(client.call(&["MULTI"]), ok());
    assert_eq!(client.call(&["GET", "who"]).text(), "QUEUED");
    assert_eq!(client.call(&["EXEC"]).array(), [bulk("a")]);
    assert_ne!(client.call(&["GET", "who"]), bulk("a"));
    let reads = |role| {
        let labels = [("cluster", "main"), ("role", role)];
        site.count("portcullis_redis_reads_total", &labels)
    };
    assert_eq!(reads("primary"), 0);
    assert!(reads("replica") > 10);
}

#[test]
fn each_policy_has_its_own_way_when_servers_die() {
    // Who answers with all, without b, and without b and c; `!` is an error.
    let cases = [
        ("primary", ["a", "a", "a"]),
        ("prefer_primary", ["a", "a", "a"]),
        ("replica", ["b c", "c", "!"]),
        ("prefer_replica", ["b c", "c", "a"]),
    ];
    for (policy, expected) in cases {
        let Some(mut servers) = named(&["a", "b", "c"]) else {
            return;
        };
        let all = addresses(&servers);
        let site = over(all[0], &all[1..], &format!("read_from: {policy}"));
        let mut client = site.client();
        for (step, names) in expected.into_iter().enumerate() {
            if step > 0 {
                servers.remove(1);
            }
            if names == "!" {
                eventually("there is no replica", || {
                    is_error(&client.call(&["GET", "who"]), "ERR no replica available")
                });
                continue;
            }
            let names: Vec<&str> = names.split(' ').collect();
            wait_for(&mut client, &names);
        }
        assert_eq!(client.call(&["SET", "x", "1"]), ok(), "{policy}");
    }
}

#[test]
fn replicas_stand_in_for_a_primary_that_is_gone() {
    let Some(mut servers) = named(&["a", "b"]) else {
        return;
    };
    let all = addresses(&servers);
    let site = over(all[0], &all[1..], "read_from: prefer_primary");
    let mut client = site.client();
    assert_eq!(who(&mut client, 4), BTreeSet::from(["a".to_owned()]));
    servers.remove(0);
    // Not one read fails: what the primary did not answer is asked of the replica.
    assert_eq!(who(&mut client, 20), BTreeSet::from(["b".to_owned()]));
    let failed = client.call(&["SET", "x", "1"]);
    assert!(is_error(&failed, "ERR upstream"), "{failed:?}");
    let Some(_again) = Redis::at(all[0]) else {
        return;
    };
    eventually("the primary answers again", || {
        client.call(&["GET", "who"]) == RedisReply::Nil
    });
}

#[test]
fn a_replica_that_comes_back_has_its_share_by_and_by() {
    for (slow_start, is_slow) in [("1h", true), ("off", false)] {
        let Some(mut servers) = named(&["a", "b", "c"]) else {
            return;
        };
        let all = addresses(&servers);
        let settings = format!("read_from: replica, slow_start: {slow_start}");
        let site = over(all[0], &all[1..], &settings);
        let mut client = site.client();
        wait_for(&mut client, &["b", "c"]);
        servers.remove(2);
        // Until it is known that it cannot be connected, and not only that a connection is gone.
        let failed = || {
            site.gateway
                .stats()
                .counter(FAILURES, &[("cluster", "main")])
        };
        eventually("it is tried in vain", || {
            wait_for(&mut client, &["b"]);
            failed() > 0
        });
        let Some(again) = Redis::at(all[2]) else {
            return;
        };
        assert_eq!(again.client().call(&["SET", "who", "c"]), ok());
        eventually("it is used again", || who(&mut client, 50).contains("c"));
        let answers = (0..400).map(|_| client.call(&["GET", "who"]).text());
        let share = answers.filter(|name| name == "c").count();
        // A tenth of a half at first; else a half.
        assert_eq!(share < 100, is_slow, "{slow_start}: {share} of 400");
    }
}

#[test]
fn a_read_that_breaks_off_is_asked_of_another() {
    let Some(servers) = named(&["a"]) else { return };
    // A replica that closes, or says that it has no data, when it is asked.
    let cases: [(&str, &'static [u8]); 4] = [
        ("upstream_closed", b""),
        ("upstream_protocol", b"?\r\n"),
        (
            "loading",
            b"-LOADING Redis is loading the dataset in memory\r\n",
        ),
        ("masterdown", b"-MASTERDOWN Link with MASTER is down\r\n"),
    ];
    for (reason, reply) in cases {
        let replica = Origin::raw(move |connection| {
            while command(connection)?.is_some() {
                if reply.is_empty() {
                    return Ok(());
                }
                connection.send(reply)?;
            }
            Ok(())
        });
        let site = over(
            servers[0].address(),
            &[replica.address()],
            "read_from: prefer_replica",
        );
        let mut client = site.client();
        let mut wire = Vec::new();
        for _ in 0..20 {
            RedisClient::write(&["GET", "who"], &mut wire);
        }
        for _ in 0..5 {
            client.send_raw(&wire);
            for _ in 0..20 {
                assert_eq!(client.read(), bulk("a"), "{reason}");
            }
        }
        site.gateway.wait_stat(
            "portcullis_redis_reads_again_total",
            &[("reason", reason), ("cluster", "main")],
            |count| count > 0,
        );
    }
}

#[test]
fn a_reply_that_has_begun_is_not_asked_for_again() {
    let Some(servers) = named(&["a"]) else { return };
    let replica = Origin::raw(|connection| {
        connection.fill()?;
        connection.send(b"$1000000\r\n")?;
        connection.send(vec![b'x'; 500_000])
    });
    let site = over(
        servers[0].address(),
        &[replica.address()],
        "read_from: replica",
    );
    let mut client = harness::Connection::connect(site.address()).unwrap();
    client.send(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n").unwrap();
    let (seen, _) = client.read_to_end().unwrap();
    assert!(seen.starts_with(b"$1000000\r\nxxx"));
    assert!(seen[10..].iter().all(|byte| *byte == b'x'));
    site.client().call(&["SET", "neighbour", "well"]);
}

#[test]
fn a_real_replica_without_its_primary_is_left_out() {
    let Some(primary) = Redis::start() else {
        return;
    };
    assert_eq!(primary.client().call(&["SET", "who", "a"]), ok());
    let nobody = ClosedPort::new();
    let follows = format!("replicaof 127.0.0.1 {}", nobody.address().port());
    let Some(replica) = Redis::with(&[&follows, "replica-serve-stale-data no"]) else {
        return;
    };
    let site = over(
        primary.address(),
        &[replica.address()],
        "read_from: prefer_replica",
    );
    let mut client = site.client();
    for _ in 0..50 {
        assert_eq!(client.call(&["GET", "who"]), bulk("a"));
    }
    site.gateway.wait_stat(
        "portcullis_redis_reads_again_total",
        &[("reason", "masterdown")],
        |count| count > 0,
    );
}

#[test]
fn each_shard_has_its_own_replicas() {
    let Some(servers) = named(&["a", "b", "ra", "rb"]) else {
        return;
    };
    let all = addresses(&servers);
    let text = format!(
        "listeners:\n  cache: {{ listen: \"127.0.0.1:0\", protocol: redis, cluster: main }}\n\
         clusters:\n  main:\n    endpoints:\n      - \"{0}\"\n      - \"{1}\"\n      \
         - {{ address: \"{2}\", replica_of: \"{0}\" }}\n      \
         - {{ address: \"{3}\", replica_of: \"{1}\" }}\n    \
         redis: {{ topology: shards, read_from: replica }}\n",
        all[0], all[1], all[2], all[3],
    );
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&text),
    };
    let mut client = site.client();
    let keys: Vec<String> = (0..50).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, "primary"]), ok());
    }
    // Each key is known to the replica of the shard that has it, and to no other.
    for (shard, replica) in [(0, 2), (1, 3)] {
        for key in &keys {
            if servers[shard].client().call(&["EXISTS", key]).integer() == 1 {
                servers[replica].client().call(&["SET", key, "replica"]);
            }
        }
    }
    for key in &keys {
        assert_eq!(client.call(&["GET", key]), bulk("replica"), "{key}");
    }
    let mut get = vec!["MGET".to_owned()];
    get.extend(keys.iter().cloned());
    let values = client.call(&get).array();
    assert!(values.iter().all(|value| *value == bulk("replica")));
}

#[test]
fn replicas_of_a_redis_cluster_are_read_from() {
    let Some(mut cluster) = RedisCluster::start(3) else {
        return;
    };
    let (_, node) = cluster.place("a");
    let Some(replica) = cluster.add_replica(node) else {
        return;
    };
    let redis =
        "redis: { topology: redis_cluster, read_from: prefer_replica, refresh_interval: 100ms }";
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document("", redis, &[cluster.address(0)])),
    };
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    let mut server = cluster.client(replica);
    let mut gets = || {
        let stats = server.call(&["INFO", "commandstats"]).text();
        stats.contains("cmdstat_get:")
    };
    eventually("the replica is asked", || {
        let value = client.call(&["GET", "a"]);
        assert!(
            value == bulk("1") || value == RedisReply::Nil,
            "it may be behind"
        );
        gets()
    });
    let moved = site.count("portcullis_redis_redirects_total", &[("kind", "moved")]);
    assert_eq!(moved, 0, "the replica answers itself");
    // What has no replica is asked of the node that has it.
    let mut keys = (0..100).map(|number| format!("key:{number}"));
    let other = keys.find(|key| cluster.place(key).1 != node).unwrap();
    assert_eq!(client.call(&["SET", &other, "2"]), ok());
    assert_eq!(client.call(&["GET", &other]), bulk("2"));
    // The primary dies: reads go on, writes as soon as the replica is told to take over.
    cluster.kill(node);
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", "a"]), bulk("1"));
    }
    cluster.take_over(replica);
    eventually("it takes writes", || {
        client.call(&["SET", "a", "3"]) == ok()
    });
    eventually("and is read from", || {
        client.call(&["GET", "a"]) == bulk("3")
    });
}

#[test]
fn a_server_that_is_away_is_dialed_by_one_at_a_time() {
    let gate = Gate::new();
    let held = gate.clone();
    // It takes connections and says nothing, until it closes them.
    let server = Origin::raw(move |connection| {
        connection.fill()?;
        held.wait();
        Ok(())
    });
    let keys = "upstream: { password: secret }\ndatabases: 16";
    let document = document(keys, "", &[server.address()]);
    let gateway = Gateway::start(&format!(
        "{document}runtime: {{ workers: {{ count: 1 }} }}\n"
    ));
    let site = Site {
        servers: Vec::new(),
        gateway,
    };
    // Connections of many kinds are wanted: databases, and some for one client alone.
    let mut clients: Vec<RedisClient> = (0..12).map(|_| site.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.call(&["SELECT", &number.to_string()]), ok());
        match number % 3 {
            0 => client.send(&["BLPOP", "a", "0"]),
            _ => client.send(&["GET", "a"]),
        }
        // Answered in turn, so that the command before it was taken in.
        client.send(&["ECHO", "x"]);
    }
    let commands = "portcullis_redis_connections_active";
    site.gateway
        .wait_stat(commands, &[("listener", "cache")], |count| count == 12);
    gate.open();
    for client in &mut clients {
        let failed = client.read();
        assert!(
            is_error(&failed, "ERR upstream connection failed"),
            "{failed:?}"
        );
        assert_eq!(client.read(), bulk("x"));
    }
    assert_eq!(server.connections(), 1, "all others waited for that one");
}
