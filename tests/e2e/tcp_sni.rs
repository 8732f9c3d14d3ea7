//! TCP routed by what a client of TLS asks for, without ending TLS (tests/ATTACKS.md S1).
//!
//! ClientHellos are rustls's own, cut as attacks and middle boxes cut them; endpoints either report the bytes that
//! arrive or end TLS with a certificate of their own. A neighbour on another listener notices nothing. Start at [`Sni`].

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::Deref;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::{Client, Ending, Gateway, Origin, Scratch, tool};
use rcgen::{CertifiedKey, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::support::noise;
use crate::tcp::{ENDED, REJECTIONS, report, sink};

/// A configuration in the making: the listener `tls` with the cluster `origin`, and whatever a test adds.
#[derive(Default)]
struct Sni {
    routes: String,
    listener: String,
    clusters: String,
}

impl Sni {
    /// These routes, as items of the list.
    fn new(routes: &[&str]) -> Self {
        let routes = routes.iter().map(|route| format!("      - {route}\n"));
        Self {
            routes: routes.collect(),
            ..Self::default()
        }
    }

    /// One more key of the listener.
    fn listener(mut self, key: &str) -> Self {
        self.listener.extend(["    ", key, "\n"]);
        self
    }

    /// One more cluster with one endpoint, and maybe more keys.
    fn cluster(mut self, name: &str, endpoint: SocketAddr, keys: &str) -> Self {
        let cluster = format!("  {name}: {{ endpoints: [{endpoint}]{keys} }}\n");
        self.clusters.push_str(&cluster);
        self
    }

    /// Starts it. The neighbour is connected.
    #[track_caller]
    fn start(&self) -> Running {
        let echo = Origin::echo();
        let gateway = Gateway::start(&format!(
            "listeners:\n  beside: {{ listen: 127.0.0.1:0, protocol: tcp, cluster: beside }}\n  tls:\n    \
             listen: 127.0.0.1:0\n    protocol: tcp\n    routes:\n{}{}\
             clusters:\n  beside: {{ endpoints: [{}] }}\n{}",
            self.routes,
            self.listener,
            echo.address(),
            self.clusters,
        ));
        let mut running = Running {
            neighbour: gateway.connect("beside"),
            gateway,
            _echo: echo,
        };
        running.neighbour_is_well();
        running
    }
}

/// A running [`Sni`].
struct Running {
    neighbour: Client,
    gateway: Gateway,
    _echo: Origin,
}

impl Deref for Running {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl Running {
    #[track_caller]
    fn client(&self) -> Client {
        self.gateway.connect("tls")
    }

    /// Asserts that another connection, made before whatever happened, still works.
    #[track_caller]
    fn neighbour_is_well(&mut self) {
        self.neighbour.send("well");
        assert_eq!(self.neighbour.read_exact(4), b"well");
    }

    #[track_caller]
    fn wait_rejected(&self, reason: &str, count: u64) {
        let labels = [("listener", "tls"), ("reason", reason)];
        self.wait_stat(REJECTIONS, &labels, |value| value == count);
    }
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The ClientHello that rustls sends: one record, longer than a segment by its post-quantum key share.
fn hello(name: Option<&str>, alpn: &[&str]) -> Vec<u8> {
    let mut config = client_config(RootCertStore::empty());
    config.enable_sni = name.is_some();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.unwrap_or("unnamed.example").to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    assert!(wire.len() > 1400, "{} bytes", wire.len());
    assert_eq!(wire[3..5], (wire.len() as u16 - 5).to_be_bytes());
    wire
}

/// The message of one record in records of so many bytes.
fn recut(wire: &[u8], record_bytes: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| {
        let length = (fragment.len() as u16).to_be_bytes();
        [&wire[..3], &length, fragment].concat()
    };
    wire[5..].chunks(record_bytes).flat_map(record).collect()
}

const TO_A: &str = "{ match: { sni: a.example }, cluster: a }";

/// S1: in any pieces and any records, the name is read and the bytes arrive as they were.
#[test]
fn s1_a_hello_in_any_pieces_and_records_arrives_as_it_was() {
    let (origin, reports) = sink();
    let mut sni = Sni::new(&[TO_A]).cluster("a", origin.address(), "").start();
    let wire = hello(Some("a.example"), &["h2"]);
    let mut sent = 0;
    let mut passes = |bytes: &[u8], piece: usize, row: &str| {
        let bytes = [bytes, b"and what follows"].concat();
        let mut client = sni.client();
        client.send_in_pieces(&bytes, piece).half_close();
        assert_eq!(report(&reports), (bytes, Ending::Closed), "{row}");
        client.expect_closed();
        sent += 1;
    };
    for record_bytes in [1, 2, 5, 100, 1400, 1 << 14] {
        let row = format!("records of {record_bytes}");
        passes(&recut(&wire, record_bytes), 1 << 14, &row);
    }
    for piece in [1, 3, 5, 700] {
        passes(&wire, piece, &format!("pieces of {piece}"));
        passes(
            &recut(&wire, 1),
            piece,
            &format!("pieces of {piece}, records of 1"),
        );
    }
    for cut in (1..16).chain((16..wire.len()).step_by(97)) {
        passes(&wire, cut, &format!("cut at {cut}"));
    }
    let labels = [("listener", "tls"), ("reason", "closed")];
    sni.wait_stat(ENDED, &labels, |count| count == sent);
    sni.neighbour_is_well();
}

/// S1: who says nothing, or stops in the middle, or trickles, is closed at the deadline.
#[test]
fn s1_a_hello_that_does_not_come_meets_the_deadline() {
    let origin = Origin::echo();
    let mut sni = Sni::new(&[TO_A, "{ cluster: a }"])
        .listener("sniff_timeout: 100ms")
        .cluster("a", origin.address(), "")
        .start();
    let wire = hello(Some("a.example"), &[]);
    for (count, bytes) in [
        (1, &wire[..0]),
        (2, &wire[..1]),
        (3, &wire[..wire.len() - 1]),
    ] {
        let mut client = sni.client();
        client.send(bytes);
        client.expect_closed();
        sni.wait_rejected("client_hello_timeout", count);
    }
    // Bytes that come do not move it: the whole message would take seconds.
    let mut client = sni.client();
    let trickle = wire.iter().position(|&byte| {
        thread::park_timeout(Duration::from_millis(5));
        !client.try_send([byte])
    });
    assert!(trickle.is_some(), "nothing stops a trickle");
    sni.wait_rejected("client_hello_timeout", 4);
    assert_eq!(origin.connections(), 0);
    sni.neighbour_is_well();
}

/// S1: what cannot be routed reaches nobody.
#[test]
fn s1_what_is_no_good_hello_reaches_nobody() {
    let wire = hello(Some("a.example"), &[]);
    let zero_in_name = {
        let mut wire = wire.clone();
        let at = wire.windows(9).position(|bytes| bytes == b"a.example");
        wire[at.unwrap() + 4] = 0;
        wire
    };
    let too_many_records = {
        let mut header = wire.clone();
        header[6..9].copy_from_slice(&[0, 0x09, 0]);
        header.resize(5 + 4 + 0x0900, 0);
        recut(&header, 1)
    };
    let rows: &[(&str, &[u8], &str)] = &[
        ("no TLS", b"GET / HTTP/1.1\r\n\r\n", "not_tls"),
        ("another name", &hello(Some("b.example"), &[]), "no_route"),
        ("no name", &hello(None, &[]), "no_route"),
        (
            "a message past 16 KiB",
            &[22, 3, 1, 1, 0, 1, 0, 0x40, 0],
            "client_hello_too_long",
        ),
        (
            "a record past 16 KiB",
            &[22, 3, 1, 0x40, 0],
            "client_hello_too_long",
        ),
        (
            "records without end",
            &too_many_records,
            "client_hello_too_many_records",
        ),
        (
            "an empty record",
            &[22, 3, 1, 0, 0],
            "client_hello_bad_record",
        ),
        (
            "a ServerHello",
            &[22, 3, 3, 0, 4, 2],
            "client_hello_missing",
        ),
        (
            "a zero byte in the name",
            &zero_in_name,
            "client_hello_bad_server_name",
        ),
        (
            "a byte behind",
            &[&[22, 3, 1, 0, 5, 1, 0, 0, 0], &[0][..]].concat(),
            "client_hello_trailing_data",
        ),
    ];
    let origin = Origin::echo();
    let mut sni = Sni::new(&[TO_A]).cluster("a", origin.address(), "").start();
    for (name, bytes, reason) in rows {
        let labels = [("listener", "tls"), ("reason", *reason)];
        let before = sni.stats().counter(REJECTIONS, &labels);
        let mut client = sni.client();
        client.try_send(bytes);
        client.expect_gone();
        sni.wait_rejected(reason, before + 1);
        assert_eq!(origin.connections(), 0, "{name}");
    }
    let mut client = sni.client();
    client.send(&wire[..100]).half_close().expect_closed();
    sni.wait_rejected("client_hello_closed", 1);
    sni.client().reset();
    sni.wait_rejected("client_hello_closed", 2);
    assert_eq!(origin.connections(), 0);
    sni.neighbour_is_well();
}

/// A rule without `match` takes what is no TLS, and no bad ClientHello.
#[test]
fn the_last_rule_takes_everything_that_can_be_read() {
    let (named, rest) = (sink(), sink());
    let sni = Sni::new(&[
        TO_A,
        "{ match: { alpn: [imap, h2] }, cluster: a }",
        "{ cluster: rest }",
    ])
    .cluster("a", named.0.address(), "")
    .cluster("rest", rest.0.address(), "")
    .start();
    let rows: [(&str, Vec<u8>, bool); 6] = [
        ("the name", hello(Some("a.example"), &[]), true),
        ("the name in capitals", hello(Some("A.EXAMPLE"), &[]), true),
        ("a protocol", hello(None, &["http/1.1", "h2"]), true),
        (
            "another name and protocol",
            hello(Some("b.example"), &["http/1.1"]),
            false,
        ),
        ("no name", hello(None, &[]), false),
        ("no TLS", b"SSH-2.0-x\r\n".to_vec(), false),
    ];
    for (name, bytes, is_named) in rows {
        let mut client = sni.client();
        client.send(&bytes).half_close().expect_closed();
        let reports = if is_named { &named.1 } else { &rest.1 };
        assert_eq!(report(reports), (bytes, Ending::Closed), "{name}");
    }
    let mut client = sni.client();
    client.send([22, 3, 1, 0, 0]);
    client.expect_gone();
    sni.wait_rejected("client_hello_bad_record", 1);
    assert_eq!((named.0.connections(), rest.0.connections()), (3, 3));
}

/// S4: in front a PROXY header that is taken away, behind one that is put there; the ClientHello between them.
#[test]
fn s4_the_proxy_header_goes_around_the_hello() {
    let (origin, reports) = sink();
    let sni = Sni::new(&[TO_A])
        .listener("proxy_protocol: { trusted: [127.0.0.0/8] }")
        .cluster("a", origin.address(), ", proxy_protocol: v1")
        .start();
    let wire = hello(Some("a.example"), &[]);
    for piece in [1, 60, 4096] {
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 4321 443\r\n";
        let mut client = sni.client();
        client
            .send_in_pieces([&header[..], &wire].concat(), piece)
            .half_close()
            .expect_closed();
        let (received, _) = report(&reports);
        let end = received.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        assert!(received.starts_with(b"PROXY TCP4 192.0.2.7 "), "{piece}");
        assert_eq!(received[end..], wire, "pieces of {piece}");
    }
}

/// The name is a fact for limits, and an operator of the log.
#[test]
fn the_name_is_known_to_filters_and_logs() {
    let (origin, reports) = sink();
    let sni = Sni::new(&[
        "{ name: ours, match: { sni: '*.example' }, cluster: a }",
        "{ cluster: a }",
    ])
    .listener(
        "filters: [{ rate_limit: { per: [tls.sni], rate: 1/h } }, \
         { access_log: { text: '%REQUESTED_SERVER_NAME% %ROUTE_NAME% %TERMINATION_REASON%' } }]",
    )
    .cluster("a", origin.address(), "")
    .start();
    let ask = |bytes: &[u8]| {
        let mut client = sni.client();
        client.try_send(bytes);
        let _ = client.connection().half_close();
        client.expect_gone();
    };
    let (one, two) = (
        hello(Some("one.example"), &[]),
        hello(Some("two.example"), &[]),
    );
    ask(&one);
    sni.wait_stdout("one.example ours closed");
    ask(&one);
    sni.wait_stdout("one.example ours rate_limited");
    ask(&two);
    sni.wait_stdout("two.example ours closed");
    ask(b"plain");
    sni.wait_stdout("- routes[1] closed");
    for _ in 0..3 {
        report(&reports);
    }
    sni.wait_rejected("rate_limited", 1);
}

/// An endpoint that ends TLS with a certificate for one name and answers HTTP with it.
struct Server {
    origin: Origin,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Server {
    fn new(name: &'static str) -> Self {
        let CertifiedKey { cert, signing_key } = generate(name);
        let certificate = cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let origin = Origin::raw(move |connection| {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut socket = connection.socket().try_clone()?;
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                request.push(byte[0]);
            }
            let asked = stream.conn.server_name().unwrap_or_default().to_owned();
            let body = format!("{name} was asked for {asked}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes())?;
            // Whatever follows comes back, so that bulk goes both ways.
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match stream.read(&mut buffer)? {
                    0 => break,
                    count => stream.write_all(&buffer[..count])?,
                }
            }
            stream.conn.send_close_notify();
            stream.flush()
        });
        Self {
            origin,
            certificate,
            pem: cert.pem(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.origin.address()
    }
}

fn generate(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

fn two_servers() -> (Server, Server, Running) {
    let (shop, site) = (Server::new("shop.example"), Server::new("*.site.example"));
    let sni = Sni::new(&[
        "{ match: { sni: shop.example }, cluster: shop }",
        "{ match: { sni: '*.site.example' }, clusters: [{ cluster: site }] }",
    ])
    .cluster("shop", shop.address(), "")
    .cluster("site", site.address(), "")
    .start();
    (shop, site, sni)
}

/// A client that trusts both certificates finds the right one by name, and speaks with it undisturbed.
#[test]
fn names_lead_to_the_endpoint_that_has_the_certificate() {
    let (shop, site, mut sni) = two_servers();
    let mut roots = RootCertStore::empty();
    for server in [&shop, &site] {
        roots.add(server.certificate.clone()).unwrap();
    }
    let config = Arc::new(client_config(roots));
    let bulk = noise(1 << 20);
    for (name, certificate) in [
        ("shop.example", "shop.example"),
        ("www.site.example", "*.site.example"),
        ("api.site.example", "*.site.example"),
    ] {
        let mut client = sni.client();
        let mut socket = client.connection().socket().try_clone().unwrap();
        let host = ServerName::try_from(name).unwrap();
        let mut tls = ClientConnection::new(Arc::clone(&config), host).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let expected = format!("{certificate} was asked for {name}");
        let mut answer = vec![0; 100];
        let mut length = 0;
        while !answer[..length].ends_with(expected.as_bytes()) {
            length += stream.read(&mut answer[length..]).expect(name);
        }
        for piece in bulk.chunks(16 * 1024) {
            stream.write_all(piece).unwrap();
            let mut back = vec![0; piece.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == piece, "{name}");
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut answer).unwrap(), 0, "{name}");
    }
    let mut client = sni.client();
    client.send(hello(Some("nobody.example"), &[]));
    client.expect_closed();
    sni.wait_rejected("no_route", 1);
    assert_eq!(
        (shop.origin.connections(), site.origin.connections()),
        (1, 2)
    );
    sni.neighbour_is_well();
}

/// Where the listener ends TLS, the same rules go by the name of that handshake, and endpoints get what was inside.
#[test]
fn names_choose_where_tls_ends_here_too() {
    let names = ["a.example", "b.example"];
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
    let scratch = Scratch::new();
    let pem = scratch.write("cert.pem", cert.pem());
    let key = scratch.write("key.pem", signing_key.serialize_pem());
    let [a, b] = names.map(|name| {
        Origin::raw(move |connection| {
            connection.read_exact(4)?;
            connection.send(name)
        })
    });
    let tls = format!(
        "tls: {{ certificates: [{{ cert: {}, key: {} }}] }}",
        pem.display(),
        key.display()
    );
    let sni = Sni::new(&[TO_A, "{ match: { sni: '*.example' }, cluster: b }"])
        .listener(&tls)
        .cluster("a", a.address(), "")
        .cluster("b", b.address(), "")
        .start();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = Arc::new(client_config(roots));
    for name in names {
        let mut client = sni.client();
        let mut socket = client.connection().socket().try_clone().unwrap();
        let host = ServerName::try_from(name).unwrap();
        let mut tls = ClientConnection::new(Arc::clone(&config), host).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(b"ping").unwrap();
        let mut answer = vec![0; name.len()];
        stream.read_exact(&mut answer).expect(name);
        assert_eq!(answer, name.as_bytes());
    }
}

/// The same with curl.
#[test]
fn curl_finds_the_endpoint_by_name() {
    let Some(curl) = tool("curl") else { return };
    let (shop, site, sni) = two_servers();
    let scratch = Scratch::new();
    let roots = scratch.write("roots.pem", shop.pem.clone() + &site.pem);
    let port = sni.addr("tls").port();
    let get = |name: &str| {
        Command::new(&curl)
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--noproxy",
                "*",
            ])
            .arg("--cacert")
            .arg(&roots)
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
            .arg(format!("https://{name}:{port}/"))
            .output()
            .unwrap()
    };
    for (name, certificate) in [
        ("shop.example", "shop.example"),
        ("www.site.example", "*.site.example"),
    ] {
        let output = get(name);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{certificate} was asked for {name}"),
            "{said}"
        );
    }
    assert!(!get("nobody.example").status.success());
    sni.wait_rejected("no_route", 1);
}
