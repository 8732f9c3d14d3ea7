//! The codec's hot path in small: walking over headers, runs of rows, and the bodies that are opened.
//!
//! Not a measurement of a proxy: of that nearly everything is the kernel's. Wall clock on shared machines wanders, so count
//! instructions: `valgrind --tool=callgrind --toggle-collect='codec::measured::*' <bench binary> --once rows` (a hundred
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

use bytes::BytesMut;
use portcullis_postgres::encoder;
use portcullis_postgres::frame::{FrameScanner, HEADER, Side};
use portcullis_postgres::limits::FrameLimits;
use portcullis_postgres::message::Format;
use portcullis_postgres::sqlstate::SqlState;
use portcullis_postgres::startup::ProtocolVersion;

/// What is counted: each a function of its own.
mod measured {
    use bytes::{Bytes, BytesMut};
    use portcullis_codec::Decoder as _;
    use portcullis_postgres::encoder;
    use portcullis_postgres::frame::{Frame, FrameScanner};
    use portcullis_postgres::limits::StartupLimits;
    use portcullis_postgres::message::backend::{CommandComplete, DataRow, ErrorFields};
    use portcullis_postgres::message::frontend::{Bind, Parse};
    use portcullis_postgres::sqlstate::SqlState;
    use portcullis_postgres::startup::StartupDecoder;

    /// Walks a whole buffer; the number of frames.
    #[inline(never)]
    pub(super) fn walk(scanner: &mut FrameScanner, mut src: &[u8]) -> u32 {
        let mut frames = 0;
        while let Some(frame) = scanner.next(src).unwrap() {
            src = &src[frame.len()..];
            frames += 1;
        }
        frames
    }

    /// One header.
    #[inline(never)]
    pub(super) fn header(scanner: &mut FrameScanner, src: &[u8]) -> Option<Frame> {
        scanner.next(src).unwrap()
    }

    #[inline(never)]
    pub(super) fn bind(body: &[u8]) -> usize {
        Bind::parse(body).unwrap().parameters.len()
    }

    #[inline(never)]
    pub(super) fn parse(body: &[u8]) -> usize {
        Parse::parse(body).unwrap().query.len()
    }

    #[inline(never)]
    pub(super) fn row(body: &[u8]) -> usize {
        DataRow::parse(body).unwrap().values.len()
    }

    #[inline(never)]
    pub(super) fn error(body: &[u8]) -> Option<SqlState> {
        ErrorFields::parse(body).unwrap().sqlstate()
    }

    #[inline(never)]
    pub(super) fn complete(body: &[u8]) -> Option<u64> {
        CommandComplete::parse(body).unwrap().rows()
    }

    #[inline(never)]
    pub(super) fn startup(src: &mut BytesMut) -> bool {
        let mut decoder = StartupDecoder::new(StartupLimits::default());
        decoder.decode(src).unwrap().is_some()
    }

    #[inline(never)]
    pub(super) fn fatal(text: &str) -> Bytes {
        encoder::fatal_message(SqlState::ADMIN_SHUTDOWN, text)
    }
}

/// A name, the messages of a round, and a round.
type Case = (&'static str, u32, Box<dyn FnMut()>);

const ROWS: u32 = 1000;

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut dst = BytesMut::new();
    write(&mut dst);
    dst.to_vec()
}

/// What is behind the header of one message.
fn body(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    written(write)[HEADER..].to_vec()
}

fn put_parse(dst: &mut BytesMut) {
    let query = b"SELECT id, name, price FROM product WHERE id = $1";
    encoder::parse(b"", query, &[23], dst);
}

fn put_bind(dst: &mut BytesMut) {
    let bind = encoder::Bind {
        formats: &[Format::BINARY],
        parameters: &[Some(&b"0042"[..]); 8],
        ..encoder::Bind::default()
    };
    encoder::bind(&bind, dst);
}

fn put_row(dst: &mut BytesMut) {
    let name = b"a product of some name";
    encoder::data_row(&[Some(b"12345"), Some(name), None, Some(b"12.50")], dst);
}

fn put_segment(dst: &mut BytesMut) {
    put_parse(dst);
    put_bind(dst);
    encoder::describe_portal(b"", dst);
    encoder::execute(b"", 0, dst);
    encoder::sync(dst);
}

fn put_startup(dst: &mut BytesMut) {
    let parameters: [(&[u8], &[u8]); 4] = [
        (b"user", b"ann"),
        (b"database", b"shop"),
        (b"application_name", b"psql"),
        (b"client_encoding", b"UTF8"),
    ];
    encoder::startup(ProtocolVersion::V3_0, parameters, dst);
}

fn walking(side: Side, batch: bool, bytes: Vec<u8>) -> Box<dyn FnMut()> {
    let limits = FrameLimits {
        batch,
        ..FrameLimits::default()
    };
    let mut scanner = FrameScanner::new(side, limits);
    Box::new(move || {
        black_box(measured::walk(&mut scanner, black_box(&bytes)));
    })
}

fn reading<T: 'static>(read: fn(&[u8]) -> T, body: Vec<u8>) -> Box<dyn FnMut()> {
    Box::new(move || {
        black_box(read(black_box(&body)));
    })
}

fn cases() -> Vec<Case> {
    let rows = written(|dst| (0..ROWS).for_each(|_| put_row(dst)));
    let error = encoder::error_message(SqlState::SYNTAX_ERROR, "syntax error at or near \"x\"");
    let packet = written(put_startup);
    let sync = written(encoder::sync);
    let mut scanner = FrameScanner::new(Side::Frontend, FrameLimits::default());
    let header = Box::new(move || {
        black_box(measured::header(&mut scanner, black_box(&sync)));
    });
    let startup = Box::new(move || {
        black_box(measured::startup(&mut BytesMut::from(&packet[..])));
    });
    let fatal = Box::new(|| {
        black_box(measured::fatal(black_box("draining")));
    });
    let complete = body(|dst| encoder::command_complete(b"SELECT 1000", dst));
    vec![
        ("header", 1, header),
        (
            "segment",
            5,
            walking(Side::Frontend, false, written(put_segment)),
        ),
        ("rows", ROWS, walking(Side::Backend, false, rows.clone())),
        ("run", ROWS, walking(Side::Backend, true, rows)),
        ("parse", 1, reading(measured::parse, body(put_parse))),
        ("bind", 1, reading(measured::bind, body(put_bind))),
        ("row", 1, reading(measured::row, body(put_row))),
        (
            "error",
            1,
            reading(measured::error, error[HEADER..].to_vec()),
        ),
        ("complete", 1, reading(measured::complete, complete)),
        ("startup", 1, startup),
        ("fatal", 1, fatal),
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
