//! Real sentinels: the primary is found, followed when it dies or is told to go, and what was under way has its answer.

use std::sync::atomic::{AtomicBool, Ordering};

use harness::redis::{RedisClient, RedisReply};
use harness::redis_sentinel::{MASTER, Watched};
use harness::tls::Authority;
use harness::{Gateway, Scratch, eventually};

use super::{Site, bulk, document, is_error, ok};

const SWITCHES: &str = "portcullis_redis_primary_switches_total";

/// A gateway in front of what sentinels watch over.
struct Found {
    watched: Watched,
    site: Site,
}

impl Found {
    /// Waits until the first server has a client that waits: its worker has found that server then.
    fn holds_one(&self) {
        eventually("the server holds it", || {
            let info = self.watched.client(0).call(&["INFO", "clients"]).text();
            info.contains("blocked_clients:1")
        });
    }
}

fn start(settings: &str) -> Option<Found> {
    let watched = Watched::start(2)?;
    let redis = format!("redis: {{ topology: sentinel, master: {MASTER}{settings} }}");
    let gateway = Gateway::start(&document("", &redis, &watched.sentinels()));
    let site = Site {
        servers: Vec::new(),
        gateway,
    };
    Some(Found { watched, site })
}

/// Counts until told to stop. Errors are answers of the gateway's while there is no primary; whatever is a number is larger
/// than the one before it in the same life of the primary, and belongs to this client. How many were answered.
fn count_on(mut client: RedisClient, name: &str, is_over: &AtomicBool) -> i64 {
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        let value = format!("{name}:{answered}");
        match client.call(&["INCR", name]) {
            RedisReply::Integer(count) => {
                assert!(count > 0);
                answered += 1;
            }
            RedisReply::Error(text) => assert!(is_clear(&text), "{text}"),
            other => panic!("{other:?}"),
        }
        match client.call(&["ECHO", &value]) {
            RedisReply::Bulk(echo) => assert_eq!(echo, value.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
    answered
}

/// What a client may be told while the primary changes.
fn is_clear(text: &str) -> bool {
    let starts = [
        "ERR upstream",
        "ERR no endpoint available",
        "READONLY ",
        "MASTERDOWN ",
    ];
    starts.iter().any(|start| text.starts_with(start))
}

/// Runs a change of the primary while clients write, until the gateway has followed it.
fn under_load(all: &mut Found, change: impl FnOnce(&mut Watched)) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|name| {
                let (client, is_over) = (all.site.client(), &is_over);
                scope.spawn(move || count_on(client, name, is_over))
            })
            .collect();
        let mut probe = all.site.client();
        assert_eq!(probe.call(&["SET", "probe", "before"]), ok());
        change(&mut all.watched);
        all.site.gateway.wait_stat(SWITCHES, &[], |count| count > 0);
        eventually("writes are taken again", || {
            probe.call(&["SET", "probe", "after"]) == ok()
        });
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.join().unwrap() > 0);
        }
    });
}

#[test]
fn the_primary_is_found_before_the_first_command() {
    let Some(Found { watched, site }) = start("") else {
        return;
    };
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    assert_eq!(watched.client(0).call(&["GET", "a"]), bulk("1"));
    assert_eq!(client.call(&["MULTI"]), ok());
    assert_eq!(client.call(&["INCR", "a"]).text(), "QUEUED");
    assert_eq!(client.call(&["EXEC"]).array(), [RedisReply::Integer(2)]);
    assert_eq!(client.call(&["SELECT", "3"]), ok());
    assert_eq!(client.call(&["SET", "three", "3"]), ok());
    assert_eq!(client.call(&["DBSIZE"]), RedisReply::Integer(1));
    assert_eq!(site.count(SWITCHES, &[]), 0);
    // A name that sentinels do not know.
    let redis = "redis: { topology: sentinel, master: other }";
    let other = document("", redis, &watched.sentinels());
    assert_eq!(site.gateway.reload(&other).status, 200);
    let refused = client.call(&["GET", "a"]);
    assert!(
        is_error(&refused, "ERR no endpoint available"),
        "{refused:?}"
    );
    let questions = "portcullis_redis_sentinel_questions_total";
    let unknown = site.count(questions, &[("result", "unknown_master")]);
    assert!(unknown >= 3, "each was asked: {unknown}");
}

#[test]
fn the_primary_dies_under_load() {
    let Some(mut all) = start("") else { return };
    let mut waiting = all.site.client();
    waiting.send(&["BLPOP", "nothing", "0"]);
    all.holds_one();
    under_load(&mut all, |watched| watched.kill(0));
    let told = waiting.read();
    assert!(is_error(&told, "ERR upstream"), "{told:?}");
    let new = all.watched.successor();
    assert_eq!(
        all.watched.client(new).call(&["GET", "probe"]),
        bulk("after")
    );
    all.site.neighbour_is_well();
}

#[test]
fn a_switch_by_hand_under_load_leaves_the_old_primary_at_once() {
    let Some(mut all) = start("") else { return };
    let mut waiting = all.site.client();
    waiting.send(&["BLPOP", "nothing", "0"]);
    all.holds_one();
    let mut listener = all.site.client();
    assert_eq!(listener.call(&["SUBSCRIBE", "news"]).array().len(), 3);
    let mut watching = all.site.client();
    assert_eq!(watching.call(&["WATCH", "a"]), ok());
    assert_eq!(watching.call(&["MULTI"]), ok());
    assert_eq!(watching.call(&["SET", "mine", "1"]).text(), "QUEUED");
    under_load(&mut all, |watched| watched.fail_over());
    // What was said behind the switch is at the new primary, whatever the old one takes itself for.
    let new = all.watched.successor();
    assert_eq!(
        all.watched.client(new).call(&["GET", "probe"]),
        bulk("after")
    );
    let told = waiting.read();
    assert!(
        is_error(&told, "ERR upstream has a new primary"),
        "{told:?}"
    );
    // Messages could be missed.
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut listener.sender(), &mut rest).unwrap();
    // A transaction is not carried out where it would be lost.
    assert!(matches!(watching.call(&["EXEC"]), RedisReply::Error(_)));
    assert_eq!(watching.call(&["GET", "mine"]), RedisReply::Nil);
    all.site.neighbour_is_well();
}

#[test]
fn replicas_are_found_and_read_from() {
    let Some(mut all) = start(", read_from: prefer_replica") else {
        return;
    };
    let mut client = all.site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    let reads = |all: &Found, role: &str| {
        let labels = [("role", role), ("cluster", "main")];
        all.site.count("portcullis_redis_reads_total", &labels)
    };
    eventually("a replica answers", || {
        // It may be behind.
        let value = client.call(&["GET", "a"]);
        assert!(value == bulk("1") || value == RedisReply::Nil);
        reads(&all, "replica") > 10
    });
    all.watched.kill(0);
    eventually("there is a new primary", || {
        client.call(&["SET", "a", "2"]) == ok()
    });
    eventually("what is left answers", || {
        client.call(&["GET", "a"]) == bulk("2")
    });
    all.site.neighbour_is_well();
}

#[test]
fn others_are_asked_when_those_that_are_configured_are_gone() {
    let Some(mut watched) = Watched::start(1) else {
        return;
    };
    let redis = format!("redis: {{ topology: sentinel, master: {MASTER} }}");
    let only = &watched.sentinels()[..1];
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document("", &redis, only)),
    };
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    watched.kill_sentinel(0);
    watched.kill(0);
    eventually("the new primary is found", || {
        client.call(&["SET", "a", "2"]) == ok()
    });
    let new = watched.successor();
    assert_eq!(watched.client(new).call(&["GET", "a"]), bulk("2"));
    // What the old one took may be lost: nobody says that replicas have it. Of what the new one took they speak.
    let lost = client.call(&["WAIT", "0", "100"]);
    assert!(is_error(&lost, "ERR upstream connection lost"), "{lost:?}");
    assert_eq!(client.call(&["SET", "a", "2"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "50"]), RedisReply::Integer(0));
    // On each worker by itself.
    for _ in 0..4 {
        let mut other = site.client();
        eventually("the other worker finds it too", || {
            other.call(&["SET", "a", "3"]) == ok()
        });
    }
}

#[test]
fn sentinels_and_servers_over_tls() {
    let (authority, name) = (Authority::new("redis"), "redis.localhost");
    let Some(mut watched) = Watched::encrypted(1, &authority, name) else {
        return;
    };
    let files = Scratch::new();
    let over = |roots: &Authority, file: &str| {
        let roots = files.write(file, roots.pem());
        let keys = format!(
            "tls: {{ roots: {}, sni: {name} }}\nredis: {{ topology: sentinel, master: {MASTER} }}",
            roots.display()
        );
        let gateway = Gateway::start(&document("", &keys, watched.encrypted_sentinels()));
        Site {
            servers: Vec::new(),
            gateway,
        }
    };
    let site = over(&authority, "roots.pem");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    assert_eq!(watched.client(0).call(&["GET", "a"]), bulk("1"));
    // Sentinels that somebody else has vouched for are none.
    let strangers = over(&Authority::new("others"), "others.pem");
    let refused = strangers.client().call(&["GET", "a"]);
    assert!(is_error(&refused, "ERR no endpoint"), "{refused:?}");
    drop(strangers);
    watched.kill(0);
    eventually("the new primary is found", || {
        client.call(&["SET", "a", "2"]) == ok()
    });
    assert_eq!(watched.client(1).call(&["GET", "a"]), bulk("2"));
}
