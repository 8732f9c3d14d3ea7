use proptest::prelude::*;

use super::super::{CommandId, arity};
use super::*;

/// Words that mean something to some command, and some that do not.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "0",
        "1",
        "2",
        "3",
        "-1",
        "99999999999",
        "STREAMS",
        "streams",
        "STORE",
        "STOREDIST",
        "GET",
        "BY",
        "LIMIT",
        "KEYS",
        "COUNT",
        "BLOCK",
        "GROUP",
        "NOACK",
        "AUTH",
        "AUTH2",
        "OVERFLOW",
        "",
        "a",
        "b",
        "*",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn keys_are_arguments_of_the_call(
        number in 0..CommandId::COUNT,
        words in prop::collection::vec(word(), 0..12),
    ) {
        let command = CommandId::from_index(number).unwrap();
        let mut args: Vec<Vec<u8>> = command.name().split('|').map(|name| name.as_bytes().to_vec()).collect();
        args.extend(words);
        let mut found: SmallVec<[u32; 8]> = SmallVec::from_slice(&[7]);
        if keys(command, &args, &mut found).is_err() {
            prop_assert_eq!(found.as_slice(), &[7]);
            return Ok(());
        }
        let found = &found[1..];
        prop_assert!(found.iter().all(|index| *index > 0 && (*index as usize) < args.len()));
        prop_assert!(found.len() < args.len());
        let needs = !command.key_specs().is_empty()
            && !command.flags().contains(Flags::NO_MANDATORY_KEYS)
            && !command.flags().contains(Flags::PUBSUB);
        prop_assert!(!needs || !found.is_empty());
    }

    #[test]
    fn nothing_panics_on_any_call(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..5)) {
        let mut said = Vec::new();
        match CommandId::resolve(&args) {
            Err(unknown) => arity::unknown(unknown, &args, &mut said),
            Ok(command) => arity::wrong_number(command, &mut said),
        }
        prop_assert!(!said.contains(&b'\r') && !said.contains(&b'\n'));
        prop_assert!(said.len() < 600);
    }
}

#[test]
fn numbers_of_keys_are_read_as_a_server_reads_them() {
    let rows: [(&[u8], Option<usize>); 10] = [
        (b"0", Some(0)),
        (b"7", Some(7)),
        (b"123456789", Some(123_456_789)),
        (b"1234567890", None),
        (b"01", None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b" 1", None),
        (b"1x", None),
    ];
    for (text, expected) in rows {
        assert_eq!(count(text), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn errors_have_labels_and_words() {
    for error in [KeysError::Missing, KeysError::Number, KeysError::Syntax] {
        assert!(!error.label().contains(' '));
        assert!(error.text().starts_with("ERR "));
    }
}
