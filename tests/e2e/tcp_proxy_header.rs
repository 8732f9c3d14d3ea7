//! The PROXY header in front of TCP connections, in and out (tests/ATTACKS.md S4).

use harness::{Ending, Origin};

use crate::tcp::{Tcp, report, sink};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.9 4321 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x09\x10\xe1\x01\xbb";

const TRUSTED: &str = "proxy_protocol: { trusted: [127.0.0.0/8] }";

/// S4: in any pieces, the header is read and away, and the bytes behind it arrive.
#[test]
fn s4_header_arrives_in_any_pieces() {
    let (origin, reports) = sink();
    let mut tcp = Tcp::to(&[origin.address()])
        .listener(TRUSTED)
        .listener("filters: [{ allow: { client: [192.0.2.7/32] } }]")
        .start();
    for header in [V1, V2] {
        let stream = [header, b"payload"].concat();
        for piece in [1, 3, header.len() - 1, header.len(), header.len() + 1, 4096] {
            let mut client = tcp.client();
            client.send_in_pieces(&stream, piece).half_close();
            assert_eq!(
                report(&reports),
                (b"payload".to_vec(), Ending::Closed),
                "pieces of {piece}"
            );
            client.expect_closed();
        }
    }
    tcp.neighbour_is_well();
}

/// S4: what does not begin with a good header from a trusted peer reaches nobody.
#[test]
fn s4_bad_headers_reach_nobody() {
    let trusted = TRUSTED;
    let untrusted = "proxy_protocol: { trusted: [192.0.2.0/24] }";
    let long = [&b"PROXY TCP4 "[..], &[b'1'; 120], b"\r\n"].concat();
    let bad_length = [&V2[..14], b"\0\x02\xc0\0", b"payload"].concat();
    let rows: [(&str, &str, &[u8]); 6] = [
        ("untrusted", untrusted, &[V1, b"payload"].concat()),
        ("no header", trusted, b"payload that is no header\r\n"),
        ("longer than 107 bytes", trusted, &long),
        (
            "bare line feed",
            trusted,
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\npayload",
        ),
        ("length too short for its addresses", trusted, &bad_length),
        ("truncated", trusted, &V1[..20]),
    ];
    for (name, keys, bytes) in rows {
        let origin = Origin::echo();
        let mut tcp = Tcp::to(&[origin.address()]).listener(keys).start();
        let mut client = tcp.client();
        client.try_send(bytes);
        // Harmless if the gateway has closed already.
        let _ = client.connection().half_close();
        client.expect_gone();
        let labels = [("listener", "tcp")];
        tcp.wait_stat("portcullis_listener_refused_total", &labels, |count| {
            count == 1
        });
        assert_eq!(origin.connections(), 0, "{name}");
        tcp.neighbour_is_well();
    }
}

/// Outwards, the header names the client, also one that a header named.
#[test]
fn s4_header_is_sent_upstream() {
    for version in ["v1", "v2"] {
        let (origin, reports) = sink();
        let tcp = Tcp::to(&[origin.address()])
            .cluster(&format!("proxy_protocol: {version}"))
            .start();
        let mut client = tcp.client();
        let (from, to) = (client.local_address(), tcp.addr("tcp"));
        client.send("payload").half_close().expect_closed();
        let (received, _) = report(&reports);
        let header = if version == "v1" {
            let (from_port, to_port) = (from.port(), to.port());
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from_port} {to_port}\r\n").into_bytes()
        } else {
            let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
            [&V2[..16], &[127, 0, 0, 1, 127, 0, 0, 1], &ports].concat()
        };
        assert_eq!(received, [&header[..], b"payload"].concat(), "{version}");
    }
    let (origin, reports) = sink();
    let tcp = Tcp::to(&[origin.address()])
        .listener(TRUSTED)
        .cluster("proxy_protocol: v1")
        .start();
    let mut client = tcp.client();
    client
        .send([V1, b"payload"].concat())
        .half_close()
        .expect_closed();
    let (received, _) = report(&reports);
    assert_eq!(received, [V1, b"payload"].concat(), "both ends as named");
}
