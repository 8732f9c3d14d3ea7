//! The codec's hot path in small: heads decoded and encoded, beside httparse.
//!
//! Not a measurement of a proxy: 90 % of a proxied request is the kernel's. Wall clock on shared machines
//! wanders, so count instructions:
//! `valgrind --tool=callgrind --toggle-collect='codec::*' <bench binary> --once browser` (a hundred rounds). Without `--once` it prints
//! nanoseconds, good for comparing within one run. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)] // a bench may fail loudly

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use portcullis_codec::Decoder;
use portcullis_http::{Framing, RequestHead};
use portcullis_http1::{Connection, Encode, HeadLimits, RequestDecoder, encode_request_head};

const CURL: &[u8] =
    b"GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg HTTP/1.1\r\n\
Host: www.kittyhell.com\r\n\
User-Agent: Mozilla/5.0 (Macintosh; U; Intel Mac OS X 10.6; ja-JP-mac; rv:1.9.2.3) Gecko/20100401 Firefox/3.6.3 Pathtraq/0.9\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: ja,en-us;q=0.7,en;q=0.3\r\n\
Accept-Encoding: gzip,deflate\r\n\
Accept-Charset: Shift_JIS,utf-8;q=0.7,*;q=0.7\r\n\
Keep-Alive: 115\r\n\
Connection: keep-alive\r\n\
Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; __utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.x; __utmz=xxxxxxxxx.xxxxxxxxxx.x.x.utmccn=(referral)|utmcsr=reader.livedoor.com|utmcct=/reader/|utmcmd=referral\r\n\r\n";

#[inline(never)]
fn decode(decoder: &mut RequestDecoder, src: &mut BytesMut) -> RequestHead {
    decoder.decode(src).unwrap().unwrap()
}

#[inline(never)]
fn encode(head: &RequestHead, dst: &mut Vec<u8>) {
    let options = Encode {
        framing: Framing::None,
        connection: Connection::Implied,
    };
    encode_request_head(head, options, dst).unwrap();
}

#[inline(never)]
fn httparse(src: &[u8]) -> usize {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(src).unwrap() {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => 0,
    }
}

fn run(name: &str, input: &[u8], rounds: u32) {
    let mut decoder = RequestDecoder::new(HeadLimits::default());
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    let mut output = Vec::with_capacity(4096);
    let mut times = [0_u128; 3];
    for _ in 0..rounds {
        buffer.reserve(input.len());
        buffer.extend_from_slice(input);
        let start = now();
        let head = black_box(decode(&mut decoder, &mut buffer));
        let decoded = now();
        output.clear();
        encode(&head, &mut output);
        black_box(&output);
        let encoded = now();
        black_box(httparse(black_box(input)));
        let parsed = now();
        times[0] += (decoded - start).as_nanos();
        times[1] += (encoded - decoded).as_nanos();
        times[2] += (parsed - encoded).as_nanos();
    }
    let [decode, encode, httparse] = times.map(|total| total / u128::from(rounds));
    println!(
        "{name:8} {:4} bytes: decode {decode} ns, encode {encode} ns, httparse {httparse} ns",
        input.len()
    );
}

/// A bench is what clocks are for.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let said = |word: &str| std::env::args().any(|argument| argument == word);
    let rounds = if said("--once") { 100 } else { 200_000 };
    for (name, head) in [("curl", CURL), ("browser", BROWSER)] {
        if !said("--once") || said(name) {
            run(name, head, rounds);
        }
    }
}
