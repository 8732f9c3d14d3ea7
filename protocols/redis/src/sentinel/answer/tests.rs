//! Answers as sentinels give them, and as nobody should believe them.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::encoder;
use crate::message::parse;

/// Words as an array of strings; `nil` is nil, and what begins with `-` an error.
fn words(text: &str) -> Value {
    let mut wire = BytesMut::new();
    match text {
        "nil" => wire.extend_from_slice(b"*-1\r\n"),
        text if text.starts_with('-') => wire.extend_from_slice(format!("{text}\r\n").as_bytes()),
        text => {
            let words: Vec<&str> = text.split_whitespace().collect();
            encoder::array(words.len(), &mut wire);
            for word in words {
                encoder::bulk(word.as_bytes(), &mut wire);
            }
        }
    }
    parse(wire.freeze()).unwrap()
}

fn read(address: &str, details: &str, replicas: &[&str]) -> Result<String, AnswerError> {
    let replicas = Value::Array(replicas.iter().map(|replica| words(replica)).collect());
    let answer = Answer::read(&words(address), &words(details), &replicas)?;
    let replicas: Vec<String> = answer.replicas.iter().map(NodeAddress::to_string).collect();
    Ok(format!(
        "{} {} [{}]",
        answer.primary,
        answer.epoch,
        replicas.join(" ")
    ))
}

#[test]
fn a_primary_and_its_replicas() {
    let well = "flags slave master-link-status ok";
    let replica = |address: &str, rest: &str| {
        let (ip, port) = address.split_once(' ').unwrap();
        format!("name x ip {ip} port {port} {rest}")
    };
    let cases = [
        ("well", replica("10.0.0.2 6379", well), "10.0.0.2:6379"),
        ("a name", replica("a.example 6379", well), "a.example:6379"),
        (
            "of before 2.8",
            replica("10.0.0.2 1", "flags slave"),
            "10.0.0.2:1",
        ),
        (
            "announced",
            replica("10.0.0.2 1", "replica-announced 1 flags slave"),
            "10.0.0.2:1",
        ),
        (
            "hidden",
            replica("10.0.0.2 1", "replica-announced 0 flags slave"),
            "",
        ),
        (
            "gone",
            replica("10.0.0.2 1", "flags s_down,slave,disconnected"),
            "",
        ),
        (
            "gone for all",
            replica("10.0.0.2 1", "flags slave,o_down"),
            "",
        ),
        (
            "cut off",
            replica("10.0.0.2 1", "flags slave master-link-status err"),
            "",
        ),
        (
            "no replica any more",
            replica("10.0.0.2 1", "flags master"),
            "",
        ),
        ("the primary itself", replica("10.0.0.1 6379", well), ""),
        ("no flags", replica("10.0.0.2 1", ""), ""),
        ("no port", "ip 10.0.0.2 flags slave".to_owned(), ""),
        ("port 0", replica("10.0.0.2 0", well), ""),
        (
            "a host with a line in it",
            replica("10.0.0.2/x 1", well),
            "",
        ),
        ("an odd element", "ip 10.0.0.2 port 1 flags".to_owned(), ""),
        ("nothing", String::new(), ""),
        ("an error", "-ERR no".to_owned(), ""),
    ];
    for (name, replica, expected) in cases {
        let said = read("10.0.0.1 6379", "ip 10.0.0.1 config-epoch 7", &[&replica]);
        assert_eq!(said, Ok(format!("10.0.0.1:6379 7 [{expected}]")), "{name}");
    }
}

#[test]
fn what_is_no_answer() {
    let fine = "config-epoch 1";
    let cases = [
        ("nobody", "nil", fine, AnswerError::Unknown),
        (
            "not monitored",
            "a 1",
            "-ERR No such master with that name",
            AnswerError::Unknown,
        ),
        ("no right", "-NOPERM this user", fine, AnswerError::Refused),
        (
            "no sentinel",
            "a 1",
            "-ERR unknown command 'SENTINEL'",
            AnswerError::Refused,
        ),
        ("one word", "a", fine, AnswerError::Shape),
        ("three words", "a 1 2", fine, AnswerError::Shape),
        ("no port", "a b", fine, AnswerError::Shape),
        ("a port too large", "a 65536", fine, AnswerError::Shape),
        ("a host that is none", "? 1", fine, AnswerError::Shape),
        ("no epoch", "a 1", "ip a", AnswerError::Shape),
        (
            "a negative epoch",
            "a 1",
            "config-epoch -1",
            AnswerError::Shape,
        ),
        (
            "an epoch that is none",
            "a 1",
            "config-epoch x",
            AnswerError::Shape,
        ),
    ];
    for (name, address, details, expected) in cases {
        assert_eq!(read(address, details, &[]), Err(expected), "{name}");
    }
    let nothing = Value::bulk(Bytes::new());
    let address = words("a 1");
    let answer = Answer::read(&address, &words(fine), &nothing);
    assert!(answer.unwrap().replicas.is_empty(), "odd replicas are none");
}

#[test]
fn replicas_are_bounded() {
    let all: Vec<String> = (1..=5000)
        .map(|port| format!("ip 10.0.0.9 port {port} flags slave"))
        .collect();
    let replicas = Value::Array(all.iter().map(|replica| words(replica)).collect());
    let answer = Answer::read(&words("a 1"), &words("config-epoch 1"), &replicas);
    assert_eq!(answer.unwrap().replicas.len(), MOST_REPLICAS);
    let same = Value::Array(vec![words("ip 10.0.0.9 port 5 flags slave"); 3]);
    let answer = Answer::read(&words("a 1"), &words("config-epoch 1"), &same);
    assert_eq!(answer.unwrap().replicas.len(), 1, "each once");
}

#[test]
fn any_bytes_do_no_harm() {
    let wire = b"*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n";
    let details = words("config-epoch 1");
    for index in 0..wire.len() {
        for byte in 0..=255 {
            let mut other = wire.to_vec();
            other[index] = byte;
            if let Ok(value) = parse(Bytes::from(other)) {
                let replicas = Value::Array(vec![value.clone()]);
                let _ = Answer::read(&value, &details, &replicas);
                let _ = Answer::read(&words("a 1"), &value, &value);
            }
        }
    }
}
