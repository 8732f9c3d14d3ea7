//! The hot path of the codec in small: commands and replies, walked over, kept, opened and written.
//!
//! Not a measurement of a proxy: of that nearly everything is the kernel's. Wall clock on shared machines wanders, so count
//! instructions: `valgrind --tool=callgrind --toggle-collect='codec::measured::*' <bench binary> --once set` (a hundred
//! rounds). Without `--once` it prints nanoseconds per message, good for comparing within one run. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)] // a bench may fail loudly

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_redis::encoder;
use portcullis_redis::limits::{ReplyLimits, RequestLimits};
use portcullis_redis::reply::ReplyScanner;
use portcullis_redis::request::{CommandScanner, RequestDecoder};

/// What is counted: each a function of its own.
mod measured {
    use bytes::{Bytes, BytesMut};
    use portcullis_codec::Decoder as _;
    use portcullis_redis::encoder::translate::to_resp2;
    use portcullis_redis::encoder::{self, value};
    use portcullis_redis::message::{RespVersion, Value, parse};
    use portcullis_redis::reply::ReplyScanner;
    use portcullis_redis::request::{Command, CommandScanner, RequestDecoder};

    /// Walks over commands; the bytes of all names and last arguments.
    #[inline(never)]
    pub(super) fn commands(scanner: &mut CommandScanner, mut src: &[u8]) -> usize {
        let mut bytes = 0;
        while let Some(frame) = scanner.next(src).unwrap() {
            let (wire, behind) = src.split_at(frame.len());
            let command = scanner.command(wire);
            bytes += command.name().len();
            bytes += command
                .argument(command.len() - 1)
                .unwrap_or_default()
                .len();
            src = behind;
        }
        bytes
    }

    /// Takes commands one by one.
    #[inline(never)]
    pub(super) fn taken(decoder: &mut RequestDecoder, src: &mut BytesMut) -> usize {
        let mut taken = 0;
        while let Some(request) = decoder.decode(src).unwrap() {
            taken += 1;
            std::hint::black_box(&request);
        }
        taken
    }

    /// Takes commands in a row.
    #[inline(never)]
    pub(super) fn row(
        decoder: &mut RequestDecoder,
        src: &mut BytesMut,
        into: &mut Vec<Command>,
    ) -> usize {
        into.clear();
        decoder.take_commands(src, into)
    }

    /// Walks over replies; their number.
    #[inline(never)]
    pub(super) fn replies(scanner: &mut ReplyScanner, mut src: &[u8]) -> u32 {
        let mut replies = 0;
        while let Some(frame) = scanner.next(src).unwrap() {
            src = &src[frame.len()..];
            replies += 1;
        }
        replies
    }

    #[inline(never)]
    pub(super) fn open(reply: Bytes) -> Value {
        parse(reply).unwrap()
    }

    #[inline(never)]
    pub(super) fn write(of: &Value, dst: &mut BytesMut) {
        value(of, RespVersion::Resp3, dst);
    }

    #[inline(never)]
    pub(super) fn translate(reply: &[u8], dst: &mut BytesMut) {
        to_resp2(reply, dst).unwrap();
    }

    #[inline(never)]
    pub(super) fn command(arguments: &[&[u8]], dst: &mut BytesMut) {
        encoder::command(arguments, dst);
    }
}

/// A name, the messages of a round, and a round.
type Case = (&'static str, u32, Box<dyn FnMut()>);

const RUN: usize = 1000;

fn written(count: usize, write: impl Fn(&mut BytesMut)) -> BytesMut {
    let mut dst = BytesMut::new();
    (0..count).for_each(|_| write(&mut dst));
    dst
}

const SET: &[&[u8]] = &[b"SET", b"key:000000012345", b"xxx"];
const GET: &[&[u8]] = &[b"GET", b"key:000000012345"];

fn walking(arguments: &'static [&'static [u8]], count: usize) -> Box<dyn FnMut()> {
    let bytes = written(count, |dst| encoder::command(arguments, dst));
    let mut scanner = CommandScanner::new(RequestLimits::default());
    scanner.set_known(true);
    Box::new(move || {
        black_box(measured::commands(&mut scanner, black_box(&bytes)));
    })
}

fn replies(reply: &str, count: usize) -> Box<dyn FnMut()> {
    let bytes = written(count, |dst| dst.extend_from_slice(reply.as_bytes()));
    let mut scanner = ReplyScanner::new(ReplyLimits::default());
    Box::new(move || {
        black_box(measured::replies(&mut scanner, black_box(&bytes)));
    })
}

fn taking(in_a_row: bool) -> Box<dyn FnMut()> {
    let bytes = written(RUN, |dst| encoder::command(SET, dst));
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let mut commands = Vec::new();
    Box::new(move || {
        let mut src = bytes.clone();
        if in_a_row {
            black_box(measured::row(&mut decoder, &mut src, &mut commands));
        } else {
            black_box(measured::taken(&mut decoder, &mut src));
        }
    })
}

fn writing(write: impl Fn(&mut BytesMut) + 'static) -> Box<dyn FnMut()> {
    let mut dst = BytesMut::with_capacity(1 << 16);
    Box::new(move || {
        dst.clear();
        write(&mut dst);
        black_box(&dst);
    })
}

/// Ten fields of a hash, as RESP3 has them.
fn hash() -> String {
    let fields = "$6\r\nfield0\r\n$5\r\nvalue\r\n".repeat(10);
    format!("%10\r\n{fields}")
}

/// Ten members with their scores, as ZRANGE has them in RESP3.
fn scores() -> String {
    let members = "*2\r\n$6\r\nmember\r\n,1.5\r\n".repeat(10);
    format!("*10\r\n{members}")
}

fn cases() -> Vec<Case> {
    let many = RUN as u32;
    let value = "x".repeat(512);
    let long = format!("${}\r\n{value}\r\n", value.len());
    let reply = Bytes::from(hash());
    let tree = measured::open(reply.clone());
    let translated = reply.clone();
    vec![
        ("set", many, walking(SET, RUN)),
        ("get", many, walking(GET, RUN)),
        ("set_one", 1, walking(SET, 1)),
        ("taken", many, taking(false)),
        ("row", many, taking(true)),
        ("ok", many, replies("+OK\r\n", RUN)),
        ("ok_one", 1, replies("+OK\r\n", 1)),
        ("small", many, replies("$3\r\nxxx\r\n", RUN)),
        ("long", many, replies(&long, RUN)),
        ("number", many, replies(":1234\r\n", RUN)),
        (
            "array",
            many,
            replies("*3\r\n$3\r\nxxx\r\n$3\r\nyyy\r\n$3\r\nzzz\r\n", RUN),
        ),
        ("scores", many, replies(&scores(), RUN)),
        ("hash", many, replies(&hash(), RUN)),
        (
            "open",
            1,
            Box::new(move || {
                black_box(measured::open(black_box(reply.clone())));
            }),
        ),
        ("write", 1, writing(move |dst| measured::write(&tree, dst))),
        (
            "translate",
            1,
            writing(move |dst| measured::translate(&translated, dst)),
        ),
        ("command", 1, writing(|dst| measured::command(SET, dst))),
    ]
}

/// A bench is what clocks are for.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let said = |word: &str| std::env::args().any(|argument| argument == word);
    let is_once = said("--once");
    for (name, messages, mut run) in cases() {
        if is_once && !said(name) {
            continue;
        }
        let rounds = if is_once { 100 } else { 2_000_000 / messages };
        let start = now();
        for _ in 0..rounds {
            run();
        }
        let nanoseconds = (now() - start).as_nanos() as f64;
        let per_message = nanoseconds / f64::from(rounds * messages);
        println!("{name:10} {per_message:8.2} ns a message");
    }
}
