use super::*;
use crate::limits::LARGEST;

fn message(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

type Row = (
    &'static str,
    Side,
    Vec<u8>,
    Result<Option<Frame>, FrameError>,
);

#[test]
fn headers_are_judged_before_their_bodies_come() {
    use FrameError::{Length, TooLarge, UnknownBackend, UnknownFrontend};
    use Side::{Backend, Frontend};
    let rows: [Row; 22] = [
        ("nothing", Frontend, vec![], Ok(None)),
        ("type alone", Frontend, vec![b'Q'], Ok(None)),
        (
            "unknown type alone",
            Frontend,
            vec![b'!'],
            Err(UnknownFrontend),
        ),
        ("server's type", Frontend, vec![b'Z'], Err(UnknownFrontend)),
        ("client's type", Backend, vec![b'Q'], Err(UnknownBackend)),
        ("nul", Backend, vec![0], Err(UnknownBackend)),
        ("length 0", Frontend, message(b'Q', 0, b""), Err(Length)),
        ("length 3", Frontend, message(b'Q', 3, b""), Err(Length)),
        (
            "no room for a NUL",
            Frontend,
            message(b'Q', 4, b""),
            Err(Length),
        ),
        (
            "negative",
            Frontend,
            message(b'Q', 0x8000_0000, b""),
            Err(Length),
        ),
        ("-1", Backend, message(b'D', u32::MAX, b""), Err(Length)),
        (
            "2 GiB",
            Frontend,
            message(b'd', 0x7fff_ffff, b""),
            Err(TooLarge),
        ),
        ("1 GiB", Frontend, message(b'd', LARGEST, b""), Ok(None)),
        (
            "past 1 GiB",
            Backend,
            message(b'D', LARGEST + 1, b""),
            Err(TooLarge),
        ),
        (
            "Sync with a body",
            Frontend,
            message(b'S', 5, b""),
            Err(Length),
        ),
        (
            "ReadyForQuery without",
            Backend,
            message(b'Z', 4, b""),
            Err(Length),
        ),
        ("long name", Frontend, message(b'D', 10_000, b""), Ok(None)),
        (
            "longer name",
            Frontend,
            message(b'D', 10_001, b""),
            Err(TooLarge),
        ),
        ("key", Backend, message(b'K', 264, b""), Ok(None)),
        ("long key", Backend, message(b'K', 265, b""), Err(TooLarge)),
        (
            "long tag",
            Backend,
            message(b'C', 30_001, b""),
            Err(TooLarge),
        ),
        (
            "password",
            Frontend,
            message(b'p', 16 * 1024 + 1, b""),
            Err(TooLarge),
        ),
    ];
    for (name, side, src, expected) in rows {
        let mut scanner = FrameScanner::new(side, FrameLimits::default());
        assert_eq!(scanner.next(&src), expected, "{name}");
    }
}

#[test]
fn limits_are_the_callers() {
    let limits = FrameLimits {
        largest: 20,
        authentication: 10,
        ..FrameLimits::default()
    };
    for (tag, length, is_allowed) in [
        (b'Q', 20, true),
        (b'Q', 21, false),
        (b'P', 21, false),
        (b'd', 21, true),
        (b'p', 10, true),
        (b'p', 11, false),
    ] {
        let mut scanner = FrameScanner::new(Side::Frontend, limits);
        let seen = scanner.next(&message(tag, length, b""));
        assert_eq!(seen.is_ok(), is_allowed, "{} {length}", char::from(tag));
    }
}

#[test]
fn wants_says_what_is_missing() {
    let limits = FrameLimits {
        whole: 16,
        ..FrameLimits::default()
    };
    let mut scanner = FrameScanner::new(Side::Frontend, limits);
    assert_eq!(scanner.wants(), 5);
    let large = message(b'Q', 40, &[b'x'; 36]);
    for (here, wants) in [(0, 5), (1, 4), (4, 1), (5, 11), (15, 1)] {
        assert_eq!(scanner.next(&large[..here]), Ok(None));
        assert_eq!(scanner.wants(), wants, "{here} bytes");
    }
    let begin = Frame::Begin {
        tag: frontend::QUERY,
        len: 16,
        total: 41,
    };
    assert_eq!(scanner.next(&large), Ok(Some(begin)));
    assert!(!scanner.is_between());
    assert_eq!(scanner.next(b""), Ok(None));
    assert_eq!(scanner.wants(), 25);
    assert_eq!(
        scanner.next(&large[16..20]),
        Ok(Some(Frame::More {
            len: 4,
            last: false
        }))
    );
    assert_eq!(
        scanner.next(&large[20..]),
        Ok(Some(Frame::More {
            len: 21,
            last: true
        }))
    );
    assert!(scanner.is_between());
}

#[test]
fn only_large_types_stream() {
    let limits = FrameLimits {
        whole: 0,
        ..FrameLimits::default()
    };
    let mut scanner = FrameScanner::new(Side::Frontend, limits);
    let describe = message(b'D', 104, &[b'S'; 100]);
    let whole = Frame::Whole {
        tag: frontend::DESCRIBE,
        len: 105,
    };
    assert_eq!(scanner.next(&describe), Ok(Some(whole)));
    assert!(!frontend::DESCRIBE.may_stream(Side::Frontend));
    assert!(backend::DATA_ROW.may_stream(Side::Backend));
}

#[test]
fn rows_run_until_something_else_comes() {
    let limits = FrameLimits {
        whole: 32,
        batch: true,
        ..FrameLimits::default()
    };
    let row = message(b'D', 8, &[0, 1, 0, 0]);
    let large = message(b'D', 60, &[0; 56]);
    let copy = message(b'd', 6, b"ab");
    let broken = message(b'D', 5, &[0]);
    let rows = row.repeat(3);
    let run = |tag, len, count| Ok(Some(Frame::Run { tag, len, count }));
    let d = backend::DATA_ROW;
    for (name, behind, expected) in [
        ("nothing", &b""[..], run(d, 27, 3)),
        ("part of a header", &row[..3], run(d, 27, 3)),
        ("part of a row", &row[..7], run(d, 27, 3)),
        ("another", &row[..], run(d, 36, 4)),
        ("a large one", &large, run(d, 27, 3)),
        ("other rows", &copy, run(d, 27, 3)),
        ("a broken one", &broken, run(d, 27, 3)),
        ("another message", b"Z\0\0\0\x05I", run(d, 27, 3)),
    ] {
        let src = [&rows[..], behind].concat();
        let mut scanner = FrameScanner::new(Side::Backend, limits);
        assert_eq!(scanner.next(&src), expected, "{name}");
    }
    let mut scanner = FrameScanner::new(Side::Backend, limits);
    assert_eq!(
        scanner.next(&large),
        Ok(Some(Frame::Begin {
            tag: d,
            len: 32,
            total: 61
        }))
    );
    let mut scanner = FrameScanner::new(Side::Backend, limits);
    assert_eq!(scanner.next(&copy), run(backend::COPY_DATA, 7, 1));
    let mut scanner = FrameScanner::new(Side::Backend, limits);
    assert_eq!(scanner.next(&broken), Err(FrameError::Length));
}

/// No length makes an unknown type known.
#[test]
fn unknown_types_have_no_length() {
    for side in [Side::Frontend, Side::Backend] {
        for tag in (0..=u8::MAX).filter(|tag| Tag(*tag).name(side).is_none()) {
            for length in [0, 3, 4, 5, LARGEST, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let mut scanner = FrameScanner::new(side, FrameLimits::default());
                let seen = scanner.next(&message(tag, length, b""));
                assert_eq!(seen, Err(scanner.unknown()), "{tag} {length}");
            }
        }
    }
}

#[test]
fn names_are_those_of_the_side() {
    assert_eq!(Tag(b'D').name(Side::Frontend), Some("Describe"));
    assert_eq!(Tag(b'D').name(Side::Backend), Some("DataRow"));
    assert_eq!(Tag(b'!').name(Side::Backend), None);
    assert_eq!(size_of::<FrameScanner>(), 28);
}
