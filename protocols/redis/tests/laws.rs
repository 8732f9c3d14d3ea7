//! The laws of `portcullis-testkit` for the codec, and what is written is read again.
//!
//! Cases with names are in `tests/vectors/`. Start at [`limits_trip_past_their_number`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test fails loudly

mod round;
mod support;

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder as _;
use portcullis_redis::encoder;
use portcullis_redis::limits::{LEAST_WHOLE, ReplyLimits, RequestLimits};
use portcullis_redis::message::{Attributed, Null, RespVersion, Value, ValueDecoder, ValueLimits};
use portcullis_redis::request::{CommandScanner, RequestDecoder};
use portcullis_testkit::laws;
use proptest::prelude::*;
use support::{Replies, client};

fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut dst = BytesMut::new();
    encoder::command(arguments, &mut dst);
    dst.to_vec()
}

fn known(limits: RequestLimits) -> RequestDecoder {
    client(limits, true)
}

#[test]
fn limits_trip_past_their_number() {
    let default = RequestLimits::default();
    let argument = |n: usize| command(&[b"GET", &vec![b'x'; n]]);
    let many = |n: usize| command(&vec![&b"x"[..]; n]);
    let arguments = |n: usize| RequestLimits {
        arguments: n as u32,
        ..default
    };
    laws::limit_trips_after(20, |n| known(arguments(n)), many, "argument_count");
    let bulk = |n: usize| RequestLimits {
        bulk: n as u64,
        ..default
    };
    laws::limit_trips_after(50, |n| known(bulk(n)), argument, "bulk_length");
    let stranger = |_| client(default, false);
    laws::limit_trips_after(10, stranger, many, "unauthenticated_argument_count");
    let label = "unauthenticated_bulk_length";
    laws::limit_trips_after(16 * 1024, stranger, argument, label);
}

#[test]
fn limits_of_replies_trip_past_their_number() {
    let default = ReplyLimits::default();
    let with = |limits| Replies::new(limits);
    let bulk = |n: usize| ReplyLimits {
        bulk: n as u64,
        ..default
    };
    let string = |n: usize| [format!("${n}\r\n").as_bytes(), &vec![b'x'; n], b"\r\n"].concat();
    laws::limit_trips_after(100, |n| with(bulk(n)), string, "reply_bulk_too_large");
    let elements = |n: usize| ReplyLimits {
        elements: n as u32,
        ..default
    };
    let array = |n: usize| format!("*{n}\r\n{}", ":1\r\n".repeat(n)).into_bytes();
    laws::limit_trips_after(7, |n| with(elements(n)), array, "reply_elements");
    let map = |n: usize| format!("%{n}\r\n{}", ":1\r\n".repeat(2 * n)).into_bytes();
    laws::limit_trips_after(7, |n| with(elements(n)), map, "reply_elements");
    let depth = |n: usize| ReplyLimits {
        depth: n as u32,
        ..default
    };
    let deep = |n: usize| format!("{}:1\r\n", "*1\r\n".repeat(n)).into_bytes();
    laws::limit_trips_after(9, |n| with(depth(n)), deep, "reply_depth");
    let line = |n: usize| ReplyLimits { line: n, ..default };
    let status = |n: usize| format!("+{}\r\n", "x".repeat(n - 3)).into_bytes();
    laws::limit_trips_after(90, |n| with(line(n)), status, "reply_line_too_long");
    let tree = |n| ValueDecoder::new(ValueLimits { bytes: n, depth: 9 });
    let string = |n: usize| string(n - 7);
    laws::limit_trips_after(90, tree, string, "reply_too_large");
}

#[test]
fn what_is_not_whole_is_left_alone() {
    let make = || known(RequestLimits::default());
    laws::partial_input_untouched(make, &command(&[b"SET", b"key", b"a\r\nb", b""]));
    let make = || {
        known(RequestLimits {
            inline: true,
            ..RequestLimits::default()
        })
    };
    laws::partial_input_untouched(make, b"SET \"a b\" c\r\n");
    let make = || Replies::new(ReplyLimits::default());
    for reply in [
        &b"+OK\r\n"[..],
        b"$-1\r\n",
        b"$12\r\nhello, world\r\n",
        b":1\r\n",
        b"|1\r\n+a\r\n:1\r\n%1\r\n=5\r\ntxt:a\r\n*?\r\n$?\r\n;1\r\na\r\n;0\r\n.\r\n",
    ] {
        laws::partial_input_untouched(make, reply);
    }
}

/// However little is held, a command or a reply of any length goes through.
#[test]
fn little_is_held_of_what_is_large() {
    let value = vec![b'x'; 1_000_000];
    let large = command(&[b"SET", b"key", &value]);
    let limits = RequestLimits {
        whole: LEAST_WHOLE,
        ..RequestLimits::default()
    };
    assert!(most_held(&mut known(limits), &large) <= 2 * LEAST_WHOLE);
    let limits = ReplyLimits {
        whole: LEAST_WHOLE,
        ..ReplyLimits::default()
    };
    assert!(most_held(&mut Replies::new(limits), &large) <= 2 * LEAST_WHOLE);
}

/// Bytes that wait in the buffer at most while `input` comes in small pieces.
fn most_held<D: portcullis_codec::Decoder>(decoder: &mut D, input: &[u8]) -> usize {
    let mut buffer = BytesMut::new();
    let mut most = 0;
    for piece in input.chunks(50) {
        buffer.extend_from_slice(piece);
        while decoder.decode(&mut buffer).is_ok_and(|item| item.is_some()) {}
        most = most.max(buffer.len());
    }
    assert!(buffer.is_empty());
    most
}

/// Byte by byte, a command of many arguments costs about as much as at once: nothing is looked at again.
#[test]
fn arguments_are_walked_once() {
    let bytes = command(&vec![&b"x"[..]; 5000]);
    let limits = RequestLimits {
        whole: 1024 * 1024,
        ..RequestLimits::default()
    };
    let mut scanner = CommandScanner::new(limits);
    scanner.set_known(true);
    for end in 0..bytes.len() {
        assert_eq!(scanner.next(&bytes[..end]), Ok(None));
        // As many arguments as are whole have been found already, and are not found twice.
        let expected = end.saturating_sub(b"*5000\r\n".len()) / b"$1\r\nx\r\n".len();
        assert_eq!(scanner.spans().len(), expected, "{end}");
    }
    assert!(scanner.next(&bytes).unwrap().is_some());
    assert_eq!(scanner.spans().len(), 5000);
}

fn lines() -> impl Strategy<Value = Bytes> {
    "[^\r\n]{0,12}".prop_map(Bytes::from)
}

fn strings() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        lines().prop_map(Value::Simple),
        lines().prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        strings().prop_map(Value::Bulk),
        prop::sample::select(vec![Null::Bulk, Null::Array, Null::Resp3]).prop_map(Value::Null),
        "-?[0-9]{1,9}(\\.[0-9]{0,9})?(e[+-]?[0-9]{1,2})?|-?inf|nan"
            .prop_map(|text| Value::Double(text.into())),
        any::<bool>().prop_map(Value::Boolean),
        "[+-]?[0-9]{1,40}".prop_map(|text| Value::BigNumber(text.into())),
        strings().prop_map(Value::BulkError),
        (any::<[u8; 3]>(), strings()).prop_map(|(format, text)| Value::Verbatim { format, text }),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    leaves().prop_recursive(5, 40, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..6);
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            list.clone().prop_map(Value::Array),
            list.prop_map(Value::Set),
            pairs.clone().prop_map(Value::Map),
            (pairs, inner).prop_map(|(attributes, value)| {
                let value = value.bare().clone();
                Value::Attributed(Box::new(Attributed { attributes, value }))
            }),
        ]
    })
}

fn small_replies(whole: usize) -> ReplyLimits {
    ReplyLimits {
        whole,
        bulk: 100,
        elements: 40,
        depth: 4,
        line: LEAST_WHOLE,
    }
}

fn small_requests(whole: usize, inline: bool) -> RequestLimits {
    RequestLimits {
        whole,
        inline,
        arguments: 40,
        bulk: 100,
        ..RequestLimits::default()
    }
}

/// Bytes that are nearly RESP.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "*1\r\n",
        "*2\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*40\r\n",
        "$3\r\nabc\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "$70\r\n",
        "$?\r\n",
        "*?\r\n",
        "%?\r\n",
        "~?\r\n",
        ".\r\n",
        ";1\r\nx\r\n",
        ";0\r\n",
        "+OK\r\n",
        "-ERR\r\n",
        ":1\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(12\r\n",
        "=5\r\ntxt:x\r\n",
        "!1\r\nx\r\n",
        "%1\r\n",
        "~2\r\n",
        ">1\r\n",
        "|1\r\n",
        "|0\r\n",
        "\r\n",
        "\r",
        "\n",
        "$",
        "*",
        "x",
        "PING\r\n",
        "\"a b\" ",
        "12",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_split_anywhere_say_the_same(
        bytes in prop_oneof![soup(), prop::collection::vec(any::<u8>(), 0..200)],
        whole in LEAST_WHOLE..100,
        inline: bool,
        is_known: bool,
    ) {
        let make = || client(small_requests(whole, inline), is_known);
        laws::every_split_agrees(make, &bytes, support::requests);
        let make = || Replies::new(small_replies(whole));
        laws::every_split_agrees(make, &bytes, support::replies);
        round::scanner_and_tree_agree(&bytes);
        round::replies(&bytes);
        round::pieces_translate_alike(&bytes, whole);
    }

    #[test]
    fn values_are_read_as_they_were_written(value in values(), whole in LEAST_WHOLE..100) {
        round::reply(&value);
        let encoded = round::written(&value, RespVersion::Resp3);
        round::replies(&encoded);
        round::scanner_and_tree_agree(&encoded);
        round::pieces_translate_alike(&encoded, whole);
        let limits = ReplyLimits { whole, ..ReplyLimits::default() };
        let pieces = portcullis_testkit::Random::from_seed(whole as u64).pieces(&encoded, 30);
        laws::split_agrees(|| Replies::new(limits), pieces, support::replies);
    }

    #[test]
    fn commands_are_read_as_they_were_written(
        commands in prop::collection::vec(prop::collection::vec(strings(), 1..9), 0..9),
        whole in LEAST_WHOLE..200,
    ) {
        let mut stream = BytesMut::new();
        for arguments in &commands {
            encoder::command(arguments, &mut stream);
        }
        let mut decoder = known(RequestLimits::default());
        let mut src = stream.clone();
        for arguments in &commands {
            let Ok(Some(portcullis_redis::request::Request::Command(command))) = decoder.decode(&mut src) else {
                panic!("no command");
            };
            let words: Vec<_> = arguments.iter().map(|argument| argument.to_vec()).collect();
            prop_assert_eq!(support::arguments(&command), words);
        }
        laws::every_split_agrees(|| known(small_requests(whole, false)), &stream, support::requests);
    }

    #[test]
    fn one_by_one_and_in_a_row(
        bytes in soup(),
        commands in prop::collection::vec(prop::collection::vec(strings(), 1..9), 0..9),
        whole in LEAST_WHOLE..200,
        is_inline: bool,
    ) {
        let mut stream = BytesMut::new();
        for arguments in &commands {
            encoder::command(arguments, &mut stream);
        }
        stream.extend_from_slice(&bytes);
        let limits = small_requests(whole, is_inline);
        round::commands(|| {
            let mut scanner = CommandScanner::new(limits);
            scanner.set_known(true);
            (known(limits), scanner)
        }, &stream);
    }
}
