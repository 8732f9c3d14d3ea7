//! The codec's one path: a ClientHello looked at whole, in many records, and as it trickles in.
//!
//! Not a measurement of a proxy. Wall clock on shared machines wanders: compare within one run, or count instructions:
//! `valgrind --tool=callgrind <bench binary> --once`. Start at [`main`].

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)] // a bench may fail loudly

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::Instant;

use portcullis_tls::{ClientHello, ClientHelloDecoder};
use support::Hello;

#[inline(never)]
fn whole(wire: &[u8]) -> ClientHello {
    ClientHelloDecoder::default().look(wire).unwrap().unwrap()
}

#[inline(never)]
fn trickle(wire: &[u8]) -> ClientHello {
    let mut decoder = ClientHelloDecoder::default();
    (1..=wire.len())
        .find_map(|length| decoder.look(wire.get(..length)?).unwrap())
        .unwrap()
}

/// A bench is what clocks are for.
#[allow(clippy::disallowed_methods)]
fn time(name: &str, wire: &[u8], rounds: u32, look: impl Fn(&[u8]) -> ClientHello) {
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(look(black_box(wire)));
    }
    let nanos = start.elapsed().as_nanos() / u128::from(rounds);
    println!("{name:24} {:5} bytes: {nanos} ns", wire.len());
}

fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    let rounds = if once { 100 } else { 100_000 };
    let usual = Hello::default()
        .server_name("www.example.com")
        .alpn(&["h2", "http/1.1"])
        .versions(&[0x0304, 0x0303])
        .with(13, vec![4; 20])
        .with(51, vec![0x77; 38]);
    let quantum = usual.clone().with(50, vec![0x77; 1216]);
    time("usual", &usual.wire(1 << 14), rounds, whole);
    time("post-quantum", &quantum.wire(1 << 14), rounds, whole);
    time("one-byte records", &quantum.wire(1), rounds, whole);
    time("byte by byte", &quantum.wire(1 << 14), rounds / 10, trickle);
}
