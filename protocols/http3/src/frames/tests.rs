//! Streams of frames against what passes, whole and in all splits.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// What a stream came to: what passed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    content: usize,
    goaway: Option<u64>,
    end: Result<(), Breach>,
}

/// A stream that comes in pieces of so many bytes. A head is taken for the final one, unless it says 103.
fn play(kind: StreamKind, stream: &[u8], size: usize) -> Outcome {
    let mut guard = FrameGuard::new(kind, GuardLimits::default());
    let mut outcome = Outcome {
        passed: Vec::new(),
        content: 0,
        goaway: None,
        end: Ok(()),
    };
    for piece in stream.chunks(size.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match guard.next(&mut piece) {
                Ok(Some(passed)) => {
                    let bytes = match passed {
                        Piece::Section(bytes) => {
                            let interim = bytes.ends_with(&[indexed(24)]);
                            guard.on_head(interim);
                            bytes
                        }
                        Piece::Control(bytes) => bytes,
                        Piece::Data(bytes, content) => {
                            outcome.content += content;
                            bytes
                        }
                        Piece::Goaway(bytes, id) => {
                            outcome.goaway = Some(id);
                            bytes
                        }
                    };
                    outcome.passed.extend_from_slice(&bytes);
                }
                Ok(None) => break,
                Err(breach) => {
                    outcome.end = Err(breach);
                    return outcome;
                }
            }
        }
        assert!(piece.is_empty(), "everything is taken");
    }
    outcome.end = guard.finish();
    outcome
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, payload.len() as u8];
    frame.extend_from_slice(payload);
    frame
}

/// A field of the static table.
const fn indexed(index: u8) -> u8 {
    0xc0 + index
}

/// A head that says 200.
const OK: [u8; 5] = [1, 3, 0, 0, indexed(25)];
/// A head that says 103.
const HINTS: [u8; 5] = [1, 3, 0, 0, indexed(24)];
/// Trailers, `x: y`.
const TRAILERS: [u8; 8] = [1, 6, 0, 0, 0x21, b'x', 1, b'y'];

const RESPONSE: StreamKind = StreamKind::Message(SectionKind::Response);
const REQUEST: StreamKind = StreamKind::Message(SectionKind::Request);

fn in_all_splits(name: &str, kind: StreamKind, stream: &[u8]) -> Outcome {
    let whole = play(kind, stream, stream.len());
    for size in 1..stream.len() {
        let split = play(kind, stream, size);
        assert_eq!(split.end, whole.end, "{name} in pieces of {size}");
        if whole.end.is_ok() {
            assert_eq!(split, whole, "{name} in pieces of {size}");
        }
    }
    whole
}

#[test]
fn responses_that_pass() {
    let data = frame(0, b"body");
    let rows: &[(&str, Vec<u8>, usize)] = &[
        ("a head", OK.to_vec(), 0),
        ("a body", [&OK[..], &data].concat(), 4),
        ("trailers", [&OK[..], &data, &TRAILERS].concat(), 4),
        ("trailers alone", [&OK[..], &TRAILERS].concat(), 0),
        (
            "interim heads",
            [&HINTS[..], &HINTS, &OK, &data].concat(),
            4,
        ),
        ("two DATA", [&OK[..], &data, &data].concat(), 8),
    ];
    for (name, stream, content) in rows {
        let outcome = in_all_splits(name, RESPONSE, stream);
        assert_eq!(outcome.end, Ok(()), "{name}");
        assert_eq!(&outcome.passed, stream, "{name}");
        assert_eq!(outcome.content, *content, "{name}");
    }
}

#[test]
fn what_means_nothing_is_left_out() {
    let unknown = frame(0x21, b"grease");
    let empty = frame(0, b"");
    let data = frame(0, b"body");
    let stream = [
        &unknown[..],
        &OK,
        &empty,
        &unknown,
        &data,
        &empty,
        &TRAILERS,
        &unknown,
    ]
    .concat();
    let outcome = in_all_splits("grease", RESPONSE, &stream);
    assert_eq!(outcome.end, Ok(()));
    assert_eq!(outcome.passed, [&OK[..], &data, &TRAILERS].concat());
    let flood = [&OK[..], &unknown.repeat(257)].concat();
    assert_eq!(play(RESPONSE, &flood, 100).end, Err(Breach::Flood));
    let flood = [&OK[..], &empty.repeat(257)].concat();
    assert_eq!(play(RESPONSE, &flood, 100).end, Err(Breach::Flood));
}

#[test]
fn messages_that_do_not_pass() {
    let data = frame(0, b"body");
    let path = [1, 3, 0, 0, indexed(1)];
    let method = [1, 3, 0, 0, indexed(17)];
    let rows: &[(&str, StreamKind, Vec<u8>, Breach)] = &[
        ("nothing", RESPONSE, vec![], Breach::Incomplete),
        (
            "an interim head",
            RESPONSE,
            HINTS.to_vec(),
            Breach::Incomplete,
        ),
        ("DATA first", RESPONSE, data.clone(), Breach::Unexpected),
        (
            "behind trailers",
            RESPONSE,
            [&OK[..], &TRAILERS, &data].concat(),
            Breach::Unexpected,
        ),
        (
            "trailers twice",
            RESPONSE,
            [&OK[..], &TRAILERS, &TRAILERS].concat(),
            Breach::Unexpected,
        ),
        (
            "two heads",
            RESPONSE,
            [&OK[..], &OK].concat(),
            Breach::Pseudo,
        ),
        (
            "trailers first",
            RESPONSE,
            TRAILERS.to_vec(),
            Breach::Pseudo,
        ),
        ("a path", RESPONSE, path.to_vec(), Breach::Pseudo),
        ("a status", REQUEST, OK.to_vec(), Breach::Pseudo),
        (
            "a second head",
            REQUEST,
            [&method[..], &method].concat(),
            Breach::Pseudo,
        ),
        ("SETTINGS", RESPONSE, frame(4, b""), Breach::Unexpected),
        ("a push", RESPONSE, frame(5, b"\0\0\0"), Breach::Push),
        (
            "PING of HTTP/2",
            RESPONSE,
            frame(6, b""),
            Breach::Unexpected,
        ),
        (
            "a large head",
            RESPONSE,
            vec![1, 0x80, 1, 0, 1],
            Breach::HeadTooLarge,
        ),
        (
            "half a header",
            RESPONSE,
            [&OK[..], &[0]].concat(),
            Breach::Truncated,
        ),
        (
            "half a body",
            RESPONSE,
            [&OK[..], &[0, 9, b'x']].concat(),
            Breach::Truncated,
        ),
        ("half a head", RESPONSE, OK[..4].to_vec(), Breach::Truncated),
        (
            "half of nothing",
            RESPONSE,
            [&OK[..], &[0x21, 9, b'x']].concat(),
            Breach::Truncated,
        ),
    ];
    for (name, kind, stream, breach) in rows {
        let outcome = in_all_splits(name, *kind, stream);
        assert_eq!(outcome.end, Err(*breach), "{name}");
    }
}

#[test]
fn sections() {
    let literal = |name: &[u8]| {
        let mut field = vec![0x20 | name.len().min(7) as u8];
        if name.len() >= 7 {
            field.push((name.len() - 7) as u8);
        }
        field.extend_from_slice(name);
        field.extend([1, b'v']);
        field
    };
    // `:status` and `x` as RFC 7541 appendix B writes them.
    let compressed_status = [0x28 | 5, 0xb8, 0x84, 0x8d, 0x36, 0xa3, 1, b'2'];
    let compressed_x = [0x28 | 1, 0xf3, 1, b'v'];
    let rows: &[(&str, Vec<u8>, Result<bool, Breach>)] = &[
        ("nothing", vec![0, 0], Ok(false)),
        ("no prefix", vec![], Err(Breach::Section)),
        ("half a prefix", vec![0], Err(Breach::Section)),
        ("a dynamic table", vec![1, 0], Err(Breach::Section)),
        ("a status by index", vec![0, 0, 0xd9], Ok(true)),
        (
            "a status with an indexed name",
            vec![0, 0, 0x5f, 9, 1, b'2'],
            Ok(true),
        ),
        (
            "a status by name",
            [&[0, 0][..], &literal(b":status")].concat(),
            Ok(true),
        ),
        (
            "a compressed status",
            [&[0, 0][..], &compressed_status].concat(),
            Ok(true),
        ),
        (
            "the same twice",
            [&[0, 0, 0xd9][..], &compressed_status].concat(),
            Err(Breach::Pseudo),
        ),
        (
            "behind a field",
            [&[0, 0][..], &compressed_x, &[0xd9]].concat(),
            Err(Breach::Pseudo),
        ),
        (
            "one that nobody knows",
            [&[0, 0][..], &literal(b":other")].concat(),
            Err(Breach::Pseudo),
        ),
        (
            "an empty name",
            vec![0, 0, 0x20, 1, b'v'],
            Err(Breach::Pseudo),
        ),
        (
            "a field of the table",
            vec![0, 0, 0xd9, indexed(29)],
            Ok(true),
        ),
        (
            "an index too large",
            vec![0, 0, 0xff, 36],
            Err(Breach::Section),
        ),
        ("of a dynamic table", vec![0, 0, 0x80], Err(Breach::Section)),
        ("behind the base", vec![0, 0, 0x10], Err(Breach::Section)),
        (
            "half a value",
            vec![0, 0, 0x5f, 9, 5, b'2'],
            Err(Breach::Section),
        ),
        (
            "a number without end",
            [&[0, 0, 0xff][..], &[0x80; 12]].concat(),
            Err(Breach::Section),
        ),
    ];
    for (name, section, expected) in rows {
        let checked = section::check(section, SectionKind::Response);
        assert_eq!(checked, *expected, "{name}");
    }
}

#[test]
fn sections_of_requests() {
    const GET: u8 = indexed(17);
    const HTTPS: u8 = indexed(23);
    const PATH: u8 = indexed(1);
    // Names as RFC 7541 appendix B writes them, and one byte more of padding than it allows.
    let path = [0x28 | 4, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/'];
    let padded_path = [0x28 | 5, 0xb9, 0x58, 0xd3, 0x3f, 0xff, 1, b'/'];
    let protocol = [
        0x28 | 7,
        0,
        0xb9,
        0x5d,
        0x87,
        0x49,
        0xc8,
        0x7a,
        0x3f,
        1,
        b'x',
    ];
    let host = [0x50, 1, b'a'];
    type Row<'a> = (&'a str, &'a [&'a [u8]], Result<bool, Breach>);
    let rows: &[Row<'_>] = &[
        ("a head", &[&[GET, HTTPS, PATH], &host], Ok(true)),
        ("trailers", &[b"\x21x\x01y"], Ok(false)),
        ("a compressed name", &[&[GET, HTTPS], &path], Ok(true)),
        ("a protocol", &[&[GET, HTTPS, PATH], &protocol], Ok(true)),
        ("two methods", &[&[GET, GET]], Err(Breach::Pseudo)),
        ("other methods", &[&[GET, indexed(20)]], Err(Breach::Pseudo)),
        ("two schemes", &[&[indexed(22), HTTPS]], Err(Breach::Pseudo)),
        ("two authorities", &[&host, &host], Err(Breach::Pseudo)),
        ("two paths", &[&[PATH], b"\x51\x02/z"], Err(Breach::Pseudo)),
        (
            "written out",
            &[&[PATH], b"\x25:path\x02/z"],
            Err(Breach::Pseudo),
        ),
        ("compressed", &[&[PATH], &path], Err(Breach::Pseudo)),
        (
            "padded too much",
            &[&[PATH], &padded_path],
            Err(Breach::Pseudo),
        ),
        (
            "two protocols",
            &[&protocol, &protocol],
            Err(Breach::Pseudo),
        ),
        (
            "a status",
            &[&[GET, PATH, indexed(25)]],
            Err(Breach::Pseudo),
        ),
        (
            "unknown",
            &[&[GET, PATH], b"\x22:x\x01y"],
            Err(Breach::Pseudo),
        ),
        (
            "behind a field",
            &[&[GET], b"\x21x\x01y", &[PATH]],
            Err(Breach::Pseudo),
        ),
        ("a query", &[&[GET], b"\x51\x03/?a"], Ok(true)),
        (
            "a fragment",
            &[&[GET], b"\x51\x03/#a"],
            Err(Breach::Fragment),
        ),
        (
            "behind a query",
            &[b"\x25:path\x04/?a#"],
            Err(Breach::Fragment),
        ),
        (
            "a compressed fragment",
            &[b"\x51\x84\x60\x7f\xf5\x1f"],
            Err(Breach::Fragment),
        ),
        ("a hash elsewhere", &[&[GET, PATH], b"\x21x\x01#"], Ok(true)),
    ];
    for (name, fields, expected) in rows {
        let section = [&[0, 0], &fields.concat()[..]].concat();
        let checked = section::check(&section, SectionKind::Request);
        assert_eq!(checked, *expected, "{name}");
    }
}

#[test]
fn control_streams() {
    let settings = frame(4, &[6, 0x40, 0x64]);
    type Row = (&'static str, Vec<u8>, Option<u64>, Result<(), Breach>);
    let rows: &[Row] = &[
        ("settings", settings.clone(), None, Ok(())),
        (
            "an id",
            [&settings[..], &frame(7, &[8])].concat(),
            Some(8),
            Ok(()),
        ),
        ("a large id", frame(7, &[0x40, 0x64]), Some(100), Ok(())),
        (
            "half an id",
            frame(7, &[0x40]),
            None,
            Err(Breach::Malformed),
        ),
        (
            "more than an id",
            frame(7, &[8, 8]),
            None,
            Err(Breach::Malformed),
        ),
        ("no id", frame(7, &[]), None, Err(Breach::Malformed)),
        ("DATA", frame(0, b"x"), None, Err(Breach::Unexpected)),
        ("a head", OK.to_vec(), None, Err(Breach::Unexpected)),
        (
            "too long",
            vec![4, 0x44, 1],
            None,
            Err(Breach::FrameTooLarge),
        ),
        ("half a frame", vec![4, 5, 0], None, Err(Breach::Truncated)),
    ];
    for (name, stream, goaway, end) in rows {
        let outcome = in_all_splits(name, StreamKind::Control, stream);
        assert_eq!((outcome.goaway, outcome.end), (*goaway, *end), "{name}");
    }
}

#[test]
fn numbers() {
    // RFC 9000 appendix A.1.
    type Row = (&'static [u8], Option<(u64, usize)>);
    let rows: &[Row] = &[
        (
            &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
            Some((151_288_809_941_952_652, 8)),
        ),
        (&[0x9d, 0x7f, 0x3e, 0x7d], Some((494_878_333, 4))),
        (&[0x7b, 0xbd], Some((15_293, 2))),
        (&[0x25, 0xff], Some((37, 1))),
        (&[0x40], None),
        (&[], None),
    ];
    for (bytes, expected) in rows {
        let parsed = Varint::parse(bytes).map(|number| (number.value, number.size));
        assert_eq!(parsed, *expected, "{bytes:x?}");
        if let Some((number, _)) = expected {
            let mut written = BytesMut::new();
            Varint::write(*number, &mut written);
            assert_eq!(written[..], bytes[..written.len()], "{bytes:x?}");
        }
    }
    for length in [1, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30] {
        let parsed = parse(&data_header(length));
        let size = data_header(length).len();
        assert_eq!(parsed, Some((0, length as u64, size)));
    }
}

proptest! {
    /// Any bytes, in any pieces: nothing panics, every split agrees on how it ends, and what passes is never more.
    #[test]
    fn any_bytes(stream in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..9) {
        for kind in [RESPONSE, REQUEST, StreamKind::Control] {
            let whole = play(kind, &stream, stream.len());
            let split = play(kind, &stream, size);
            prop_assert_eq!(whole.end, split.end);
            prop_assert!(split.passed.len() <= stream.len());
        }
    }

    /// Sections made of parts that are nearly right.
    #[test]
    fn any_section(parts in proptest::collection::vec(
        prop_oneof![Just(0xd9_u8), Just(0xc1), Just(0x27), Just(0x28), Just(0x5f), Just(0xff), any::<u8>()], 0..60)
    ) {
        for kind in [SectionKind::Request, SectionKind::Response] {
            let _ = section::check(&parts, kind);
        }
    }
}
