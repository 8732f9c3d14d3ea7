use super::backend::{
    Authentication, AuthenticationKind, CommandComplete, ErrorFields, ReadyForQuery, field,
};
use super::frontend::{Bind, Parse, Response, Target};
use super::replication::{FromServer, FromStandby, Lsn};
use super::*;
use crate::error::MessageError;
use crate::frame::Tag;
use crate::sqlstate::SqlState;

#[test]
fn bodies_that_are_not_what_they_promise_are_refused() {
    use MessageError::{
        KeyLength, Tag as Unknown, Trailing, Truncated, Unterminated, Value, ValueLength,
    };
    for (name, tag, body, expected) in [
        ("query without NUL", b'Q', &b"SELECT"[..], Unterminated),
        ("query behind its NUL", b'Q', b"a\0b\0", Trailing),
        ("parse without types", b'P', b"\0\0", Truncated),
        ("parse with half a type", b'P', b"\0\0\0\x01\0\0", Truncated),
        ("parse with more", b'P', b"\0\0\0\0\0", Trailing),
        (
            "bind with a value of -2",
            b'B',
            b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0",
            ValueLength,
        ),
        (
            "bind with a value beyond",
            b'B',
            b"\0\0\0\0\0\x01\0\0\0\x04\0\0",
            Truncated,
        ),
        (
            "bind with 1 GiB",
            b'B',
            b"\0\0\0\0\0\x01\x40\0\0\0\0\0",
            Truncated,
        ),
        (
            "bind with fewer values",
            b'B',
            b"\0\0\0\0\xff\xff\xff\xff\xff\xff",
            Truncated,
        ),
        (
            "bind without result formats",
            b'B',
            b"\0\0\0\0\0\0",
            Truncated,
        ),
        ("describe of nothing", b'D', b"X\0", Value),
        ("close of nothing", b'C', b"", Truncated),
        ("execute without rows", b'E', b"\0\0\0\0", Truncated),
        ("sync with a body", b'S', b"\0", Trailing),
        ("unknown", b'!', b"", Unknown),
    ] {
        let seen = frontend::Message::parse(Tag(tag), body);
        assert_eq!(seen, Err(expected), "{name}");
    }
    for (name, tag, body, expected) in [
        ("short key", b'K', &[0; 7][..], KeyLength),
        ("long key", b'K', &[0; 261], KeyLength),
        ("status", b'Z', b"X", Value),
        ("error without end", b'E', b"SERROR\0", Truncated),
        ("error without NUL", b'E', b"SERROR", Unterminated),
        ("error with more", b'E', b"SERROR\0\0\0", Trailing),
        ("row with fewer", b'D', b"\0\x02\xff\xff\xff\xff", Truncated),
        ("row with more", b'D', b"\0\0\0", Trailing),
        ("column cut off", b'T', b"\0\x01a\0\0\0", Truncated),
        ("salt", b'R', b"\0\0\0\x05abc", Truncated),
        ("long salt", b'R', b"\0\0\0\x05abcde", Trailing),
        ("mechanisms", b'R', b"\0\0\0\x0aSCRAM\0", Unterminated),
        (
            "options below none",
            b'v',
            b"\0\x03\0\0\xff\xff\xff\xff",
            Value,
        ),
        (
            "options beyond",
            b'v',
            b"\0\x03\0\0\x7f\xff\xff\xffa\0",
            Unterminated,
        ),
        ("unknown", b'!', b"", Unknown),
    ] {
        let seen = backend::Message::parse(Tag(tag), body);
        assert_eq!(seen, Err(expected), "{name}");
    }
}

#[test]
fn binds_are_walked() {
    let body = b"p\0s\0\0\x01\0\x01\0\x03\0\0\0\x01x\xff\xff\xff\xff\0\0\0\0\0\0";
    let bind = Bind::parse(body).unwrap();
    assert_eq!((bind.portal, bind.statement), (&b"p"[..], &b"s"[..]));
    let values: Vec<_> = bind.parameters.iter().collect();
    assert_eq!(values, [Some(&b"x"[..]), None, Some(b"")]);
    assert_eq!(bind.parameters.len(), 3);
    assert_eq!(bind.formats.of(2), Format::BINARY, "one is for all");
    assert_eq!(bind.result_formats.of(0), Format::TEXT, "none is text");
    assert_eq!(format!("{:?}", bind.parameters), "Values(3 in 13 bytes)");
}

#[test]
fn as_many_parameters_as_the_count_can_say() {
    let count = u16::MAX;
    let values = b"\xff\xff\xff\xff".repeat(usize::from(count));
    let body = [b"\0\0\0\0\xff\xff", &values[..], b"\0\0"].concat();
    assert_eq!(
        Bind::parse(&body).unwrap().parameters.iter().count(),
        65_535
    );
    let types = [
        b"\0\0\xff\xff",
        &b"\0\0\0\x19".repeat(usize::from(count))[..],
    ]
    .concat();
    let parse = Parse::parse(&types).unwrap();
    assert!(
        parse
            .parameter_types
            .iter()
            .eq(std::iter::repeat_n(25, 65_535))
    );
}

#[test]
fn command_tags_are_taken_apart() {
    for (tag, verb, rows) in [
        (&b"SELECT 3"[..], &b"SELECT"[..], Some(3)),
        (b"INSERT 0 5", b"INSERT", Some(5)),
        (b"CREATE TABLE", b"CREATE TABLE", None),
        (b"DISCARD ALL", b"DISCARD ALL", None),
        (b"COPY 18446744073709551615", b"COPY", Some(u64::MAX)),
        (b"COPY 18446744073709551616", b"COPY", None),
        (b"", b"", None),
        (b"5", b"5", None),
        (b"SELECT ", b"SELECT ", None),
        (b"SELECT3", b"SELECT3", None),
        (b"SELECT -3", b"SELECT -3", None),
    ] {
        let complete = CommandComplete { tag };
        assert_eq!(complete.verb(), verb, "{complete:?}");
        assert_eq!(complete.rows(), rows, "{complete:?}");
    }
}

#[test]
fn errors_say_what_they_can() {
    let body = b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0";
    let fields = ErrorFields::parse(body).unwrap();
    assert!(fields.is_fatal());
    assert_eq!(fields.sqlstate(), Some(SqlState::ADMIN_SHUTDOWN));
    assert_eq!(fields.message(), b"gone");
    let translated = ErrorFields::parse(b"SFEHLER\0VERROR\0\0").unwrap();
    assert!(!translated.is_fatal());
    assert_eq!(translated.severity(), Some(&b"ERROR"[..]));
    let nothing = ErrorFields::parse(b"\0").unwrap();
    assert_eq!((nothing.sqlstate(), nothing.message()), (None, &b""[..]));
    let odd = ErrorFields::parse(b"C57p01\0\0").unwrap();
    assert_eq!(odd.sqlstate(), None);
    for end in 0..=body.len() {
        let front = ErrorFields::of_front(&body[..end]);
        assert!(fields.iter().zip(front.iter()).all(|(all, own)| all == own));
        assert_eq!(front.sqlstate().is_some(), end >= 21, "{end}");
    }
    assert_eq!(fields.find(field::HINT), None);
}

#[test]
fn secrets_are_not_shown() {
    let password = Response { body: b"hunter2\0" };
    assert_eq!(password.password(), Ok(&b"hunter2"[..]));
    let initial = Response {
        body: b"SCRAM-SHA-256\0\0\0\0\x03n,,",
    };
    let initial = initial.sasl_initial().unwrap();
    assert_eq!(initial.data, Some(&b"n,,"[..]));
    let key = backend::BackendKeyData::parse(b"\0\0\0\x07hunter2").unwrap();
    let shown = format!("{password:?} {initial:?} {key:?}");
    assert_eq!(
        shown,
        "Response(8 bytes) SaslInitialResponse(SCRAM-SHA-256) BackendKeyData(7)"
    );
}

#[test]
fn requests_for_proof_are_told_apart() {
    for (body, expected) in [
        (&b"\0\0\0\0"[..], Authentication::Ok),
        (b"\0\0\0\x03", Authentication::CleartextPassword),
        (
            b"\0\0\0\x05salt",
            Authentication::Md5Password { salt: *b"salt" },
        ),
        (
            b"\0\0\0\x08tok",
            Authentication::GssContinue { data: b"tok" },
        ),
        (b"\0\0\0\x0bn", Authentication::SaslContinue { data: b"n" }),
        (
            b"\0\0\0\x63?",
            Authentication::Other {
                kind: AuthenticationKind(99),
                data: b"?",
            },
        ),
    ] {
        assert_eq!(Authentication::parse(body), Ok(expected));
    }
    let Ok(Authentication::Sasl { mechanisms }) =
        Authentication::parse(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
    else {
        panic!("no mechanisms");
    };
    let expected: [&[u8]; 2] = [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"];
    assert!(mechanisms.iter().eq(expected));
}

#[test]
fn statuses_and_targets_are_their_letters() {
    for letter in [b'I', b'T', b'E'] {
        let ready = ReadyForQuery::parse(&[letter]).unwrap();
        assert_eq!(ready.status.byte(), letter);
    }
    assert_eq!(
        (Target::Statement.byte(), Target::Portal.byte()),
        (b'S', b'P')
    );
}

#[test]
fn replication_is_told_apart() {
    let log = [
        &b"w"[..],
        &7_u64.to_be_bytes(),
        &9_u64.to_be_bytes(),
        &1_i64.to_be_bytes(),
        b"wal",
    ]
    .concat();
    let expected = FromServer::XLogData {
        start: Lsn(7),
        end: Lsn(9),
        clock: 1,
        data: b"wal",
    };
    assert_eq!(FromServer::parse(&log), Ok(expected));
    let alive = [
        &b"k"[..],
        &9_u64.to_be_bytes(),
        &1_i64.to_be_bytes(),
        b"\x01",
    ]
    .concat();
    let expected = FromServer::Keepalive {
        end: Lsn(9),
        clock: 1,
        reply: true,
    };
    assert_eq!(FromServer::parse(&alive), Ok(expected));
    let status = [&b"r"[..], &[0; 32], b"\0"].concat();
    assert!(matches!(
        FromStandby::parse(&status),
        Ok(FromStandby::Status { reply: false, .. })
    ));
    assert!(matches!(
        FromStandby::parse(&[b'h'; 25]),
        Ok(FromStandby::HotFeedback { .. })
    ));
    assert_eq!(FromServer::parse(b""), Err(MessageError::Truncated));
    assert_eq!(
        FromServer::parse(&alive[..17]),
        Err(MessageError::Truncated)
    );
    assert_eq!(FromStandby::parse(&[b'h'; 26]), Err(MessageError::Trailing));
    assert_eq!(
        FromStandby::parse(b"zx"),
        Ok(FromStandby::Other {
            kind: b'z',
            data: b"x"
        })
    );
}
