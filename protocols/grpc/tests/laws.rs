//! The laws of the codec on generated streams: any split agrees, what is encoded decodes to the same.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use portcullis_codec::{Decoder, Encoder};
use portcullis_grpc::encoder::{
    MessageEncoder, encode_header, encode_message_frame, encode_trailers_frame,
};
use portcullis_grpc::web::{TextDecoder, WebDecoder, encode_text};
use portcullis_grpc::{
    MessageDecoder, MessageHeader, MessageLimits, MessagePiece, MessageScanner, decode_message,
    encode_message, parse_timeout, write_timeout,
};
use portcullis_http::Fields;
use portcullis_testkit::{Random, laws};
use proptest::prelude::*;
use support::{Seen, joined, merged, merged_web};

fn limits(message_bytes: u32) -> MessageLimits {
    MessageLimits {
        message_bytes,
        compressed: true,
    }
}

fn messages() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let message = proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec((any::<bool>(), message), 0..8)
}

fn wire(messages: &[(bool, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for (compressed, message) in messages {
        let length = u32::try_from(message.len()).unwrap();
        let header = MessageHeader {
            compressed: *compressed,
            length,
        };
        encode_header(header, &mut bytes);
        bytes.extend_from_slice(message);
    }
    bytes.to_vec()
}

#[test]
fn a_prefix_is_taken_whole_or_not_at_all() {
    laws::partial_input_untouched(|| MessageDecoder::new(limits(10)), b"\0\0\0\0\x05");
    let mut trailers = BytesMut::new();
    let mut fields = Fields::new();
    fields.append("grpc-status", b"0");
    encode_trailers_frame(&fields, &mut trailers).unwrap();
    laws::partial_input_untouched(|| WebDecoder::new(limits(10), 100), &trailers);
    laws::partial_input_untouched(|| TextDecoder, b"QUJD");
}

#[test]
fn limits_hold_exactly() {
    let message = |length: usize| wire(&[(false, vec![0; length])]);
    laws::limit_trips_after(
        300,
        |n| MessageDecoder::new(limits(u32::try_from(n).unwrap())),
        message,
        "grpc_message_too_large",
    );
    let trailers = |length: usize| {
        let mut frame = vec![0x80];
        frame.extend(u32::try_from(length).unwrap().to_be_bytes());
        frame.extend(format!("a:{}\r\n", "x".repeat(length - 4)).bytes());
        frame
    };
    laws::limit_trips_after(
        100,
        |n| WebDecoder::new(limits(0), n),
        trailers,
        "grpc_web_trailers_too_large",
    );
}

#[test]
fn a_declared_length_is_judged_before_its_bytes_come() {
    let mut src = BytesMut::from(&b"\0\xff\xff\xff\xff"[..]);
    let error = MessageDecoder::new(limits(1000))
        .decode(&mut src)
        .unwrap_err();
    assert_eq!(error.status().as_str(), "resource_exhausted");
    assert!(
        MessageScanner::new(limits(1000))
            .scan(b"\0\xff\xff\xff\xff")
            .is_err()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_come_out_as_they_went_in(messages in messages(), seed in any::<u64>()) {
        let input = wire(&messages);
        let pieces = Random::from_seed(seed).pieces(&input, 12);
        let seen = laws::split_agrees(|| MessageDecoder::new(limits(40)), pieces, merged);
        let expected: Vec<Seen> = messages
            .iter()
            .map(|(compressed, data)| Seen::Message(*compressed, data.clone(), true))
            .collect();
        prop_assert_eq!(seen.items, expected);
        prop_assert_eq!(seen.error, None);
    }

    #[test]
    fn pieces_are_written_as_they_were_read(messages in messages()) {
        let input = wire(&messages);
        let mut src = BytesMut::from(&input[..]);
        let mut decoder = MessageDecoder::new(limits(40));
        let mut output = BytesMut::new();
        while let Some(piece) = decoder.decode_eof(&mut src).unwrap() {
            MessageEncoder.encode(piece, &mut output).unwrap();
        }
        prop_assert_eq!(&output[..], &input[..]);
    }

    /// The two readers of the same framing agree on any bytes, cut anywhere.
    #[test]
    fn scanner_and_decoder_agree(
        noise in "(\0|\x01|\x02|\0\0\0\0[\0-\x06]|[a-c]){0,12}", seed in any::<u64>(), compressed in any::<bool>(),
    ) {
        let limits = MessageLimits { message_bytes: 4, compressed };
        let input = noise.as_bytes();
        let began = |items: &mut Vec<u32>, piece| {
            if matches!(piece, MessagePiece::Start(_)) {
                items.push(1);
            }
        };
        let decoded = laws::transcript(&mut MessageDecoder::new(limits), [input], began);
        let mut scanner = MessageScanner::new(limits);
        let scanned = Random::from_seed(seed)
            .pieces(input, 3)
            .into_iter()
            .try_fold(0, |count, piece| Ok(count + scanner.scan(piece)?))
            .and_then(|count| scanner.finish().map(|()| count));
        match scanned {
            Ok(count) => {
                prop_assert_eq!(decoded.error, None);
                prop_assert_eq!(decoded.items.len(), count as usize);
            }
            Err(error) => {
                use portcullis_codec::WireError as _;
                prop_assert_eq!(decoded.error, Some(error.label()));
            }
        }
    }

    #[test]
    fn web_bodies_come_out_as_they_went_in(
        messages in messages(),
        trailers in proptest::collection::vec(("[a-z0-9-]{1,12}", "([!-~]([ -~]{0,12}[!-~])?)?"), 0..5),
        seed in any::<u64>(),
    ) {
        let mut fields = Fields::new();
        for (name, value) in &trailers {
            fields.append(name.as_str(), value.as_bytes());
        }
        let mut frame = BytesMut::new();
        encode_trailers_frame(&fields, &mut frame).unwrap();
        let input = [wire(&messages), frame.to_vec()].concat();
        let make = || WebDecoder::new(limits(40), 1000);
        let pieces = Random::from_seed(seed).pieces(&input, 12);
        let seen = laws::split_agrees(make, pieces, merged_web);
        prop_assert_eq!(seen.error, None);
        prop_assert_eq!(seen.items.last(), Some(&Seen::Trailers(fields)));
        prop_assert_eq!(seen.items.len(), messages.len() + 1);
    }

    /// Base64 in any number of padded runs, cut anywhere.
    #[test]
    fn text_comes_out_as_it_went_in(
        runs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
        seed in any::<u64>(),
    ) {
        let input: Vec<u8> = runs.iter().flat_map(|run| encode_text(run).to_vec()).collect();
        let pieces = Random::from_seed(seed).pieces(&input, 7);
        let seen = laws::split_agrees(|| TextDecoder, pieces, joined);
        prop_assert_eq!(seen.error, None);
        let whole: Vec<u8> = seen.items.concat();
        prop_assert_eq!(whole, runs.concat());
    }

    #[test]
    fn noise_is_judged_alike_in_every_split(
        noise in "(\0|\x01|\0\0\0\0[\0-\x03]|\u{80}|a: b\r\n|x|[A-D]{1,4}|=|==){0,10}",
        raw in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x80), Just(3), any::<u8>()], 0..24),
    ) {
        for input in [noise.as_bytes(), &raw[..]] {
            laws::every_split_agrees(|| MessageDecoder::new(limits(4)), input, merged);
            laws::every_split_agrees(|| WebDecoder::new(limits(4), 8), input, merged_web);
            laws::every_split_agrees(|| TextDecoder, input, joined);
        }
    }

    #[test]
    fn status_messages_survive_the_wire(text in "\\PC{0,40}|[\0-\x7f]{0,20}") {
        let encoded = encode_message(&text);
        prop_assert!(encoded.iter().all(|byte| (b' '..=b'~').contains(byte)));
        prop_assert_eq!(decode_message(&encoded), text);
    }

    /// What is written is at most one part in a million longer, never shorter.
    #[test]
    fn timeouts_survive_the_wire(seconds in 0_u64..=99_999_999 * 3600, nanos in 0_u32..1_000_000_000, small in any::<bool>()) {
        let time = if small { Duration::from_nanos(u64::from(nanos)) } else { Duration::new(seconds, nanos) };
        prop_assume!(time <= Duration::from_hours(99_999_999));
        let mut text = String::new();
        write_timeout(time, &mut text);
        prop_assert!(text.len() <= 9, "{}", text);
        let read = parse_timeout(text.as_bytes()).unwrap();
        prop_assert!(read >= time);
        prop_assert!(read.saturating_sub(time).as_nanos() <= time.as_nanos() / 1_000_000 * 10, "{:?} {}", time, text);
    }
}

#[test]
fn a_whole_message_is_framed() {
    let mut frame = BytesMut::new();
    encode_message_frame(b"abc", &mut frame).unwrap();
    assert_eq!(frame.freeze(), Bytes::from_static(b"\0\0\0\0\x03abc"));
}
