use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

/// What a server does with the call.
enum Does {
    /// These fields, this body, these trailers.
    Answers(
        &'static [(&'static str, &'static str)],
        Vec<u8>,
        &'static [(&'static str, &'static str)],
    ),
    Status(u16),
    Resets,
    Leaves,
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
const OK: (&str, &str) = ("grpc-status", "0");

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn question() -> Question {
    let authority = authority(None, "cart.internal:50051").unwrap();
    Question::new("shop.Cart", authority, false).unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

fn answer(mut respond: SendResponse<Bytes>, does: &Does) {
    match does {
        Does::Answers(fields, body, trailers) => {
            let mut head = Response::new(());
            *head.headers_mut() = map(fields);
            let is_whole = body.is_empty() && trailers.is_empty();
            let mut stream = respond.send_response(head, is_whole).unwrap();
            if !is_whole {
                stream
                    .send_data(body.clone().into(), trailers.is_empty())
                    .unwrap();
            }
            if !trailers.is_empty() {
                stream.send_trailers(map(trailers)).unwrap();
            }
        }
        Does::Status(status) => {
            let head = Response::builder().status(*status).body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
        Does::Resets => respond.send_reset(Reason::CANCEL),
        Does::Leaves => {}
    }
}

/// A server of one call that checks what it is asked and waits until the connection is closed.
async fn serve(io: DuplexStream, does: Does) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let (request, respond) = connection.accept().await.unwrap().unwrap();
    assert_eq!(request.method(), Method::POST);
    let target = "http://cart.internal:50051/grpc.health.v1.Health/Check";
    assert_eq!(request.uri().to_string(), target);
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    if matches!(does, Does::Leaves) {
        return;
    }
    let mut body = request.into_body();
    let read = async {
        let mut whole = Vec::new();
        while let Some(piece) = body.data().await {
            whole.extend_from_slice(&piece.unwrap());
        }
        whole
    };
    tokio::pin!(read);
    let whole = tokio::select! {
        whole = &mut read => whole,
        _ = connection.accept() => panic!("the connection ended"),
    };
    assert_eq!(whole, framed(b"\x0a\x09shop.Cart"));
    answer(respond, &does);
    // The one who asked says goodbye.
    while let Some(Ok(_)) = connection.accept().await {}
}

fn outcome(does: Does) -> String {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let (result, ()) = run(async { tokio::join!(ask(ours, question()), serve(theirs, does)) });
    result.map_or_else(|why| why.to_string(), |()| "serving".to_owned())
}

#[test]
fn only_serving_passes() {
    use Does::{Answers, Leaves, Resets, Status};
    let serving = || framed(b"\x08\x01");
    let full = |body| Answers(&[GRPC], body, &[OK]);
    let rows = [
        ("serving", full(serving()), "serving"),
        (
            "serving, and a field of later",
            full(framed(b"\x08\x01\x12\x02hi")),
            "serving",
        ),
        ("nothing said", full(framed(b"")), "serving status unknown"),
        ("not serving", full(framed(b"\x08\x02")), "not serving"),
        (
            "unknown service",
            full(framed(b"\x08\x03")),
            "service unknown",
        ),
        ("another", full(framed(b"\x08\x09")), "serving status 9"),
        (
            "trailers only",
            Answers(&[GRPC, ("grpc-status", "12")], vec![], &[]),
            "gRPC status unimplemented",
        ),
        (
            "failed after its message",
            Answers(&[GRPC], serving(), &[("grpc-status", "14")]),
            "gRPC status unavailable",
        ),
        (
            "a code that is none",
            Answers(&[GRPC], serving(), &[("grpc-status", "fine")]),
            "gRPC status unknown",
        ),
        (
            "no status",
            Answers(&[GRPC], serving(), &[]),
            "no answer about health: no grpc-status",
        ),
        (
            "fine, without a message",
            Answers(&[GRPC, OK], vec![], &[]),
            "no answer about health: no message",
        ),
        (
            "a page",
            Answers(&[("content-type", "text/html")], b"hello".to_vec(), &[]),
            "no answer about health: no gRPC",
        ),
        ("not found", Status(404), "status 404"),
        (
            "too long",
            full(vec![0; MAX_BODY + 1]),
            "no answer about health: too long",
        ),
        (
            "endless",
            full(vec![0; 48 * 1024]),
            "no answer about health: too long",
        ),
        (
            "cut off",
            full(b"\0\0\0\0\x03\x08\x01".to_vec()),
            "no answer about health: not one message",
        ),
        (
            "two messages",
            full([serving(), serving()].concat()),
            "no answer about health: not one message",
        ),
        (
            "compressed",
            full(b"\x01\0\0\0\x02\x08\x01".to_vec()),
            "no answer about health: a compressed message",
        ),
        (
            "another type",
            full(framed(b"\x0a\x01a")),
            "no answer about health: a malformed message",
        ),
        (
            "reset",
            Resets,
            "no response: stream error received: stream no longer needed",
        ),
    ];
    for (row, does, expected) in rows {
        assert_eq!(outcome(does), expected, "{row}");
    }
    let left = outcome(Leaves);
    assert!(left.starts_with("no "), "left: {left}");
}

/// Bytes that are no HTTP/2, or too much of it.
#[test]
fn what_is_read_is_bounded() {
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let ping = b"\0\0\x08\x06\x01\0\0\0\0\0\0\0\0\0\0\0\0";
    let endless = [&settings[..], &ping.repeat(8 * 1024)].concat();
    for (row, bytes) in [
        ("nothing", &b""[..]),
        ("HTTP/1", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("noise", &[0xff; 100]),
        ("pings without end", &endless),
    ] {
        let result = run(async {
            let (ours, mut theirs) = tokio::io::duplex(256 * 1024);
            theirs.write_all(bytes).await.unwrap();
            // Only what is endless stays open: it is given up by its size.
            let kept = (row == "pings without end").then_some(theirs);
            let result = ask(ours, question()).await;
            drop(kept);
            result
        });
        assert!(
            matches!(result, Err(Failed::Http2(_) | Failed::Answer(_))),
            "{row}: {result:?}"
        );
    }
}

#[test]
fn authorities() {
    for (host, endpoint, expected) in [
        (None, "cart.internal:50051", "cart.internal:50051"),
        (None, "[::1]:50051", "[::1]:50051"),
        (None, "unix:/run/cart", "localhost"),
        (Some("cart.example"), "10.0.0.1:1", "cart.example"),
    ] {
        assert_eq!(authority(host, endpoint).unwrap().as_str(), expected);
    }
    assert!(authority(Some("a/b"), "10.0.0.1:1").is_err());
}

#[test]
fn long_names_have_long_lengths() {
    let name = "s".repeat(256);
    let message = request_message(&name);
    assert_eq!(&message[..3], b"\x0a\x80\x02");
    assert_eq!(&message[3..], name.as_bytes());
    assert!(request_message("").is_empty());
}

#[test]
fn last_status_counts() {
    let largest = [&[8][..], &[0xff; 9], &[1]].concat();
    for (row, message, expected) in [
        ("none", &b""[..], Some(0)),
        ("one", b"\x08\x01", Some(1)),
        ("two", b"\x08\x01\x08\x02", Some(2)),
        ("with zeros behind it", b"\x08\x81\x80\x00", Some(1)),
        ("the largest", &largest, Some(u64::MAX)),
        ("after a number", b"\x10\x07\x08\x01", Some(1)),
        (
            "after 8 bytes",
            b"\x11\x08\x02\x08\x02\x08\x02\x08\x02\x08\x01",
            Some(1),
        ),
        ("after bytes", b"\x12\x02\x08\x02\x08\x01", Some(1)),
        ("after 4 bytes", b"\x15\x08\x02\x08\x02\x08\x01", Some(1)),
        ("without its value", b"\x08", None),
        ("of another type", b"\x0a\x01\x01", None),
        ("field 0", b"\x00\x01", None),
        ("a group", b"\x13\x14\x08\x01", None),
        ("bytes that are not there", b"\x08\x01\x12\x03\x08", None),
        (
            "more than there can be",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            None,
        ),
        (
            "a number of eleven bytes",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            None,
        ),
    ] {
        assert_eq!(response_status(message), expected, "{row}");
    }
}

/// Every message of up to three bytes of these is read without harm, and no prefix of one is taken for a whole body.
#[test]
fn nothing_breaks_it() {
    let bytes = [
        0x00, 0x01, 0x02, 0x08, 0x0a, 0x0d, 0x12, 0x15, 0x7f, 0x80, 0xff,
    ];
    for first in bytes {
        for second in bytes {
            for third in bytes {
                let message = [first, second, third];
                let _ = response_status(&message);
                let whole = framed(&message);
                for end in 0..whole.len() {
                    assert!(matches!(check_body(&whole[..end]), Err(Failed::Answer(_))));
                }
            }
        }
    }
}
