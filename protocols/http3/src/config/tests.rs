//! Tables for what is written: forms of the key, defaults, mistakes.

use portcullis_config::{Source, parse};

use super::*;

#[allow(clippy::option_option)] // as what is tested
fn read(yaml: &str) -> (Option<Option<Http3Config>>, Vec<String>) {
    let source = Source::new("test.yaml", yaml);
    let node = parse(&source).unwrap();
    let mut diagnostics = Diagnostics::new(&source);
    let config = Http3Config::read(node.get("http3"), &mut diagnostics);
    let mistakes = diagnostics.sorted();
    (
        config,
        mistakes.iter().map(|mistake| mistake.message()).collect(),
    )
}

#[test]
fn the_forms_of_the_key() {
    let rows = [
        ("a: 1", Some(None)),
        ("http3: false", Some(None)),
        ("http3: true", Some(Some(Http3Config::default()))),
        ("http3: {}", Some(Some(Http3Config::default()))),
        (
            "http3: { early_data: true, retry: always, alt_svc: off }",
            Some(Some(Http3Config {
                early_data: true,
                retry: RetryMode::Always,
                alt_svc: Timeout::Off,
                ..Http3Config::default()
            })),
        ),
    ];
    for (yaml, expected) in rows {
        assert_eq!(read(yaml), (expected, Vec::new()), "{yaml}");
    }
}

#[test]
fn mistakes_are_named() {
    let rows = [
        ("http3: 3", "http3 is"),
        ("http3: { max_streams: 0 }", "0 is out of range"),
        ("http3: { windows: 1KiB }", "windows"),
        (
            "http3: { stream_window: 1KiB }",
            "http3.stream_window is out of range",
        ),
        (
            "http3: { send_buffer: 1GiB }",
            "http3.send_buffer is out of range",
        ),
        ("http3: { heads: 0B }", "http3.heads: a limit of 0"),
        ("http3: { silence: 1h }", "http3.silence is out of range"),
        (
            "http3: { guard: { control_frame: 1 } }",
            "http3.guard.control_frame is out of range",
        ),
    ];
    for (yaml, expected) in rows {
        let (_, mistakes) = read(yaml);
        assert_eq!(mistakes.len(), 1, "{yaml}: {mistakes:?}");
        assert!(mistakes[0].contains(expected), "{yaml}: {mistakes:?}");
    }
}
