//! Keys over several servers: placed, split, merged, fanned out; what needs one shard is refused.

use std::collections::BTreeSet;

use std::net::SocketAddr;

use harness::Gateway;
use harness::redis::{Redis, RedisClient, RedisReply};

use super::{Site, bulk, is_error, ok};

#[test]
fn many_keys_are_split_and_put_together() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    let mut client = site.client();
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    let mut set = vec!["MSET".to_owned()];
    for key in &keys {
        set.extend([key.clone(), format!("value of {key}")]);
    }
    assert_eq!(client.call(&set), ok());
    let mut get = vec!["MGET".to_owned(), "none".to_owned()];
    get.extend(keys.iter().cloned());
    let values = client.call(&get).array();
    assert_eq!(values[0], RedisReply::Nil);
    for (key, value) in keys.iter().zip(&values[1..]) {
        assert_eq!(*value, bulk(&format!("value of {key}")));
    }
    // Each shard has some, and all together have all.
    let sizes: Vec<i64> = site
        .servers
        .iter()
        .map(|server| server.client().call(&["DBSIZE"]).integer())
        .collect();
    assert!(sizes.iter().all(|size| *size > 10), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<i64>(), 100);
    assert_eq!(client.call(&["DBSIZE"]), RedisReply::Integer(100));
    let exists = ["EXISTS", "key:1", "key:2", "key:3", "key:1", "none"];
    assert_eq!(client.call(&exists), RedisReply::Integer(4));
    let listed: BTreeSet<String> = client
        .call(&["KEYS", "key:*"])
        .array()
        .into_iter()
        .map(RedisReply::text)
        .collect();
    assert_eq!(listed, keys.iter().cloned().collect());
    assert_eq!(scan(&mut client), listed);
    let mut del = vec!["DEL".to_owned()];
    del.extend(keys);
    assert_eq!(client.call(&del), RedisReply::Integer(100));
    assert_eq!(client.call(&["RANDOMKEY"]), RedisReply::Nil);
}

/// All keys, by a cursor that walks over shards.
fn scan(client: &mut RedisClient) -> BTreeSet<String> {
    let mut cursor = "0".to_owned();
    let mut found = BTreeSet::new();
    loop {
        let mut reply = client
            .call(&["SCAN", &cursor, "COUNT", "7"])
            .array()
            .into_iter();
        cursor = reply.next().unwrap().text();
        found.extend(
            reply
                .next()
                .unwrap()
                .array()
                .into_iter()
                .map(RedisReply::text),
        );
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn r10_what_needs_one_shard_is_refused_over_several() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    let mut client = site.client();
    let cross = "CROSSSLOT Keys in request don't hash to the same slot";
    let script = "return redis.call('GET', KEYS[1])";
    let calls: [&[&str]; 3] = [
        &["SUNION", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"],
        &["EVAL", script, "8", "a", "b", "c", "d", "e", "f", "g", "h"],
        &["PFCOUNT", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"],
    ];
    for call in calls {
        assert!(is_error(&client.call(call), cross), "{call:?}");
    }
    // With a tag they live together.
    assert_eq!(client.call(&["SET", "{t}a", "1"]), ok());
    assert_eq!(
        client.call(&["EVAL", script, "2", "{t}a", "{t}b"]),
        bulk("1")
    );
    assert_eq!(client.call(&["RENAME", "{t}a", "{t}b"]), ok());
    // The pipeline goes on.
    assert_eq!(client.call(&["GET", "{t}b"]), bulk("1"));
}

#[test]
fn r12_keys_of_any_bytes_are_placed_and_kept() {
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let mut client = site.client();
    let long = vec![b'k'; 50_000];
    let keys: [&[u8]; 6] = [b"a\r\nSET b", b"\0", b"{}", b"{}a", b"\xff\xfe", &long];
    for (number, key) in keys.iter().enumerate() {
        let value = number.to_string();
        assert_eq!(client.call(&[b"SET", *key, value.as_bytes()]), ok());
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(client.call(&[b"GET", *key]), bulk(&number.to_string()));
    }
    assert_eq!(client.call(&["DBSIZE"]), RedisReply::Integer(6));
}

#[test]
fn r6_one_shard_that_dies_costs_only_its_keys() {
    let Some(mut site) = Site::shards(2, "") else {
        return;
    };
    let mut client = site.client();
    let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, key]), ok());
    }
    let mut on_second = site.servers[1].client();
    let lost: BTreeSet<String> = on_second
        .call(&["KEYS", "*"])
        .array()
        .into_iter()
        .map(RedisReply::text)
        .collect();
    assert!(!lost.is_empty() && lost.len() < keys.len());
    site.servers.pop();
    let mut get = vec!["MGET".to_owned()];
    get.extend(keys.iter().cloned());
    let values = client.call(&get).array();
    assert_eq!(values.len(), keys.len());
    for (key, value) in keys.iter().zip(values) {
        if lost.contains(key) {
            assert!(is_error(&value, "ERR upstream"), "{key}: {value:?}");
        } else {
            assert_eq!(value, bulk(key));
        }
    }
    let mut del = vec!["DEL".to_owned()];
    del.extend(keys.iter().cloned());
    assert!(is_error(&client.call(&del), "ERR upstream"));
    // Whoever asks for the others notices nothing.
    let alive = keys.iter().find(|key| !lost.contains(*key)).unwrap();
    assert_eq!(client.call(&["SET", alive, "again"]), ok());
}

#[test]
fn messages_reach_subscribers_of_channels_and_patterns_once() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    let mut listener = site.client();
    listener.send(&["SUBSCRIBE", "news", "other"]);
    let confirmed = |count: i64, channel: &str| {
        RedisReply::Array(vec![
            bulk("subscribe"),
            bulk(channel),
            RedisReply::Integer(count),
        ])
    };
    assert_eq!(listener.read(), confirmed(1, "news"));
    assert_eq!(listener.read(), confirmed(2, "other"));
    let pattern = listener.call(&["PSUBSCRIBE", "n*"]).array();
    assert_eq!(pattern[2], RedisReply::Integer(3));
    let mut speaker = site.client();
    for number in 0..20 {
        let text = number.to_string();
        assert_eq!(speaker.call(&["PUBLISH", "news", &text]).integer(), 2);
        let mut seen = [listener.read().array(), listener.read().array()];
        seen.sort_by_key(Vec::len);
        assert_eq!(seen[0], [bulk("message"), bulk("news"), bulk(&text)]);
        let expected = [bulk("pmessage"), bulk("n*"), bulk("news"), bulk(&text)];
        assert_eq!(seen[1], expected);
    }
    let refused = "ERR Can't execute 'get': only (P|S)SUBSCRIBE";
    assert!(is_error(&listener.call(&["GET", "a"]), refused));
    assert_eq!(listener.call(&["PING"]).array(), [bulk("pong"), bulk("")]);
    listener.send(&["UNSUBSCRIBE"]);
    for count in [2, 1] {
        assert_eq!(listener.read().array()[2], RedisReply::Integer(count));
    }
    assert_eq!(
        listener.call(&["PUNSUBSCRIBE"]).array()[2],
        RedisReply::Integer(0)
    );
    assert_eq!(speaker.call(&["PUBLISH", "news", "x"]).integer(), 0);
    assert_eq!(listener.call(&["GET", "a"]), RedisReply::Nil);
    site.gateway.wait_stat(
        "portcullis_redis_pinned_connections_active",
        &[("listener", "cache")],
        |count| count == 0,
    );
}

#[test]
fn a_reload_that_adds_a_shard_places_keys_anew() {
    let (Some(first), Some(second)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let document = |endpoints: &[SocketAddr]| {
        let text = super::document("", "redis: { topology: shards }", endpoints);
        format!(
            "{text}  other: {{ endpoints: [\"{}\"] }}\n",
            first.address()
        )
        .replace(
            "listeners:\n",
            "listeners:\n  other: { listen: 127.0.0.1:0, protocol: redis, cluster: other }\n",
        )
    };
    let gateway = Gateway::start(&document(&[first.address()]));
    let mut client = RedisClient::connect(gateway.addr("cache"));
    let mut watching = RedisClient::connect(gateway.addr("cache"));
    let mut listener = RedisClient::connect(gateway.addr("cache"));
    let mut other = RedisClient::connect(gateway.addr("other"));
    assert_eq!(client.call(&["SET", "key:0", "before"]), ok());
    assert_eq!(watching.call(&["WATCH", "key:0"]), ok());
    assert_eq!(listener.call(&["SUBSCRIBE", "news"]).array().len(), 3);
    assert_eq!(other.call(&["SUBSCRIBE", "news"]).array().len(), 3);
    let reply = gateway.reload(&document(&[first.address(), second.address()]));
    assert_eq!(reply.status, 200, "{}", reply.text());
    harness::eventually("keys are placed on both", || {
        for number in 0..50 {
            assert_eq!(
                client.call(&["SET", &format!("key:{number}"), "after"]),
                ok()
            );
        }
        second.client().call(&["DBSIZE"]).integer() > 5
    });
    // Messages may come elsewhere now: who listens has to subscribe again. Not who listens to what is as it was.
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut listener.sender(), &mut rest).unwrap();
    assert_eq!(first.client().call(&["PUBLISH", "news", "x"]).integer(), 1);
    assert_eq!(other.read().array()[2], bulk("x"));
    // What was watched before is not taken for something else.
    assert_eq!(watching.call(&["MULTI"]), ok());
    let queued = watching.call(&["SET", "key:0", "watched"]);
    assert!(matches!(queued, RedisReply::Error(_)), "{queued:?}");
    assert!(is_error(&watching.call(&["EXEC"]), "EXECABORT"));
    assert_eq!(watching.call(&["SET", "key:0", "again"]), ok());
}

#[test]
fn wrong_numbers_of_keys_are_told_in_the_servers_words() {
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let (mut client, mut server) = (site.client(), site.servers[0].client());
    let calls: &[&[&str]] = &[
        &["EVAL", "return 1", "1"],
        &["EVAL", "return 1", "-1"],
        &["EVAL", "return 1", "x"],
        &["FCALL", "none", "2", "a"],
        &["SINTERCARD", "0", "a"],
        &["SINTERCARD", "01", "a"],
        &["SINTERCARD", "9223372036854775808", "a"],
        &["ZDIFF", "2", "a"],
        &["ZUNIONSTORE", "a", "0", "a"],
        &["LMPOP", "3", "a", "LEFT"],
        &["BLMPOP", "x", "0", "a", "LEFT"],
        &["BZMPOP", "0", "5", "a", "MIN"],
    ];
    for call in calls {
        let said = client.call(call);
        assert!(is_error(&said, "ERR "), "{call:?}");
        assert_eq!(said, server.call(call), "{call:?}");
    }
    for to in [&mut client, &mut server] {
        assert_eq!(to.call(&["MULTI"]), ok());
    }
    for call in calls {
        assert_eq!(client.call(call), server.call(call), "{call:?}");
    }
    assert_eq!(client.call(&["EXEC"]), server.call(&["EXEC"]));
    let asked = client.call(&["PUBSUB", "NUMSUB", "a", "a"]);
    assert_eq!(asked, server.call(&["PUBSUB", "NUMSUB", "a", "a"]));
}

#[test]
fn what_has_no_keys_goes_to_a_server_that_is_there() {
    for was_known in [false, true] {
        let Some(mut site) = Site::shards(2, "") else {
            return;
        };
        if was_known {
            // By every worker.
            for _ in 0..20 {
                assert_eq!(
                    site.client()
                        .call(&["MGET", "a", "b", "c", "d"])
                        .array()
                        .len(),
                    4
                );
            }
        }
        drop(site.servers.remove(0));
        if was_known {
            harness::eventually("it is missed", || {
                let said = site.client().call(&["MGET", "a", "b", "c", "d"]);
                let is_lost = |value: &_| is_error(value, "ERR upstream connection failed");
                is_lost(&said)
                    || matches!(&said, RedisReply::Array(said) if said.iter().any(is_lost))
            });
        }
        for _ in 0..20 {
            let mut client = site.client();
            for call in [
                &["TIME"][..],
                &["COMMAND", "COUNT"],
                &["EVAL", "return 1", "0"],
                &["ROLE"],
                &["LOLWUT", "VERSION", "1"],
            ] {
                let said = client.call(call);
                assert!(!is_error(&said, ""), "{call:?}: {said:?}");
            }
            assert_eq!(client.call(&["MULTI"]), ok());
            assert_eq!(client.call(&["PING"]).text(), "QUEUED");
            assert_eq!(client.call(&["EXEC"]).array().len(), 1);
        }
    }
}
