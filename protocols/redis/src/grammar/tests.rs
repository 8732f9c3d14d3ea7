//! The grammar by table.

use super::{Length, integer, is_big_number, is_double, is_http, length, short_header};

#[test]
fn lengths() {
    let is = |value, len| Length::Is { value, len };
    for (name, bytes, expected) in [
        ("nothing", &b""[..], Length::Unfinished),
        ("zero", b"0\r\n", is(0, 3)),
        ("one digit", b"7\r\nrest", is(7, 3)),
        ("two digits", b"42\r\n", is(42, 4)),
        ("three digits", b"512\r\n", is(512, 5)),
        (
            "many",
            b"123456789012345678\r\n",
            is(123_456_789_012_345_678, 20),
        ),
        ("too many", b"1234567890123456789", Length::TooManyDigits),
        ("no end yet", b"42", Length::Unfinished),
        ("half an end", b"42\r", Length::Unfinished),
        ("bare line feed", b"42\n", Length::Bad),
        ("bare carriage return", b"42\rx", Length::Bad),
        ("leading zero", b"042", Length::Bad),
        ("two zeros", b"00\r\n", Length::Bad),
        ("plus", b"+1\r\n", Length::Bad),
        ("minus", b"-1\r\n", Length::Bad),
        ("empty", b"\r\n", Length::Bad),
        ("space", b" 1\r\n", Length::Bad),
        ("letter", b"1a\r\n", Length::Bad),
    ] {
        assert_eq!(length(bytes), expected, "{name}");
        if let Length::Bad | Length::TooManyDigits = expected {
            let longer = [bytes, b"\r\n"].concat();
            assert_eq!(length(&longer), expected, "{name}, and more");
        }
    }
}

#[test]
fn integers() {
    for (line, expected) in [
        (&b"0"[..], Some(0)),
        (b"-0", Some(0)),
        (b"+12", Some(12)),
        (b"007", Some(7)),
        (b"9223372036854775807", Some(i64::MAX)),
        (b"-9223372036854775808", Some(i64::MIN)),
        (b"9223372036854775808", None),
        (b"-9223372036854775809", None),
        (b"", None),
        (b"-", None),
        (b"1.0", None),
        (b" 1", None),
    ] {
        assert_eq!(integer(line), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn doubles_and_big_numbers() {
    for (line, double, big) in [
        (&b"1"[..], true, true),
        (b"-10.5", true, false),
        (b"1.", true, false),
        (b"1e+20", true, false),
        (b"1.5E-3", true, false),
        (b"inf", true, false),
        (b"-inf", true, false),
        (b"nan", true, false),
        (b"-nan", true, false),
        (b"+inf", false, false),
        (b".5", false, false),
        (b"1e", false, false),
        (b"", false, false),
        (b"infinity", false, false),
        (b"+349", true, true),
        (b"12345678901234567890123456789", true, true),
        (b"0x1f", false, false),
    ] {
        assert_eq!(is_double(line), double, "{}", line.escape_ascii());
        assert_eq!(is_big_number(line), big, "{}", line.escape_ascii());
    }
}

#[test]
fn requests_of_browsers() {
    for (line, expected) in [
        ("POST / HTTP/1.1", true),
        ("post", true),
        ("Host: cache.internal", true),
        ("GET / HTTP/1.1", true),
        ("PUT http://a/ HTTP/1.0", true),
        ("GET key", false),
        ("SET key HTTP/1.1", false),
        ("GET / HTTP/2", false),
        ("", false),
    ] {
        let words: Vec<_> = line
            .split_whitespace()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        assert_eq!(is_http(&words), expected, "{line}");
    }
}

/// What is short is read as the long way reads it, or left to that.
#[test]
fn short_headers_are_those_of_lengths() {
    for value in 0..1100_usize {
        let header = format!("${value}\r\n");
        let src = format!("{header}abcd");
        let found = (value < 1000).then_some((header.len(), value));
        assert_eq!(short_header(src.as_bytes()), found, "{value}");
        assert_eq!(short_header(&src.as_bytes()[..7]), None, "{value}");
    }
    let odd: [&[u8]; 12] = [
        b"$01\r\nabcd",
        b"$001\r\nab",
        b"$:\r\nabcd",
        b"$/\r\nabcd",
        b"$1:\r\nabc",
        b"$1/\r\nabc",
        b"$12:\r\nab",
        b"*1\r\nabcd",
        b"$1\n\rabcd",
        b"$\r\nabcde",
        b"$12\rabcd",
        b"$-1\r\nabc",
    ];
    for src in odd {
        assert_eq!(short_header(src), None, "{}", src.escape_ascii());
    }
}
