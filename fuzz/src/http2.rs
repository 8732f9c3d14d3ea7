//! HTTP/2 frames: the laws of the codec, and agreement with `h2`.
//!
//! An input is frames as they lie on the wire, without the preface; where it is cut follows from its own hash. Not the
//! guard's budgets: those are in [`crate::http2_session`]. Start at [`decode`]; the comparison with `h2` is in [`diff`].

mod diff;
mod h2_server;

use bytes::BytesMut;
use portcullis_codec::{Decoder, Encoder, Severity, WireError};
use portcullis_http2::frame::{LEAST_MAX_FRAME_SIZE, MOST_MAX_FRAME_SIZE};
use portcullis_http2::{Frame, FrameDecoder, FrameEncoder};
use portcullis_testkit::{Random, laws};

pub use diff::{Difference, INTENDED, diff};

/// A limit small enough for a fuzzer to find its edge.
const SMALL: u32 = 12;

/// The whole input against the same input in pieces: equal answers, and limits held.
pub fn decode(data: &[u8]) {
    let mut random = Random::from_seed(hash(data));
    for max in [LEAST_MAX_FRAME_SIZE, SMALL] {
        let longest = 1 + random.below(64);
        let pieces = random.pieces(data, longest);
        let seen = laws::split_agrees(|| FrameDecoder::new(max), pieces, laws::plain);
        for frame in &seen.items {
            // What is within the limit can be written within it, padding and all.
            let mut bytes = BytesMut::new();
            let encoded = FrameEncoder::new(max).encode(frame, &mut bytes);
            assert_eq!(encoded, Ok(()), "{frame:?}");
        }
    }
}

/// What decodes is encoded and decoded again: the same frames, then the same bytes.
pub fn roundtrip(data: &[u8]) {
    let encode = |frames: &Vec<Frame>| {
        let mut bytes = BytesMut::new();
        let mut encoder = FrameEncoder::new(MOST_MAX_FRAME_SIZE);
        for frame in frames {
            let encoded = encoder.encode(frame, &mut bytes);
            encoded.expect("what was decoded has a wire form");
        }
        bytes.to_vec()
    };
    let whole = |bytes: &[u8]| {
        let frames = decode_all(bytes);
        (!frames.is_empty()).then_some(frames)
    };
    laws::roundtrip(data, whole, encode);
}

/// Frames up to the end or to the first error that ends the connection; errors of single streams are stepped over.
fn decode_all(bytes: &[u8]) -> Vec<Frame> {
    let mut buffer = BytesMut::from(bytes);
    let mut decoder = FrameDecoder::new(LEAST_MAX_FRAME_SIZE);
    let mut frames = Vec::new();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Err(error) if error.severity() == Severity::Stream => {}
            Ok(None) | Err(_) => return frames,
        }
    }
}

/// FNV-1a: where to cut is decided by the input alone.
pub(crate) fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
