//! What hostile clients do to a handshake (tests/ATTACKS.md S1 and S2), each with its reason and an untouched neighbour.

use std::io::Read as _;
use std::sync::Arc;

use harness::tls::Order;
use harness::{Client, Connection};

use super::Tls;

/// A client that has not said anything yet, and what it would say first.
fn hello(site: &super::Running) -> (rustls::ClientConnection, Vec<u8>) {
    let name = "a.test".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(site.plain(), name).unwrap();
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    assert!(!session.wants_write());
    (session, bytes)
}

/// The same handshake message in records of so many bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let (header, message) = hello.split_at(5);
    let records = message.chunks(size).flat_map(|piece| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&header[..3], &length, piece].concat()
    });
    records.collect()
}

/// S1: a ClientHello in any pieces, and in records of any size, is one.
#[test]
fn s1_a_client_hello_in_pieces() {
    let site = Tls::new().start();
    site.neighbour_is_well();
    for (row, record, piece) in [
        ("byte by byte", usize::MAX, 1),
        ("in segments", usize::MAX, 536),
        ("in records of one byte", 1, 4096),
        ("in records of one byte, each in two segments", 1, 4),
        ("in two records", 700, 100),
    ] {
        let (session, bytes) = hello(&site);
        let bytes = match record {
            usize::MAX => bytes,
            size => in_records(&bytes, size),
        };
        let mut client = Client::connect(site.addr("web"));
        client.send_in_pieces(&bytes, piece);
        client.connection().start_tls(session).expect(row);
        assert_eq!(client.get("/", "a.test").text(), "well", "{row}");
    }
    site.neighbour_is_well();
}

/// S1: a client that stops at any point is closed when the time is over, and nothing of it stays.
#[test]
fn s1_an_unfinished_handshake_ends() {
    let site = Tls::new().tls("handshake_timeout: 100ms").start();
    site.neighbour_is_well();
    let (_, bytes) = hello(&site);
    let tiny = in_records(&bytes, 1);
    let rows: [(&str, &[u8]); 5] = [
        ("nothing", b""),
        ("a byte", &bytes[..1]),
        ("half a ClientHello", &bytes[..bytes.len() / 2]),
        ("half of one in small records", &tiny[..tiny.len() / 2]),
        ("a whole one and nothing more", &bytes),
    ];
    let count = u64::try_from(rows.len()).unwrap();
    for (row, bytes) in rows {
        let mut client = Client::connect(site.addr("web"));
        client.send(bytes);
        let (said, _) = client.read_to_end();
        assert_eq!(said.is_empty(), bytes.len() != rows[4].1.len(), "{row}");
    }
    site.wait_refused("tls_handshake_timeout", count);
    let labels = [("listener", "web")];
    site.wait_stat("portcullis_tls_handshakes_active", &labels, |count| {
        count == 0
    });
    site.neighbour_is_well();
}

/// S1: what is no ClientHello is refused at once.
#[test]
fn s1_other_bytes_are_refused() {
    let site = Tls::new().start();
    site.neighbour_is_well();
    let (_, good) = hello(&site);
    let mut endless = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    endless.resize(64 * 1024, 0);
    let mut other_type = good.clone();
    other_type[5] = 2;
    let mut torn = good.clone();
    // The length of the extensions no longer fits the message.
    torn[8] = torn[8].wrapping_add(1);
    torn.push(0);
    let rows: [(&str, &[u8], &str); 5] = [
        (
            "plain HTTP",
            b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n",
            "tls_bad_client_hello",
        ),
        ("noise", &[0xff; 300], "tls_bad_client_hello"),
        ("a ServerHello", &other_type, "tls_bad_client_hello"),
        ("an endless one", &endless, "tls_bad_client_hello"),
        (
            "SSL 2",
            &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10],
            "tls_bad_client_hello",
        ),
    ];
    for (count, (row, bytes, reason)) in (1..).zip(rows) {
        let mut client = Client::connect(site.addr("web"));
        client.try_send(bytes);
        let (said, _) = client.read_to_end();
        assert!(said.len() <= 7, "{row}: {said:?}");
        site.wait_refused(reason, count);
    }
    let mut client = Client::connect(site.addr("web"));
    client.try_send(&good[..20]);
    client.half_close();
    client.expect_gone();
    site.wait_refused("tls_closed", 1);
    site.neighbour_is_well();
}

/// S2: a client that begins handshakes too fast is refused; another is not.
#[test]
fn s2_handshakes_are_bounded_by_client() {
    let site = Tls::new().tls("limits: { per_client: 3/h }").start();
    let from = |address: &str| {
        let mut client = Client::connect_from(address.parse().unwrap(), site.addr("web"));
        let (session, bytes) = hello(&site);
        client.try_send(bytes);
        let done = client.connection().start_tls(session);
        done.is_ok().then_some(client)
    };
    for number in 0..3 {
        assert!(from("127.0.0.9").is_some(), "{number}");
    }
    for count in 1..=5 {
        assert!(from("127.0.0.9").is_none());
        site.wait_refused("tls_handshake_rate", count);
    }
    let mut neighbour = from("127.0.0.10").unwrap();
    assert_eq!(neighbour.get("/", "a.test").text(), "well");
}

/// S2: handshakes that hang are bounded in number, and their places come free again.
#[test]
fn s2_handshakes_in_flight_are_bounded() {
    let site = Tls::new().tls("limits: { handshakes: 3 }").start();
    site.neighbour_is_well();
    let labels = [("listener", "web")];
    let hanging: Vec<Client> = (0..3).map(|_| Client::connect(site.addr("web"))).collect();
    site.wait_stat("portcullis_tls_handshakes_active", &labels, |count| {
        count == 3
    });
    let mut refused = Client::connect(site.addr("web"));
    refused.expect_gone();
    site.wait_refused("tls_handshakes_in_flight", 1);
    site.neighbour_is_well();
    drop(hanging);
    site.wait_stat("portcullis_tls_handshakes_active", &labels, |count| {
        count == 0
    });
    assert_eq!(site.client("a.test").get("/", "a.test").text(), "well");
}

/// S2: a flood of clients that say nothing, or hang up in the middle, costs a bounded amount of memory.
#[test]
fn s2_a_flood_of_handshakes_is_survived() {
    let site = Tls::new()
        .tls("limits: { handshakes: 50, per_client: off }")
        .start();
    site.neighbour_is_well();
    let before = site.resident_bytes();
    let (_, bytes) = hello(&site);
    for _ in 0..10 {
        let flood: Vec<Connection> = (0..60)
            .filter_map(|number| {
                let mut connection = Connection::connect(site.addr("web")).ok()?;
                let part = bytes.len() * number / 60;
                connection.send(&bytes[..part]).ok()?;
                Some(connection)
            })
            .collect();
        site.neighbour_is_well();
        drop(flood);
    }
    let labels = [("listener", "web")];
    site.wait_stat("portcullis_tls_handshakes_active", &labels, |count| {
        count == 0
    });
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes");
    site.neighbour_is_well();
}

/// S2: a chain of certificates that is longer than anybody needs is not looked at.
#[test]
fn s2_long_certificate_chains_are_refused() {
    let rules = "client_certificates: { mode: optional, roots: ROOTS }";
    let site = Tls::new().tls(rules).start();
    site.neighbour_is_well();
    let link = site.authority().fill(Order::of(&["link.test"]));
    let showing = |length: usize| {
        let mut identity = site.authority().issue(&["alice.corp"]);
        identity.cert = [identity.cert.as_str(), &link.cert.repeat(length - 1)].concat();
        Arc::new(site.authority().client(Some(&identity)))
    };
    let mut client = site.try_client(&showing(8), "a.test").unwrap();
    assert_eq!(client.get("/", "a.test").text(), "well");
    for (count, length) in [(1, 9), (2, 60)] {
        site.refusal(&showing(length), "a.test");
        site.wait_refused("tls_chain_too_long", count);
    }
    site.neighbour_is_well();
}

/// There is no renegotiation: a second ClientHello on a connection ends it.
#[test]
fn s2_renegotiation_is_refused() {
    let site = Tls::new().start();
    site.neighbour_is_well();
    let config = Arc::new(site.authority().client_of(None, &[&rustls::version::TLS12]));
    let mut client = site.try_client(&config, "a.test").unwrap();
    assert_eq!(client.get("/", "a.test").text(), "well");
    let (_, bytes) = hello(&site);
    // In the clear, on an encrypted connection.
    let mut socket = client.connection().socket().try_clone().unwrap();
    std::io::Write::write_all(&mut socket, &bytes).unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(rest.len() < 100, "{}", rest.len());
    site.neighbour_is_well();
}
