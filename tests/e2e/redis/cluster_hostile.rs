//! Nodes of a Redis Cluster that lie, and seeds that are none: commands come to an end, and nobody is led anywhere.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use harness::redis::{Redis, RedisClient, RedisReply};
use harness::{Connection, Gateway, Origin};

use super::{Site, bulk, document, is_error, ok};

/// A node that has all slots, as it says, and answers as it is told to.
struct Node {
    origin: Origin,
    /// How often it was asked for the key `loop`.
    loops: Arc<AtomicUsize>,
}

/// What it says of the key `outside`.
type Outside = Arc<OnceLock<String>>;

impl Node {
    fn start(outside: &Outside) -> Self {
        let own: Arc<OnceLock<SocketAddr>> = Arc::default();
        let loops: Arc<AtomicUsize> = Arc::default();
        let (at, count, outside) = (Arc::clone(&own), Arc::clone(&loops), Arc::clone(outside));
        let origin = Origin::raw(move |connection| {
            while let Some(words) = command(connection)? {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let port = at.wait().port();
                let reply = match words[..] {
                    ["CLUSTER", "SLOTS"] => {
                        format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{port}\r\n")
                    }
                    ["GET", "loop"] => {
                        count.fetch_add(1, Ordering::Relaxed);
                        format!("-MOVED 1 127.0.0.1:{port}\r\n")
                    }
                    ["GET", "asked"] => format!("-ASK 1 :{port}\r\n"),
                    ["GET", "outside"] => format!("{}\r\n", outside.get().unwrap()),
                    ["GET", "odd"] => "-MOVED 99999 127.0.0.1:1\r\n".to_owned(),
                    ["GET", "down"] => "-CLUSTERDOWN Hash slot not served\r\n".to_owned(),
                    ["GET", "again"] => "-TRYAGAIN later\r\n".to_owned(),
                    ["GET", "neighbour"] => "$4\r\nwell\r\n".to_owned(),
                    ["SET", ..] | ["ASKING"] | ["CLIENT", "TRACKING", "ON"] => "+OK\r\n".to_owned(),
                    ["HELLO", "3"] => "%0\r\n".to_owned(),
                    _ => "-ERR unknown command\r\n".to_owned(),
                };
                connection.send(reply)?;
            }
            Ok(())
        });
        own.set(origin.address()).unwrap();
        Self { origin, loops }
    }
}

/// The words of one command; `None` at the end.
pub(super) fn command(connection: &mut Connection) -> io::Result<Option<Vec<String>>> {
    if connection.buffered().is_empty() && connection.fill()? == 0 {
        return Ok(None);
    }
    let number = |connection: &mut Connection| {
        let line = connection.read_until(b"\r\n")?;
        let digits = String::from_utf8_lossy(&line[1..]).trim().to_owned();
        Ok::<usize, io::Error>(digits.parse().unwrap())
    };
    let count = number(connection)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(connection)?;
        let word = connection.read_exact(length + 2)?;
        words.push(String::from_utf8_lossy(&word[..length]).into_owned());
    }
    Ok(Some(words))
}

fn over(seed: SocketAddr, settings: &str) -> Site {
    let redis = format!("redis: {{ topology: redis_cluster{settings} }}");
    Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document("", &redis, &[seed])),
    }
}

#[test]
fn r7_redirections_in_a_circle_end() {
    let node = Node::start(&Outside::default());
    let site = over(node.origin.address(), "");
    let mut client = site.client();
    for key in ["loop", "asked"] {
        let reply = client.call(&["GET", key]);
        let start = if key == "loop" {
            "MOVED 1 127"
        } else {
            "ASK 1 :"
        };
        assert!(is_error(&reply, start), "{reply:?}");
    }
    assert_eq!(node.loops.load(Ordering::Relaxed), 6, "once and five hops");
    site.rejected("redirect_limit");
    // Many at once, with others between them.
    let mut wire = Vec::new();
    for _ in 0..100 {
        RedisClient::write(&["GET", "loop"], &mut wire);
        RedisClient::write(&["GET", "neighbour"], &mut wire);
    }
    client.send_raw(&wire);
    for _ in 0..100 {
        assert!(is_error(&client.read(), "MOVED 1"));
        assert_eq!(client.read(), bulk("well"));
    }
    site.neighbour_is_well();
}

#[test]
fn r7_redirections_of_a_client_that_tracks_keys_end_too() {
    let outside = Outside::default();
    let node = Node::start(&outside);
    outside.set("-MOVED 1 127.0.0.1:1".to_owned()).unwrap();
    let site = over(node.origin.address(), "");
    let mut client = Connection::connect(site.address()).unwrap();
    let mut says = |words: &[&str], end: &str| {
        let mut wire = Vec::new();
        RedisClient::write(words, &mut wire);
        client.send(&wire).unwrap();
        let heard = client.read_until(end.as_bytes()).unwrap();
        String::from_utf8(heard).unwrap()
    };
    says(&["HELLO", "3"], "modules\r\n*0\r\n");
    assert_eq!(says(&["CLIENT", "TRACKING", "ON"], "\r\n"), "+OK\r\n");
    let reply = says(&["GET", "loop"], "\r\n");
    assert!(reply.starts_with("-MOVED 1 127"), "{reply}");
    assert_eq!(node.loops.load(Ordering::Relaxed), 6, "once and five hops");
    let reply = says(&["GET", "asked"], "\r\n");
    assert!(reply.starts_with("-ASK 1"), "{reply}");
    let reply = says(&["GET", "outside"], "\r\n");
    assert_eq!(reply, "-ERR upstream redirected to an unknown node\r\n");
    assert_eq!(says(&["GET", "neighbour"], "well\r\n"), "$4\r\nwell\r\n");
    site.neighbour_is_well();
}

#[test]
fn r7_nobody_is_led_to_a_node_that_the_map_has_not() {
    let stranger = Origin::raw(|connection| connection.read_to_end().map(|_| ()));
    let outside = Outside::default();
    let node = Node::start(&outside);
    let at = stranger.address();
    outside.set(format!("-MOVED 1 {at}")).unwrap();
    let site = over(node.origin.address(), "");
    let mut client = site.client();
    let mut neighbour = site.client();
    for _ in 0..3 {
        client.send(&["GET", "outside"]);
        assert_eq!(neighbour.call(&["GET", "neighbour"]), bulk("well"));
        let refused = "ERR upstream redirected to an unknown node";
        let reply = client.read();
        assert!(is_error(&reply, refused), "{reply:?}");
    }
    site.rejected("redirect_refused");
    assert_eq!(stranger.connections(), 0);
    site.neighbour_is_well();
}

#[test]
fn who_wants_to_follow_anywhere_may() {
    let stranger = Origin::raw(|connection| {
        while let Some(words) = command(connection)? {
            let is_ours = words == ["GET", "outside"];
            connection.send(if is_ours {
                "$5\r\nthere\r\n"
            } else {
                "+OK\r\n"
            })?;
        }
        Ok(())
    });
    let outside = Outside::default();
    let node = Node::start(&outside);
    let at = stranger.address();
    outside.set(format!("-ASK 1 {at}")).unwrap();
    let site = over(node.origin.address(), ", follow_unknown_nodes: true");
    let mut client = site.client();
    assert_eq!(client.call(&["GET", "outside"]), bulk("there"));
    assert_eq!(stranger.connections(), 1);
    site.neighbour_is_well();
}

#[test]
fn other_errors_of_nodes_pass_through() {
    let node = Node::start(&Outside::default());
    let site = over(node.origin.address(), "");
    let mut client = site.client();
    for (key, said) in [
        ("odd", "MOVED 99999 127.0.0.1:1"),
        ("down", "CLUSTERDOWN Hash slot not served"),
        ("again", "TRYAGAIN later"),
    ] {
        let reply = client.call(&["GET", key]);
        assert_eq!(reply, RedisReply::Error(said.to_owned()), "{key}");
    }
    site.neighbour_is_well();
}

#[test]
fn seeds_that_are_no_cluster_are_an_error_at_once() {
    let Some(plain) = Redis::start() else { return };
    let maps: [&str; 5] = [
        "-ERR unknown command\r\n",
        "*0\r\n",
        "*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1000000000\r\n",
        "?\r\n",
    ];
    let fakes = maps.map(|map| {
        Origin::raw(move |connection| {
            while command(connection)?.is_some() {
                connection.send(map)?;
            }
            Ok(())
        })
    });
    let seeds = fakes.iter().map(Origin::address);
    for seed in seeds.chain([plain.address(), "127.0.0.1:1".parse().unwrap()]) {
        let site = over(seed, "");
        let mut client = site.client();
        let reply = client.call(&["GET", "a"]);
        assert!(is_error(&reply, "ERR no endpoint available"), "{reply:?}");
        assert_eq!(client.call(&["ECHO", "here"]), bulk("here"));
        site.rejected("no_endpoints");
    }
    let mut client = plain.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
}
