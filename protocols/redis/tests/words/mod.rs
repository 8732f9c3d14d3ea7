//! What is decoded, in the words of the vectors.
//!
//! Not a format that anything reads. Start at [`asked`] and [`said`].

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use portcullis_redis::encoder::translate::to_resp2;
use portcullis_redis::message::{self, Null, Value};
use portcullis_redis::request::Command;

use crate::support::{Asked, Said};

/// What is shown of long bytes.
const SHOWN: usize = 80;

pub(crate) fn bytes(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let front = &bytes[..SHOWN];
    format!("\"{}...\" ({} bytes)", front.escape_ascii(), bytes.len())
}

fn arguments(command: &Command) -> String {
    let words: Vec<_> = command.as_ref().arguments().map(bytes).collect();
    words.join(" ")
}

pub(crate) fn asked(asked: &Asked) -> String {
    match asked {
        Asked::Command(command) => arguments(command),
        Asked::Large {
            front,
            declared,
            partial,
            bytes,
            is_whole,
        } => format!(
            "large: {} of {declared}, the next of {partial:?} bytes; {} bytes seen first, {} in all{}",
            arguments(front),
            front.wire().len(),
            bytes.len(),
            if *is_whole { "" } else { ", without an end" }
        ),
    }
}

pub(crate) fn said(said: &Said) -> String {
    let mut words = format!("{:?}", said.kind);
    if said.attributes > 0 {
        let _ = write!(words, " behind {} bytes of attributes", said.attributes);
    }
    if said.is_large {
        let end = if said.is_whole {
            ""
        } else {
            ", without an end"
        };
        let _ = write!(words, " in parts: {} bytes{end}", said.bytes.len());
    }
    if said.is_whole {
        let parsed = message::parse(Bytes::copy_from_slice(&said.bytes)).unwrap();
        let _ = write!(words, ": {}", value(&parsed));
        let mut translated = BytesMut::new();
        to_resp2(&said.bytes, &mut translated).unwrap();
        if translated != said.bytes[..] {
            let _ = write!(words, "\n  RESP2: {}", bytes(&translated));
        }
    }
    words
}

fn value(of: &Value) -> String {
    match of {
        Value::Simple(text) => format!("+{}", bytes(text)),
        Value::Error(text) => format!("-{}", bytes(text)),
        Value::Integer(number) => number.to_string(),
        Value::Bulk(text) => bytes(text),
        Value::Array(elements) => format!("[{}]", list(elements)),
        Value::Null(Null::Bulk) => "nil string".into(),
        Value::Null(Null::Array) => "nil array".into(),
        Value::Null(Null::Resp3) => "nil".into(),
        Value::Double(text) => format!("double {}", bytes(text)),
        Value::Boolean(is) => is.to_string(),
        Value::BigNumber(text) => format!("big {}", bytes(text)),
        Value::BulkError(text) => format!("!{}", bytes(text)),
        Value::Verbatim { format, text } => format!("{} {}", format.escape_ascii(), bytes(text)),
        Value::Map(pairs) => format!("{{{}}}", map(pairs)),
        Value::Set(elements) => format!("set({})", list(elements)),
        Value::Push(elements) => format!("push({})", list(elements)),
        Value::Attributed(attributed) => format!(
            "|{}| {}",
            map(&attributed.attributes),
            value(&attributed.value)
        ),
    }
}

fn list(elements: &[Value]) -> String {
    elements.iter().map(value).collect::<Vec<_>>().join(", ")
}

fn map(pairs: &[(Value, Value)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, of)| format!("{}: {}", value(name), value(of)));
    pairs.collect::<Vec<_>>().join(", ")
}
