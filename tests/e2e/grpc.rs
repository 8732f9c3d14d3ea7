//! gRPC: what calls are told, when they must be over, and what of them is counted.
//!
//! The exact bytes are tested over HTTP/1, where a script can write them; a call means the same in every version.
//! What real clients and servers make of it over HTTP/2 is in `python`.

mod browser;
mod calls;
mod deadlines;
mod health;
mod health_checks;
mod messages;
mod python;
mod tonic;
mod web;

use std::fmt::Write as _;

use harness::{Client, RawResponse, Reply};

/// One message, not compressed.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], bytes].concat()
}

/// A call over HTTP/1.
fn call(path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n");
    if !fields.iter().any(|(name, _)| *name == "content-type") {
        head.push_str("content-type: application/grpc\r\n");
    }
    for (name, value) in fields {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn ask(client: &mut Client, path: &str, fields: &[(&str, &str)], body: &[u8]) -> RawResponse {
    client.send(call(path, fields, body));
    client.read_response()
}

/// An answer over HTTP/1: a body in one chunk, and these trailers.
fn answer(body: &[u8], trailers: &str) -> Reply {
    Reply::bytes([head(), &chunk(body), b"0\r\n", trailers.as_bytes(), b"\r\n"].concat())
}

fn head() -> &'static [u8] {
    b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let size = format!("{:x}\r\n", bytes.len());
    [size.as_bytes(), bytes, b"\r\n"].concat()
}

/// An answer that has only a status.
fn trailers_only(status: u8) -> Reply {
    let fields = "content-type: application/grpc\r\ncontent-length: 0";
    Reply::bytes(format!(
        "HTTP/1.1 200 OK\r\n{fields}\r\ngrpc-status: {status}\r\n\r\n"
    ))
}

/// `grpc-status` and `grpc-message`, wherever they stand.
fn status(response: &RawResponse) -> (u16, String) {
    let trailer = |name: &str| {
        let found = response.trailers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    };
    let field = |name| {
        response
            .header(name)
            .or_else(|| trailer(name))
            .unwrap_or("-")
    };
    let said = format!("{} {}", field("grpc-status"), field("grpc-message"));
    (response.status, said)
}
