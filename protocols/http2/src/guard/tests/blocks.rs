//! Header blocks and frames by their sizes.

use super::*;

#[test]
fn header_blocks_are_bounded() {
    use GuardError as E;
    let block = |pieces: &[&[u8]]| -> Vec<u8> {
        let last = pieces.len() - 1;
        let frames = pieces.iter().enumerate().map(|(index, piece)| {
            let kind = if index == 0 { HEADERS } else { CONTINUATION };
            raw(kind, if index == last { 4 } else { 0 }, 1, piece)
        });
        frames.flatten().collect()
    };
    let literal = |length: u8| -> Vec<u8> {
        let mut field = vec![0x41, length];
        field.resize(2 + usize::from(length), b'a');
        field
    };
    let padded = [&[3][..], &literal(18), &[0; 3]].concat();
    let prioritised = [&[0; 5][..], &literal(18)].concat();
    let promise = [&[0, 0, 0, 2][..], &[0x82; 5]].concat();
    let rows: &[(&str, Vec<u8>, Result<(), E>)] = &[
        ("as large as may be", block(&[&literal(18)]), Ok(())),
        (
            "one byte larger",
            block(&[&literal(19)]),
            Err(E::HeaderBlockTooLarge),
        ),
        (
            "padding is not part of it",
            raw(HEADERS, 4 | 8, 1, &padded),
            Ok(()),
        ),
        (
            "nor is priority",
            raw(HEADERS, 4 | 0x20, 1, &prioritised),
            Ok(()),
        ),
        (
            "in pieces",
            block(&[&literal(17)[..10], &literal(17)[10..], &[0x82]]),
            Ok(()),
        ),
        (
            "t3 in too many bytes",
            block(&[&literal(17)[..10], &literal(17)[10..], &[0x82, 0x82]]),
            Err(E::HeaderBlockTooLarge),
        ),
        (
            "t3 in too many pieces",
            block(&[b"\x82", b"", b"", b""]),
            Err(E::ContinuationFlood),
        ),
        ("t4 as many fields as may be", block(&[&[0x82; 5]]), Ok(())),
        (
            "t4 one field more",
            block(&[&[0x82; 6]]),
            Err(E::TooManyFields),
        ),
        (
            "t4 one field more in pieces",
            block(&[&[0x82; 2], &[0x82; 4]]),
            Err(E::TooManyFields),
        ),
        ("a promise", raw(PUSH_PROMISE, 4, 1, &promise), Ok(())),
        (
            "an overflowing number",
            block(&[b"\xff\xff\xff\xff\xff\xff"]),
            Err(E::BrokenCompression),
        ),
        (
            "padding without a length",
            raw(HEADERS, 8, 1, b""),
            Err(E::Malformed),
        ),
        (
            "more padding than payload",
            raw(HEADERS, 8, 1, b"\x02\x82"),
            Err(E::Malformed),
        ),
        (
            "more padding than DATA",
            raw(DATA, 8, 1, b"\x02a"),
            Err(E::Malformed),
        ),
        (
            "too short for priority",
            raw(HEADERS, 0x20, 1, &[0; 4]),
            Err(E::Malformed),
        ),
        (
            "CONTINUATION alone",
            raw(CONTINUATION, 4, 1, b""),
            Err(E::BrokenBlock),
        ),
        (
            "CONTINUATION too many",
            [block(&[b"\x82", b""]), raw(CONTINUATION, 4, 1, b"")].concat(),
            Err(E::BrokenBlock),
        ),
        (
            "PING in a block",
            [raw(HEADERS, 0, 1, b""), raw(PING, 0, 0, &[0; 8])].concat(),
            Err(E::BrokenBlock),
        ),
        (
            "another stream in a block",
            [raw(HEADERS, 0, 1, b""), raw(CONTINUATION, 4, 3, b"")].concat(),
            Err(E::BrokenBlock),
        ),
        (
            "a frame too large",
            raw(DATA, 0, 1, &vec![0; 16_385]),
            Err(E::FrameTooLarge),
        ),
        ("as large as may be", raw(DATA, 0, 1, &[0; 16_384]), Ok(())),
        (
            "too many settings",
            raw(SETTINGS, 0, 0, &[0; 18]),
            Err(E::TooManySettings),
        ),
        (
            "as many settings as may be",
            raw(SETTINGS, 0, 0, &[0; 12]),
            Ok(()),
        ),
    ];
    let now = start();
    for (name, bytes, expected) in rows {
        let mut whole = greeted(Role::Server, &small(), now);
        assert_eq!(whole.handle_received(now, bytes), *expected, "{name}");
        let mut pieces = greeted(Role::Server, &small(), now);
        let result = bytes
            .chunks(1)
            .try_for_each(|piece| pieces.handle_received(now, piece));
        assert_eq!(result, *expected, "{name}, byte by byte");
        assert_eq!(whole.frames(), pieces.frames(), "{name}");
        // The same again behind it is judged the same: nothing leaks from one block into the next.
        if expected.is_ok() {
            assert_eq!(
                whole.handle_received(now, bytes),
                *expected,
                "{name}, twice"
            );
        }
    }
}

#[test]
fn an_open_block_says_since_when() {
    let now = start();
    let mut guard = greeted(Role::Server, &small(), now);
    assert_eq!(guard.block_open_since(), None);
    guard
        .handle_received(now, &raw(HEADERS, 0, 1, b"\x82"))
        .unwrap();
    let later = now + Duration::from_secs(9);
    guard
        .handle_received(later, &raw(CONTINUATION, 0, 1, b""))
        .unwrap();
    assert_eq!(guard.block_open_since(), Some(now));
    guard
        .handle_received(later, &raw(CONTINUATION, 4, 1, b""))
        .unwrap();
    assert_eq!(guard.block_open_since(), None);
}
