//! The laws of the body decoder. What each malformed body is called is in `tests/vectors/bodies.md`.

use bytes::Bytes;
use portcullis_testkit::laws;

use super::*;

fn chunked(limits: BodyLimits) -> BodyDecoder {
    BodyDecoder::new(Framing::Chunked, limits).unwrap()
}

fn data(bytes: &'static [u8]) -> BodyPiece {
    BodyPiece::Data(Bytes::from_static(bytes))
}

#[test]
fn limits_trip_at_one_more() {
    let base = BodyLimits::default();
    laws::limit_trips_after(
        40,
        |n| {
            let total_bytes = n as u64;
            chunked(BodyLimits {
                total_bytes,
                ..base
            })
        },
        |n| [&b"1\r\nx\r\n".repeat(n)[..], b"0\r\n\r\n"].concat(),
        "body_too_large",
    );
    laws::limit_trips_after(
        40,
        |chunk_extension_bytes| {
            chunked(BodyLimits {
                chunk_extension_bytes,
                ..base
            })
        },
        |n| [b"1;", &b"x".repeat(n - 1)[..], b"\r\nx\r\n0\r\n\r\n"].concat(),
        "chunk_extensions_too_long",
    );
    laws::limit_trips_after(
        40,
        |n| {
            let all_extension_bytes = n as u64;
            chunked(BodyLimits {
                all_extension_bytes,
                ..base
            })
        },
        |n| [&b"1;\r\nx\r\n".repeat(n)[..], b"0\r\n\r\n"].concat(),
        "chunk_extensions_too_long",
    );
    laws::limit_trips_after(
        20,
        |trailer_fields| {
            chunked(BodyLimits {
                trailer_fields,
                ..base
            })
        },
        |n| [b"0\r\n", &b"a:b\r\n".repeat(n)[..], b"\r\n"].concat(),
        "trailers_too_large",
    );
    laws::limit_trips_after(
        80,
        |trailer_bytes| {
            chunked(BodyLimits {
                trailer_bytes,
                ..base
            })
        },
        |n| [b"0\r\na:", &b"b".repeat(n - 6)[..], b"\r\n\r\n"].concat(),
        "trailers_too_large",
    );
}

#[test]
fn a_stated_length_is_refused_before_its_bytes() {
    let limits = BodyLimits {
        total_bytes: 9,
        ..BodyLimits::default()
    };
    assert!(BodyDecoder::new(Framing::Length(9), limits).is_ok());
    let refused = BodyDecoder::new(Framing::Length(10), limits).unwrap_err();
    assert_eq!(refused, BodyError::TooLarge);
}

#[test]
fn content_is_sliced_not_copied() {
    let mut buffer = BytesMut::from("5\r\nhello\r\n0\r\n\r\nGET");
    let start = buffer.as_ptr() as usize;
    let mut decoder = chunked(BodyLimits::default());
    let Ok(Some(BodyPiece::Data(data))) = decoder.decode(&mut buffer) else {
        panic!("no data");
    };
    assert_eq!(data.as_ptr() as usize, start + 3);
    assert!(!decoder.is_done());
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(BodyPiece::End)));
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(&buffer[..], b"GET");
}

#[test]
fn the_end_is_known_with_the_last_byte() {
    let mut buffer = BytesMut::from("hi");
    let limits = BodyLimits::default();
    let mut decoder = BodyDecoder::new(Framing::Length(2), limits).unwrap();
    assert_eq!(decoder.remaining_hint(), Some(2));
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(data(b"hi"))));
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(BodyPiece::End)));
}

#[test]
fn content_may_pass_beside_the_decoder() {
    let mut decoder = chunked(BodyLimits::default());
    let mut buffer = BytesMut::from("a\r\n012");
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(data(b"012"))));
    assert_eq!(decoder.remaining_hint(), Some(7));
    decoder.skip_content(7);
    buffer.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(BodyPiece::End)));
}

#[test]
fn the_rest_is_taken_only_where_its_length_is_known_and_all_of_it_is_here() {
    let limits = BodyLimits::default();
    for (name, framing, taken, input, expected, left) in [
        ("all", Framing::Length(4), 0, "body", Some("body"), ""),
        (
            "more",
            Framing::Length(4),
            0,
            "bodyGET",
            Some("body"),
            "GET",
        ),
        ("less", Framing::Length(5), 0, "body", None, "body"),
        (
            "behind a piece",
            Framing::Length(6),
            2,
            "bodyGET",
            Some("body"),
            "GET",
        ),
        (
            "chunks",
            Framing::Chunked,
            0,
            "0\r\n\r\n",
            None,
            "0\r\n\r\n",
        ),
        ("until close", Framing::UntilClose, 0, "body", None, "body"),
        ("said already", Framing::Length(0), 0, "GET", None, "GET"),
    ] {
        let mut decoder = BodyDecoder::new(framing, limits).unwrap();
        let mut before = BytesMut::from(&vec![b'x'; taken][..]);
        while taken > 0 && !before.is_empty() {
            decoder.decode(&mut before).unwrap();
        }
        let mut src = BytesMut::from(input);
        let rest = decoder.take_rest(&mut src);
        assert_eq!(rest.as_deref(), expected.map(str::as_bytes), "{name}");
        assert_eq!(src, left, "{name}");
        if rest.is_some() {
            assert_eq!(decoder.decode(&mut src), Ok(None), "{name}");
        }
    }
}
