//! TLS ended on a listener: certificates by name, versions, application protocols, client certificates, sessions taken
//! up again; a neighbour on another connection notices nothing.
//!
//! Attacks are in [`attacks`], files that change in [`files`]. Start at [`Tls`].

mod attacks;
mod clients;
mod files;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::ops::Deref;
use std::process::Command;
use std::sync::Arc;

use harness::tls::{Authority, Issued, Order};
use harness::{Client, Gateway, Origin, Reply, Scratch, tool};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

pub(crate) const REFUSED: &str = "portcullis_listener_refused_total";
pub(crate) const HANDSHAKES: &str = "portcullis_tls_handshakes_total";

/// A configuration in the making: the listener `web` with TLS, in front of one origin.
pub(crate) struct Tls {
    pub(crate) authority: Authority,
    scratch: Scratch,
    certificates: Vec<String>,
    tls: String,
    listener: String,
    rest: String,
    clusters: String,
    protocol: &'static str,
}

impl Tls {
    /// A listener for HTTP with a certificate for `a.test`.
    pub(crate) fn new() -> Self {
        let empty = Self {
            authority: Authority::new("tests"),
            scratch: Scratch::new(),
            certificates: Vec::new(),
            tls: String::new(),
            listener: String::new(),
            rest: String::new(),
            clusters: String::new(),
            protocol: "http",
        };
        let issued = empty.authority.issue(&["a.test", "127.0.0.1"]);
        empty.certificate("a", &issued)
    }

    /// One more certificate, in files of this name.
    pub(crate) fn certificate(mut self, file: &str, issued: &Issued) -> Self {
        put(&self.scratch, file, issued);
        let folder = self.scratch.path().display();
        self.certificates.push(format!(
            "{{ cert: {folder}/{file}.pem, key: {folder}/{file}.key }}"
        ));
        self
    }

    /// More keys of the `tls` block. `ROOTS` is a file with the tests' authority.
    pub(crate) fn tls(mut self, keys: &str) -> Self {
        let roots = self.scratch.write("roots.pem", self.authority.pem());
        let keys = keys.replace("ROOTS", &roots.display().to_string());
        let _ = writeln!(self.tls, "      {keys}");
        self
    }

    /// More keys of the listener.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        let _ = writeln!(self.listener, "    {keys}");
        self
    }

    /// More listeners. `TLS` is the `tls` block of a listener with the same certificates and nothing else.
    pub(crate) fn listeners(mut self, entries: &str) -> Self {
        let block = format!("{{ certificates: [{}] }}", self.certificates.join(", "));
        let _ = writeln!(self.rest, "  {}", entries.replace("TLS", &block));
        self
    }

    /// More clusters.
    pub(crate) fn cluster(mut self, entry: &str) -> Self {
        let _ = writeln!(self.clusters, "  {entry}");
        self
    }

    /// The listener's protocol.
    pub(crate) fn protocol(mut self, protocol: &'static str) -> Self {
        self.protocol = protocol;
        self
    }

    pub(crate) fn yaml(&self, origin: &Origin) -> String {
        format!(
            "listeners:\n  web:\n    listen: 127.0.0.1:0\n    protocol: {}\n    {}\n{}    \
             tls:\n      certificates: [{}]\n{}{}drain: {{ timeout: 2m, spread: 1ms }}\n\
             runtime: {{ workers: {{ count: 2 }} }}\n\
             clusters:\n  origin: {{ endpoints: [\"{}\"] }}\n{}",
            self.protocol,
            if self.protocol == "http" {
                "routes: [{ cluster: origin }]"
            } else {
                "cluster: origin"
            },
            self.listener,
            self.certificates.join(", "),
            self.tls,
            self.rest,
            origin.address(),
            self.clusters,
        )
    }

    /// Starts it in front of an origin that says `well`.
    #[track_caller]
    pub(crate) fn start(self) -> Running {
        self.start_with(Origin::http(|_| Reply::ok("well")))
    }

    #[track_caller]
    pub(crate) fn start_with(self, origin: Origin) -> Running {
        let gateway = Gateway::start(&self.yaml(&origin));
        Running {
            gateway,
            origin,
            parts: self,
            neighbour: RefCell::default(),
        }
    }
}

/// Writes a pair of files, each in one step.
pub(crate) fn put(scratch: &Scratch, file: &str, issued: &Issued) {
    scratch.write(&format!("{file}.key"), &issued.key);
    scratch.write(&format!("{file}.pem"), &issued.cert);
}

/// A running [`Tls`].
pub(crate) struct Running {
    gateway: Gateway,
    pub(crate) origin: Origin,
    parts: Tls,
    neighbour: RefCell<Option<Client>>,
}

impl Deref for Running {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl Running {
    pub(crate) fn authority(&self) -> &Authority {
        &self.parts.authority
    }

    pub(crate) fn scratch(&self) -> &Scratch {
        &self.parts.scratch
    }

    /// A client's settings: trusts the tests' authority, shows nothing.
    pub(crate) fn plain(&self) -> Arc<ClientConfig> {
        Arc::new(self.authority().client(None))
    }

    /// Connects to the listener `web`.
    #[track_caller]
    pub(crate) fn try_client(&self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
        Client::connect_tls(self.addr("web"), config, name)
    }

    /// A client of the listener `web` that asks for this name.
    #[track_caller]
    pub(crate) fn client(&self, name: &str) -> Client {
        self.try_client(&self.plain(), name).expect("a handshake")
    }

    /// What a handshake that must be refused says: at once, or at the first byte from the gateway.
    #[track_caller]
    pub(crate) fn refusal(&self, config: &Arc<ClientConfig>, name: &str) -> String {
        match self.try_client(config, name) {
            Err(error) => error.to_string(),
            Ok(mut client) => {
                client.try_send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
                let read = client.connection().fill();
                read.expect_err("a refusal").to_string()
            }
        }
    }

    /// Waits until so many connections of `web` were refused for this reason.
    #[track_caller]
    pub(crate) fn wait_refused(&self, reason: &str, count: u64) {
        let labels = [("listener", "web"), ("reason", reason)];
        self.wait_stat(REFUSED, &labels, |value| value == count);
    }

    /// Asserts that a client of the same listener is served, on the connection that it has had all the time (if `web`
    /// speaks HTTP and asks for nothing).
    #[track_caller]
    pub(crate) fn neighbour_is_well(&self) {
        let mut neighbour = self.neighbour.borrow_mut();
        let kept = neighbour.get_or_insert_with(|| self.client("a.test"));
        assert_eq!(kept.get("/", "a.test").text(), "well");
    }
}

/// Which certificate a client got.
pub(crate) fn shown(client: &mut Client) -> Vec<u8> {
    let tls = client.connection().tls().expect("TLS");
    tls.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn http_over_both_versions() {
    let site = Tls::new().start();
    for (version, label, expected) in [
        (&TLS12, "1.2", ProtocolVersion::TLSv1_2),
        (&TLS13, "1.3", ProtocolVersion::TLSv1_3),
    ] {
        let config = Arc::new(site.authority().client_of(None, &[version]));
        let mut client = site.try_client(&config, "a.test").unwrap();
        for _ in 0..3 {
            assert_eq!(client.get("/cart", "a.test").text(), "well");
            let request = site.origin.next_request();
            assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        }
        let spoken = client.connection().tls().unwrap().protocol_version();
        assert_eq!(spoken, Some(expected));
        let labels = [
            ("listener", "web"),
            ("version", label),
            ("resumed", "false"),
        ];
        site.wait_stat(HANDSHAKES, &labels, |count| count == 1);
    }
}

#[test]
fn post_quantum_keys_come_first() {
    let site = Tls::new().start();
    let mut client = site.client("a.test");
    let tls = client.connection().tls().unwrap();
    let group = tls.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn a_minimum_version_is_kept() {
    let site = Tls::new().tls("min_version: '1.3'").start();
    site.neighbour_is_well();
    let config = Arc::new(site.authority().client_of(None, &[&TLS12]));
    let refusal = site.refusal(&config, "a.test");
    assert!(refusal.contains("ProtocolVersion"), "{refusal}");
    site.wait_refused("tls_incompatible", 1);
    site.neighbour_is_well();
}

#[test]
fn the_name_chooses_the_certificate() {
    let tls = Tls::new();
    let [b, wild] =
        [&["b.test", "c.test"][..], &["*.wild.test"][..]].map(|names| tls.authority.issue(names));
    let site = tls.certificate("b", &b).certificate("wild", &wild).start();
    let default = shown(&mut site.client("a.test"));
    for (name, expected) in [
        ("b.test", &b),
        ("c.test", &b),
        ("C.Test", &b),
        ("x.wild.test", &wild),
    ] {
        let mut client = site.client(name);
        assert_eq!(shown(&mut client), expected.chain()[0].to_vec(), "{name}");
        assert_eq!(client.get("/", name).text(), "well", "{name}");
    }
    assert_eq!(shown(&mut site.client("127.0.0.1")), default, "no name");
    // The default is shown for any other name, and such a client does not like it.
    let refusal = site.refusal(&site.plain(), "other.test");
    assert!(refusal.contains("not valid for name"), "{refusal}");
    site.wait_refused("tls_alert", 1);
    site.neighbour_is_well();
}

/// S5: a client that wants another protocol than the listener's is told so, and reaches nobody.
#[test]
fn s5_application_protocols_are_agreed_on_strictly() {
    let site = Tls::new().tls("alpn: [http/1.1]").start();
    site.neighbour_is_well();
    let offering = |names: &[&str]| {
        let mut config = site.authority().client(None);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    for (names, agreed) in [
        (&[][..], None),
        (&["http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["smtp", "http/1.1"], Some(b"http/1.1")),
    ] {
        let mut client = site.try_client(&offering(names), "a.test").unwrap();
        let tls = client.connection().tls().unwrap();
        assert_eq!(tls.alpn_protocol(), agreed, "{names:?}");
        assert_eq!(client.get("/", "a.test").text(), "well");
    }
    let served = site.origin.connections();
    for (count, names) in [
        (1, &["smtp"][..]),
        (2, &["h2"]),
        (3, &["ftp", "imap", "postgresql"]),
    ] {
        let refusal = site.refusal(&offering(names), "a.test");
        assert!(
            refusal.contains("NoApplicationProtocol"),
            "{names:?}: {refusal}"
        );
        site.wait_refused("tls_no_alpn", count);
    }
    assert_eq!(site.origin.connections(), served);
    site.neighbour_is_well();
}

#[test]
fn sessions_are_taken_up_again_on_every_worker() {
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let site = Tls::new().start();
        let config = Arc::new(site.authority().client_of(None, &[version]));
        // The first brings the tickets; the others land on either worker.
        for number in 0..12 {
            let mut client = site.try_client(&config, "a.test").unwrap();
            assert_eq!(client.get("/", "a.test").text(), "well");
            let kind = client.connection().tls().unwrap().handshake_kind();
            let resumed = kind == Some(HandshakeKind::Resumed);
            assert_eq!(resumed, number > 0, "{label}: {kind:?} for {number}");
        }
        let labels = [("listener", "web"), ("version", label), ("resumed", "true")];
        site.wait_stat(HANDSHAKES, &labels, |count| count == 11);
    }
}

#[test]
fn without_tickets_every_handshake_is_whole() {
    let site = Tls::new().tls("session_tickets: false").start();
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(site.authority().client_of(None, &[version]));
        for _ in 0..2 {
            let mut client = site.try_client(&config, "a.test").unwrap();
            assert_eq!(client.get("/", "a.test").text(), "well");
            let kind = client.connection().tls().unwrap().handshake_kind();
            assert_ne!(kind, Some(HandshakeKind::Resumed));
        }
    }
}

/// RFC 9110 section 15.5.20: a request for another host than the connection was made for is not answered on it.
#[test]
fn s3_the_host_must_be_the_one_that_tls_named() {
    let tls = Tls::new();
    let other = tls.authority.issue(&["b.test"]);
    let site = tls.certificate("b", &other).start();
    let mut client = site.client("a.test");
    for (row, host, status) in [
        ("the same", "a.test", 200),
        ("in capitals, with a port", "A.TEST:8443", 200),
        ("another with a certificate", "b.test", 421),
        ("another", "c.test", 421),
        ("an address", "127.0.0.1", 421),
        ("the same again", "a.test", 200),
    ] {
        assert_eq!(client.get("/", host).status, status, "{row}");
    }
    // Who names nothing in TLS may ask for anything.
    assert_eq!(site.client("127.0.0.1").get("/", "b.test").status, 200);
    let labels = [("listener", "web"), ("reason", "misdirected")];
    site.wait_stat("portcullis_http_local_replies_total", &labels, |count| {
        count == 3
    });
    site.neighbour_is_well();
}

#[test]
fn tcp_behind_tls() {
    let site = Tls::new().protocol("tcp").start_with(Origin::echo());
    let bytes = crate::support::noise(3 * 1024 * 1024);
    let mut client = site.client("a.test");
    let mut beside = site.client("a.test");
    beside.send("ping");
    for piece in bytes.chunks(200 * 1024) {
        client.send(piece);
        assert!(client.read_exact(piece.len()) == piece);
    }
    assert_eq!(beside.read_exact(4), b"ping");
    client.half_close();
    let (rest, _) = client.read_to_end();
    assert!(rest.is_empty());
    // Whatever a client offers, a listener for bytes agrees on nothing.
    let mut config = site.authority().client(None);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let mut client = site.try_client(&Arc::new(config), "a.test").unwrap();
    assert_eq!(client.connection().tls().unwrap().alpn_protocol(), None);
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let site = Tls::new()
        .listener("proxy_protocol: { trusted: [127.0.0.0/8] }")
        .start();
    let mut client = Client::connect(site.addr("web"));
    client.send("PROXY TCP4 192.0.2.7 198.51.100.9 4321 443\r\n");
    let name = "a.test".try_into().unwrap();
    let session = rustls::ClientConnection::new(site.plain(), name).unwrap();
    client.connection().start_tls(session).unwrap();
    assert_eq!(client.get("/", "a.test").text(), "well");
    let request = site.origin.next_request();
    assert_eq!(request.header("x-forwarded-for"), Some("192.0.2.7"));
}

#[test]
fn curl_is_served() {
    let Some(curl) = tool("curl") else { return };
    let site = Tls::new().start();
    let roots = site.scratch().write("ca.pem", site.authority().pem());
    let port = site.addr("web").port();
    for version in ["--tls-max", "--tlsv1.3"] {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--http1.1", version]);
        if version == "--tls-max" {
            command.arg("1.2");
        }
        let output = command
            .arg("--cacert")
            .arg(&roots)
            .arg("--resolve")
            .arg(format!("a.test:{port}:127.0.0.1"))
            .arg(format!("https://a.test:{port}/"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"well", "{version}: {said}");
    }
}

#[test]
fn curl_speaks_http_2() {
    let Some(curl) = tool("curl") else { return };
    let site = Tls::new().start();
    let roots = site.scratch().write("ca.pem", site.authority().pem());
    let port = site.addr("web").port();
    let output = Command::new(&curl)
        .args(["-sS", "--http2", "-w", " over %{http_version}", "--cacert"])
        .arg(&roots)
        .arg("--resolve")
        .arg(format!("a.test:{port}:127.0.0.1"))
        .arg(format!("https://a.test:{port}/"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let answer = String::from_utf8_lossy(&output.stdout);
    assert_eq!(answer, "well over 2", "{said}");
}

/// A protocol is recognised by what was encrypted.
#[test]
fn detection_behind_tls() {
    let detect = "{ protocols: [{ protocol: http, routes: [{ cluster: origin }] }, { protocol: tcp, cluster: echo }] }";
    let echo = Origin::echo();
    let site = Tls::new()
        .listeners(&format!(
            "any: {{ listen: 127.0.0.1:0, protocol: detect, detect: {detect}, tls: TLS }}"
        ))
        .cluster(&format!("echo: {{ endpoints: [\"{}\"] }}", echo.address()))
        .start();
    let connect = || Client::connect_tls(site.addr("any"), &site.plain(), "a.test").unwrap();
    assert_eq!(connect().get("/", "a.test").text(), "well");
    let mut client = connect();
    client.send("\u{1}\u{2}\u{3} no request line\r\n");
    assert_eq!(client.read_exact(4), b"\x01\x02\x03 ");
}

/// What cannot be used is found by `check`, with its place; what is merely old is a warning.
#[test]
fn check_looks_into_the_files() {
    let tls = Tls::new();
    let other = tls.authority.issue(&["b.test"]);
    let old = tls
        .authority
        .fill(Order::of(&["old.test"]).years(2001, 2002));
    tls.scratch.write("b.key", &other.key);
    put(&tls.scratch, "old", &old);
    let folder = tls.scratch.path().display().to_string();
    let cert = format!("{folder}/a.pem");
    let good = format!("{{ cert: {cert}, key: {folder}/a.key }}");
    let check = |block: &str| {
        let text = format!(
            "listeners:\n  web:\n    listen: 127.0.0.1:0\n    protocol: http\n    \
             routes: [{{ respond: {{ status: 204 }} }}]\n    tls: {block}\n"
        );
        let file = tls.scratch.write("check.yaml", text);
        let mut command = harness::portcullis();
        let output = command.args(["check", "-c"]).arg(file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    for (row, block, code, parts) in [
        (
            "another's key",
            format!("{{ certificates: [{{ cert: {cert}, key: {folder}/b.key }}] }}"),
            78,
            &["does not belong", "check.yaml:6"][..],
        ),
        (
            "no such file",
            format!("{{ certificates: [{{ cert: {folder}/none.pem, key: {folder}/a.key }}] }}"),
            78,
            &["cannot read", "none.pem", "check.yaml:6"],
        ),
        (
            "no roots",
            format!(
                "{{ certificates: [{good}], client_certificates: {{ mode: required, roots: {folder}/a.key }} }}"
            ),
            78,
            &["a.key", "no certificate"],
        ),
        (
            "a protocol that is not spoken",
            format!("{{ certificates: [{good}], alpn: [smtp] }}"),
            78,
            &["smtp", "http/1.1"],
        ),
        (
            "expired",
            format!("{{ certificates: [{{ cert: {folder}/old.pem, key: {folder}/old.key }}] }}"),
            0,
            &["warning", "expired"],
        ),
        ("good", format!("{{ certificates: [{good}] }}"), 0, &[]),
    ] {
        let (status, said) = check(&block);
        assert_eq!(status, Some(code), "{row}:\n{said}");
        for part in parts {
            assert!(said.contains(part), "{row}: no {part:?} in:\n{said}");
        }
    }
}
