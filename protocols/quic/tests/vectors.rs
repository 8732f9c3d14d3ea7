//! Runs the readable cases of `vectors/`: datagrams in words, as they are and with every last byte missing.
//!
//! How a case is written: see `portcullis_testkit::vectors`. The option `id=` is how long an id in a short header is, `token=` the
//! limit on tokens.

mod support;

use portcullis_quic::{HeaderLimits, Packets};
use portcullis_testkit::vectors;
use support::words;

#[test]
fn packets() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/packets.md");
    vectors::check_file(path, |vector| {
        let limits = HeaderLimits {
            token: vector.number("token", 1024),
        };
        let id = vector.number("id", 8);
        for length in 0..vector.input.len() {
            let cut = Packets::new(&vector.input[..length], id, limits);
            // No cut makes it read what is not there.
            let bytes: usize = cut
                .filter_map(Result::ok)
                .map(|packet| packet.bytes().len())
                .sum();
            assert!(bytes <= length, "{}, cut at {length}", vector.name);
        }
        let packets = Packets::new(&vector.input, id, limits);
        let lines: Vec<String> = packets.map(|packet| words(&packet)).collect();
        lines.join("\n")
    });
}
