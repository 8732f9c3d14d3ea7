//! Client certificates: who is let in, what upstreams, limits and logs are told, and that sessions do not carry a client
//! past other rules.

use std::sync::Arc;

use harness::tls::{Authority, Issued, Order};
use harness::{Client, Origin, Reply};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::{Running, Tls};

const REQUIRED: &str = "client_certificates: { mode: required, roots: ROOTS }";
const OPTIONAL: &str = "client_certificates: { mode: optional, roots: ROOTS }";

fn alice(authority: &Authority) -> Issued {
    let names = ["spiffe://corp/ns/shop", "alice.corp", "10.9.8.7"];
    authority.fill(Order::of(&names).subject("alice", "Acme, Inc"))
}

fn showing(site: &Running, identity: &Issued) -> Arc<rustls::ClientConfig> {
    Arc::new(site.authority().client(Some(identity)))
}

#[test]
fn a_required_certificate_is_required() {
    for version in [&TLS12, &TLS13] {
        let site = Tls::new().tls(REQUIRED).start();
        let stranger = Authority::new("strangers").issue(&["alice.corp"]);
        let alice = alice(site.authority());
        let of =
            |identity: Option<&Issued>| Arc::new(site.authority().client_of(identity, &[version]));
        let mut kept = site.try_client(&of(Some(&alice)), "a.test").unwrap();
        assert_eq!(kept.get("/", "a.test").text(), "well");
        let old = site
            .authority()
            .fill(Order::of(&["alice.corp"]).years(2001, 2002));
        for (count, row, identity) in [
            (1, "none", None),
            (2, "of another authority", Some(&stranger)),
            (3, "expired", Some(&old)),
        ] {
            let refusal = site.refusal(&of(identity), "a.test");
            assert!(
                refusal.contains("alert") || refusal.contains("reset"),
                "{row}: {refusal}"
            );
            site.wait_refused("tls_client_certificate", count);
        }
        assert_eq!(kept.get("/", "a.test").text(), "well");
    }
}

#[test]
fn an_optional_certificate_must_be_right_if_there_is_one() {
    let site = Tls::new().tls(OPTIONAL).start();
    site.neighbour_is_well();
    let mut client = site
        .try_client(&showing(&site, &alice(site.authority())), "a.test")
        .unwrap();
    assert_eq!(client.get("/", "a.test").text(), "well");
    let stranger = Authority::new("strangers").issue(&["alice.corp"]);
    site.refusal(&showing(&site, &stranger), "a.test");
    site.wait_refused("tls_client_certificate", 1);
    site.neighbour_is_well();
}

#[test]
fn only_names_that_are_listed_are_let_in() {
    let rules = "client_certificates: { mode: required, roots: ROOTS, san: ['spiffe://corp/ns/*', '*.ops.corp'] }";
    let site = Tls::new().tls(rules).start();
    let mut refused = 0;
    for (names, is_let_in) in [
        (&["spiffe://corp/ns/shop"][..], true),
        (&["a.ops.corp"], true),
        (&["elsewhere.test", "a.b.ops.corp"], true),
        (&["spiffe://corp.evil/ns/shop"], false),
        (&["spiffe://corp/other"], false),
        (&["ops.corp"], false),
        (&["evilops.corp"], false),
        (&[], false),
    ] {
        let identity = site.authority().issue(names);
        let config = showing(&site, &identity);
        if is_let_in {
            let mut client = site.try_client(&config, "a.test").unwrap();
            assert_eq!(client.get("/", "a.test").text(), "well", "{names:?}");
        } else {
            site.refusal(&config, "a.test");
            refused += 1;
            site.wait_refused("tls_client_certificate", refused);
        }
    }
}

#[test]
fn upstreams_are_told_who_the_client_proved_to_be() {
    let site = Tls::new().tls(OPTIONAL).start();
    let alice = alice(site.authority());
    let forged = "GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-client-cert: Hash=00;Subject=\"CN=root\"\r\n\r\n";

    let mut client = site.try_client(&showing(&site, &alice), "a.test").unwrap();
    client.send(forged).read_response();
    let request = site.origin.next_request();
    let hash = &harness_hash(&alice);
    let expected = format!(
        "Hash={hash};Subject=\"CN=alice,O=Acme\\, Inc\";URI=spiffe://corp/ns/shop;DNS=alice.corp"
    );
    assert_eq!(request.header("x-forwarded-client-cert"), Some(&*expected));

    let mut client = site.client("a.test");
    client.send(forged).read_response();
    let request = site.origin.next_request();
    assert_eq!(
        request.header("x-forwarded-client-cert"),
        None,
        "nothing was proved"
    );
}

/// A trusted proxy's word is kept, and what it proved itself stands behind it.
#[test]
fn a_trusted_proxy_passes_on_whom_it_verified() {
    let site = Tls::new()
        .tls(OPTIONAL)
        .listener("forward: { trusted_proxies: [127.0.0.0/8] }")
        .start();
    let alice = alice(site.authority());
    let named = "GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-client-cert: Hash=11;URI=spiffe://corp/bob\r\n\r\n";
    let mut client = site.try_client(&showing(&site, &alice), "a.test").unwrap();
    client.send(named).read_response();
    let request = site.origin.next_request();
    let value = request.header("x-forwarded-client-cert").unwrap();
    let start = format!(
        "Hash=11;URI=spiffe://corp/bob, Hash={}",
        harness_hash(&alice)
    );
    assert!(value.starts_with(&start), "{value}");

    let mut client = site.client("a.test");
    client.send(named).read_response();
    let request = site.origin.next_request();
    let value = request.header("x-forwarded-client-cert");
    assert_eq!(value, Some("Hash=11;URI=spiffe://corp/bob"));
}

/// SHA-256 by a program that is not ours.
fn harness_hash(issued: &Issued) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&issued.chain()[0]).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn limits_and_logs_know_the_client() {
    let log = "text: \"%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% \
               %DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_DNS_SAN%\"";
    let site = Tls::new()
        .tls(OPTIONAL)
        .listener(&format!(
            "filters: [{{ access_log: {{ {log} }} }}, {{ rate_limit: {{ per: [tls.client.san], rate: 2/h }} }}]"
        ))
        .start();
    let alice = alice(site.authority());
    let bob = site.authority().issue(&["bob.corp"]);
    for (row, identity, statuses) in [
        ("alice", &alice, [200, 200, 429]),
        ("bob", &bob, [200, 200, 429]),
        ("alice again", &alice, [429; 3]),
    ] {
        let mut client = site
            .try_client(&showing(&site, identity), "a.test")
            .unwrap();
        let answers = statuses.map(|_| client.get("/", "a.test").status);
        assert_eq!(answers, statuses, "{row}");
    }
    // All without a certificate are one client.
    let statuses = [0; 3].map(|_| site.client("a.test").get("/", "a.test").status);
    assert_eq!(statuses, [200, 200, 429]);
    let line = site.wait_stdout("alice.corp");
    assert!(
        line.starts_with("a.test TLSv1.3 TLS_") && line.contains(" CN=alice,O=Acme"),
        "{line}"
    );
    assert!(
        line.ends_with("|spiffe://corp/ns/shop|alice.corp"),
        "{line}"
    );
}

#[test]
fn rules_let_in_by_name() {
    for (protocol, filter) in [
        ("http", "{ allow: { san: ['alice.corp', '*.ops.corp'] } }"),
        ("tcp", "{ allow: { san: ['alice.corp', '*.ops.corp'] } }"),
        ("http", "{ deny: { san: [bob.corp] } }"),
        (
            "http",
            "{ deny: { client: [127.0.0.0/8], san: [bob.corp] } }",
        ),
    ] {
        let site = Tls::new()
            .protocol(protocol)
            .tls(OPTIONAL)
            .listener(&format!("filters: [{filter}]"))
            .start();
        let alice = alice(site.authority());
        let bob = site.authority().issue(&["bob.corp"]);
        let ask = |identity: Option<&Issued>| {
            let config = Arc::new(site.authority().client(identity));
            let mut client = site.try_client(&config, "a.test").unwrap();
            client.try_send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            let answer = client.connection().read_response(false);
            answer.map_or(0, |answer| answer.status)
        };
        let refused = if protocol == "http" { 403 } else { 0 };
        assert_eq!(ask(Some(&alice)), 200, "{protocol} {filter}");
        assert_eq!(ask(Some(&bob)), refused, "{protocol} {filter}");
        let unnamed = if filter.contains("allow") {
            refused
        } else {
            200
        };
        assert_eq!(ask(None), unnamed, "{protocol} {filter}");
    }
}

/// S3 (CVE-2025-23419): a session of one listener is nothing to another with other rules, nor to the same one after its
/// rules have changed.
#[test]
fn s3_sessions_do_not_cross_rules() {
    for version in [&TLS12, &TLS13] {
        let origin = Origin::http(|_| Reply::ok("well"));
        let tls = Tls::new().tls(REQUIRED).listeners(
            "open: { listen: 127.0.0.1:0, protocol: http, routes: [{ cluster: origin }], tls: TLS }",
        );
        let before = tls.yaml(&origin);
        let site = tls.start_with(origin);
        let alice = alice(site.authority());
        let mut config = site.authority().client_of(Some(&alice), &[version]);
        // Sessions are found by name: a client that mixes up the listeners.
        config.resumption = rustls::client::Resumption::in_memory_sessions(64);
        let config = Arc::new(config);
        let kind = |listener: &str| {
            let mut client = Client::connect_tls(site.addr(listener), &config, "a.test").unwrap();
            let status = client.get("/", "a.test").status;
            (
                status,
                client.connection().tls().unwrap().handshake_kind().unwrap(),
            )
        };
        assert_eq!(kind("open"), (200, HandshakeKind::Full));
        assert_eq!(kind("open"), (200, HandshakeKind::Resumed));
        let (status, first) = kind("web");
        assert_eq!(status, 200);
        assert_ne!(
            first,
            HandshakeKind::Resumed,
            "a session of `open` at `web`"
        );
        assert_eq!(kind("web"), (200, HandshakeKind::Resumed));

        let san = before.replace("mode: required,", "mode: required, san: [bob.corp],");
        assert_ne!(san, before);
        assert_eq!(site.reload(&san).status, 200);
        let refusal = site.refusal(&config, "a.test");
        assert!(
            refusal.contains("alert") || refusal.contains("reset"),
            "{refusal}"
        );
        site.wait_refused("tls_client_certificate", 1);
    }
}
