//! Tunnels over HTTP/2: WebSocket by extended CONNECT (RFC 8441), and CONNECT where a route says so.

use bytes::Bytes;
use h2::ext::Protocol;
use harness::{Connection, H2Client, Origin, RawH2, Reply, h2_numbers as n};
use http::Request;

use crate::support::Site;

/// An extended CONNECT for a WebSocket.
fn websocket() -> Request<()> {
    let mut request = H2Client::head("CONNECT", "/chat?room=1", "site.test");
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    headers.insert("origin", "http://site.test".parse().unwrap());
    request
}

/// The answer that proves that a key was read (RFC 6455 section 4.2.2).
fn accept(key: &str) -> String {
    base64(&sha1(
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ))
}

#[allow(clippy::many_single_char_names)] // the words have no other names
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [
        0x6745_2301_u32,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words: Vec<u32> = block
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        for at in 16..80 {
            let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
            words.push(mixed.rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.into_iter().enumerate() {
            let (mix, constant) = match at / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let sum = [mix, e, constant, word]
                .into_iter()
                .fold(a.rotate_left(5), u32::wrapping_add);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, sum);
        }
        for (whole, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *whole = whole.wrapping_add(part);
        }
    }
    let bytes: Vec<u8> = state.into_iter().flat_map(u32::to_be_bytes).collect();
    bytes.try_into().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) & 63;
            text.push(if at <= group.len() {
                char::from(alphabet[index as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn echo(connection: &mut Connection) -> std::io::Result<()> {
    loop {
        if connection.buffered().is_empty() && connection.fill()? == 0 {
            return connection.send("bye");
        }
        let bytes = connection.read_exact(connection.buffered().len())?;
        connection.send(bytes)?;
    }
}

/// An origin that switches as it should.
fn websocket_origin() -> Origin {
    Origin::raw(|connection| {
        let head = connection.read_head()?.unwrap_or_default();
        let head = String::from_utf8_lossy(&head).into_owned();
        let first = head.lines().next().unwrap_or_default();
        assert_eq!(first, "GET /chat?room=1 HTTP/1.1");
        let field = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        assert_eq!(field("upgrade").as_deref(), Some("websocket"), "{head}");
        assert_eq!(
            field("sec-websocket-version").as_deref(),
            Some("13"),
            "{head}"
        );
        let key = field("sec-websocket-key").unwrap_or_default();
        connection.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {}\r\nx-kept: 1\r\n\r\n",
            accept(&key)
        ))?;
        echo(connection)
    })
}

#[test]
fn a_websocket_passes_to_http1() {
    let origin = websocket_origin();
    let site = Site::new(&origin).start();
    let client = H2Client::connect(site.addr("web"));
    let (response, mut send) = client.open(websocket(), false).unwrap();
    client.run(async {
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers.get("x-kept").unwrap(), "1");
        for name in [
            "upgrade",
            "connection",
            "sec-websocket-accept",
            "content-length",
        ] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
        for text in ["hello", "again"] {
            send.send_data(Bytes::from_static(text.as_bytes()), false)
                .unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), text);
        }
        // The end of one direction passes, and the other still works.
        send.send_data(Bytes::new(), true).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "bye");
        // The end may come on a frame of its own, which is a piece of nothing.
        while let Some(piece) = body.data().await {
            assert!(piece.unwrap().is_empty());
        }
    });
    origin.wait_open(0);
    site.neighbour_is_well();
}

#[test]
fn only_a_proven_handshake_opens_a_tunnel() {
    let rows = [
        (
            "no proof",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            502,
        ),
        (
            "a success that switches nothing",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            502,
        ),
        (
            "a refusal",
            "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno",
            403,
        ),
    ];
    for (name, answer, status) in rows {
        let origin = Origin::http(move |_| answer);
        let site = Site::new(&origin).start();
        let client = H2Client::connect(site.addr("web"));
        let (response, _send) = client.open(websocket(), false).unwrap();
        let found = client.run(response).unwrap().status().as_u16();
        assert_eq!(found, status, "{name}");
        site.neighbour_is_well();
    }
}

#[test]
fn other_protocols_are_not_offered() {
    let origin = Origin::http(|_| Reply::ok("never"));
    let site = Site::new(&origin).start();
    let client = H2Client::connect(site.addr("web"));
    let mut request = websocket();
    request
        .extensions_mut()
        .insert(Protocol::from_static("connect-udp"));
    let (response, _send) = client.open(request, false).unwrap();
    assert_eq!(client.run(response).unwrap().status(), 501);
    site.wait_local_replies("unknown_connect_protocol", 1);
    assert_eq!(origin.requests(), 0);
}

/// H17: CONNECT goes nowhere unless a route says so.
#[test]
fn h17_connect_only_by_route() {
    let origin = Origin::echo();
    let connect = || {
        let request = Request::builder().method("CONNECT").uri("db.test:5432");
        request.body(()).unwrap()
    };
    let closed = Site::new(&origin).start();
    let client = H2Client::connect(closed.addr("web"));
    let (response, _send) = client.open(connect(), false).unwrap();
    assert_eq!(client.run(response).unwrap().status(), 404);
    assert_eq!(origin.connections(), 0);

    let open = Site::new(&origin)
        .routes("- connect: [\"db.test:5432\"]\n  cluster: site")
        .start();
    let client = H2Client::connect(open.addr("web"));
    let (response, mut send) = client.open(connect(), false).unwrap();
    client.run(async {
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        send.send_data(Bytes::from_static(b"SELECT 1"), true)
            .unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "SELECT 1");
        // The end may come on a frame of its own, which is a piece of nothing.
        while let Some(piece) = body.data().await {
            assert!(piece.unwrap().is_empty());
        }
    });
    origin.wait_open(0);
}

#[test]
fn a_reset_ends_the_tunnel_behind_it() {
    let origin = websocket_origin();
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect(site.addr("web"));
    let mut head = RawH2::head("CONNECT", "/chat?room=1", "site.test");
    head.insert(1, (":protocol", "websocket"));
    head.push(("sec-websocket-version", "13"));
    client.send_frame(n::HEADERS, n::END_HEADERS, 1, harness::h2_block(&head));
    let answer = client.read_until(|frame| frame.stream == 1);
    assert_eq!(
        (answer.status(), answer.has(n::END_STREAM)),
        (Some(200), false)
    );
    client.send_frame(n::RST_STREAM, 0, 1, n::CANCEL.to_be_bytes());
    origin.wait_open(0);
    client.expect_alive();
    site.neighbour_is_well();
}
