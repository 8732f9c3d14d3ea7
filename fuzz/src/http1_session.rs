//! HTTP/1 as a session passes it on: what the gateway understood is what its upstream will understand.
//!
//! The input is what a client sends on one connection. Each request is read, settled and forwarded as the exchange
//! does it, and what would be written upstream is read again: it must be one request, the same one, with the same
//! body and not a byte more. That is the absence of request smuggling, as a law. No sockets. Start at [`session`].

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use portcullis_codec::Decoder;
use portcullis_filter::{Connection as Facts, Context, Random};
use portcullis_http::forward::{self, ForwardConfig};
use portcullis_http::normalize::{self, NormalizeConfig};
use portcullis_http::{Framing, Request, RequestHead};
use portcullis_http1::{
    BodyDecoder, BodyLimits, BodyPiece, Connection, Encode, HeadLimits, RequestDecoder,
    encode_chunk, encode_last_chunk, encode_request_head,
};

/// Requests on one connection that are looked at.
const REQUESTS: usize = 16;

/// One connection of a client: every request that is accepted means the same upstream.
pub fn session(data: &[u8]) {
    let mut input = BytesMut::from(data);
    let given = input.len();
    let mut passed = 0;
    for _ in 0..REQUESTS {
        let Some((mut request, body)) = read(&mut input) else {
            break;
        };
        passed += body.as_ref().map_or(0, Vec::len);
        assert!(
            passed + input.len() <= given,
            "more was taken than was sent"
        );
        if !settle(&mut request) {
            break;
        }
        let Some(body) = body else { break };
        check_forwarded(&request, &body);
    }
}

/// The next request and, if it is all there, its body.
fn read(input: &mut BytesMut) -> Option<(Request, Option<Vec<u8>>)> {
    let head = RequestDecoder::new(HeadLimits::default())
        .decode(input)
        .ok()??;
    let framing = Framing::of_request(&head).ok()?;
    let body = read_body(framing, input);
    Some((Request::new(head, framing, false), body))
}

fn read_body(framing: Framing, input: &mut BytesMut) -> Option<Vec<u8>> {
    let mut decoder = BodyDecoder::new(framing, BodyLimits::default()).ok()?;
    let mut body = Vec::new();
    loop {
        match decoder.decode(input).ok()?? {
            BodyPiece::Data(data) => body.extend_from_slice(&data),
            BodyPiece::Trailers(_) => {}
            BodyPiece::End => return Some(body),
        }
    }
}

/// As the exchange does it, before and after routing. The answer is whether the request is accepted.
#[allow(clippy::disallowed_methods)] // any instant will do: nothing here depends on the time
fn settle(request: &mut Request) -> bool {
    if normalize::settle(request, &NormalizeConfig::default()).is_err() {
        return false;
    }
    let now = Instant::now();
    let client = Some(SocketAddr::from(([192, 0, 2, 1], 4321)));
    let facts = Facts {
        listener: "fuzz".into(),
        peer: client,
        local: None,
        client,
        secure: false,
        tls: None,
        accepted_at: now,
        id: 1,
    };
    let cx = Context::new(Rc::new(facts), now);
    let config = ForwardConfig::default();
    forward::identify(request, &cx, &config);
    forward::prepare_request(request, &cx, &config, &Random::new(1));
    true
}

/// Writes the request as it would go upstream, and reads it as an upstream would.
fn check_forwarded(request: &Request, body: &[u8]) {
    let Some(wire) = write(request, body) else {
        return;
    };
    let mut upstream = BytesMut::from(wire.as_slice());
    let generous = HeadLimits {
        head_bytes: 256 * 1024,
        target_bytes: 128 * 1024,
        fields: 1000,
    };
    let seen: RequestHead = RequestDecoder::new(generous)
        .decode(&mut upstream)
        .expect("what is forwarded is well-formed")
        .expect("what is forwarded is complete");
    assert_eq!(seen.method, request.head.method, "the method changed");
    assert_eq!(
        seen.target.path_and_query, request.head.target.path_and_query,
        "the target that was matched is not the one that was sent"
    );
    let hosts: Vec<&[u8]> = seen
        .fields
        .get_all(portcullis_http::KnownField::Host)
        .collect();
    assert_eq!(
        hosts,
        [&request.authority[..]],
        "the host that was matched is not the one that was sent"
    );
    let framing = Framing::of_request(&seen).expect("the framing of what is forwarded is sound");
    assert_eq!(framing, request.framing, "the framing changed");
    let read = read_body(framing, &mut upstream).expect("the body is complete");
    assert_eq!(read, body, "the body changed");
    assert!(
        upstream.is_empty(),
        "bytes behind the request: {upstream:?}"
    );
}

fn write(request: &Request, body: &[u8]) -> Option<Vec<u8>> {
    let connection = if request.upgrade.is_some() {
        Connection::Upgrade
    } else {
        Connection::Implied
    };
    let options = Encode {
        framing: request.framing,
        connection,
    };
    let mut wire = Vec::new();
    encode_request_head(&request.head, options, &mut wire).ok()?;
    match request.framing {
        Framing::Chunked => {
            for piece in body.chunks(7) {
                encode_chunk(piece, &mut wire);
            }
            encode_last_chunk(None, &mut wire).ok()?;
        }
        _ => wire.extend_from_slice(body),
    }
    Some(wire)
}
