//! Sentinels that are behind, lie, or say nothing, as scripts: no server is used that is not what it is taken for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use harness::redis::{Redis, RedisClient, RedisReply};
use harness::{ClosedPort, Connection, Gateway, Origin, eventually};

use super::cluster_hostile::command;
use super::{Site, bulk, document, is_error, ok};

const QUESTIONS: &str = "portcullis_redis_sentinel_questions_total";

/// What a sentinel says of the primary, and what it demands.
#[derive(Clone)]
struct Says {
    primary: SocketAddr,
    epoch: i64,
    replicas: Vec<SocketAddr>,
    /// What must be said first.
    login: Option<&'static [&'static str]>,
}

/// A sentinel that says what it is told to say, and tells of nothing unasked.
struct Sentinel {
    origin: Origin,
    says: Arc<Mutex<Says>>,
}

fn says(primary: SocketAddr, epoch: i64) -> Says {
    Says {
        primary,
        epoch,
        replicas: Vec::new(),
        login: None,
    }
}

impl Sentinel {
    fn start(says: Says) -> Self {
        let says = Arc::new(Mutex::new(says));
        let told = Arc::clone(&says);
        let origin = Origin::raw(move |connection| serve(connection, &told));
        Self { origin, says }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

fn serve(connection: &mut Connection, says: &Mutex<Says>) -> std::io::Result<()> {
    let mut is_known = false;
    while let Some(words) = command(connection)? {
        let says = says.lock().unwrap().clone();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if says.login.is_some_and(|login| words == login) {
            is_known = true;
            connection.send("+OK\r\n")?;
            continue;
        }
        if says.login.is_some() && !is_known {
            connection.send("-NOAUTH Authentication required.\r\n")?;
            continue;
        }
        let (ip, port) = (
            says.primary.ip().to_string(),
            says.primary.port().to_string(),
        );
        let reply = match words[..] {
            ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"] => array(&[&ip, &port]),
            ["SENTINEL", "MASTER", "main"] => {
                array(&["name", "main", "config-epoch", &says.epoch.to_string()])
            }
            ["SENTINEL", "REPLICAS", "main"] => {
                let mut all = format!("*{}\r\n", says.replicas.len());
                for replica in &says.replicas {
                    let (ip, port) = (replica.ip().to_string(), replica.port().to_string());
                    all += &array(&["ip", &ip, "port", &port, "flags", "slave"]);
                }
                all
            }
            ["SUBSCRIBE", ..] => "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n".to_owned(),
            ["PING"] => "*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_owned(),
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        connection.send(reply)?;
    }
    Ok(())
}

fn array(words: &[&str]) -> String {
    let strings = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    strings.fold(format!("*{}\r\n", words.len()), |all, word| all + &word)
}

fn over(sentinels: &[SocketAddr], settings: &str) -> Site {
    let redis = format!("redis: {{ topology: sentinel, master: main{settings} }}");
    Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document("", &redis, sentinels)),
    }
}

/// A primary and its replica.
fn pair() -> Option<(Redis, Redis)> {
    let primary = Redis::with(&["repl-diskless-sync-delay 0"])?;
    let replica = Redis::replica(primary.address(), &[])?;
    Some((primary, replica))
}

/// Makes the replica the primary, and the primary its replica.
fn swap(primary: &Redis, replica: &Redis) {
    let (ip, port) = (replica.address().ip(), replica.address().port());
    assert_eq!(replica.client().call(&["REPLICAOF", "NO", "ONE"]), ok());
    let follow = ["REPLICAOF".to_owned(), ip.to_string(), port.to_string()];
    assert_eq!(primary.client().call(&follow), ok());
}

#[test]
fn a_sentinel_that_is_behind_is_not_believed() {
    let Some((primary, replica)) = pair() else {
        return;
    };
    // The first names a server that says itself that it is a replica; the next one nobody at all.
    let behind = Sentinel::start(says(replica.address(), 9));
    let lost = Sentinel::start(says(ClosedPort::new().address(), 9));
    let right = Sentinel::start(says(primary.address(), 3));
    let all = [&behind, &lost, &right].map(|sentinel| sentinel.origin.address());
    let site = over(&all, "");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    assert_eq!(primary.client().call(&["GET", "a"]), bulk("1"));
    // Both were asked on the client's worker at least. What is asked for again begins with the one that was right.
    let unverified = site.count(QUESTIONS, &[("result", "unverified")]);
    assert!(unverified >= 2, "{unverified}");
    site.neighbour_is_well();
}

#[test]
fn what_a_demoted_primary_refuses_is_sent_to_the_new_one() {
    let Some((primary, replica)) = pair() else {
        return;
    };
    let sentinel = Sentinel::start(says(primary.address(), 1));
    let site = over(&[sentinel.origin.address()], ", refresh_interval: 1h");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    swap(&primary, &replica);
    sentinel.say(says(replica.address(), 2));
    assert_eq!(client.call(&["SET", "a", "2"]), ok());
    assert_eq!(replica.client().call(&["GET", "a"]), bulk("2"));
    let switches = "portcullis_redis_primary_switches_total";
    assert!(site.count(switches, &[("cluster", "main")]) > 0);
    let again = "portcullis_redis_redirects_total";
    assert_eq!(site.count(again, &[("kind", "readonly")]), 1);

    // What would be overtaken by it is not sent again, and so not carried out twice or out of order.
    let other = |server: &Redis| server.client().call(&["GET", "b"]);
    eventually("the old primary follows", || {
        primary.client().call(&["GET", "a"]) == bulk("2")
    });
    swap(&replica, &primary);
    sentinel.say(says(primary.address(), 3));
    let mut wire = Vec::new();
    for value in ["1", "2", "3"] {
        RedisClient::write(&["APPEND", "b", value], &mut wire);
    }
    client.send_raw(&wire);
    for _ in 0..2 {
        let refused = client.read();
        assert!(is_error(&refused, "READONLY"), "{refused:?}");
    }
    assert_eq!(client.read().integer(), 1);
    assert_eq!(other(&primary), bulk("3"));
}

#[test]
fn who_waits_for_a_primary_that_does_not_come_is_told() {
    let Some((primary, replica)) = pair() else {
        return;
    };
    let sentinel = Sentinel::start(says(primary.address(), 1));
    let site = over(&[sentinel.origin.address()], ", refresh_interval: 1h");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    swap(&primary, &replica);
    let refused = client.call(&["SET", "a", "2"]);
    assert!(is_error(&refused, "READONLY"), "{refused:?}");
    // Who goes meanwhile is not waited for.
    client.send(&["SET", "a", "3"]);
    drop(client);
    sentinel.say(says(replica.address(), 2));
    eventually("all workers follow", || {
        site.client().call(&["SET", "a", "4"]) == ok()
    });
}

#[test]
fn what_is_older_is_believed_only_if_all_say_so() {
    let (Some((first, first_replica)), Some(second)) = (pair(), Redis::start()) else {
        return;
    };
    let (one, two) = (
        Sentinel::start(says(first.address(), 7)),
        Sentinel::start(says(first.address(), 7)),
    );
    let all = [one.origin.address(), two.origin.address()];
    let site = over(&all, ", refresh_interval: 50ms");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "who", "first"]), ok());
    // Both servers say that they are primaries, so that only the number tells.
    one.say(says(second.address(), 6));
    site.gateway
        .wait_stat(QUESTIONS, &[("result", "stale")], |count| count > 1);
    assert_eq!(client.call(&["GET", "who"]), bulk("first"));
    two.say(says(second.address(), 5));
    let switches = "portcullis_redis_primary_switches_total";
    site.gateway.wait_stat(switches, &[], |count| count > 0);
    eventually("this worker follows too", || {
        client.call(&["GET", "who"]) == RedisReply::Nil
    });
    drop(first_replica);
}

#[test]
fn the_gateway_logs_in_at_sentinels_as_itself() {
    let Some(server) = Redis::with(&["requirepass servers"]) else {
        return;
    };
    let mut told = says(server.address(), 1);
    told.login = Some(&["AUTH", "watcher", "sentinels"]);
    let sentinel = Sentinel::start(told);
    let redis = "redis: { topology: sentinel, master: main, sentinel_user: watcher, sentinel_password: sentinels }";
    let keys = "upstream: { password: servers }";
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document(keys, redis, &[sentinel.origin.address()])),
    };
    site.neighbour_is_well();
    // Without, it is told that it may not.
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document(
            keys,
            "redis: { topology: sentinel, master: main }",
            &[sentinel.origin.address()],
        )),
    };
    let refused = site.client().call(&["GET", "a"]);
    assert!(
        is_error(&refused, "ERR no endpoint available"),
        "{refused:?}"
    );
    let refused = site.count(QUESTIONS, &[("result", "refused")]);
    assert!(refused > 0);
}

#[test]
fn sentinels_that_are_none_lead_nowhere() {
    let Some(server) = Redis::start() else { return };
    let answers: [&'static [u8]; 6] = [
        b"",
        b"hello\r\n",
        b"*-1\r\n*0\r\n*0\r\n",
        b"*2\r\n$1\r\n?\r\n$1\r\n1\r\n*0\r\n*0\r\n",
        b"*1000000000\r\n",
        b"$536870912\r\n",
    ];
    let odd: Vec<Origin> = answers
        .into_iter()
        .map(|answer| {
            Origin::raw(move |connection| {
                connection.fill()?;
                connection.send(answer)
            })
        })
        .collect();
    // A server that is no sentinel at all, too.
    let mut all: Vec<SocketAddr> = odd.iter().map(Origin::address).collect();
    all.push(server.address());
    let site = over(&all, "");
    let refused = site.client().call(&["GET", "a"]);
    assert!(
        is_error(&refused, "ERR no endpoint available"),
        "{refused:?}"
    );
    let right = Sentinel::start(says(server.address(), 1));
    all.push(right.origin.address());
    let document = document("", "redis: { topology: sentinel, master: main }", &all);
    assert_eq!(site.gateway.reload(&document).status, 200);
    site.neighbour_is_well();
}

#[test]
fn replicas_that_are_none_are_not_read_from() {
    let Some((primary, replica)) = pair() else {
        return;
    };
    let Some(stranger) = Redis::start() else {
        return;
    };
    assert_eq!(stranger.client().call(&["SET", "who", "stranger"]), ok());
    let mut told = says(primary.address(), 1);
    told.replicas = vec![
        stranger.address(),
        ClosedPort::new().address(),
        replica.address(),
    ];
    let sentinel = Sentinel::start(told);
    let site = over(&[sentinel.origin.address()], ", read_from: replica");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "who", "primary"]), ok());
    eventually("the replica has it", || {
        let value = client.call(&["GET", "who"]);
        assert_ne!(value, bulk("stranger"));
        value == bulk("primary")
    });
    for _ in 0..100 {
        assert_eq!(client.call(&["GET", "who"]), bulk("primary"));
    }
    let primary = [("role", "primary"), ("cluster", "main")];
    assert_eq!(site.count("portcullis_redis_reads_total", &primary), 0);
    drop(replica);
    eventually("nobody is left", || {
        is_error(&client.call(&["GET", "who"]), "ERR no replica available")
    });
    assert_eq!(client.call(&["SET", "who", "still"]), ok());
}
