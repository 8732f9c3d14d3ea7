//! Runs `vectors/client_hello.md`: each case whole, byte by byte, and cut at every place.
//!
//! `more` means that the bytes are the beginning of a ClientHello; `rest` counts the bytes behind it.
//! `PORTCULLIS_BLESS=1` writes what happened into the file.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::path::Path;

use bytes::BytesMut;
use portcullis_codec::Decoder as _;
use portcullis_testkit::vectors;
use portcullis_tls::{ClientHello, ClientHelloDecoder};

/// What comes of the input when it arrives in pieces that end at `cuts`.
fn run(input: &[u8], cuts: impl IntoIterator<Item = usize>) -> String {
    let mut decoder = ClientHelloDecoder::default();
    let mut src = BytesMut::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([input.len()]) {
        src.extend_from_slice(&input[start..end]);
        start = end;
        match decoder.decode(&mut src) {
            Ok(None) => {}
            Ok(Some(hello)) => {
                let rest = src.len() + input.len() - start;
                return format!("{}rest {rest}", show(&hello));
            }
            Err(error) => return format!("error {}", error.label()),
        }
    }
    "more".to_owned()
}

fn show(hello: &ClientHello) -> String {
    let mut shown = format!("legacy {:04x}\n", hello.legacy_version().0);
    shown.push_str("versions");
    for version in hello.versions() {
        write!(shown, " {:04x}", version.0).unwrap();
    }
    writeln!(shown, "\nsuites {}", hello.cipher_suites()).unwrap();
    if let Some(name) = hello.server_name() {
        writeln!(shown, "server_name {name}").unwrap();
    }
    for name in hello.alpn() {
        writeln!(shown, "alpn {}", name.escape_ascii()).unwrap();
    }
    if hello.is_encrypted() {
        shown.push_str("encrypted\n");
    }
    shown
}

#[test]
fn vectors_hold_for_every_split() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/client_hello.md");
    vectors::check_file(file, |vector| {
        let whole = run(&vector.input, []);
        let one_by_one = run(&vector.input, 0..vector.input.len());
        assert_eq!(one_by_one, whole, "{}, byte by byte", vector.name);
        // Of the long ones every few bytes: all cuts of all bytes are quadratic.
        let step = 1 + vector.input.len() / 1024;
        for cut in (0..vector.input.len()).step_by(step) {
            let cut_once = run(&vector.input, [cut]);
            assert_eq!(cut_once, whole, "{}, cut at {cut}", vector.name);
        }
        whole
    });
}
