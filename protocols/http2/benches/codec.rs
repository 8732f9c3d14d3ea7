//! What the guard and the codec cost per frame: the bytes of a busy connection, through each.
//!
//! Not a measurement of a proxy: `h2` and the kernel cost far more. Wall clock on shared machines wanders, so count
//! instructions: `valgrind --tool=callgrind --toggle-collect='codec::*' <bench binary> --once` (a hundred rounds).
//! Without `--once` it prints nanoseconds, good for comparing within one run. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)] // a bench may fail loudly

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_codec::{Decoder, Encoder};
use portcullis_http2::frame::{
    Data, Frame, Headers, LEAST_MAX_FRAME_SIZE, Settings, StreamId, WindowUpdate,
};
use portcullis_http2::{FrameDecoder, FrameEncoder, Guard, GuardLimits, Role};

/// The head of a browser's request once the tables are warm: indices, a path, a cookie.
const BLOCK: &[u8] =
    b"\x82\x87\x84\xc1\xc0\xbf\xbe\xbd\x04\x8a\x62\x74\xa6\x0b\xa5\x3f\xff\xff\xff\xff\
\xbc\xbb\xba\xb9\x0f\x11\x8a\x62\x74\xa6\x0b\xa5\x3f\xff\xff\xff\xff\xb8\xb7";

/// Frames of one request: its head, and room for the response.
fn request() -> Vec<Frame> {
    let stream = StreamId::new(1);
    vec![
        Frame::Headers(Headers {
            stream,
            block: Bytes::from_static(BLOCK),
            end_stream: true,
            end_headers: true,
            priority: None,
            padding: 0,
        }),
        Frame::WindowUpdate(WindowUpdate {
            stream,
            increment: 65_535,
        }),
    ]
}

/// Frames of an upload: 16 KiB of content.
fn upload() -> Vec<Frame> {
    vec![Frame::Data(Data {
        stream: StreamId::new(1),
        data: vec![b'x'; LEAST_MAX_FRAME_SIZE as usize].into(),
        end_stream: false,
        padding: 0,
    })]
}

#[inline(never)]
fn encode(frames: &[Frame], dst: &mut BytesMut) {
    let mut encoder = FrameEncoder::new(LEAST_MAX_FRAME_SIZE);
    for frame in frames {
        encoder.encode(frame, dst).unwrap();
    }
}

#[inline(never)]
fn decode(decoder: &mut FrameDecoder, src: &mut BytesMut) -> usize {
    let mut frames = 0;
    while let Some(frame) = decoder.decode(src).unwrap() {
        black_box(frame);
        frames += 1;
    }
    frames
}

#[inline(never)]
fn guard(guard: &mut Guard, now: Instant, bytes: &[u8]) {
    guard.handle_received(now, bytes).unwrap();
}

fn run(name: &str, frames: &[Frame], rounds: u32) {
    let mut bytes = BytesMut::new();
    let mut decoder = FrameDecoder::new(LEAST_MAX_FRAME_SIZE);
    let mut times = [0_u128; 3];
    let mut greeting = BytesMut::new();
    encode(&[Frame::Settings(Settings::new(&[]))], &mut greeting);
    for _ in 0..rounds {
        let started = now();
        bytes.clear();
        encode(frames, &mut bytes);
        let encoded = now();
        times[0] += (encoded - started).as_nanos();
        // A guard of its own, so that no budget is ever spent.
        let mut watch = Guard::new(Role::Client, &GuardLimits::default(), encoded);
        guard(&mut watch, encoded, &greeting);
        let begun = now();
        guard(black_box(&mut watch), encoded, &bytes);
        let guarded = now();
        assert_eq!(decode(&mut decoder, &mut bytes), frames.len());
        times[1] += (guarded - begun).as_nanos();
        times[2] += (now() - guarded).as_nanos();
    }
    let [encode, guard, decode] = times.map(|total| total / u128::from(rounds));
    println!("{name:8} encode {encode} ns, guard {guard} ns, decode {decode} ns");
}

/// A bench is what clocks are for.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    let rounds = if once { 100 } else { 100_000 };
    run("request", &request(), rounds);
    run("upload", &upload(), rounds);
}
