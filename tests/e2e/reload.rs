//! A new configuration touches what it changes and nothing else; a bad one touches nothing (tests/ATTACKS.md F4, F5).

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use harness::{Client, Connection, Gate, Gateway, Origin, Reply, Signal, Step, eventually};
use serde_json::Value;

const FAILED: &str = "portcullis_config_reload_failed";

/// A document of listeners, each with a cluster of its own name.
fn config(listeners: &[(&str, &str, &str)], origins: &[(&str, &Origin)]) -> String {
    let mut text = "drain: { timeout: 2m, spread: 1ms }\nlisteners:\n".to_owned();
    for (name, listen, keys) in listeners {
        let _ = writeln!(
            text,
            "  {name}:\n    listen: {listen}\n    protocol: http\n    {keys}"
        );
    }
    text += "clusters:\n";
    for (name, origin) in origins {
        let _ = writeln!(text, "  {name}: {{ endpoints: [{}] }}", origin.address());
    }
    text
}

const ANY: &str = "127.0.0.1:0";

/// What the listener's route answers without an upstream.
fn respond(body: &str) -> String {
    format!("routes: [{{ respond: {{ status: 200, body: {body} }} }}]")
}

/// An origin that switches protocols and then echoes.
fn websocket() -> Origin {
    Origin::raw(|connection| {
        connection.read_head()?;
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        )?;
        loop {
            if connection.buffered().is_empty() && connection.fill()? == 0 {
                return Ok(());
            }
            let bytes = connection.read_exact(connection.buffered().len())?;
            connection.send(bytes)?;
        }
    })
}

#[track_caller]
fn open_websocket(gateway: &Gateway, listener: &str) -> Client {
    let mut client = gateway.connect(listener);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.read_response().status, 101);
    client
}

#[track_caller]
fn echoes(client: &mut Client, text: &str) {
    client.send(text);
    assert_eq!(client.read_exact(text.len()), text.as_bytes());
}

#[track_caller]
fn reload(gateway: &Gateway, config: &str) -> Value {
    let response = gateway.reload(config);
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// F4: a bad file, in every way, leaves everything as it was and says so.
#[test]
fn f4_bad_configuration_changes_nothing() {
    let origin = Origin::http(|_| Reply::ok("old"));
    let good = config(&[("web", ANY, "cluster: site")], &[("site", &origin)]);
    let gateway = Gateway::start(&good);
    let mut kept = gateway.connect("web");
    assert_eq!(kept.get("/", "a").text(), "old");
    let rows = [
        ("not YAML", "listeners: [".to_owned()),
        ("half a file", good.split_at(good.len() / 2).0.to_owned()),
        ("empty", String::new()),
        ("unknown key", good.replace("protocol:", "protocl:")),
        (
            "unknown cluster",
            good.replace("cluster: site", "cluster: nowhere"),
        ),
        ("UDP", good.replace("127.0.0.1:0", "udp://127.0.0.1:0")),
        (
            "no endpoints",
            good.replace(&origin.address().to_string(), ""),
        ),
        ("a listener too many, whose port is taken", {
            let taken = origin.address().to_string();
            config(
                &[
                    ("web", ANY, "cluster: site"),
                    ("more", &taken, "cluster: site"),
                ],
                &[("site", &origin)],
            )
        }),
    ];
    for (number, (name, bad)) in rows.iter().enumerate() {
        let response = gateway.reload(bad);
        assert_eq!(response.status, 422, "{name}: {}", response.text());
        assert!(!response.text().trim().is_empty(), "{name}");
        let stats = gateway.stats();
        assert_eq!(stats.gauge(FAILED, &[]), 1, "{name}");
        let refused = stats.counter("portcullis_config_reloads_total", &[("result", "refused")]);
        // The file watch may have tried it as well.
        assert!(refused > number as u64, "{name}");
        assert_eq!(kept.get("/", "a").text(), "old", "{name}");
        assert_eq!(gateway.connect("web").get("/", "a").text(), "old", "{name}");
    }
    gateway.wait_log("refused");
    reload(&gateway, &good);
    assert_eq!(gateway.stats().gauge(FAILED, &[]), 0);
    assert_eq!(kept.get("/", "a").text(), "old");
}

/// F4: the answer points at the mistake.
#[test]
fn f4_the_answer_says_where() {
    let origin = Origin::http(|_| Reply::ok("old"));
    let good = config(&[("web", ANY, "cluster: site")], &[("site", &origin)]);
    let gateway = Gateway::start(&good);
    let response = gateway.reload(&good.replace("cluster: site", "cluster: sites"));
    let text = response.text();
    for part in ["portcullis.yaml:6", "sites", "did you mean", "site"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A connection that stays open sees the new routes with its next request.
#[test]
fn keep_alive_connection_sees_new_routes() {
    let origin = Origin::http(|_| Reply::ok("upstream"));
    let document = |keys: &str| config(&[("web", ANY, keys)], &[("site", &origin)]);
    let gateway = Gateway::start(&document("cluster: site"));
    let address = gateway.addr("web");
    let mut kept = gateway.connect("web");
    assert_eq!(kept.get("/", "a").text(), "upstream");
    reload(
        &gateway,
        &document(&format!("{}\n    # x", respond("changed"))),
    );
    gateway.wait_log("listener web changed");
    assert_eq!(kept.get("/", "a").text(), "changed");
    reload(&gateway, &document("cluster: site"));
    assert_eq!(kept.get("/", "a").text(), "upstream");
    assert_eq!(gateway.addr("web"), address);
    assert_eq!(Client::connect(address).get("/", "a").text(), "upstream");
}

#[test]
fn listeners_come_and_go() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let clusters = [("site", &origin)];
    let one = config(&[("web", ANY, "cluster: site")], &clusters);
    let two = config(
        &[
            ("web", ANY, "cluster: site"),
            ("more", ANY, "cluster: site"),
        ],
        &clusters,
    );
    let gateway = Gateway::start(&one);
    reload(&gateway, &two);
    gateway.wait_log("listener more added");
    let address = gateway.addr("more");
    let mut on_it = Client::connect(address);
    assert_eq!(on_it.get("/", "a").text(), "x");
    let mut beside = gateway.connect("web");
    assert_eq!(beside.get("/", "a").text(), "x");

    reload(&gateway, &one);
    gateway.wait_log("listener more removed");
    on_it.expect_gone();
    assert!(Connection::connect(address).is_err(), "still accepting");
    assert_eq!(beside.get("/", "a").text(), "x");
}

/// A request in flight on a listener that goes is answered first.
#[test]
fn removed_listener_finishes_its_requests() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| {
        Reply::steps([Step::Wait(held.clone())]).then(Step::send(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate",
        ))
    });
    let clusters = [("site", &origin)];
    let one = config(&[("web", ANY, "cluster: site")], &clusters);
    let two = config(
        &[
            ("web", ANY, "cluster: site"),
            ("more", ANY, "cluster: site"),
        ],
        &clusters,
    );
    let gateway = Gateway::start(&two);
    let mut client = gateway.connect("more");
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    origin.wait_connections(1);
    reload(&gateway, &one);
    gate.open();
    let response = client.read_response();
    assert_eq!(
        (response.text().as_str(), response.header("connection")),
        ("late", Some("close"))
    );
    client.expect_closed();
}

/// A listener that moves: the new address accepts, the old one does not.
#[test]
fn listener_moves() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let clusters = [("site", &origin)];
    let gateway = Gateway::start(&config(&[("web", ANY, "cluster: site")], &clusters));
    let old = gateway.addr("web");
    let place = harness::ClosedPort::new();
    let new = place.address();
    drop(place);
    reload(
        &gateway,
        &config(&[("web", &new.to_string(), "cluster: site")], &clusters),
    );
    assert_eq!(Client::connect(new).get("/", "a").text(), "x");
    assert!(
        Connection::connect(old).is_err(),
        "the old address still accepts"
    );
}

/// A cluster's endpoints change under a listener that does not: its connections stay.
#[test]
fn endpoints_change_under_open_connections() {
    let old = Origin::http(|_| Reply::ok("old"));
    let new = Origin::http(|_| Reply::ok("new"));
    let document = |origin: &Origin| config(&[("web", ANY, "cluster: site")], &[("site", origin)]);
    let gateway = Gateway::start(&document(&old));
    let mut kept = gateway.connect("web");
    assert_eq!(kept.get("/", "a").text(), "old");
    reload(&gateway, &document(&new));
    gateway.wait_log("cluster site changed");
    assert_eq!(kept.get("/", "a").text(), "new");
    // Idle connections to what is gone are closed.
    old.wait_open(0);
}

/// A limit that did not change keeps its count over a reload that changes something else.
#[test]
fn rate_limits_keep_their_counts() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let document = |extra: &str| {
        config(
            &[(
                "web",
                ANY,
                &format!("cluster: site\n    filters: [{{ rate_limit: {{ rate: 3/h }} }}]{extra}"),
            )],
            &[("site", &origin)],
        )
    };
    let gateway = Gateway::start(&document(""));
    let mut client = gateway.connect("web");
    assert_eq!(
        [client.get("/", "a").status, client.get("/", "a").status],
        [200, 200]
    );
    reload(&gateway, &document("\n    timeouts: { idle: 55s }"));
    assert_eq!(
        [client.get("/", "a").status, client.get("/", "a").status],
        [200, 429]
    );
}

#[test]
fn hup_reloads() {
    let origin = Origin::http(|_| Reply::ok("upstream"));
    let document = |keys: &str| config(&[("web", ANY, keys)], &[("site", &origin)]);
    let gateway = Gateway::start(&document("cluster: site"));
    let mut client = gateway.connect("web");
    assert_eq!(client.get("/", "a").text(), "upstream");
    gateway.rewrite(&document(&format!(
        "{}\n    forward: {{ via: off }}",
        respond("changed")
    )));
    gateway.signal(Signal::HUP);
    gateway.wait_stat(
        "portcullis_config_reloads_total",
        &[("result", "applied")],
        |count| count >= 1,
    );
    assert_eq!(client.get("/", "a").text(), "changed");
}

/// Nobody has to say that the file has changed, however it is replaced.
#[test]
fn file_change_reloads() {
    let origin = Origin::http(|_| Reply::ok("upstream"));
    let document = |keys: &str| config(&[("web", ANY, keys)], &[("site", &origin)]);
    let gateway = Gateway::start(&document("cluster: site"));
    let mut client = gateway.connect("web");
    assert_eq!(client.get("/", "a").text(), "upstream");
    gateway.rewrite(&document(&respond("renamed")));
    gateway.wait_stat(
        "portcullis_config_reloads_total",
        &[("result", "applied")],
        |count| count == 1,
    );
    assert_eq!(client.get("/", "a").text(), "renamed");
    // In place, as an editor without manners does it.
    let text = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), text.replace("renamed", "written")).unwrap();
    gateway.wait_stat(
        "portcullis_config_reloads_total",
        &[("result", "applied")],
        |count| count == 2,
    );
    assert_eq!(client.get("/", "a").text(), "written");
}

/// A ConfigMap: the file is a link into a directory that is replaced as a whole.
#[test]
fn config_map_reloads() {
    let origin = Origin::http(|_| Reply::ok("upstream"));
    let document = |keys: &str| {
        let text = config(&[("web", ANY, keys)], &[("site", &origin)]);
        format!("{text}admin: {{ listen: 127.0.0.1:0 }}\n")
    };
    let gateway = Gateway::start(&document("cluster: site"));
    let folder = gateway.scratch().path();
    let link = |target: &str, name: &str| {
        symlink(target, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join(name)).unwrap();
    };
    let publish = |version: &str, text: &str| {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("portcullis.yaml"), text).unwrap();
        link(version, "..data");
    };
    let wait = |applied| {
        gateway.wait_stat(
            "portcullis_config_reloads_total",
            &[("result", "applied")],
            |count| count == applied,
        );
    };
    publish("..v1", &document(&respond("first")));
    link("..data/portcullis.yaml", "portcullis.yaml");
    wait(1);
    assert_eq!(gateway.connect("web").get("/", "a").text(), "first");
    for (version, name, applied) in [("..v2", "second", 2), ("..v3", "third", 3)] {
        publish(version, &document(&respond(name)));
        wait(applied);
        assert_eq!(gateway.connect("web").get("/", "a").text(), name);
    }
}

/// F5: many reloads, and what they do not change never notices; nor does memory.
#[test]
fn f5_reloads_leave_the_rest_alone() {
    let echo = websocket();
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Origin::http(move |_| {
        Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
            .then(Step::Wait(held.clone()))
            .then(Step::send("half"))
    });
    let site = Origin::http(|_| Reply::ok("x"));
    // However long the reloads take.
    let patient = "timeouts: { body_progress: 1h, tunnel_idle: 1h }";
    let document = |number: usize| {
        config(
            &[
                ("chat", ANY, &format!("cluster: echo\n    {patient}")),
                ("slow", ANY, &format!("cluster: slow\n    {patient}")),
                ("web", ANY, &respond(&format!("number-{number}"))),
            ],
            &[("echo", &echo), ("slow", &slow), ("site", &site)],
        ) + &format!(
            "  moving-{}: {{ endpoints: [{}] }}\n",
            number % 3,
            site.address()
        )
    };
    let gateway = Gateway::start(&document(0));
    let mut chat = open_websocket(&gateway, "chat");
    let mut long = gateway.connect("slow");
    long.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(long.read_until("half").ends_with(b"half"));
    let mut kept = gateway.connect("web");
    for number in 1..=50 {
        reload(&gateway, &document(number));
        assert_eq!(kept.get("/", "a").text(), format!("number-{number}"));
    }
    let (memory, descriptors) = (gateway.resident_bytes(), gateway.descriptors());
    for number in 51..=250 {
        reload(&gateway, &document(number));
        echoes(&mut chat, "still here");
        assert_eq!(kept.get("/", "a").text(), format!("number-{number}"));
    }
    let grown = gateway.resident_bytes().saturating_sub(memory);
    assert!(
        grown < 6 * 1024 * 1024,
        "grown by {grown} bytes in 200 reloads"
    );
    // What was asked last may still be closing.
    eventually("descriptors are given back", || {
        gateway.descriptors() <= descriptors + 2
    });
    gate.open();
    assert_eq!(long.read_exact(4), b"half");
    assert_eq!((echo.connections(), slow.connections()), (1, 1));
    assert_eq!(
        gateway
            .stats()
            .counter("portcullis_config_reloads_total", &[("result", "applied")]),
        250
    );
}

/// What cannot change while the gateway runs is refused, with a word about it.
#[test]
fn fixed_settings_are_refused() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let good = config(&[("web", ANY, "cluster: site")], &[("site", &origin)]);
    let gateway = Gateway::start(&format!("{good}runtime: {{ workers: {{ count: 2 }} }}\n"));
    let response = gateway.reload(&format!("{good}runtime: {{ workers: {{ count: 3 }} }}\n"));
    assert_eq!(response.status, 422);
    assert!(response.text().contains("restart"), "{}", response.text());
    assert_eq!(gateway.connect("web").get("/", "a").text(), "x");
}

/// The same file again is no change.
#[test]
fn nothing_changed() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let good = config(&[("web", ANY, "cluster: site")], &[("site", &origin)]);
    let gateway = Gateway::start(&good);
    let changes = reload(&gateway, &format!("# a comment\n{good}"));
    for kind in ["listeners", "clusters"] {
        for verb in ["added", "changed", "removed"] {
            assert_eq!(
                changes["changed"][kind][verb],
                Value::Array(Vec::new()),
                "{kind} {verb}"
            );
        }
    }
    gateway.wait_stat(
        "portcullis_config_reloads_total",
        &[("result", "unchanged")],
        |count| count >= 1,
    );
}
