//! What the encoder writes, leaves out and refuses.

use bytes::Bytes;
use portcullis_codec::Decoder;
use portcullis_http::{Method, Target, Version};

use super::*;
use crate::{HeadLimits, RequestDecoder};

fn request(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead {
        method: Method::Get,
        target: Target::origin(Bytes::from_static(b"/a?b")),
        version: Version::Http10,
        fields: Fields::new(),
    };
    for (name, value) in fields {
        head.fields.append(*name, value.as_bytes());
    }
    head
}

const fn options(framing: Framing, connection: Connection) -> Encode {
    Encode {
        framing,
        connection,
    }
}

fn encoded(head: &RequestHead, options: Encode) -> Result<String, EncodeError> {
    let mut bytes = Vec::new();
    encode_request_head(head, options, &mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn framing_and_connection_come_from_types_only() {
    let head = request(&[
        ("Host", "a"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-secret"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "websocket"),
        ("X-A", "b"),
    ]);
    let start = "GET /a?b HTTP/1.1\r\nhost: a\r\n";
    for (name, framing, connection, expected) in [
        ("bare", Framing::None, Connection::Implied, "X-A: b\r\n\r\n"),
        (
            "length, close",
            Framing::Length(0),
            Connection::Close,
            "X-A: b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (
            "huge length",
            Framing::Length(u64::MAX),
            Connection::KeepAlive,
            "X-A: b\r\ncontent-length: 18446744073709551615\r\nconnection: keep-alive\r\n\r\n",
        ),
        (
            "chunked, upgrade",
            Framing::Chunked,
            Connection::Upgrade,
            "upgrade: websocket\r\nX-A: b\r\ntransfer-encoding: chunked\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        let text = encoded(&head, options(framing, connection)).unwrap();
        assert_eq!(text, format!("{start}{expected}"), "{name}");
    }
}

#[test]
fn targets_are_written_as_origins_expect() {
    for (input, expected) in [
        (
            "GET http://a/b?c HTTP/1.1\r\n\r\n",
            "GET /b?c HTTP/1.1\r\n\r\n",
        ),
        ("GET http://a HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
        (
            "OPTIONS http://a HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
        ),
        ("BREW /pot HTTP/1.0\r\n\r\n", "BREW /pot HTTP/1.1\r\n\r\n"),
    ] {
        let mut decoder = RequestDecoder::new(HeadLimits::default());
        let head = decoder.decode(&mut BytesMut::from(input)).unwrap().unwrap();
        let text = encoded(&head, options(Framing::None, Connection::Implied));
        assert_eq!(text.unwrap(), expected);
    }
}

#[test]
fn what_could_end_a_line_early_is_refused_and_leaves_no_trace() {
    let plain = options(Framing::None, Connection::Implied);
    let mut dst = b"before".to_vec();
    let mut check = |name: &str, head: &RequestHead, expected| {
        let answer = encode_request_head(head, plain, &mut dst);
        assert_eq!(answer, Err(expected), "{name}");
        assert_eq!(dst, b"before", "{name}");
    };
    let mut head = request(&[]);
    for target in ["", "/ HTTP/1.1\r\nx: y", "/a b", "/#", "/\u{e9}"] {
        head.target = Target::origin(Bytes::from_static(target.as_bytes()));
        check(target, &head, EncodeError::Target);
    }
    let mut head = request(&[]);
    for method in ["", "GET /\r\n", "a b"] {
        head.method = Method::Other(Bytes::from_static(method.as_bytes()));
        check(method, &head, EncodeError::Method);
    }
    for name in ["", "a b", "a:", "a\r\n"] {
        let head = request(&[("ok", "v"), (name, "v")]);
        check(name, &head, EncodeError::FieldName);
    }
    for value in [&b"a\r\nb: c"[..], b"\n", b"\0", b"\x7f"] {
        let block = Bytes::from_static(b"x");
        let mut head = request(&[]);
        head.fields = Fields::with_block([&block[..], value].concat().into());
        head.fields.push_span(0..1, 1..1 + value.len(), None);
        check("value", &head, EncodeError::FieldValue);
    }
    let answer = encode_request_head(
        &request(&[]),
        options(Framing::UntilClose, Connection::Close),
        &mut dst,
    );
    assert_eq!(answer, Err(EncodeError::Framing));
}

#[test]
fn responses_follow_their_status() {
    for (name, status, reason, framing, expected) in [
        (
            "registered reason",
            200,
            "",
            Framing::Length(3),
            Ok("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"),
        ),
        (
            "own reason",
            200,
            "Fine",
            Framing::UntilClose,
            Ok("HTTP/1.1 200 Fine\r\n\r\n"),
        ),
        (
            "no reason",
            299,
            "",
            Framing::None,
            Ok("HTTP/1.1 299 \r\n\r\n"),
        ),
        (
            "204 with a body",
            204,
            "",
            Framing::Chunked,
            Err(EncodeError::Framing),
        ),
        (
            "100 with a length",
            100,
            "",
            Framing::Length(0),
            Err(EncodeError::Framing),
        ),
        (
            "split",
            200,
            "a\r\nb: c",
            Framing::None,
            Err(EncodeError::Reason),
        ),
    ] {
        let mut head = ResponseHead::new(Status::from_code(status).unwrap());
        head.reason = Bytes::from_static(reason.as_bytes());
        let mut dst = BytesMut::new();
        let answer = encode_response_head(&head, options(framing, Connection::Implied), &mut dst);
        let text = answer.map(|()| std::str::from_utf8(&dst).unwrap());
        assert_eq!(text, expected, "{name}");
    }
}

#[test]
fn chunks_and_trailers() {
    let mut dst = Vec::new();
    for length in [1, 0, 0xf, 0x10, 0xabc_def0, u64::MAX] {
        encode_chunk_header(length, &mut dst);
    }
    assert_eq!(dst, b"1\r\nf\r\n10\r\nabcdef0\r\nffffffffffffffff\r\n");
    dst.clear();
    encode_chunk(b"hello", &mut dst);
    encode_chunk(b"", &mut dst);
    let mut trailers = Fields::new();
    trailers.append("x-sum", b"1");
    trailers.append(KnownField::ContentLength, b"5");
    encode_last_chunk(Some(&trailers), &mut dst).unwrap();
    assert_eq!(dst, b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    trailers.append("a b", b"1");
    let length = dst.len();
    assert_eq!(
        encode_last_chunk(Some(&trailers), &mut dst),
        Err(EncodeError::FieldName)
    );
    assert_eq!(dst.len(), length);
}
