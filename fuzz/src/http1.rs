//! HTTP/1: the laws of the codec, and agreement with other implementations.
//!
//! An input is raw wire bytes, judged as requests, as responses and as a chunked body; where it is cut follows
//! from its own hash, so that a seed is a message that a person can read. Not the sessions.
//! Start at [`decode`]; the comparison with httparse and hyper is in [`diff`].

mod diff;
mod hyper_server;
#[path = "../../protocols/http1/tests/support/mod.rs"]
mod support;

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_http::{Fields, Framing, Method, RequestHead, ResponseHead};
use portcullis_http1::message::is_trailer_allowed;
use portcullis_http1::{
    BodyLimits, Connection, Encode, HeadLimits, encode_chunk, encode_last_chunk,
    encode_request_head, encode_response_head,
};
use portcullis_testkit::{Random, laws};
use support::{Event, Messages, Role, merged};

pub use diff::{INTENDED, diff};

/// Limits small enough for a fuzzer to find their edges.
const SMALL_HEAD: HeadLimits = HeadLimits {
    head_bytes: 96,
    target_bytes: 16,
    fields: 3,
};
const SMALL_BODY: BodyLimits = BodyLimits {
    total_bytes: 8,
    chunk_extension_bytes: 4,
    all_extension_bytes: 6,
    trailer_bytes: 24,
    trailer_fields: 2,
};

/// The whole input against the same input in pieces: equal answers, and limits held.
pub fn decode(data: &[u8]) {
    let mut random = Random::from_seed(hash(data));
    for (heads, bodies) in [
        (HeadLimits::default(), BodyLimits::default()),
        (SMALL_HEAD, SMALL_BODY),
    ] {
        let responses = |method| Messages::new(Role::responses(heads, method), bodies);
        let makes: [&dyn Fn() -> Messages; 4] = [
            &|| Messages::new(Role::requests(heads), bodies),
            &|| responses(Method::Get),
            &|| responses(Method::Head),
            &|| Messages::body(Framing::Chunked, bodies),
        ];
        for make in makes {
            let longest = 1 + random.below(64);
            let pieces = random.pieces(data, longest);
            let seen = laws::split_agrees(make, pieces, merged);
            for event in &seen.items {
                check_limits(event, &heads, &bodies);
            }
        }
    }
}

fn check_limits(event: &Event, heads: &HeadLimits, bodies: &BodyLimits) {
    match event {
        Event::Request(head) => {
            check_fields(&head.fields, heads);
            // A path of `/` may be added to a target without one.
            assert!(head.target.path_and_query.len() <= heads.target_bytes.max(1));
        }
        Event::Response(head) => check_fields(&head.fields, heads),
        Event::Data(data) => assert!(data.len() as u64 <= bodies.total_bytes),
        Event::Trailers(trailers) => {
            assert!(trailers.len() <= bodies.trailer_fields);
            assert!(trailers.block().len() <= bodies.trailer_bytes);
            assert!(
                trailers
                    .iter()
                    .all(|field| is_trailer_allowed(field.name, field.known))
            );
        }
        Event::Framing(_) | Event::End | Event::Refused(_) => {}
    }
}

fn check_fields(fields: &Fields, limits: &HeadLimits) {
    assert!(fields.len() <= limits.fields);
    assert!(fields.block().len() <= limits.head_bytes);
}

/// A whole message as what it means: what must survive decoding and encoding.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    start: Start,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    framing: Framing,
    data: Vec<u8>,
    trailers: Option<Box<Fields>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Method and target as an origin gets it.
    Request(Method, Bytes),
    /// Status and reason.
    Response(u16, Vec<u8>),
}

/// The first message, decoded, encoded and decoded again: the same meaning, then the same bytes.
pub fn roundtrip(data: &[u8]) {
    for role in [
        || Role::requests(HeadLimits::default()),
        || Role::responses(HeadLimits::default(), Method::Get),
        || Role::responses(HeadLimits::default(), Method::Head),
    ] {
        let first = |bytes: &[u8]| first_message(bytes, role());
        let meaning = |bytes: &[u8]| first(bytes).map(|message| message.meaning());
        let Some(message) = first(data) else {
            continue;
        };
        let encoded = message.encoded();
        let shown = encoded.escape_ascii();
        let Some(again) = first(&encoded) else {
            panic!("own encoding is refused: {shown}");
        };
        assert_eq!(Some(message.meaning()), meaning(&encoded), "{shown}");
        assert_eq!(again.encoded(), encoded, "not canonical: {shown}");
    }
}

struct Message {
    head: Event,
    framing: Framing,
    data: Vec<u8>,
    trailers: Option<Box<Fields>>,
}

/// The first message of the stream, if it is whole.
fn first_message(bytes: &[u8], role: Role) -> Option<Message> {
    let mut buffer = BytesMut::from(bytes);
    let mut messages = Messages::new(role, BodyLimits::default());
    let head = messages.decode_eof(&mut buffer).ok()??;
    let Ok(Some(Event::Framing(framing))) = messages.decode_eof(&mut buffer) else {
        return None;
    };
    let mut data = Vec::new();
    let mut trailers = None;
    loop {
        match messages.decode_eof(&mut buffer).ok()?? {
            Event::Data(piece) => data.extend(piece),
            Event::Trailers(fields) => trailers = Some(fields),
            Event::End => break,
            Event::Refused(_) => return None,
            event => panic!("{event:?} inside a body"),
        }
    }
    Some(Message {
        head,
        framing,
        data,
        trailers,
    })
}

impl Message {
    fn encoded(&self) -> Vec<u8> {
        let options = Encode {
            framing: self.framing,
            connection: Connection::Implied,
        };
        let mut bytes = Vec::new();
        let encoded = match &self.head {
            Event::Request(head) => encode_request_head(head, options, &mut bytes),
            Event::Response(head) => encode_response_head(head, options, &mut bytes),
            event => panic!("{event:?} is no head"),
        };
        encoded.expect("what was decoded is clean");
        if self.framing == Framing::Chunked {
            encode_chunk(&self.data, &mut bytes);
            let trailers = self.trailers.as_deref();
            encode_last_chunk(trailers, &mut bytes).expect("what was decoded is clean");
        } else {
            bytes.extend_from_slice(&self.data);
        }
        bytes
    }

    fn meaning(&self) -> Meaning {
        let (start, fields) = match &self.head {
            Event::Request(head) => (request_start(head), &head.fields),
            Event::Response(head) => (response_start(head), &head.fields),
            event => panic!("{event:?} is no head"),
        };
        Meaning {
            start,
            fields: fields
                .iter()
                .filter(|field| !WRITTEN_FROM_TYPES.contains(&&*field.name.to_ascii_lowercase()))
                .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
                .collect(),
            framing: self.framing,
            data: self.data.clone(),
            trailers: self.trailers.clone(),
        }
    }
}

/// What the encoder writes from types, or leaves out because a connection's own fields are not passed on.
const WRITTEN_FROM_TYPES: [&[u8]; 6] = [
    b"connection",
    b"content-length",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

fn request_start(head: &RequestHead) -> Start {
    let target = if head.method == Method::Connect {
        head.target.authority.clone().unwrap_or_default()
    } else {
        head.target.path_and_query.clone()
    };
    Start::Request(head.method.clone(), target)
}

fn response_start(head: &ResponseHead) -> Start {
    let reason = if head.reason.is_empty() {
        head.status.canonical_reason().as_bytes()
    } else {
        &head.reason
    };
    Start::Response(head.status.code(), reason.to_vec())
}

/// FNV-1a: where to cut is decided by the input alone.
fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
