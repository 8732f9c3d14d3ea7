//! The end of a gateway: nothing new, everything open finished, and a bound on it (tests/ATTACKS.md F8).

use std::io::Write;

use harness::{Client, Connection, Gate, Gateway, Origin, Reply, Signal, Step};

/// A gateway in front of an origin that waits at a gate before it answers.
fn gated(drain: &str) -> (Gateway, Origin, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| match request.target.as_str() {
        "/slow" => Reply::steps([Step::Wait(held.clone())]).then(Step::send(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate",
        )),
        "/body" => Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
            .then(Step::Wait(held.clone()))
            .then(Step::send("half")),
        _ => Reply::ok("quick"),
    });
    let gateway = Gateway::start(&format!(
        "drain: {drain}\nlisteners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }}\nclusters:\n  site: {{ endpoints: [{}] }}\n",
        origin.address()
    ));
    (gateway, origin, gate)
}

/// Waits until nobody is accepted any more.
fn wait_refused(address: std::net::SocketAddr) {
    for _ in 0..100_000 {
        match Connection::connect(address) {
            Err(_) => return,
            Ok(mut connection) => drop(connection.read_to_end()),
        }
    }
    panic!("still accepting");
}

/// F8.
#[test]
fn f8_drain_finishes_what_is_open() {
    let (gateway, origin, gate) = gated("{ timeout: 2m, spread: 1ms }");
    let address = gateway.addr("web");
    let admin = gateway.admin();
    let mut idle = gateway.connect("web");
    assert_eq!(idle.get("/", "a").text(), "quick");
    let mut waiting = gateway.connect("web");
    waiting.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut reading = gateway.connect("web");
    reading.send("GET /body HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(reading.read_until("half").ends_with(b"half"));
    origin.wait_connections(2);
    while origin.requests() < 3 {
        let _ = gateway.stats();
    }

    gateway.signal(Signal::TERM);
    gateway.wait_log("draining");
    let mut client = Client::connect(admin);
    client.send("GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    assert_eq!(
        client.read_response().status,
        503,
        "readiness fails at once"
    );
    idle.expect_closed();
    wait_refused(address);
    // A drain under way takes no new configuration, and says so.
    assert_eq!(gateway.admin_post("/reload").status, 422);

    gate.open();
    let response = waiting.read_response();
    assert_eq!(
        (response.text().as_str(), response.header("connection")),
        ("late", Some("close"))
    );
    waiting.expect_closed();
    assert_eq!(reading.read_exact(4), b"half");
    reading.expect_closed();
    let exit = gateway.wait_exit();
    assert_eq!(exit.code(), Some(0), "{:?}", exit.stderr);
}

/// F8: connections are told to finish, whether they were accepted before or after a reload of their listener.
#[test]
fn f8_drain_after_a_reload() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let document = |idle: &str| {
        format!(
            "drain: {{ timeout: 2m, spread: 1ms }}\nlisteners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, \
             cluster: site, timeouts: {{ idle: {idle} }} }}\nclusters:\n  site: {{ endpoints: [{}] }}\n",
            origin.address()
        )
    };
    let gateway = Gateway::start(&document("1h"));
    let mut clients = vec![gateway.connect("web")];
    for idle in ["2h", "3h"] {
        assert_eq!(gateway.reload(&document(idle)).status, 200);
        clients.push(gateway.connect("web"));
    }
    for client in &mut clients {
        assert_eq!(client.get("/", "a").status, 200);
    }
    gateway.signal(Signal::TERM);
    for client in &mut clients {
        client.expect_closed();
    }
    let exit = gateway.wait_exit();
    assert_eq!(exit.code(), Some(0), "{:?}", exit.stderr);
    assert!(
        exit.stderr
            .iter()
            .all(|line| !line.contains("drain timeout")),
        "{:?}",
        exit.stderr
    );
}

/// F8: a second TERM does not wait, nor does INT.
#[test]
fn f8_second_signal_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let (gateway, origin, gate) = gated("{ timeout: 1h, spread: 1ms }");
        let mut waiting = gateway.connect("web");
        waiting.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
        origin.wait_connections(1);
        gateway.signal(Signal::TERM);
        gateway.wait_log("draining");
        waiting.expect_quiet();
        gateway.signal(signal);
        let _ = waiting.read_to_end();
        let exit = gateway.wait_exit();
        assert_eq!(exit.code(), Some(0), "{signal:?}: {:?}", exit.stderr);
        gate.open();
    }
}

/// F8: the bound holds whatever is still open.
#[test]
fn f8_drain_timeout() {
    let (gateway, origin, gate) = gated("{ timeout: 300ms, spread: 1ms }");
    let mut waiting = gateway.connect("web");
    waiting.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    origin.wait_connections(1);
    let exit = gateway.stop();
    assert_eq!(exit.code(), Some(0), "{:?}", exit.stderr);
    assert!(
        exit.stderr
            .iter()
            .any(|line| line.contains("drain timeout")),
        "{:?}",
        exit.stderr
    );
    let (bytes, _) = waiting.read_to_end();
    assert!(bytes.is_empty());
    gate.open();
}

/// F8: requests that arrive on open connections while the gateway drains are answered, and then the connection ends.
#[test]
fn f8_no_request_is_lost() {
    let (gateway, _origin, _gate) = gated("{ timeout: 2m, spread: 10s }");
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.connect("web")).collect();
    for client in &mut clients {
        assert_eq!(client.get("/", "a").status, 200);
    }
    gateway.signal(Signal::TERM);
    gateway.wait_log("draining");
    for client in &mut clients {
        let socket = client.connection().socket().try_clone().unwrap();
        // It may have been closed in the same moment: then nothing was read of it, and nothing is answered.
        if (&socket)
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .is_err()
        {
            continue;
        }
        let (bytes, _) = client.read_to_end();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.is_empty() || text.contains("connection: close") && text.ends_with("quick"),
            "{text}"
        );
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

/// The admin address drains as well, and `/drain_listeners` leaves the process running.
#[test]
fn drain_by_hand() {
    let (gateway, _origin, _gate) = gated("{ timeout: 2m, spread: 1ms }");
    let address = gateway.addr("web");
    assert_eq!(gateway.admin_post("/drain_listeners").status, 200);
    wait_refused(address);
    assert_eq!(gateway.admin_get("/ready").status, 503);
    assert_eq!(gateway.admin_get("/livez").status, 200);
    assert_eq!(gateway.admin_post("/quitquitquit").status, 200);
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

/// USR2 is not there yet, and does no harm.
#[test]
fn usr2_says_that_it_is_not_supported() {
    let (gateway, _origin, _gate) = gated("{ timeout: 2m, spread: 1ms }");
    gateway.signal(Signal::USR2);
    gateway.wait_log("not supported");
    assert_eq!(gateway.connect("web").get("/", "a").text(), "quick");
}
