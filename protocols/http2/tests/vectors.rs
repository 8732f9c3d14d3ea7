//! Runs the readable cases of `vectors/`, each whole and in pieces.
//!
//! How a case is written: see `portcullis_testkit::vectors`. The option `max=` is the largest payload.

mod support;

use portcullis_http2::FrameDecoder;
use portcullis_http2::frame::LEAST_MAX_FRAME_SIZE;
use portcullis_testkit::laws;
use portcullis_testkit::vectors;
use support::words;

#[test]
fn frames() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/frames.md");
    vectors::check_file(path, |vector| {
        let max = vector.number("max", LEAST_MAX_FRAME_SIZE as usize);
        let make = || FrameDecoder::new(max as u32);
        let seen = laws::every_split_agrees(make, &vector.input, laws::plain);
        let mut lines: Vec<String> = seen.items.iter().map(words).collect();
        lines.extend(seen.error.map(|label| format!("error: {label}")));
        lines.join("\n")
    });
}
