//! gRPC: the laws of its codecs.
//!
//! The first byte sets the limits and how the rest is cut; the rest is the stream, so that a seed is a message
//! that a person can read. Not the filters. Start at [`message_decode`].

#[path = "../../protocols/grpc/tests/support/mod.rs"]
mod support;

use bytes::BytesMut;
use portcullis_codec::{Decoder, WireError};
use portcullis_grpc::encoder::{encode_header, encode_trailers_frame};
use portcullis_grpc::web::{TextDecoder, WebDecoder, encode_text};
use portcullis_grpc::{
    MessageDecoder, MessageHeader, MessageLimits, MessageScanner, decode_message, encode_message,
    parse_timeout, write_timeout,
};
use portcullis_testkit::{Random, laws};
use support::{Seen, joined, merged, merged_web};

/// The longest trailers where limits are small.
const SMALL_TRAILERS: usize = 48;

fn settings(data: &[u8]) -> Option<(MessageLimits, Random, &[u8])> {
    let (&first, input) = data.split_first()?;
    let limits = MessageLimits {
        message_bytes: if first & 1 == 0 { 1 << 20 } else { 8 },
        compressed: first & 2 == 0,
    };
    let seed = data.iter().fold(0_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Some((limits, Random::from_seed(seed), input))
}

/// Messages: every split agrees, limits hold, what was read is written back as it was, and the scanner agrees with
/// the decoder. The same bytes are also a deadline and a status message.
pub fn message_decode(data: &[u8]) {
    let Some((limits, mut random, input)) = settings(data) else {
        return;
    };
    let longest = 1 + random.below(32);
    let pieces = random.pieces(input, longest);
    let seen = laws::split_agrees(|| MessageDecoder::new(limits), pieces.clone(), merged);
    let mut written = BytesMut::new();
    for item in &seen.items {
        write(item, limits, &mut written);
    }
    if seen.error.is_none() {
        assert_eq!(written, input, "read and written back");
    } else {
        assert!(input.starts_with(whole_messages(&seen.items, &written)));
    }
    let mut scanner = MessageScanner::new(limits);
    let scanned = pieces
        .iter()
        .try_fold(0, |count, piece| {
            scanner.scan(piece).map(|more| count + more)
        })
        .and_then(|count| scanner.finish().map(|()| count));
    match scanned {
        Ok(count) => assert_eq!(Ok(seen.items.len()), usize::try_from(count), "messages"),
        Err(error) => assert_eq!(Some(error.label()), seen.error, "scanner against decoder"),
    }
    header_values(input);
}

/// The bytes of the messages that were seen to their ends.
fn whole_messages<'a>(items: &[Seen], written: &'a [u8]) -> &'a [u8] {
    let cut = match items.last() {
        Some(Seen::Message(_, data, false)) => MessageHeader::LEN + data.len(),
        _ => 0,
    };
    written
        .get(..written.len() - cut)
        .expect("written is not shorter than its last message")
}

fn write(item: &Seen, limits: MessageLimits, to: &mut BytesMut) {
    match item {
        Seen::Message(compressed, data, _) => {
            assert!(
                data.len() <= limits.message_bytes as usize,
                "past the limit"
            );
            assert!(limits.compressed || !compressed, "compressed unseen");
            let length = u32::try_from(data.len()).expect("within the limit");
            let compressed = *compressed;
            encode_header(MessageHeader { compressed, length }, to);
            to.extend_from_slice(data);
        }
        Seen::Trailers(fields) => {
            encode_trailers_frame(fields, to).expect("within the limit");
        }
    }
}

fn header_values(input: &[u8]) {
    let text = decode_message(input);
    assert_eq!(
        decode_message(&encode_message(&text)),
        text,
        "status message"
    );
    if let Ok(time) = parse_timeout(input) {
        let mut text = String::new();
        write_timeout(time, &mut text);
        let again = parse_timeout(text.as_bytes()).expect("own writing is read");
        assert!(again >= time, "shortened {time:?} to {again:?}");
    }
}

/// gRPC-Web bodies, binary and in base64: every split agrees, trailers are last and within their limit, and what
/// was read means the same when written again.
pub fn web_decode(data: &[u8]) {
    let Some((limits, mut random, input)) = settings(data) else {
        return;
    };
    let max_trailers = if limits.message_bytes == 8 {
        SMALL_TRAILERS
    } else {
        portcullis_grpc::web::MAX_TRAILERS
    };
    let make = || WebDecoder::new(limits, max_trailers);
    let longest = 1 + random.below(32);
    let seen = laws::split_agrees(make, random.pieces(input, longest), merged_web);
    for (index, item) in seen.items.iter().enumerate() {
        if let Seen::Trailers(_) = item {
            assert_eq!(index + 1, seen.items.len(), "something behind the trailers");
        }
    }
    if seen.error.is_none() {
        let mut written = BytesMut::new();
        for item in &seen.items {
            write(item, limits, &mut written);
        }
        // Values lose surrounding space, names their case: the meaning stays.
        let generous = || WebDecoder::new(limits, 4 * input.len() + 64);
        let again = laws::transcript(&mut generous(), [&written[..]], merged_web);
        assert_eq!(again.items, seen.items, "written again");
    }
    let text = laws::split_agrees(|| TextDecoder, random.pieces(input, longest), joined);
    for bytes in &text.items {
        let encoded = encode_text(bytes);
        let mut source = BytesMut::from(&encoded[..]);
        let decoded = TextDecoder
            .decode(&mut source)
            .expect("own writing is read");
        assert_eq!(decoded.as_deref(), Some(&bytes[..]));
    }
}
