//! The codec in small: messages decoded, messages only looked at, and base64 undone.
//!
//! Not a measurement of a proxy. Wall clock on shared machines wanders: compare within one run, or count
//! instructions with `valgrind --tool=callgrind <bench binary> --once`. Start at [`main`].

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)] // a bench may fail loudly

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use portcullis_codec::Decoder;
use portcullis_grpc::encoder::encode_message_frame;
use portcullis_grpc::web::{TextDecoder, encode_text};
use portcullis_grpc::{MessageDecoder, MessageLimits, MessageScanner};

const MESSAGES: usize = 100;

#[inline(never)]
fn decode(src: &mut BytesMut) -> usize {
    let mut decoder = MessageDecoder::new(MessageLimits::default());
    let mut pieces = 0;
    while decoder.decode(src).unwrap().is_some() {
        pieces += 1;
    }
    pieces
}

#[inline(never)]
fn scan(src: &[u8]) -> u32 {
    MessageScanner::new(MessageLimits::default())
        .scan(src)
        .unwrap()
}

#[inline(never)]
fn text(src: &mut BytesMut) -> usize {
    TextDecoder.decode(src).unwrap().unwrap().len()
}

/// A bench is what clocks are for.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    let rounds: u32 = if once { 10 } else { 20_000 };
    for size in [10, 100, 10_000] {
        let mut wire = BytesMut::new();
        for _ in 0..MESSAGES {
            encode_message_frame(&vec![7; size], &mut wire).unwrap();
        }
        let encoded = encode_text(&wire);
        let mut times = [0_u128; 3];
        let rounds = rounds / u32::try_from(size).unwrap().div_ceil(100);
        for _ in 0..rounds.max(10) {
            let mut source = wire.clone();
            let start = now();
            black_box(decode(&mut source));
            let decoded = now();
            black_box(scan(&wire));
            let scanned = now();
            let mut source = BytesMut::from(&encoded[..]);
            let copied = now();
            black_box(text(&mut source));
            times[0] += (decoded - start).as_nanos();
            times[1] += (scanned - decoded).as_nanos();
            times[2] += copied.elapsed().as_nanos();
        }
        let each = |total: u128| total / u128::from(rounds.max(10)) / MESSAGES as u128;
        let [decode, scan, text] = times.map(each);
        println!("{size:6} bytes a message: decode {decode} ns, scan {scan} ns, base64 {text} ns");
    }
}
