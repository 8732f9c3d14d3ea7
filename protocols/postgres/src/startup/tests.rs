use portcullis_codec::WireError as _;

use super::*;

fn decode(src: &[u8]) -> Result<Option<Startup>, StartupError> {
    StartupDecoder::new(StartupLimits::default()).decode(&mut BytesMut::from(src))
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

#[test]
fn what_is_no_postgres_is_told_by_its_first_byte() {
    for (src, label) in [
        (&b"G"[..], "not_postgres_http"),
        (b"POST / HTTP/1.1\r\n", "not_postgres_http"),
        (b"\x16\x03\x01", "not_postgres_tls"),
        (b"*1\r\n$4\r\nPING\r\n", "not_postgres_redis"),
        (b"\xff", "not_postgres"),
        (b"ping\r\n", "not_postgres"),
        (b"\x01\0\0\0", "not_postgres"),
    ] {
        let error = decode(src).unwrap_err();
        assert_eq!(error.label(), label, "{}", src.escape_ascii());
        assert!(!error.is_postgres());
    }
}

#[test]
fn lengths_and_codes_are_judged_before_the_rest_comes() {
    let header = |length: u32, code: u32| [length.to_be_bytes(), code.to_be_bytes()].concat();
    let v3 = ProtocolVersion::V3_0.code();
    for (name, src, expected) in [
        ("nothing", vec![], Ok(None)),
        ("length 0", header(0, v3), Err(StartupError::Length)),
        (
            "length 7",
            header(7, v3)[..4].to_vec(),
            Err(StartupError::Length),
        ),
        ("length alone", header(8, v3)[..4].to_vec(), Ok(None)),
        ("10 kB", header(10_000, v3), Ok(None)),
        (
            "more",
            header(10_001, v3)[..4].to_vec(),
            Err(StartupError::TooLong),
        ),
        (
            "SSLRequest with a body",
            header(9, SSL),
            Err(StartupError::Length),
        ),
        (
            "GSSENCRequest with a body",
            header(9, GSS_ENCRYPTION),
            Err(StartupError::Length),
        ),
        ("short key", header(15, CANCEL), Err(StartupError::Length)),
        ("old key", header(16, CANCEL), Ok(None)),
        ("longest key", header(268, CANCEL), Ok(None)),
        ("longer key", header(269, CANCEL), Err(StartupError::Length)),
        (
            "protocol 2",
            header(296, code(2, 0)),
            Err(StartupError::Version(ProtocolVersion {
                major: 2,
                minor: 0,
            })),
        ),
        (
            "unknown request",
            header(8, code(1234, 5681)),
            Err(StartupError::Version(ProtocolVersion::of(code(1234, 5681)))),
        ),
        ("protocol 3.9999", header(100, code(3, 9999)), Ok(None)),
    ] {
        assert_eq!(decode(&src), expected, "{name}");
    }
}

#[test]
fn packets_are_taken_one_by_one() {
    let start = packet(
        ProtocolVersion::V3_2.code(),
        b"user\0ann\0database\0shop\0user\0bob\0\0",
    );
    let src = [packet(SSL, b""), packet(CANCEL, b"\0\0\0\x09secret"), start].concat();
    let mut src = BytesMut::from(&src[..]);
    let mut decoder = StartupDecoder::new(StartupLimits::default());
    assert_eq!(decoder.decode(&mut src), Ok(Some(Startup::SslRequest)));
    let cancel = decoder.decode(&mut src).unwrap().unwrap();
    assert_eq!(format!("{cancel:?}"), "Cancel(9)", "the key is a secret");
    let key = Bytes::from_static(b"secret");
    assert_eq!(cancel, Startup::Cancel { process: 9, key });
    let Ok(Some(Startup::Start {
        version,
        parameters,
    })) = decoder.decode(&mut src)
    else {
        panic!("no start");
    };
    assert_eq!(version, ProtocolVersion::V3_2);
    assert_eq!(parameters.count(), 3);
    assert_eq!(
        parameters.find(b"user"),
        Some(&b"bob"[..]),
        "the last counts"
    );
    assert_eq!(parameters.find(b"nobody"), None);
    assert!(src.is_empty());
}

#[test]
fn parameters_are_pairs_with_a_nul_behind() {
    let many = |count| [b"a\0\0".repeat(count), b"\0".to_vec()].concat();
    for (name, body, expected) in [
        ("none", b"\0".to_vec(), None),
        ("nothing", vec![], Some(StartupError::Layout)),
        (
            "no NUL at the end",
            b"user\0ann\0".to_vec(),
            Some(StartupError::Layout),
        ),
        ("name alone", b"user\0".to_vec(), Some(StartupError::Layout)),
        (
            "unterminated",
            b"user\0ann".to_vec(),
            Some(StartupError::Layout),
        ),
        ("more", b"\0\0".to_vec(), Some(StartupError::Layout)),
        (
            "name before the end",
            b"user\0\0".to_vec(),
            Some(StartupError::Layout),
        ),
        ("100", many(100), None),
        ("101", many(101), Some(StartupError::TooManyParameters)),
    ] {
        let seen = decode(&packet(ProtocolVersion::V3_0.code(), &body));
        assert_eq!(seen.err(), expected, "{name}");
    }
}

#[test]
fn wants_says_what_is_missing() {
    let mut decoder = StartupDecoder::new(StartupLimits::default());
    let start = packet(ProtocolVersion::V3_0.code(), b"user\0ann\0\0");
    for (here, wants) in [(0, 8), (3, 5), (7, 1), (8, 10), (17, 1)] {
        assert_eq!(
            decoder.decode(&mut BytesMut::from(&start[..here])),
            Ok(None)
        );
        assert_eq!(decoder.wants(), wants, "{here} bytes");
    }
}

#[test]
fn nothing_may_come_behind_consent() {
    for (src, expected) in [
        (&b""[..], Ok(None)),
        (b"S", Ok(Some(EncryptionReply::Accepted))),
        (b"G", Ok(Some(EncryptionReply::Accepted))),
        (b"N", Ok(Some(EncryptionReply::Refused))),
        (b"E\0\0", Ok(Some(EncryptionReply::Error))),
        (b"SR\0\0\0\x08\0\0\0\0", Err(StartupError::Injected)),
        (b"Nx", Ok(Some(EncryptionReply::Refused))),
        (b"H", Err(StartupError::Reply)),
    ] {
        assert_eq!(
            EncryptionReply::read(src),
            expected,
            "{}",
            src.escape_ascii()
        );
    }
}
