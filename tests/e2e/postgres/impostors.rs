//! Servers that are none, and clients that begin TLS the wrong way: the other halves of rows P1, P2 and P5 of `ATTACKS.md`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use harness::tls::Authority;
use harness::{Client, Gateway, Scratch};

use super::document;
use super::wire::{self, SSL, Wire, hello, message, packet};

/// A server for one connection; what the gateway sent after `play` is the thread's result.
fn impostor(
    play: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        play(&mut stream);
        let mut rest = Vec::new();
        // Closed in whatever way.
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    (address, thread)
}

/// A client's whole conversation with a gateway whose server does this; it has to end in an error.
#[track_caller]
fn refused(gateway: &Gateway, row: &str) {
    let mut wire = Wire::connect(gateway.addr("db"));
    wire.client.send(hello("postgres"));
    let answer = wire.client.read_to_end().0;
    let errors = wire::messages(&answer);
    assert_eq!(errors.last().map(|(tag, _)| *tag), Some(b'E'), "{row}");
}

#[test]
fn p1_a_server_that_says_more_than_its_consent() {
    let files = Scratch::new();
    let roots = files.write("roots.pem", Authority::new("servers").pem());
    let (address, server) = impostor(|stream| {
        let mut request = [0; 8];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request.to_vec(), packet(SSL, b""));
        let mut answer = b"S".to_vec();
        answer.extend(message(b'R', &[0; 4]));
        stream.write_all(&answer).unwrap();
    });
    let cluster = format!(
        "endpoints: [\"{address}\"]\ntls: {{ roots: {}, sni: db.test }}",
        roots.display()
    );
    let gateway = Gateway::start(&document("", &cluster));
    refused(&gateway, "injected");
    let sent = server.join().unwrap();
    // At most a handshake that fails on the bytes in front of it; no start-up, in the clear or otherwise.
    assert!(sent.first().is_none_or(|first| *first == 22));
    assert!(!sent.windows(5).any(|part| part == b"user\0"));
}

#[test]
fn p1_a_server_without_tls_gets_nothing_in_the_clear() {
    for answer in [&b"N"[..], b"E\0\0\0\x09Mno\0\0", b"x"] {
        let files = Scratch::new();
        let roots = files.write("roots.pem", Authority::new("servers").pem());
        let (address, server) = impostor(move |stream| {
            stream.read_exact(&mut [0; 8]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let cluster = format!(
            "endpoints: [\"{address}\"]\ntls: {{ roots: {}, sni: db.test }}",
            roots.display()
        );
        let gateway = Gateway::start(&document("", &cluster));
        refused(&gateway, &answer.escape_ascii().to_string());
        assert_eq!(server.join().unwrap(), b"");
    }
}

/// Reads a message of the gateway's as a server does.
fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).unwrap();
    body
}

/// A server's first message for a client's nonce.
type First = Box<dyn Fn(&str) -> String + Send>;

#[test]
fn p5_servers_whose_scram_is_none() {
    let long = "a".repeat(5_000);
    let rows: Vec<(&str, First)> = vec![
        (
            "an iteration bomb",
            Box::new(|nonce| format!("r={nonce}more,s=c2FsdA==,i=2000000000")),
        ),
        (
            "iterations past any number",
            Box::new(|nonce| format!("r={nonce}more,s=c2FsdA==,i=99999999999999999999")),
        ),
        (
            "no iterations",
            Box::new(|nonce| format!("r={nonce}more,s=c2FsdA==,i=0")),
        ),
        (
            "another nonce",
            Box::new(|_| "r=other,s=c2FsdA==,i=4096".to_owned()),
        ),
        (
            "only the client's nonce",
            Box::new(|nonce| format!("r={nonce},s=c2FsdA==,i=4096")),
        ),
        (
            "a long nonce",
            Box::new(move |nonce| format!("r={nonce}{long},s=c2FsdA==,i=4096")),
        ),
        (
            "no base64",
            Box::new(|nonce| format!("r={nonce}more,s=!!,i=4096")),
        ),
    ];
    for (row, first) in rows {
        let (address, server) = impostor(move |stream| {
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
            stream.read_exact(&mut rest).unwrap();
            let offer = [&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat();
            stream.write_all(&message(b'R', &offer)).unwrap();
            let initial = String::from_utf8(read_message(stream)).unwrap();
            let nonce = initial.rsplit_once("r=").unwrap().1;
            let body = [&[0, 0, 0, 11][..], first(nonce).as_bytes()].concat();
            stream.write_all(&message(b'R', &body)).unwrap();
        });
        let keys = "upstream: { user: app, password: secret, auth_minimum: scram-sha-256 }";
        let gateway = Gateway::start(&document(keys, &format!("endpoints: [\"{address}\"]")));
        refused(&gateway, row);
        let sent = server.join().unwrap();
        assert!(
            !sent.windows(2).any(|pair| pair == b"p="),
            "{row}: a proof was sent"
        );
    }
}

#[test]
fn p2_tls_that_begins_at_once_says_what_it_is_for() {
    let authority = Authority::new("test");
    let issued = authority.issue(&["localhost"]);
    let files = Scratch::new();
    let cert = files.write("cert.pem", &issued.cert);
    let key = files.write("key.pem", &issued.key);
    let keys = format!(
        "tls: {{ certificates: [{{ cert: {}, key: {} }}] }}",
        cert.display(),
        key.display()
    );
    let gateway = super::gateway(&keys, SocketAddr::from(([127, 0, 0, 1], 9)));
    let start = |alpn: &[&[u8]]| {
        let mut config = authority.client(None);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut client = Client::connect(gateway.addr("db"));
        let _ = client.connection().start_tls(session);
        client
    };
    let rejections = "portcullis_postgres_rejections_total";
    for alpn in [&[][..], &[&b"h2"[..]]] {
        let mut client = start(alpn);
        client.try_send(hello("postgres"));
        assert_eq!(
            client
                .connection()
                .read_to_end()
                .map_or(Vec::new(), |read| read.0),
            b""
        );
    }
    let ends = |value: u64| value > 0;
    gateway.wait_stat(
        rejections,
        &[("listener", "db"), ("reason", "tls_no_alpn")],
        ends,
    );
    // With it, a second request for encryption is one too many.
    let mut client = start(&[b"postgresql"]);
    client.send(packet(SSL, b""));
    assert_eq!(
        client
            .connection()
            .read_to_end()
            .map_or(Vec::new(), |read| read.0),
        b""
    );
    gateway.wait_stat(
        rejections,
        &[("listener", "db"), ("reason", "second_ssl_request")],
        ends,
    );
}
