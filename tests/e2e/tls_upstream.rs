//! TLS towards endpoints: whom the gateway believes, what it proves, and what becomes of what goes through; a neighbour
//! behind another cluster notices nothing.
//!
//! Files that change are in [`files`]. Start at [`Behind`].

mod files;
mod peers;

use std::io::Read as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

use harness::tls::{Authority, Issued, Order};
use harness::{Client, Connection, Gate, Gateway, Origin, Reply, Scratch, Step, portcullis};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use crate::support::{Running, Site, assert_local, checksum, noise};

/// Who issues the certificates of a test, and the files that the gateway reads.
pub(crate) struct Behind {
    pub(crate) authority: Authority,
    pub(crate) scratch: Scratch,
}

impl Behind {
    pub(crate) fn new() -> Self {
        let behind = Self {
            authority: Authority::new("tests"),
            scratch: Scratch::new(),
        };
        behind.scratch.write("ca.pem", behind.authority.pem());
        behind
    }

    /// A pair of files in the folder.
    pub(crate) fn put(&self, name: &str, issued: &Issued) {
        self.scratch.write(&format!("{name}.key"), &issued.key);
        self.scratch.write(&format!("{name}.pem"), &issued.cert);
    }

    /// A server with a certificate for `origin.test` and 127.0.0.1.
    pub(crate) fn server(&self) -> ServerConfig {
        self.authority.issue(&["origin.test", "127.0.0.1"]).server()
    }

    /// The text with `DIR` filled in.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("DIR", &self.scratch.path().display().to_string())
    }

    /// A gateway in front of this origin, with the rest of the `tls` block.
    #[track_caller]
    pub(crate) fn site(&self, origin: &Origin, tls: &str) -> Running {
        let tls = self.fill(tls);
        Site::new(origin).cluster(&format!("tls: {tls}")).start()
    }
}

/// Trusts the tests' authority.
pub(crate) const TRUSTING: &str = "{ roots: DIR/ca.pem }";

/// What an origin sees of the gateway's side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: Option<ProtocolVersion>,
    name: Option<String>,
    alpn: Option<Vec<u8>>,
    resumed: bool,
    has_certificate: bool,
}

/// An origin that answers `well`, and what it saw on each connection.
fn watching(config: ServerConfig) -> (Origin, Arc<Mutex<Vec<Seen>>>) {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = Arc::clone(&seen);
    let origin = Origin::tls(config, move |connection| {
        let Some(rustls::Connection::Server(tls)) = connection.tls() else {
            unreachable!()
        };
        log.lock().unwrap().push(Seen {
            version: tls.protocol_version(),
            name: tls.server_name().map(str::to_owned),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            has_certificate: tls.peer_certificates().is_some(),
        });
        while connection.read_request()?.is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell")?;
        }
        Ok(())
    });
    (origin, seen)
}

#[test]
fn http_over_both_versions_on_kept_connections() {
    let behind = Behind::new();
    let issued = behind.authority.issue(&["origin.test"]);
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut config = issued.server_of(&[version], None);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (origin, seen) = watching(config);
        let tls = "{ roots: DIR/ca.pem, sni: origin.test }\nhttp: { version: http1 }";
        let site = behind.site(&origin, tls);
        let mut client = site.client();
        for _ in 0..5 {
            assert_eq!(client.get("/", "shop.test").text(), "well");
        }
        assert_eq!(origin.connections(), 1, "{version:?}");
        let expected = Seen {
            version: Some(expected),
            name: Some("origin.test".to_owned()),
            alpn: Some(b"http/1.1".to_vec()),
            resumed: false,
            has_certificate: false,
        };
        assert_eq!(*seen.lock().unwrap(), [expected]);
        site.neighbour_is_well();
    }
}

#[test]
fn sessions_are_taken_up_again() {
    let behind = Behind::new();
    let (origin, seen) = watching(behind.server());
    let tls = "{ roots: DIR/ca.pem }\npool: { max_requests: 1 }";
    let site = behind.site(&origin, tls);
    let mut client = site.client();
    for _ in 0..4 {
        assert_eq!(client.get("/", "shop.test").text(), "well");
    }
    let resumed: Vec<bool> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| seen.resumed)
        .collect();
    assert_eq!(resumed, [false, true, true, true]);
}

/// Whoever is not believed gets no byte of a request, and the client is told why.
#[test]
fn who_is_not_believed() {
    let behind = Behind::new();
    let other = Authority::new("others");
    let expired = Order::of(&["127.0.0.1"]).years(2001, 2002);
    let future = Order::of(&["127.0.0.1"]).years(2090, 2091);
    for (row, issued, tls, reason) in [
        (
            "another name",
            behind.authority.issue(&["origin.test"]),
            "{ roots: DIR/ca.pem, sni: shop.test }",
            "tls_certificate_name",
        ),
        (
            "another address",
            behind.authority.issue(&["origin.test", "127.0.0.2"]),
            TRUSTING,
            "tls_certificate_name",
        ),
        (
            "expired",
            behind.authority.fill(expired),
            TRUSTING,
            "tls_certificate_expired",
        ),
        (
            "not yet",
            behind.authority.fill(future),
            TRUSTING,
            "tls_certificate_expired",
        ),
        (
            "another authority",
            other.issue(&["127.0.0.1"]),
            TRUSTING,
            "tls_certificate",
        ),
        (
            "none of the system's",
            other.issue(&["127.0.0.1"]),
            "{}",
            "tls_certificate",
        ),
        (
            "none of the patterns",
            behind
                .authority
                .issue(&["127.0.0.1", "spiffe://corp/ns/web"]),
            "{ roots: DIR/ca.pem, san: ['spiffe://corp/ns/api', '*.corp'] }",
            "tls_certificate_name",
        ),
    ] {
        let origin = Origin::https(issued.server(), |_| Reply::ok("secret"));
        let site = behind.site(&origin, tls);
        let mut client = site.client();
        let response = client.get("/", "shop.test");
        assert_local(row, &response, 503, reason);
        site.wait_local_replies(reason, 1);
        let labels = [("cluster", "site"), ("reason", reason)];
        site.wait_stat("portcullis_endpoint_failures_total", &labels, |count| {
            count >= 1
        });
        assert_eq!(origin.requests(), 0, "{row}");
        site.neighbour_is_well();
    }
}

#[test]
fn who_is_believed() {
    let behind = Behind::new();
    let other = Authority::new("others");
    for (row, issued, tls) in [
        (
            "the address",
            behind.authority.issue(&["127.0.0.1"]),
            TRUSTING,
        ),
        (
            "the name that is asked for",
            behind.authority.issue(&["origin.test"]),
            "{ roots: DIR/ca.pem, sni: origin.test }",
        ),
        (
            "a wildcard",
            behind.authority.issue(&["*.origin.test"]),
            "{ roots: DIR/ca.pem, sni: a.origin.test }",
        ),
        (
            "a SPIFFE identity",
            behind.authority.issue(&["spiffe://corp/ns/api"]),
            "{ roots: DIR/ca.pem, san: ['spiffe://corp/*'] }",
        ),
        (
            "anybody",
            other.fill(Order::of(&["nobody.test"]).years(2001, 2002)),
            "{ danger_accept_invalid_certificates: true }",
        ),
    ] {
        let origin = Origin::https(issued.server(), |_| Reply::ok("well"));
        let site = behind.site(&origin, tls);
        let response = site.client().get("/", "shop.test");
        assert_eq!((response.status, &*response.text()), (200, "well"), "{row}");
    }
}

#[test]
fn a_certificate_for_those_who_ask() {
    let behind = Behind::new();
    let issued = behind.authority.issue(&["127.0.0.1"]);
    let identity = behind.authority.issue(&["gateway.test"]);
    behind.put("gateway", &identity);
    let proving = "{ roots: DIR/ca.pem, client_certificate: { cert: DIR/gateway.pem, key: DIR/gateway.key } }";
    for version in [&TLS12, &TLS13] {
        let asking = || issued.server_of(&[version], Some(&behind.authority));
        let (origin, seen) = watching(asking());
        let site = behind.site(&origin, proving);
        assert_eq!(site.client().get("/", "shop.test").text(), "well");
        assert!(seen.lock().unwrap()[0].has_certificate, "{version:?}");

        let origin = Origin::https(asking(), |_| Reply::ok("secret"));
        let site = behind.site(&origin, TRUSTING);
        let response = site.client().get("/", "shop.test");
        assert!(
            [502, 503].contains(&response.status),
            "{version:?}: {}",
            response.status
        );
        assert_eq!(origin.requests(), 0, "{version:?}");
        site.neighbour_is_well();
    }
}

/// S6: what comes before TLS was agreed on is no answer, however much it looks like one.
#[test]
fn s6_bytes_before_tls_are_refused() {
    let behind = Behind::new();
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for (row, origin) in [
        (
            "at once",
            Origin::raw(move |connection| {
                connection.send(answer)?;
                connection.read_to_end().map(drop)
            }),
        ),
        (
            "to the hello",
            Origin::raw(move |connection| {
                connection.read_exact(5)?;
                connection.send(answer)?;
                connection.read_to_end().map(drop)
            }),
        ),
        (
            "another protocol",
            Origin::script(vec![Step::send("220 mail.test ESMTP\r\n"), Step::ReadToEnd]),
        ),
    ] {
        let site = behind.site(&origin, TRUSTING);
        let mut client = site.client();
        for number in 1..=2 {
            let response = client.get("/", "shop.test");
            assert_local(row, &response, 503, "tls_handshake");
            site.wait_local_replies("tls_handshake", number);
        }
        site.neighbour_is_well();
    }
}

/// S6: an answer in the clear, put in front of a handshake that would succeed.
#[test]
fn s6_bytes_in_front_of_a_good_handshake_are_refused() {
    let behind = Behind::new();
    let config = Arc::new(behind.server());
    let origin = Origin::raw(move |connection| {
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")?;
        let session = rustls::ServerConnection::new(Arc::clone(&config));
        connection
            .start_tls(session.unwrap())
            .map_err(std::io::Error::other)?;
        while connection.read_request()?.is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell")?;
        }
        Ok(())
    });
    let site = behind.site(&origin, TRUSTING);
    let response = site.client().get("/", "shop.test");
    assert_local("in front", &response, 503, "tls_handshake");
    site.neighbour_is_well();
}

#[test]
fn a_handshake_that_hangs_is_within_the_connect_timeout() {
    let behind = Behind::new();
    let origin = Origin::script(vec![Step::ReadToEnd]);
    let site = behind.site(&origin, "{ roots: DIR/ca.pem }\nconnect_timeout: 50ms");
    let response = site.client().get("/", "shop.test");
    assert_local("silence", &response, 503, "connect_timeout");
    origin.wait_open(0);
    site.neighbour_is_well();
}

#[test]
fn an_endpoint_that_hangs_up_or_speaks_something_else() {
    let behind = Behind::new();
    let mut strange = behind.server();
    strange.alpn_protocols = vec![b"mqtt".to_vec()];
    for (row, origin, reason) in [
        (
            "hangs up",
            Origin::script(vec![Step::read_until("\0"), Step::Close]),
            "tls_handshake",
        ),
        (
            "another protocol by ALPN",
            Origin::https(strange, |_| Reply::ok("")),
            "tls_alpn",
        ),
    ] {
        let site = behind.site(&origin, TRUSTING);
        let response = site.client().get("/", "shop.test");
        let got = response.header("x-portcullis-reason");
        // A close over unread bytes is a reset.
        let is_fine =
            got == Some(reason) || (row == "hangs up" && got == Some("connect_unreachable"));
        assert!(response.status == 503 && is_fine, "{row}: {got:?}");
        site.neighbour_is_well();
    }
}

/// A body that ends with the connection is whole only if TLS says so: anybody on the way can end a connection.
#[test]
fn a_truncated_body_is_not_whole() {
    let behind = Behind::new();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let whole = vec![Step::send(format!("{head}all of it")), Step::HalfClose];
    let gate = Gate::new();
    let cut = vec![
        Step::send(format!("{head}some of it")),
        Step::Wait(gate.clone()),
        Step::Close,
    ];
    let origin = Origin::https(behind.server(), move |request| {
        Reply::steps(if request.target == "/whole" {
            whole.clone()
        } else {
            cut.clone()
        })
    });
    let site = behind.site(&origin, TRUSTING);
    let mut client = site.client();
    let response = client.get("/whole", "shop.test");
    assert_eq!(response.text(), "all of it");

    client.send("GET /cut HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    client.read_until("some of it\r\n");
    gate.open();
    let (rest, _) = client.read_to_end();
    assert!(
        rest.is_empty(),
        "it passed for whole: {}",
        String::from_utf8_lossy(&rest)
    );
    site.neighbour_is_well();
}

#[test]
fn large_bodies_both_ways() {
    let behind = Behind::new();
    let down = noise(5 * 1024 * 1024);
    let up = noise(3 * 1024 * 1024 + 7);
    let (sum, body) = (checksum(&up), down.clone());
    let origin = Origin::https(behind.server(), move |request| {
        assert_eq!(checksum(&request.body), sum);
        Reply::ok(&body)
    });
    let site = behind.site(&origin, TRUSTING);
    let mut client = site.client();
    for _ in 0..2 {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            up.len()
        );
        client.send([head.as_bytes(), &up].concat());
        let response = client.read_response();
        assert_eq!(response.status, 200);
        assert_eq!(checksum(&response.body), checksum(&down));
    }
    assert_eq!(origin.connections(), 1);
}

/// A gateway for TCP with this cluster.
fn tcp(behind: &Behind, origin: &Origin, cluster: &str) -> Gateway {
    Gateway::start(&format!(
        "listeners:\n  web: {{ listen: 127.0.0.1:0, protocol: tcp, cluster: site }}\n\
         clusters:\n  site:\n    endpoints: [\"{}\"]\n    {}\n",
        origin.address(),
        behind.fill(cluster),
    ))
}

#[test]
fn tcp_over_tls() {
    let behind = Behind::new();
    let bytes = noise(3 * 1024 * 1024);
    let origin = Origin::tls(behind.server(), |connection| {
        while connection.fill()? > 0 {
            let bytes = connection.read_exact(connection.buffered().len())?;
            connection.send(bytes)?;
        }
        // What is left to say after the client's end.
        connection.send("bye")?;
        connection.half_close()
    });
    let gateway = tcp(&behind, &origin, "tls: { roots: DIR/ca.pem }");
    let mut client = gateway.connect("web");
    for piece in bytes.chunks(200 * 1024) {
        client.send(piece);
        assert!(client.read_exact(piece.len()) == piece);
    }
    client.half_close();
    assert_eq!(client.read_to_close(), b"bye");
}

#[test]
fn a_tcp_client_sees_an_end_that_is_none_as_a_reset() {
    let behind = Behind::new();
    let origin = Origin::tls(behind.server(), |connection| {
        connection.send("some of it")?;
        connection.read_exact(2).map(drop)
    });
    let gateway = tcp(&behind, &origin, "tls: { roots: DIR/ca.pem }");
    let mut client = gateway.connect("web");
    assert_eq!(client.read_exact(10), b"some of it");
    client.send("go");
    client.expect_reset();
}

#[test]
fn a_tcp_client_of_an_endpoint_that_is_not_believed_is_closed() {
    let behind = Behind::new();
    let other = Authority::new("others").issue(&["127.0.0.1"]);
    let origin = Origin::tls(other.server(), |connection| connection.send("secret"));
    let gateway = tcp(&behind, &origin, "tls: { roots: DIR/ca.pem }");
    let mut client = gateway.connect("web");
    client.try_send("hello");
    let (bytes, _) = client.read_to_end();
    assert!(bytes.is_empty());
    let labels = [("cluster", "site"), ("reason", "tls_certificate")];
    gateway.wait_stat("portcullis_endpoint_failures_total", &labels, |count| {
        count == 1
    });
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let behind = Behind::new();
    let config = Arc::new(behind.server());
    let origin = Origin::raw(move |connection| {
        // Not through the buffer: the hello stands right behind the line.
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            connection.socket().read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        assert!(line.starts_with(b"PROXY TCP4 127.0.0.1 "), "{line:?}");
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        connection
            .start_tls(session)
            .map_err(std::io::Error::other)?;
        connection.send("well")?;
        connection.half_close()
    });
    let gateway = tcp(
        &behind,
        &origin,
        "tls: { roots: DIR/ca.pem }\n    proxy_protocol: v1",
    );
    let mut client = gateway.connect("web");
    assert_eq!(client.read_to_close(), b"well");
}

#[test]
fn health_checks_are_encrypted_too() {
    let behind = Behind::new();
    let (good, _) = watching(behind.server());
    let other = Authority::new("others").issue(&["127.0.0.1"]);
    let bad = Origin::https(other.server(), |_| Reply::ok("well"));
    for (row, check) in [("http", "http: /healthz"), ("tcp", "tcp: {}")] {
        let cluster = behind.fill(&format!(
            "tls: {{ roots: DIR/ca.pem }}\nhealth_check: {{ {check}, interval: 20ms, unhealthy_threshold: 1 }}"
        ));
        let site = Site::new(&good)
            .endpoint(bad.address())
            .cluster(&cluster)
            .start();
        for (origin, healthy) in [(&good, 1), (&bad, 0)] {
            let endpoint = origin.address().to_string();
            let labels = [("cluster", "site"), ("endpoint", endpoint.as_str())];
            site.wait_stat("portcullis_endpoint_healthy", &labels, |value| {
                value == healthy
            });
        }
        let mut client = site.client();
        for _ in 0..4 {
            assert_eq!(client.get("/", "shop.test").text(), "well", "{row}");
        }
    }
}

/// What stands at the front of a connection, left there.
fn first_byte(connection: &Connection) -> Option<u8> {
    let socket = connection.socket().try_clone().ok()?;
    let mut byte = [0];
    let count = std::net::TcpStream::from(socket).peek(&mut byte).ok()?;
    (count == 1).then_some(byte[0])
}

/// A connection that was opened in the clear is not used once the configuration wants TLS, and the other way round.
#[test]
fn a_reload_to_tls_uses_no_older_connection() {
    let behind = Behind::new();
    let config = Arc::new(behind.server());
    // TLS begins with a record of type 22, and no request does.
    let origin = Origin::raw(move |connection| {
        let is_tls = first_byte(connection) == Some(22);
        if is_tls {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            connection
                .start_tls(session)
                .map_err(std::io::Error::other)?;
        }
        while connection.read_request()?.is_some() {
            let body = if is_tls { "tls" } else { "raw" };
            connection.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{body}"
            ))?;
        }
        Ok(())
    });
    let site = Site::new(&origin).start();
    let with_tls = Site::new(&origin).cluster(&behind.fill("tls: { roots: DIR/ca.pem }"));
    let plain = Site::new(&origin);
    let mut client = site.client();
    assert_eq!(client.get("/", "shop.test").text(), "raw");
    for (next, expected) in [(&with_tls, "tls"), (&plain, "raw"), (&with_tls, "tls")] {
        assert_eq!(site.reload(&next.yaml(&site.beside)).status, 200);
        for _ in 0..3 {
            assert_eq!(client.get("/", "shop.test").text(), expected);
        }
    }
    site.neighbour_is_well();
}

#[test]
fn check_looks_into_the_files() {
    let behind = Behind::new();
    behind.put("a", &behind.authority.issue(&["a.test"]));
    behind.put("b", &behind.authority.issue(&["b.test"]));
    let check = |tls: &str, endpoint: &str| {
        let text = format!(
            "listeners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }}\n\
             clusters:\n  site:\n    endpoints: [\"{endpoint}\"]\n    tls: {}\n",
            behind.fill(tls)
        );
        let file = behind.scratch.write("check.yaml", text);
        let output: &mut Command = &mut portcullis();
        let output = output.args(["check", "-c"]).arg(file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let name = "origin.test:443";
    for (row, tls, endpoint, code, parts) in [
        ("good", TRUSTING, name, 0, &[][..]),
        ("nothing said", "{}", name, 0, &[]),
        (
            "no such file",
            "{ roots: DIR/none.pem }",
            name,
            78,
            &["cannot read", "none.pem", "check.yaml:6"],
        ),
        (
            "another's key",
            "{ client_certificate: { cert: DIR/a.pem, key: DIR/b.key } }",
            name,
            78,
            &["does not belong", "check.yaml:6"],
        ),
        (
            "no name",
            TRUSTING,
            "unix:/run/a.sock",
            78,
            &["needs a name", "check.yaml:5"],
        ),
        (
            "a bad name",
            "{ sni: 'a b' }",
            name,
            78,
            &["no name for TLS", "check.yaml:6"],
        ),
        (
            "a bad pattern",
            "{ san: ['*'] }",
            name,
            78,
            &["check.yaml:6", "'*'"],
        ),
        (
            "a key that nobody knows",
            "{ verify: false }",
            name,
            78,
            &["verify", "danger_accept_invalid_certificates"],
        ),
    ] {
        let (status, said) = check(tls, endpoint);
        assert_eq!(status, Some(code), "{row}:\n{said}");
        for part in parts {
            assert!(said.contains(part), "{row}: no {part:?} in:\n{said}");
        }
    }
}

/// A client of the gateway, for tests that keep one over changes.
pub(crate) fn ask(client: &mut Client) -> String {
    client.get("/", "shop.test").text()
}
