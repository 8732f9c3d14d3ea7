//! What peers send that no driver sends, from the first byte on: rows P1 to P5, P8 and P15 of `ATTACKS.md`.
//!
//! Every attack ends with an ordinary client on the same listener.

use harness::eventually;
use harness::tls::Authority;

use super::Site;
use super::wire::{
    self, CANCEL, GSS, SSL, V3, Wire, field, hello, message, packet, query, startup,
};

const REJECTIONS: &str = "portcullis_postgres_rejections_total";
const LOGINS: &str = "portcullis_postgres_logins_total";
const BROKEN: &str = "portcullis_postgres_protocol_errors_total";
const CANCELS: &str = "portcullis_postgres_cancels_total";

/// Waits until this was counted once more than `before`.
#[track_caller]
fn counted(site: &Site, name: &str, reason: &str, before: u64) {
    let labels = [("listener", "db"), ("reason", reason)];
    let value = site
        .gateway
        .wait_stat(name, &labels, |value| value > before);
    assert_eq!(value, before + 1, "{reason}");
}

fn before(site: &Site, name: &str, reason: &str) -> u64 {
    site.count(name, &[("reason", reason)])
}

/// Sends bytes as the first ones and reads to the end of the connection.
#[track_caller]
fn first(site: &Site, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut wire = Wire::connect(site.address());
    wire.client.send(bytes);
    wire.client.read_to_end().0
}

/// A site whose listener has TLS but does not insist on it.
fn with_tls() -> Option<Site> {
    let files = harness::Scratch::new();
    let issued = Authority::new("test").issue(&["127.0.0.1", "localhost"]);
    let cert = files.write("cert.pem", issued.cert);
    let key = files.write("key.pem", issued.key);
    Site::start(&format!(
        "tls: {{ certificates: [{{ cert: {}, key: {} }}] }}\nauth: {{ method: trust, require_tls: false }}",
        cert.display(),
        key.display()
    ))
}

#[test]
fn p1_bytes_behind_an_ssl_request() {
    let Some(site) = with_tls() else { return };
    let sent = before(&site, REJECTIONS, "data_after_ssl_request");
    let mut bytes = packet(SSL, b"");
    bytes.extend(hello("postgres"));
    let answer = first(&site, bytes);
    assert_eq!(wire::state(&answer), "08P01");
    counted(&site, REJECTIONS, "data_after_ssl_request", sent);
    assert_eq!(site.sql("SELECT 1"), "1");
}

#[test]
fn p2_requests_for_encryption_come_once_each() {
    let Some(site) = with_tls() else { return };
    let Some(plain) = Site::start("") else { return };
    let rows = [
        ("SSL twice", SSL, SSL, "second_ssl_request"),
        ("GSS twice", GSS, GSS, "second_gss_request"),
    ];
    for (row, one, two, reason) in rows {
        let mut wire = Wire::connect(plain.address());
        wire.client.send(packet(one, b""));
        assert_eq!(wire.client.read_exact(1), b"N", "{row}");
        wire.client.send(packet(two, b""));
        assert_eq!(wire.client.read_to_end().0, b"", "{row}");
        counted(&plain, REJECTIONS, reason, 0);
    }
    // One of each, as libpq asks.
    let mut wire = Wire::connect(plain.address());
    for code in [GSS, SSL] {
        wire.client.send(packet(code, b""));
        assert_eq!(wire.client.read_exact(1), b"N");
    }
    assert_eq!(
        wire::tags(&wire.ask(hello("postgres"))).chars().last(),
        Some('Z')
    );
    assert_eq!(wire.value("SELECT 7"), "7");
    // With TLS: GSS is declined, SSL accepted.
    let mut wire = Wire::connect(site.address());
    wire.client.send(packet(GSS, b""));
    assert_eq!(wire.client.read_exact(1), b"N");
    wire.client.send(packet(SSL, b""));
    assert_eq!(wire.client.read_exact(1), b"S");
    assert_eq!(site.sql("SELECT 1") + &plain.sql("SELECT 2"), "12");
}

#[test]
fn p3_start_up_packets_that_are_none() {
    let Some(site) = Site::start("") else { return };
    let long = "x".repeat(20_000);
    let mut without_end = hello("postgres");
    let last = without_end.len() - 1;
    without_end[last] = b'x';
    let rows: [(&str, Vec<u8>, &str, &str); 13] = [
        (
            "length 0",
            vec![0, 0, 0, 0, 0, 3, 0, 0],
            "startup_length",
            "08P01",
        ),
        (
            "length 7",
            vec![0, 0, 0, 7, 0, 3, 0, 0],
            "startup_length",
            "08P01",
        ),
        (
            "longer than 10 KB",
            startup(V3, &[("user", &long)]),
            "startup_too_long",
            "08P01",
        ),
        (
            "a declared 16 MB",
            vec![0, 0xff, 0xff, 0xff, 0, 3, 0, 0],
            "startup_too_long",
            "08P01",
        ),
        ("no NUL at the end", without_end, "startup_layout", "08P01"),
        (
            "no parameters at all",
            packet(V3, b""),
            "startup_layout",
            "08P01",
        ),
        (
            "a key without a value",
            packet(V3, b"user\0postgres\0database\0\0"),
            "startup_layout",
            "08P01",
        ),
        (
            "bytes behind the end",
            packet(V3, b"user\0postgres\0\0more"),
            "startup_layout",
            "08P01",
        ),
        (
            "version 2",
            startup(2 << 16, &[("user", "postgres")]),
            "startup_version",
            "0A000",
        ),
        (
            "version 4",
            startup(4 << 16, &[("user", "postgres")]),
            "startup_version",
            "0A000",
        ),
        (
            "an unknown request",
            packet((1234 << 16) + 5681, b""),
            "startup_version",
            "0A000",
        ),
        (
            "an SSLRequest with a body",
            packet(SSL, b"more"),
            "startup_length",
            "08P01",
        ),
        (
            "a cancel key of 3 bytes",
            packet(CANCEL, b"\0\0\0\x01abc"),
            "startup_length",
            "08P01",
        ),
    ];
    for (row, bytes, reason, state) in rows {
        let sent = before(&site, REJECTIONS, reason);
        let answer = first(&site, bytes);
        assert_eq!(wire::state(&answer), state, "{row}");
        counted(&site, REJECTIONS, reason, sent);
    }
    let answer = first(&site, startup(V3, &[("database", "postgres")]));
    assert_eq!(wire::state(&answer), "28000", "nobody");
    counted(&site, LOGINS, "no_user", 0);
    assert_eq!(site.sql("SELECT 1"), "1");
}

#[test]
fn p3_newer_versions_and_options_are_negotiated() {
    let Some(site) = Site::start("") else { return };
    let rows = [
        ("3.9", V3 | 9, vec![("user", "postgres")], V3 | 2, ""),
        (
            "3.9 and an option",
            V3 | 9,
            vec![("user", "postgres"), ("_pq_.shiny", "1")],
            V3 | 2,
            "_pq_.shiny",
        ),
        (
            "3.0 and an option",
            V3,
            vec![("user", "postgres"), ("_pq_.shiny", "1")],
            V3,
            "_pq_.shiny",
        ),
    ];
    for (row, code, parameters, version, option) in rows {
        let mut wire = Wire::connect(site.address());
        let all = wire.ask(startup(code, &parameters));
        let (tag, body) = &all[0];
        assert_eq!(*tag, b'v', "{row}");
        // The newest minor version, alone or with its major one: servers of either kind are about.
        let said = u32::from_be_bytes(body[..4].try_into().unwrap());
        assert!(
            said == version || said == version & 0xffff,
            "{row}: {said:x}"
        );
        let names = String::from_utf8_lossy(&body[8..]);
        assert_eq!(names.trim_end_matches('\0'), option, "{row}");
        assert_eq!(wire.value("SELECT 3"), "3", "{row}");
    }
}

#[test]
fn p3_who_dawdles_is_sent_away() {
    let Some(site) =
        Site::start("timeouts: { startup: 200ms }\nauth: { users: { app: { password: secret } } }")
    else {
        return;
    };
    let packet = hello("app");
    for cut in [0, 3, 9, packet.len() - 1] {
        let sent = before(&site, REJECTIONS, "startup_timeout");
        assert_eq!(first(&site, &packet[..cut]), b"", "{cut}");
        counted(&site, REJECTIONS, "startup_timeout", sent);
    }
    let answer = first(&site, &packet);
    assert_eq!(wire::state(&wire_after_request(&answer)), "57014");
    counted(&site, LOGINS, "authentication_timeout", 0);
}

/// What follows the first message.
fn wire_after_request(answer: &[u8]) -> Vec<u8> {
    assert_eq!(answer[0], b'R', "{}", answer.escape_ascii());
    let length = u32::from_be_bytes(answer[1..5].try_into().unwrap()) as usize;
    answer[1 + length..].to_vec()
}

#[test]
fn p3_other_protocols_are_closed_at_once() {
    let Some(site) = Site::start("") else { return };
    let rows: [(&str, &[u8], &str); 4] = [
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "not_postgres_http",
        ),
        ("Redis", b"*1\r\n$4\r\nPING\r\n", "not_postgres_redis"),
        (
            "a ClientHello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "not_postgres_tls",
        ),
        ("SMB", b"\xffSMB", "not_postgres"),
    ];
    for (row, bytes, reason) in rows {
        assert_eq!(first(&site, bytes), b"", "{row}");
        counted(&site, REJECTIONS, reason, 0);
    }
    assert_eq!(site.sql("SELECT 1"), "1");
}

#[test]
fn p4_messages_that_are_none() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut neighbour = Wire::login(site.address());
    let with_length = |tag: u8, length: u32| {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes
    };
    let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
    for tag in [b'Q', b'P', b'B', b'S', b'd', b'X'] {
        for length in [0, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            rows.push((
                format!("{} {length:#x}", char::from(tag)),
                with_length(tag, length),
            ));
        }
    }
    for tag in [0, b'Z', b'z', 0xff] {
        rows.push((format!("type {tag}"), message(tag, b"")));
    }
    for (row, bytes) in rows {
        let sent = site.count(BROKEN, &[]);
        let mut wire = Wire::login(site.address());
        wire.client.send(bytes);
        let answer = wire.client.read_to_end().0;
        assert_eq!(wire::state(&answer), "08P01", "{row}");
        let labels = [("listener", "db")];
        site.gateway
            .wait_stat(BROKEN, &labels, |value| value == sent + 1);
        assert_eq!(neighbour.value("SELECT 5"), "5", "{row}");
    }
    assert!(before(&site, BROKEN, "message_length") > 0);
    assert_eq!(before(&site, BROKEN, "unknown_frontend_message"), 4);
}

#[test]
fn p4_a_declared_length_takes_no_memory() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    let mut neighbour = Wire::login(site.address());
    assert_eq!(neighbour.value("SELECT 5"), "5");
    let small = site.gateway.resident_bytes();
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::login(site.address());
        // A statement of 900 MB, of which a little comes.
        wire.client.send([b'Q', 0x38, 0, 0, 0]).send("SELECT 1 --");
        held.push(wire);
    }
    assert_eq!(neighbour.value("SELECT 6"), "6");
    let grown = site.gateway.resident_bytes().saturating_sub(small);
    assert!(grown < 64 << 20, "{grown}");
}

/// A SASLInitialResponse.
fn initial(mechanism: &str, length: u32, data: &str) -> Vec<u8> {
    let mut body = format!("{mechanism}\0").into_bytes();
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(data.as_bytes());
    message(b'p', &body)
}

#[test]
fn p5_scram_messages_that_are_none() {
    let Some(site) = Site::start("auth: { users: { postgres: { password: secret } } }") else {
        return;
    };
    let scram = |data: &str| initial("SCRAM-SHA-256", u32::try_from(data.len()).unwrap(), data);
    let long = format!("n,,n=,r={}", "a".repeat(9_000));
    let rows: [(&str, Vec<u8>, &str); 13] = [
        (
            "another mechanism",
            initial("SCRAM-SHA-1", 3, "n,,"),
            "08P01",
        ),
        (
            "binding without TLS",
            initial("SCRAM-SHA-256-PLUS", 3, "p=x"),
            "08P01",
        ),
        (
            "a length past the end",
            initial("SCRAM-SHA-256", 0x7fff_ffff, "n,,n=,r=abc"),
            "08P01",
        ),
        (
            "a negative length",
            initial("SCRAM-SHA-256", 0x8000_0000, "n,,n=,r=abc"),
            "08P01",
        ),
        ("no NUL", message(b'p', b"SCRAM-SHA-256"), "08P01"),
        ("nothing", message(b'p', b""), "08P01"),
        ("no nonce", scram("n,,n="), "08P01"),
        ("an empty nonce", scram("n,,n=,r="), "08P01"),
        ("a long nonce", scram(&long), "08P01"),
        (
            "binding in the flag only",
            scram("p=tls-server-end-point,,n=,r=abc"),
            "08P01",
        ),
        ("another identity", scram("n,a=admin,n=,r=abc"), "0A000"),
        ("another message", query("SELECT 1"), "08P01"),
        (
            "a long message",
            vec![b'p', 0x7f, 0xff, 0xff, 0xff],
            "08P01",
        ),
    ];
    for (row, bytes, state) in rows {
        let sent = site.count(LOGINS, &[]);
        let mut all = hello("postgres");
        all.extend(bytes);
        let answer = first(&site, all);
        assert_eq!(wire::state(&wire_after_request(&answer)), state, "{row}");
        let labels = [("listener", "db")];
        site.gateway
            .wait_stat(LOGINS, &labels, |value| value == sent + 1);
    }
    assert_eq!(before(&site, LOGINS, "ok"), 0);
}

#[test]
fn p8_only_the_right_key_cancels() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 2 }") else {
        return;
    };
    let mut sleeper = Wire::login(site.address());
    let mut neighbour = Wire::login(site.address());
    sleeper.client.send(query("SELECT pg_sleep(600)"));
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    eventually("the statement runs", || site.server.sql(sleeping) == "1");
    let key = sleeper.key.clone();
    let mut other_process = key.clone();
    other_process[3] ^= 1;
    let mut other_secret = key.clone();
    *other_secret.last_mut().unwrap() ^= 1;
    let mut longer = key.clone();
    longer.push(0);
    let rows = [
        ("process", other_process),
        ("secret", other_secret),
        ("longer", longer),
    ];
    let flood = 100;
    for (row, wrong) in &rows {
        for _ in 0..flood {
            assert_eq!(first(&site, packet(CANCEL, wrong)), b"", "{row}");
        }
    }
    let labels = [("listener", "db"), ("reason", "unknown_key")];
    let all = flood * rows.len() as u64;
    site.gateway
        .wait_stat(CANCELS, &labels, |value| value == all);
    assert_eq!(site.server.sql(sleeping), "1");
    assert_eq!(neighbour.value("SELECT 5"), "5");
    first(&site, packet(CANCEL, &key));
    let answer = sleeper.until_ready();
    let error = answer
        .iter()
        .find(|(tag, _)| *tag == b'E')
        .expect("an error");
    assert_eq!(field(&error.1, b'C'), "57014");
    counted(&site, CANCELS, "sent", 0);
    // Whoever has nothing under way is not hit, and neither is whoever has the connection now.
    first(&site, packet(CANCEL, &key));
    counted(&site, CANCELS, "idle", 0);
    assert_eq!(neighbour.value("SELECT 6"), "6");
    assert_eq!(sleeper.value("SELECT 7"), "7");
}

#[test]
fn p15_many_idle_clients_share_one_server_connection() {
    let Some(site) = Site::start("pool: { mode: transaction, size: 1 }") else {
        return;
    };
    let mut clients: Vec<Wire> = (0..400).map(|_| Wire::login(site.address())).collect();
    let active = "portcullis_postgres_clients_active";
    assert_eq!(
        site.gateway.stats().gauge(active, &[("listener", "db")]),
        400
    );
    for (number, client) in clients.iter_mut().enumerate() {
        client.client.send(query(&format!("SELECT {number}")));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(wire::value(&client.until_ready()), number.to_string());
    }
    let servers = site.server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    assert_eq!(servers, "1");
    drop(clients);
    eventually("everybody is gone", || {
        site.gateway.stats().gauge(active, &[("listener", "db")]) == 0
    });
}
