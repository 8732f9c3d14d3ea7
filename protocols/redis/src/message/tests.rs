//! Values as they are asked for. The wire is for the vectors.

use bytes::Bytes;

use super::{MOST_DEPTH, Value, parse};
use crate::error::ReplyError;

fn read(text: &str) -> Value {
    parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

#[test]
fn fields_of_maps_and_of_arrays_in_their_place() {
    let map = read("%2\r\n+server\r\n+redis\r\n$5\r\nproto\r\n:3\r\n");
    let array = read("*4\r\n+server\r\n+redis\r\n$5\r\nproto\r\n$1\r\n3\r\n");
    let attributed = read("|1\r\n+a\r\n:1\r\n%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n");
    for value in [map, array, attributed] {
        let field = |name: &str| value.field(name.as_bytes());
        assert_eq!(field("server").unwrap().text().unwrap(), "redis");
        assert_eq!(field("proto").unwrap().integer(), Some(3));
        assert!(field("id").is_none());
        assert_eq!(value.pairs().count(), 2);
    }
}

#[test]
fn parts_of_values() {
    assert_eq!(read("=5\r\ntxt:x\r\n").text().unwrap(), "x");
    assert_eq!(read("-ERR x\r\n").error().unwrap(), "ERR x");
    assert_eq!(read("!5\r\nERR x\r\n").error().unwrap(), "ERR x");
    assert_eq!(read("-ERR x\r\n").text(), None);
    assert_eq!(read("$2\r\n-7\r\n").integer(), Some(-7));
    assert_eq!(read("$1\r\nx\r\n").integer(), None);
    assert_eq!(read("~1\r\n:1\r\n").elements().unwrap().len(), 1);
    assert_eq!(read("%0\r\n").elements(), None);
    assert_eq!(read("*3\r\n:1\r\n:2\r\n:3\r\n").pairs().count(), 1);
}

/// Strings share the bytes that were read.
#[test]
fn nothing_is_copied() {
    let bytes = Bytes::from_static(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    let value = parse(bytes.clone()).unwrap();
    let last = value.elements().unwrap()[1].text().unwrap();
    assert_eq!(last.as_ptr(), bytes[15..].as_ptr());
}

#[test]
fn what_is_not_one_whole_reply_is_refused() {
    for (name, text, error) in [
        ("nothing", "", ReplyError::Truncated),
        ("half", "$3\r\nab", ReplyError::Truncated),
        ("half an array", "*2\r\n:1\r\n", ReplyError::Truncated),
        ("more than one", ":1\r\n:2\r\n", ReplyError::Length),
        ("an end", ".\r\n", ReplyError::Type),
        ("huge", "*2147483647\r\n", ReplyError::Truncated),
    ] {
        let read = parse(Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(read, Err(error), "{name}");
    }
    let deep = |levels: u32| parse(Bytes::from("*1\r\n".repeat(levels as usize) + ":1\r\n"));
    assert!(deep(MOST_DEPTH - 1).is_ok());
    assert_eq!(deep(MOST_DEPTH), Err(ReplyError::Depth));
    assert_eq!(deep(1_000_000), Err(ReplyError::Depth));
}
