//! Each bound trips at one more and not before, wherever the input is cut.

use std::time::Duration;

use bytes::Bytes;
use portcullis_config::{ByteSize, Rate};

use super::*;
use crate::frames::Breach;

fn number(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (0x4000 | value as u16).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (0x8000_0000 | value as u32).to_be_bytes().to_vec(),
        _ => (0xc000_0000_0000_0000 | value).to_be_bytes().to_vec(),
    }
}

fn frame(kind: u64, payload: usize) -> Vec<u8> {
    let mut frame = [number(kind), number(payload as u64)].concat();
    frame.resize(frame.len() + payload, 0x55);
    frame
}

fn limits() -> GuardLimits {
    let few = |burst| BudgetConfig {
        rate: Rate::per_second(1),
        burst,
    };
    GuardLimits {
        field_section: ByteSize(2000),
        control_frame: ByteSize(100),
        resets: few(2),
        control: few(3),
        empty_data: few(4),
        tiny_data: few(5),
        streams: few(6),
    }
}

#[allow(clippy::disallowed_methods)] // any instant will do
fn start() -> Instant {
    Instant::now()
}

#[derive(Clone, Copy)]
enum Stream {
    Request,
    Control,
    Encoder,
}

fn scan(stream: Stream, bytes: &[u8], piece: usize) -> Result<(), GuardError> {
    let now = start();
    let mut guard = Guard::new(&limits(), now);
    let prefix = match stream {
        Stream::Request => return split(bytes, piece, &mut guard).map(|_| ()),
        Stream::Control => &[0][..],
        Stream::Encoder => &[2][..],
    };
    let mut scanner = FrameScanner::default();
    let all = [prefix, bytes].concat();
    all.chunks(piece)
        .try_for_each(|piece| scanner.scan(piece, &mut guard, now))
}

/// What `h3` gets, the body, and whether the stream may end here.
type Taken = (Vec<u8>, Vec<u8>, bool);

fn split(bytes: &[u8], piece: usize, guard: &mut Guard) -> Result<Taken, GuardError> {
    let mut splitter = FrameSplitter::default();
    let (mut frames, mut body) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(part) = splitter.next(&mut piece, guard, start())? {
            match part {
                Part::Frame(part) => frames.extend_from_slice(&part),
                Part::Data(part) => body.extend_from_slice(&part),
            }
        }
    }
    Ok((frames, body, splitter.is_between_frames()))
}

#[test]
fn streams_are_taken_apart_wherever_they_are_cut() {
    let [head, data, empty] = [frame(1, 90), frame(0, 80), frame(0, 0)];
    let [grease, push] = [frame(0x21, 70), frame(5, 3)];
    let body = |times: usize| [0x55_u8].repeat(80 * times);
    let rows = [
        ("head alone", vec![&head], head.clone(), body(0)),
        ("body", vec![&head, &data, &data], head.clone(), body(2)),
        (
            "empty data",
            vec![&head, &data, &empty, &data],
            head.clone(),
            body(2),
        ),
        (
            "trailers",
            vec![&head, &data, &head],
            [&head[..], &head].concat(),
            body(1),
        ),
        (
            "grease",
            vec![&grease, &head, &grease, &data],
            head.clone(),
            body(1),
        ),
        ("data first", vec![&data], data.clone(), body(0)),
        (
            "data last",
            vec![&head, &head, &data],
            [&head[..], &head, &data].concat(),
            body(0),
        ),
        (
            "push",
            vec![&head, &push],
            [&head[..], &push].concat(),
            body(0),
        ),
    ];
    for (name, input, frames, body) in rows {
        let input: Vec<u8> = input.into_iter().flatten().copied().collect();
        for piece in [1, 2, 5, 100, 1000] {
            let mut guard = Guard::new(&limits(), start());
            let taken = split(&input, piece, &mut guard);
            let expected = (frames.clone(), body.clone(), true);
            assert_eq!(taken, Ok(expected), "{name}, {piece} at a time");
            let mut guard = Guard::new(&limits(), start());
            let cut = &input[..input.len() - 1];
            let (_, _, may_end) = split(cut, piece, &mut guard).unwrap();
            assert!(!may_end, "{name}, cut");
        }
    }
}

#[test]
fn pseudo_header_fields_are_looked_at_wherever_the_stream_is_cut() {
    let headers = |fields: &[u8]| [&[1, fields.len() as u8 + 2, 0, 0], fields].concat();
    // GET, https, /, and the fields `a: b`.
    let head = headers(&[0xd1, 0xd7, 0xc1, 0x21, b'a', 1, b'b']);
    let trailers = headers(&[0x21, b'a', 1, b'b']);
    let data = frame(0, 3);
    let rows = [
        ("a request", [&head[..], &data, &trailers].concat(), None),
        (
            "two paths",
            headers(&[0xd1, 0xd7, 0xc1, 0xc1]),
            Some(Breach::Pseudo),
        ),
        (
            "two paths, and a body",
            [headers(&[0xd1, 0xd7, 0xc1, 0xc1]), data.clone()].concat(),
            Some(Breach::Pseudo),
        ),
        (
            "a path behind a field",
            headers(&[0xd1, 0xd7, 0x21, b'a', 1, b'b', 0xc1]),
            Some(Breach::Pseudo),
        ),
        ("no path at all", trailers.clone(), Some(Breach::Pseudo)),
        (
            "a path in trailers",
            [&head[..], &data, &headers(&[0xc1])].concat(),
            Some(Breach::Pseudo),
        ),
        (
            "a fragment",
            headers(&[0xd1, 0xd7, 0x51, 3, b'/', b'#', b'a']),
            Some(Breach::Fragment),
        ),
        ("no section", vec![1, 0], Some(Breach::Section)),
    ];
    for (name, input, breach) in rows {
        for piece in 1..=input.len() {
            let mut guard = Guard::new(&limits(), start());
            let mut splitter = FrameSplitter::default();
            for bytes in input.chunks(piece) {
                let mut bytes = Bytes::copy_from_slice(bytes);
                while splitter
                    .next(&mut bytes, &mut guard, start())
                    .unwrap()
                    .is_some()
                {}
            }
            assert_eq!(splitter.breach(), breach, "{name}, {piece} at a time");
            assert!(splitter.is_between_frames(), "{name}");
        }
    }
}

#[test]
fn every_bound_trips_at_one_more_wherever_the_input_is_cut() {
    use GuardError as E;
    let many = |one: Vec<u8>, count: usize| one.repeat(count);
    let rows = [
        ("head", Stream::Request, frame(1, 2000), Ok(())),
        (
            "head too large",
            Stream::Request,
            number(1).into_iter().chain(number(2001)).collect(),
            Err(E::FieldSection),
        ),
        (
            "head of any length",
            Stream::Request,
            number(1).into_iter().chain(number(1 << 61)).collect(),
            Err(E::FieldSection),
        ),
        (
            "large data",
            Stream::Request,
            many(frame(0, 70_000), 2),
            Ok(()),
        ),
        ("tiny data", Stream::Request, many(frame(0, 64), 5), Ok(())),
        (
            "tiny data too often",
            Stream::Request,
            many(frame(0, 64), 6),
            Err(E::TinyDataFlood),
        ),
        (
            "not so tiny",
            Stream::Request,
            many(frame(0, 65), 60),
            Ok(()),
        ),
        ("empty data", Stream::Request, many(frame(0, 0), 4), Ok(())),
        (
            "empty data too often",
            Stream::Request,
            many(frame(0, 0), 5),
            Err(E::EmptyDataFlood),
        ),
        (
            "unknown",
            Stream::Request,
            many(frame(0x21, 100), 3),
            Ok(()),
        ),
        (
            "unknown too often",
            Stream::Request,
            many(frame(0x4021, 3), 4),
            Err(E::ControlFlood),
        ),
        (
            "unknown too large",
            Stream::Request,
            frame(0x21, 101),
            Err(E::ControlFrame),
        ),
        ("control", Stream::Control, many(frame(4, 10), 3), Ok(())),
        (
            "control too often",
            Stream::Control,
            many(frame(7, 1), 4),
            Err(E::ControlFlood),
        ),
        (
            "settings too large",
            Stream::Control,
            frame(4, 101),
            Err(E::ControlFrame),
        ),
        (
            "data on the control stream",
            Stream::Control,
            frame(0, 101),
            Err(E::ControlFrame),
        ),
        ("no frames", Stream::Encoder, vec![0xff; 5000], Ok(())),
    ];
    for (name, stream, bytes, expected) in rows {
        for piece in [1, 2, 3, 7, bytes.len() + 1] {
            assert_eq!(
                scan(stream, &bytes, piece),
                expected,
                "{name}, {piece} at a time"
            );
        }
    }
}

#[test]
fn budgets_come_back_with_time_and_with_requests() {
    let now = start();
    let mut guard = Guard::new(&limits(), now);
    assert_eq!(guard.on_reset(now), Ok(()));
    assert_eq!(guard.on_reset(now), Ok(()));
    assert_eq!(guard.on_reset(now), Err(GuardError::ResetFlood));
    for _ in 0..10 {
        guard.on_request();
    }
    assert_eq!(guard.on_reset(now), Ok(()));
    assert_eq!(guard.on_reset(now), Err(GuardError::ResetFlood));
    let later = now + Duration::from_secs(1);
    assert_eq!(guard.on_reset(later), Ok(()));
    for _ in 0..6 {
        assert_eq!(guard.on_stream(now), Ok(()));
    }
    assert_eq!(guard.on_stream(now), Err(GuardError::StreamFlood));
}
