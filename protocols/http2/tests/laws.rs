//! The laws of the codec and of the guard on generated frames.

#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by the lint

mod support;

use bytes::{Bytes, BytesMut};
use portcullis_codec::{Decoder, Encoder};
use portcullis_http2::frame::{
    Continuation, Data, GoAway, Headers, LEAST_MAX_FRAME_SIZE, MOST_MAX_FRAME_SIZE, Ping, Priority,
    PushPromise, Reset, Setting, Settings, Unknown, WindowUpdate,
};
use portcullis_http2::{
    EncodeError, ErrorCode, Frame, FrameDecoder, FrameEncoder, FrameKind, Guard, GuardError,
    GuardLimits, PREFACE, Role, StreamId,
};
use portcullis_testkit::{Random, VirtualClock, laws};
use proptest::collection::vec;
use proptest::prelude::*;

fn decoder() -> FrameDecoder {
    FrameDecoder::new(LEAST_MAX_FRAME_SIZE)
}

fn encoded<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let mut encoder = FrameEncoder::new(LEAST_MAX_FRAME_SIZE);
    for frame in frames {
        encoder.encode(frame, &mut bytes).unwrap();
    }
    bytes.to_vec()
}

fn stream() -> impl Strategy<Value = StreamId> {
    (1_u32..1 << 31).prop_map(StreamId::new)
}

fn content() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn padding() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), 1_u16..=256]
}

fn priority() -> impl Strategy<Value = Priority> {
    let fields = (any::<u32>(), any::<bool>(), any::<u8>());
    fields.prop_map(|(dependency, exclusive, weight)| Priority {
        dependency: StreamId::new(dependency),
        exclusive,
        weight,
    })
}

/// A header block in one frame or in several, so that any list of these is in order.
fn block() -> impl Strategy<Value = Vec<Frame>> {
    let head = (
        stream(),
        any::<bool>(),
        proptest::option::of(priority()),
        padding(),
        proptest::option::of(stream()),
    );
    (head, vec(content(), 1..4)).prop_map(
        |((stream, end_stream, priority, padding, promised), pieces)| {
            let last = pieces.len() - 1;
            let frames = pieces.into_iter().enumerate().map(|(index, block)| {
                let end_headers = index == last;
                match promised {
                    _ if index > 0 => Frame::Continuation(Continuation {
                        stream,
                        block,
                        end_headers,
                    }),
                    Some(promised) => Frame::PushPromise(PushPromise {
                        stream,
                        promised,
                        block,
                        end_headers,
                        padding,
                    }),
                    None => Frame::Headers(Headers {
                        stream,
                        block,
                        end_stream,
                        end_headers,
                        priority,
                        padding,
                    }),
                }
            });
            frames.collect()
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let entry = prop_oneof![
        (Just(Setting::ENABLE_PUSH), 0_u32..=1),
        (Just(Setting::INITIAL_WINDOW_SIZE), 0_u32..1 << 31),
        (
            Just(Setting::MAX_FRAME_SIZE),
            LEAST_MAX_FRAME_SIZE..=MOST_MAX_FRAME_SIZE
        ),
        ((9_u16..).prop_map(Setting), any::<u32>()),
    ];
    prop_oneof![
        Just(Settings::ack()),
        vec(entry, 0..5).prop_map(|entries| Settings::new(&entries)),
    ]
}

/// Frames that stand for themselves, one or a whole header block.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let data = (stream(), content(), any::<bool>(), padding()).prop_map(
        |(stream, data, end_stream, padding)| {
            Frame::Data(Data {
                stream,
                data,
                end_stream,
                padding,
            })
        },
    );
    let goaway = (any::<u32>(), any::<u32>(), content()).prop_map(|(last, code, debug)| {
        Frame::GoAway(GoAway {
            last_stream: StreamId::new(last),
            code: ErrorCode(code),
            debug,
        })
    });
    let unknown = (10_u8.., any::<u8>(), any::<u32>(), content()).prop_map(
        |(kind, flags, stream, payload)| {
            Frame::Unknown(Unknown {
                kind,
                flags,
                stream: StreamId::new(stream),
                payload,
            })
        },
    );
    let single = prop_oneof![
        data,
        (stream(), priority()).prop_map(|(stream, priority)| Frame::Priority(stream, priority)),
        (stream(), any::<u32>()).prop_map(|(stream, code)| Frame::Reset(Reset {
            stream,
            code: ErrorCode(code)
        })),
        settings().prop_map(Frame::Settings),
        (any::<bool>(), any::<[u8; 8]>())
            .prop_map(|(ack, payload)| Frame::Ping(Ping { ack, payload })),
        goaway,
        (any::<u32>(), 1_u32..1 << 31).prop_map(|(stream, increment)| Frame::WindowUpdate(
            WindowUpdate {
                stream: StreamId::new(stream),
                increment
            }
        )),
        unknown,
    ];
    prop_oneof![single.prop_map(|frame| vec![frame]), block()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_survive_a_round_trip(list in vec(frames(), 0..6), seed in any::<u64>()) {
        let list = list.concat();
        let bytes = encoded(&list);
        let pieces = Random::from_seed(seed).pieces(&bytes, 30);
        let seen = laws::split_agrees(decoder, pieces, laws::plain);
        prop_assert_eq!(seen.error, None);
        prop_assert_eq!(encoded(&seen.items), bytes);
        prop_assert_eq!(seen.items, list);
    }

    #[test]
    fn noise_is_judged_alike_in_every_split(noise in vec(prop_oneof![0_u8..12, any::<u8>()], 0..60)) {
        laws::every_split_agrees(decoder, &noise, laws::plain);
    }

    /// The guard says the same however the bytes come, and counts what was built.
    #[test]
    fn the_guard_does_not_see_fragmentation(
        list in vec(frames(), 0..10), seed in any::<u64>(), is_server in any::<bool>(),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let list = list.concat();
        let mut bytes = if is_server { PREFACE.to_vec() } else { Vec::new() };
        let settings = Frame::Settings(Settings::new(&[]));
        bytes.extend(encoded([&settings].into_iter().chain(&list)));
        let (whole, result) = guarded(role, [&bytes[..]]);
        let pieces = Random::from_seed(seed).pieces(&bytes, 30);
        let (cut, cut_result) = guarded(role, pieces);
        prop_assert_eq!(result, cut_result);
        prop_assert_eq!(whole.frames(), cut.frames());
        prop_assert_eq!(whole.streams_progress(), cut.streams_progress());
        // Content of header blocks is noise here.
        prop_assert!(!matches!(result, Err(error) if error != GuardError::BrokenCompression));
        if result.is_ok() {
            for kind in FrameKind::ALL {
                let built = list.iter().filter(|frame| frame.kind().index() == kind.index()).count();
                let first = usize::from(kind == FrameKind::Settings);
                prop_assert_eq!(whole.frames().received(kind) as usize, built + first);
            }
        }
    }

    /// Nothing that a peer sends makes the guard do anything but answer.
    #[test]
    fn the_guard_takes_noise(noise in vec(prop_oneof![0_u8..12, any::<u8>()], 0..400), seed in any::<u64>()) {
        let (whole, result) = guarded(Role::Client, [&noise[..]]);
        let (cut, cut_result) = guarded(Role::Client, Random::from_seed(seed).pieces(&noise, 30));
        prop_assert_eq!(result, cut_result);
        prop_assert_eq!(whole.frames(), cut.frames());
    }
}

fn guarded<'a>(
    role: Role,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Guard, Result<(), GuardError>) {
    let now = VirtualClock::new().now();
    let mut guard = Guard::new(role, &GuardLimits::default(), now);
    let result = pieces
        .into_iter()
        .try_for_each(|piece| guard.handle_received(now, piece));
    (guard, result)
}

#[test]
fn partial_frames_are_left_alone() {
    let stream = StreamId::new(1);
    for frame in [
        Frame::Settings(Settings::new(&[(Setting::MAX_FRAME_SIZE, 20_000)])),
        Frame::Data(Data {
            stream,
            data: "hello".into(),
            end_stream: true,
            padding: 3,
        }),
        Frame::WindowUpdate(WindowUpdate {
            stream,
            increment: 1,
        }),
    ] {
        laws::partial_input_untouched(decoder, &encoded([&frame]));
    }
}

#[test]
fn the_largest_payload_is_exact() {
    let frame = |bytes: usize| {
        let frame = Frame::Unknown(Unknown {
            kind: 0xff,
            flags: 0,
            stream: StreamId::CONNECTION,
            payload: vec![0; bytes].into(),
        });
        let mut encoded = BytesMut::new();
        let mut encoder = FrameEncoder::new(MOST_MAX_FRAME_SIZE);
        encoder.encode(&frame, &mut encoded).unwrap();
        encoded.to_vec()
    };
    let make = |limit: usize| FrameDecoder::new(limit as u32);
    laws::limit_trips_after(300, make, frame, "h2_frame_too_large");
}

/// Errors of one stream take their frame and leave the connection.
#[test]
fn decoding_goes_on_after_an_error_of_one_stream() {
    let mut bytes = BytesMut::from(
        &b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\0\0\0\x02\x02\0\0\0\0\x01\0\0\0\0\0\x04\x01\0\0\0\0"[..],
    );
    let mut decoder = decoder();
    let labels: Vec<_> = (0..2)
        .map(|_| decoder.decode(&mut bytes).unwrap_err().to_string())
        .collect();
    assert_eq!(
        labels,
        ["window update of zero", "invalid length of PRIORITY"]
    );
    let frame = decoder.decode(&mut bytes).unwrap();
    assert_eq!(frame, Some(Frame::Settings(Settings::ack())));
    assert!(bytes.is_empty());
}

#[test]
fn what_cannot_be_read_is_not_written() {
    let data = |stream, padding| {
        Frame::Data(Data {
            stream: StreamId::new(stream),
            data: Bytes::from_static(&[0; 100]),
            end_stream: false,
            padding,
        })
    };
    let update = |increment| {
        Frame::WindowUpdate(WindowUpdate {
            stream: StreamId::CONNECTION,
            increment,
        })
    };
    let rows = [
        ("as large as may be", data(1, 0), Ok(())),
        ("too large", data(1, 1), Err(EncodeError::TooLarge)),
        ("too much padding", data(1, 257), Err(EncodeError::Padding)),
        ("no stream", data(0, 0), Err(EncodeError::Stream)),
        ("no increment", update(0), Err(EncodeError::Value)),
        (
            "too much increment",
            update(1 << 31),
            Err(EncodeError::Value),
        ),
        (
            "a setting",
            Frame::Settings(Settings::new(&[(Setting::ENABLE_PUSH, 2)])),
            Err(EncodeError::Value),
        ),
        (
            "a kind that is known",
            Frame::Unknown(Unknown {
                kind: 0,
                flags: 0,
                stream: StreamId::new(1),
                payload: Bytes::new(),
            }),
            Err(EncodeError::Value),
        ),
    ];
    for (name, frame, expected) in rows {
        let mut bytes = BytesMut::new();
        let result = FrameEncoder::new(100).encode(&frame, &mut bytes);
        assert_eq!(result, expected, "{name}");
        assert_eq!(bytes.is_empty(), result.is_err(), "{name}");
    }
}
