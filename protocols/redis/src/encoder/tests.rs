//! What is written, by table. That it is read again is for the laws.

use bytes::BytesMut;

use super::*;
use crate::message::RespVersion::{Resp2, Resp3};

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut dst = BytesMut::new();
    write(&mut dst);
    String::from_utf8(dst.to_vec()).unwrap()
}

#[test]
fn both_versions() {
    type Write = fn(RespVersion, &mut BytesMut);
    let rows: [(&str, Write, &str, &str); 12] = [
        ("nil", null, "$-1\r\n", "_\r\n"),
        ("nil array", null_array, "*-1\r\n", "_\r\n"),
        ("array", |_, dst| array(3, dst), "*3\r\n", "*3\r\n"),
        ("map", |of, dst| map(6, of, dst), "*12\r\n", "%6\r\n"),
        ("set", |of, dst| set(100, of, dst), "*100\r\n", "~100\r\n"),
        ("push", |of, dst| push(2, of, dst), "*2\r\n", ">2\r\n"),
        ("true", |of, dst| boolean(true, of, dst), ":1\r\n", "#t\r\n"),
        (
            "false",
            |of, dst| boolean(false, of, dst),
            ":0\r\n",
            "#f\r\n",
        ),
        (
            "double",
            |of, dst| double(1.5, of, dst),
            "$3\r\n1.5\r\n",
            ",1.5\r\n",
        ),
        (
            "infinite",
            |of, dst| double(f64::NEG_INFINITY, of, dst),
            "$4\r\n-inf\r\n",
            ",-inf\r\n",
        ),
        (
            "no number",
            |of, dst| double(f64::NAN, of, dst),
            "$3\r\nnan\r\n",
            ",nan\r\n",
        ),
        (
            "text",
            |of, dst| verbatim(*b"txt", b"a", of, dst),
            "$1\r\na\r\n",
            "=5\r\ntxt:a\r\n",
        ),
    ];
    for (name, write, resp2, resp3) in rows {
        assert_eq!(written(|dst| write(Resp2, dst)), resp2, "{name}");
        assert_eq!(written(|dst| write(Resp3, dst)), resp3, "{name}");
    }
}

#[test]
fn numbers() {
    for number in [0, 9, 10, 123, -1, i64::MAX, i64::MIN] {
        let text = written(|dst| integer(number, dst));
        assert_eq!(text, format!(":{number}\r\n"));
    }
    assert_eq!(
        written(|dst| bulk(&[b'x'; 10], dst)),
        "$10\r\nxxxxxxxxxx\r\n"
    );
    assert_eq!(written(ok), "+OK\r\n");
}

#[test]
fn nothing_ends_a_line_early() {
    let text = written(|dst| error(b"ERR a\r\n+OK\r\nb\n", dst));
    assert_eq!(text, "-ERR a  +OK  b \r\n");
    let text = written(|dst| simple(b"\r", dst));
    assert_eq!(text, "+ \r\n");
    let text = written(|dst| protocol_error(RequestError::ExpectedBulk(b'\r'), dst));
    assert_eq!(text, "-ERR Protocol error: expected '$', got '?'\r\n");
}
