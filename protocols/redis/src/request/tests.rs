//! Commands in memory: what is shared, and what is not kept. The wire is for the vectors.

use bytes::BytesMut;
use portcullis_codec::Decoder as _;

use super::{Command, CommandFrame, CommandScanner, Request, RequestDecoder};
use crate::encoder;
use crate::limits::RequestLimits;

fn pipeline() -> BytesMut {
    let mut src = BytesMut::new();
    encoder::command(&["GET", "a"], &mut src);
    encoder::command(&["SET", "b", "value"], &mut src);
    encoder::command(&["PING"], &mut src);
    src
}

#[test]
fn arguments_share_the_bytes_that_were_read() {
    let mut src = pipeline();
    let (address, length) = (src.as_ptr() as usize, src.len());
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let mut commands = Vec::new();
    assert_eq!(decoder.take_commands(&mut src, &mut commands), 3);
    let mut at = address;
    for command in &commands {
        assert_eq!(command.wire().as_ptr() as usize, at);
        at += command.wire().len();
        let name = command.slice(0).unwrap();
        assert_eq!(name, command.name());
        assert!((address..address + length).contains(&(name.as_ptr() as usize)));
    }
    assert_eq!(commands[1].argument(2), Some(&b"value"[..]));
    assert_eq!(commands[1].argument(3), None);
    assert_eq!(commands[1].len(), 3);
}

#[test]
fn a_row_ends_at_what_is_no_whole_command() {
    let rows: [(&str, &[u8]); 4] = [
        ("half a command", b"*1\r\n$4\r\nPI"),
        ("an error", b"+OK\r\n"),
        ("an empty line", b"\r\n"),
        ("a large one", b"*2\r\n$3\r\nGET\r\n$100\r\n0123456789012345678901234567890123456789012345678901234567890123456789"),
    ];
    let limits = RequestLimits {
        whole: 64,
        ..RequestLimits::default()
    };
    for (name, end) in rows {
        let mut src = pipeline();
        src.extend_from_slice(end);
        let mut decoder = RequestDecoder::new(limits);
        let mut commands = Vec::new();
        assert_eq!(decoder.take_commands(&mut src, &mut commands), 3, "{name}");
        assert_eq!(src, end, "{name}");
        assert_eq!(decoder.take_commands(&mut src, &mut commands), 0, "{name}");
        let mut alone = RequestDecoder::new(limits);
        let expected = alone.decode(&mut BytesMut::from(end));
        assert_eq!(decoder.decode(&mut src), expected, "{name}");
    }
}

#[test]
fn limits_change_with_the_next_command() {
    let mut src = BytesMut::new();
    encoder::command(&["AUTH", "secret"], &mut src);
    encoder::command(&["x"; 11], &mut src);
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    assert!(decoder.decode(&mut src).unwrap().is_some());
    assert!(decoder.decode(&mut src.clone()).is_err());
    decoder.set_known(true);
    let Ok(Some(Request::Command(command))) = decoder.decode(&mut src) else {
        panic!("no command");
    };
    assert_eq!(command.len(), 11);
}

#[test]
fn room_for_many_arguments_is_given_back() {
    let mut many = BytesMut::new();
    encoder::command(&["x"; 10], &mut many);
    let mut scanner = CommandScanner::new(RequestLimits::default());
    let len = many.len();
    assert_eq!(scanner.next(&many), Ok(Some(CommandFrame::Whole { len })));
    assert!(scanner.spans.spilled());
    assert!(scanner.next(b"*1\r\n$4\r\nPING\r\n").unwrap().is_some());
    assert!(!scanner.spans.spilled());
}

#[test]
fn it_says_how_much_it_waits_for() {
    for (bytes, wants) in [
        (&b"*2\r\n$3\r\nGET\r\n$10\r\nab"[..], 10),
        (b"*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r", 1),
        (b"*2\r\n$3\r\nGET\r\n", 2),
        (b"*2", 1),
        (b"", 1),
    ] {
        let mut scanner = CommandScanner::new(RequestLimits::default());
        assert_eq!(scanner.next(bytes), Ok(None));
        assert_eq!(scanner.wants(), wants, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_command_of_our_own() {
    let command = Command::new(&["SELECT", "5"]);
    assert_eq!(command.wire(), "*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n");
    assert_eq!(command.name(), b"SELECT");
    assert_eq!(command.argument(1), Some(&b"5"[..]));
}

#[test]
fn commands_of_browsers() {
    for (name, expected) in [("POST", true), ("host:", true), ("GET", false), ("", false)] {
        let command = Command::new(&[name, "x"]);
        assert_eq!(command.as_ref().is_cross_protocol(), expected, "{name}");
    }
}
