//! The laws of `portcullis-testkit` for the codec, and what is written is read again.
//!
//! Cases with names are in `tests/vectors/`. Start at [`limits_trip_past_their_number`].

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails loudly

mod round;
mod support;

use bytes::BytesMut;
use portcullis_codec::Decoder as _;
use portcullis_postgres::frame::{Frame, FrameScanner, HEADER, Side};
use portcullis_postgres::limits::{FrameLimits, StartupLimits};
use portcullis_postgres::startup::{ProtocolVersion, StartupDecoder};
use portcullis_postgres::{encoder, message};
use portcullis_testkit::laws;
use proptest::prelude::*;
use support::{Messages, merged};

fn query(text: usize) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encoder::query(&vec![b'x'; text], &mut bytes);
    bytes.to_vec()
}

fn startup(parameters: usize, value: usize) -> Vec<u8> {
    let value = vec![b'x'; value];
    let pairs = std::iter::repeat_n((&b"a"[..], &value[..]), parameters);
    let mut bytes = BytesMut::new();
    encoder::startup(ProtocolVersion::V3_0, pairs, &mut bytes);
    bytes.to_vec()
}

#[test]
fn limits_trip_past_their_number() {
    let frames = |limits| Messages::new(Side::Frontend, limits);
    let largest = |n| {
        frames(FrameLimits {
            largest: n as u64,
            ..FrameLimits::default()
        })
    };
    // The length counts itself and the NUL.
    laws::limit_trips_after(50, largest, |n| query(n - 5), "message_too_large");
    let authentication = |n| {
        frames(FrameLimits {
            authentication: n,
            ..FrameLimits::default()
        })
    };
    let password = |n: usize| {
        let mut bytes = BytesMut::new();
        encoder::password(&vec![b'x'; n - 5], &mut bytes);
        bytes.to_vec()
    };
    laws::limit_trips_after(50, authentication, password, "message_too_large");
    let bytes = |n| {
        StartupDecoder::new(StartupLimits {
            bytes: n,
            ..StartupLimits::default()
        })
    };
    // Length, code, a name of one letter, the NULs of both strings, and that behind all.
    laws::limit_trips_after(50, bytes, |n| startup(1, n - 12), "startup_too_long");
    let parameters = |n| {
        StartupDecoder::new(StartupLimits {
            parameters: n,
            ..StartupLimits::default()
        })
    };
    let label = "startup_too_many_parameters";
    laws::limit_trips_after(7, parameters, |n| startup(n, 3), label);
}

#[test]
fn what_is_not_whole_is_left_alone() {
    let start = || StartupDecoder::new(StartupLimits::default());
    for packet in [
        startup(2, 3),
        written(encoder::ssl_request),
        written(encoder::gss_encryption_request),
        written(|dst| encoder::cancel_request(1, &[7; 32], dst)),
    ] {
        laws::partial_input_untouched(start, &packet);
    }
    let frames = || Messages::new(Side::Frontend, FrameLimits::default());
    for message in [query(20), written(encoder::sync)] {
        laws::partial_input_untouched(frames, &message);
    }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut dst = BytesMut::new();
    write(&mut dst);
    dst.to_vec()
}

#[test]
fn a_message_begins_at_the_limit_and_not_before() {
    for whole in [HEADER, 20, 1000] {
        let limits = FrameLimits {
            whole,
            ..FrameLimits::default()
        };
        let fits = query(whole.saturating_sub(6));
        let larger = query(whole.saturating_sub(6) + 1);
        let mut scanner = FrameScanner::new(Side::Frontend, limits);
        if whole > HEADER {
            let frame = scanner.next(&fits).unwrap().unwrap();
            assert!(matches!(frame, Frame::Whole { .. }), "{whole}");
        }
        let frame = scanner.next(&larger).unwrap().unwrap();
        assert!(
            matches!(frame, Frame::Begin { len, .. } if len == whole),
            "{whole}"
        );
    }
}

/// However little is held, a message of any length goes through.
#[test]
fn little_is_held_of_a_large_message() {
    let limits = FrameLimits {
        whole: 64,
        ..FrameLimits::default()
    };
    let large = query(1_000_000);
    let mut messages = Messages::new(Side::Frontend, limits);
    let mut buffer = BytesMut::new();
    let (mut most, mut taken) = (0, 0);
    for piece in large.chunks(50) {
        buffer.extend_from_slice(piece);
        while let Some((frame, _)) = messages.decode(&mut buffer).unwrap() {
            taken += frame.len();
        }
        most = most.max(buffer.len());
    }
    assert_eq!(taken, large.len());
    assert!(most < 64, "{most} bytes were held");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_split_anywhere_say_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        whole in 0_usize..64,
        batch: bool,
    ) {
        let limits = FrameLimits { whole, batch, ..FrameLimits::default() };
        for side in [Side::Frontend, Side::Backend] {
            laws::every_split_agrees(|| Messages::new(side, limits), &bytes, merged);
        }
        let start = || StartupDecoder::new(StartupLimits::default());
        laws::every_split_agrees(start, &bytes, laws::plain);
    }

    #[test]
    fn streams_of_messages_split_anywhere_say_the_same(
        messages in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40), 0..20),
        whole in 0_usize..64,
        batch: bool,
    ) {
        for (side, tags) in [
            (Side::Frontend, &b"BCdcfDEHFPpQSX"[..]),
            (Side::Backend, b"RK23CWdcGHDIEVvnNAtS1sZT"),
        ] {
            let mut stream = BytesMut::new();
            for (tag, length) in &messages {
                let tag = portcullis_postgres::frame::Tag(tags[tag.index(tags.len())]);
                encoder::message(tag, &mut stream, |dst| dst.resize(dst.len() + length, b'I'));
            }
            let limits = FrameLimits { whole, batch, ..FrameLimits::default() };
            laws::every_split_agrees(|| Messages::new(side, limits), &stream, merged);
        }
    }

    #[test]
    fn what_a_client_says_is_read_as_it_was_written(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        for tag in *b"BCdcfDEHFPpQSX" {
            round::frontend(tag, &bytes);
        }
    }

    #[test]
    fn what_a_server_says_is_read_as_it_was_written(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        for tag in *b"RK23CWdcGHDIEVvnNAtS1sZT" {
            round::backend(tag, &bytes);
        }
    }

    #[test]
    fn binds_round(
        strings in prop::array::uniform2("[^\0]{0,9}"),
        formats in prop::collection::vec(any::<i16>(), 0..4),
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..9),
    ) {
        let formats: Vec<_> = formats.into_iter().map(message::Format).collect();
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        let bytes = written(|dst| encoder::bind(&encoder::Bind {
            portal: strings[0].as_bytes(),
            statement: strings[1].as_bytes(),
            formats: &formats,
            parameters: &values,
            result_formats: &formats,
        }, dst));
        let bind = message::frontend::Bind::parse(&bytes[HEADER..]).unwrap();
        prop_assert_eq!(bind.portal, strings[0].as_bytes());
        prop_assert_eq!(bind.statement, strings[1].as_bytes());
        prop_assert!(bind.parameters.iter().eq(values.iter().copied()));
        prop_assert!(bind.formats.iter().eq(formats.iter().copied()));
        prop_assert!(bind.result_formats.iter().eq(formats.iter().copied()));
        assert!(round::frontend(b'B', &bytes[HEADER..]));
    }

    #[test]
    fn startups_round(pairs in prop::collection::vec(("[^\0]{1,9}", "[^\0]{0,9}"), 0..9), minor: u16) {
        let version = ProtocolVersion { major: 3, minor };
        let pairs = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut bytes = BytesMut::new();
        encoder::startup(version, pairs.clone(), &mut bytes);
        prop_assert!(round::startup(&bytes));
        let mut decoder = StartupDecoder::new(StartupLimits::default());
        let Ok(Some(portcullis_postgres::startup::Startup::Start { version: own, parameters })) =
            decoder.decode(&mut bytes)
        else {
            panic!("no start");
        };
        prop_assert_eq!(own, version);
        prop_assert!(parameters.iter().eq(pairs));
    }
}
