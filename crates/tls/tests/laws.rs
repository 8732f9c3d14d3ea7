//! What the codec promises whatever the bytes. Cases that people can read are in `vectors/client_hello.md`.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use bytes::BytesMut;
use portcullis_codec::{Decoder as _, Severity, WireError as _};
use portcullis_testkit::laws;
use portcullis_tls::{
    ClientHello, ClientHelloDecoder, ClientHelloError, ClientHelloLimits, ProtocolVersion,
    message_length, sniff,
};
use proptest::prelude::*;
use support::{Hello, message, record};

fn usual() -> Hello {
    Hello::default()
        .server_name("Shop.Example.COM")
        .with(10, vec![0, 2, 0, 29])
        .alpn(&["h2", "http/1.1"])
        .versions(&[0x0304, 0x0303])
}

fn look(wire: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
    ClientHelloDecoder::default().look(wire)
}

#[track_caller]
fn read(hello: &Hello) -> ClientHello {
    look(&hello.wire(1 << 14)).unwrap().unwrap()
}

#[test]
fn s1_any_records_and_any_pieces_agree() {
    let hello = usual();
    let expected = read(&hello);
    assert_eq!(expected.server_name(), Some("shop.example.com"));
    assert!(expected.alpn().eq([&b"h2"[..], b"http/1.1"]));
    assert!(
        expected
            .versions()
            .eq([ProtocolVersion::TLS_1_3, ProtocolVersion::TLS_1_2])
    );
    for record_bytes in [1, 2, 3, 4, 5, 7, 64, 1 << 14] {
        let wire = hello.wire(record_bytes);
        let seen = laws::every_split_agrees(ClientHelloDecoder::default, &wire, laws::plain);
        let expected = std::slice::from_ref(&expected);
        assert_eq!(seen.items, expected, "records of {record_bytes}");
        assert_eq!((seen.error, seen.left), (None, Vec::new()));
        laws::partial_input_untouched(ClientHelloDecoder::default, &wire);
    }
}

/// QUIC has the same message without records.
#[test]
fn a_message_without_records_says_the_same() {
    let hello = usual();
    let message = hello.message();
    let limits = ClientHelloLimits::default();
    let bare = ClientHello::of_message(&message[..], &limits);
    assert_eq!(bare, Ok(read(&hello)));
    assert_eq!(
        message_length(&message[..4], &limits),
        Ok(Some(message.len()))
    );
    for length in 0..message.len() {
        let cut = ClientHello::of_message(&message[..length], &limits);
        assert_eq!(cut, Err(ClientHelloError::Truncated), "{length} bytes");
    }
    let rows = [
        (
            "a byte behind",
            [&message[..], &[0]].concat(),
            ClientHelloError::TrailingData,
        ),
        (
            "another message",
            vec![2, 0, 0, 0],
            ClientHelloError::NotClientHello,
        ),
        (
            "past the limit",
            vec![1, 0, 0x40, 0],
            ClientHelloError::TooLong,
        ),
    ];
    for (name, message, error) in rows {
        let refused = ClientHello::of_message(&message[..], &limits);
        assert_eq!(refused, Err(error), "{name}");
    }
}

/// The way that sessions go: the same growing buffer again and again, which stays as it is.
#[test]
fn a_look_takes_nothing_and_goes_on_where_it_was() {
    let wire = [usual().wire(50), b"what follows".to_vec()].concat();
    let length = wire.len() - b"what follows".len();
    let mut decoder = ClientHelloDecoder::default();
    for end in 0..length {
        assert_eq!(decoder.look(&wire[..end]), Ok(None), "{end} bytes");
    }
    let expected = read(&usual());
    assert_eq!(decoder.look(&wire), Ok(Some(expected.clone())));
    assert_eq!(decoder.look(&wire), Ok(Some(expected)), "from the front");
}

/// Post-quantum key shares make it longer than a segment; clients also cut it in the middle of the name.
#[test]
fn large_hellos_are_read() {
    let hello = usual().with(51, vec![0x77; 1216]).padded(600);
    assert!(hello.message().len() > 1900);
    let expected = read(&hello);
    for record_bytes in [1, 512, 1400, 1 << 14] {
        let wire = hello.wire(record_bytes);
        assert_eq!(look(&wire), Ok(Some(expected.clone())), "{record_bytes}");
    }
}

#[test]
fn refusals_are_final_and_end_the_connection() {
    let mut decoder = ClientHelloDecoder::default();
    let error = decoder.look(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(error.label(), "not_tls");
    assert_eq!(error.severity(), Severity::Connection);
    assert_eq!(decoder.look(&usual().wire(100)), Err(error));
}

#[test]
fn the_end_of_input_cuts_a_message_off() {
    let wire = usual().wire(1 << 14);
    for length in 1..wire.len() {
        let mut src = BytesMut::from(&wire[..length]);
        let answer = ClientHelloDecoder::default().decode_eof(&mut src);
        assert_eq!(answer, Err(ClientHelloError::Truncated), "{length} bytes");
    }
    let nothing = ClientHelloDecoder::default().decode_eof(&mut BytesMut::new());
    assert_eq!(nothing, Ok(None));
}

fn limited(change: impl FnOnce(&mut ClientHelloLimits)) -> ClientHelloDecoder {
    let mut limits = ClientHelloLimits::default();
    change(&mut limits);
    ClientHelloDecoder::new(limits)
}

#[test]
fn limits_trip_at_one_more() {
    let sized = |bytes| {
        let rest = usual().padded(4).wire(1 << 14).len() - 4;
        usual().padded(bytes - rest).wire(1 << 14)
    };
    assert_eq!(sized(1000).len(), 1000);
    laws::limit_trips_after(
        1000,
        |bytes| limited(|limits| limits.bytes = bytes),
        sized,
        "client_hello_too_long",
    );
    laws::limit_trips_after(
        16 * 1024,
        |_| ClientHelloDecoder::default(),
        sized,
        "client_hello_too_long",
    );
    let in_records = |count: usize| {
        let message = usual().message();
        let (ones, rest) = message.split_at(count - 1);
        let ones = ones.iter().flat_map(|&byte| record(22, &[byte]));
        ones.chain(record(22, rest)).collect::<Vec<u8>>()
    };
    laws::limit_trips_after(
        100,
        |records| limited(|limits| limits.records = records),
        in_records,
        "client_hello_too_many_records",
    );
    let extended = |count: usize| {
        let add = |hello: Hello, kind| hello.with(kind, Vec::new());
        (0..count as u16)
            .map(|kind| 0x1000 + kind)
            .fold(Hello::default(), add)
            .wire(1 << 14)
    };
    laws::limit_trips_after(
        5,
        |extensions| limited(|limits| limits.extensions = extensions),
        extended,
        "client_hello_too_many_extensions",
    );
}

/// A declared length past the limit is refused before its bytes are waited for.
#[test]
fn s1_declared_lengths_are_not_waited_for() {
    let huge = record(22, &[1, 0xff, 0xff, 0xff]);
    assert_eq!(look(&huge), Err(ClientHelloError::TooLong));
    let record_past_the_limit = [22, 3, 1, 0x40, 0x00];
    assert_eq!(look(&record_past_the_limit), Err(ClientHelloError::TooLong));
    let record_past_any = [22, 3, 1, 0x40, 0x01];
    assert_eq!(look(&record_past_any), Err(ClientHelloError::BadRecord));
}

#[test]
fn a_sniff_decides_on_six_bytes() {
    let rows: &[(&str, &[u8], Option<bool>)] = &[
        ("nothing", b"", None),
        ("a record", &[22], None),
        ("a version", &[22, 3, 1], None),
        ("a length", &[22, 3, 1, 2, 0], None),
        ("a ClientHello", &[22, 3, 1, 2, 0, 1], Some(true)),
        ("a ServerHello", &[22, 3, 1, 2, 0, 2], Some(false)),
        ("an alert", &[21], Some(false)),
        ("SSL 2", &[0x80, 0x2e], Some(false)),
        ("text", b"G", Some(false)),
    ];
    for (name, prefix, expected) in rows {
        assert_eq!(sniff(prefix), *expected, "{name}");
    }
    let wire = usual().wire(1);
    assert_eq!(sniff(&wire), Some(true), "one byte in a record");
}

/// Bytes near a ClientHello: most generators of bytes never get past the first.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let hello = (1_usize..300, any::<bool>()).prop_map(|(record_bytes, named)| {
        let hello = if named { usual() } else { Hello::default() };
        hello.wire(record_bytes)
    });
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let random = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        3 => (hello, edits).prop_map(|(mut wire, edits)| {
            for (at, byte) in edits {
                let at = at.index(wire.len());
                wire[at] = byte;
            }
            wire
        }),
        1 => random.clone(),
        1 => random.clone().prop_map(|body| record(22, &message(1, &body))),
        1 => random.prop_map(|body| [&[22, 3, 3][..], &body].concat()),
    ]
}

proptest! {
    #[test]
    fn every_split_agrees_whatever_the_bytes(wire in nearly()) {
        laws::every_split_agrees(ClientHelloDecoder::default, &wire, laws::plain);
    }

    #[test]
    fn a_refusal_to_sniff_is_a_refusal_to_decode(wire in nearly()) {
        match sniff(&wire) {
            Some(false) => prop_assert!(look(&wire).is_err()),
            Some(true) => prop_assert_ne!(look(&wire), Err(ClientHelloError::NotTls)),
            None => prop_assert!(wire.len() < 6),
        }
    }

    #[test]
    fn what_was_written_is_read(
        labels in prop::collection::vec("[a-z_][a-z0-9]{0,20}", 1..6),
        protocols in prop::collection::vec("[ -~]{1,20}", 1..6),
        versions in prop::collection::vec(any::<u16>(), 1..6),
        suites in prop::collection::vec(any::<u16>(), 1..40),
        session in prop::collection::vec(any::<u8>(), 0..=32),
        encrypted: bool,
        record_bytes in 1_usize..500,
    ) {
        let name = labels.join(".");
        let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
        let mut hello = Hello {
            cipher_suites: suites.clone(),
            session_id: session,
            ..Hello::default()
        };
        if encrypted {
            hello = hello.with(0xfe0d, vec![0; 50]);
        }
        let hello = hello.alpn(&protocols).versions(&versions).server_name(&name);
        let read = look(&hello.wire(record_bytes)).unwrap().unwrap();
        prop_assert_eq!(read.server_name(), Some(&*name));
        prop_assert!(read.alpn().eq(protocols.iter().map(|name| name.as_bytes())));
        prop_assert!(read.versions().eq(versions.into_iter().map(ProtocolVersion)));
        prop_assert_eq!(read.cipher_suites(), suites.len());
        prop_assert_eq!(read.is_encrypted(), encrypted);
        prop_assert_eq!(read.legacy_version(), ProtocolVersion::TLS_1_2);
    }
}
