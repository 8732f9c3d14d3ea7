//! Runs `tests/vectors/proxy_header.md`: each case whole, byte by byte, and cut at every place.
//!
//! A case is a heading, a block `text` (with `\r`, `\n`, `\t`, `\0` and `\\` written out) or `hex` (blanks and `#` comments
//! ignored), and a block `expect`.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;

use bytes::BytesMut;
use portcullis_codec::{Decoder as _, WireError as _};
use portcullis_net::proxy_header::{Addresses, ProxyHeaderDecoder, Transport};

const VECTORS: &str = include_str!("vectors/proxy_header.md");

#[derive(Debug, Default)]
struct Case {
    name: String,
    input: Vec<u8>,
    expected: String,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut lines = VECTORS.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("## ") {
            cases.push(Case {
                name: name.to_owned(),
                ..Case::default()
            });
        }
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let case = cases.last_mut().unwrap();
        match kind {
            "text" => case.input.extend(text(&block.concat())),
            "hex" => case.input.extend(block.iter().flat_map(|line| hex(line))),
            "expect" => block.join("\n").clone_into(&mut case.expected),
            other => panic!("{}: unknown block {other}", case.name),
        }
    }
    cases
}

fn text(block: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = block.bytes();
    while let Some(byte) = characters.next() {
        bytes.push(match byte {
            b'\\' => match characters.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                other => other,
            },
            byte => byte,
        });
    }
    bytes
}

fn hex(line: &str) -> Vec<u8> {
    let digits: Vec<_> = line
        .split('#')
        .next()
        .unwrap()
        .chars()
        .filter_map(|character| character.to_digit(16))
        .collect();
    assert!(digits.len().is_multiple_of(2), "{line}");
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// What comes of the input when it arrives in pieces that end at `cuts`.
fn run(input: &[u8], cuts: impl IntoIterator<Item = usize>) -> String {
    let mut decoder = ProxyHeaderDecoder::new();
    let mut src = BytesMut::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([input.len()]) {
        src.extend_from_slice(&input[start..end]);
        start = end;
        match decoder.decode(&mut src) {
            Ok(None) => {}
            Ok(Some(header)) => {
                src.extend_from_slice(&input[start..]);
                let mut shown = show(&header.addresses);
                for value in &header.values {
                    write!(shown, "\nvalue {:#04x} {:?}", value.kind.0, value.value).unwrap();
                }
                write!(shown, "\nrest {}", src.len()).unwrap();
                return shown;
            }
            Err(error) => return format!("error {}", error.label()),
        }
    }
    "more".to_owned()
}

fn show(addresses: &Addresses) -> String {
    let named =
        |transport: &Transport, source: &dyn std::fmt::Debug, destination: &dyn std::fmt::Debug| {
            let transport = match transport {
                Transport::Stream => "stream",
                Transport::Datagram => "datagram",
            };
            format!("{transport} {source:?} {destination:?}")
        };
    match addresses {
        Addresses::Local => "local".to_owned(),
        Addresses::Unknown => "unknown".to_owned(),
        Addresses::V4 {
            source,
            destination,
            transport,
        } => named(transport, source, destination),
        Addresses::V6 {
            source,
            destination,
            transport,
        } => named(transport, source, destination),
        Addresses::Unix {
            source,
            destination,
            transport,
        } => named(transport, source, destination),
    }
}

#[test]
fn vectors() {
    let cases = cases();
    assert!(cases.len() > 40, "{} cases", cases.len());
    for case in cases {
        assert!(!case.expected.is_empty(), "{}: nothing expected", case.name);
        assert_eq!(run(&case.input, []), case.expected, "{}", case.name);
        let one_by_one = run(&case.input, 0..case.input.len());
        assert_eq!(one_by_one, case.expected, "{}, byte by byte", case.name);
        for cut in 0..case.input.len() {
            let cut_once = run(&case.input, [cut]);
            assert_eq!(cut_once, case.expected, "{}, cut at {cut}", case.name);
        }
    }
}
