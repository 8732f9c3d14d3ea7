//! What a reply means, in words that all three trees have.
//!
//! Attributes do not count, and where a map or a set has something twice there are no words: a hash table keeps one of them.
//! Start at [`of`].

use portcullis_redis::message::{Null, Value};
use redis_protocol::{resp2, resp3};

/// In which ways a value is one that redis-protocol may refuse.
pub(super) fn wider(value: &Value, labels: &mut Vec<&'static str>) {
    match value {
        Value::Null(Null::Bulk | Null::Array) => labels.push("null_of_resp2"),
        Value::Error(text) if std::str::from_utf8(text).is_err() => labels.push("not_utf8"),
        Value::Verbatim { format, .. } if format != b"txt" && format != b"mkd" => {
            labels.push("verbatim_format");
        }
        Value::Array(elements) | Value::Push(elements) => {
            elements.iter().for_each(|element| wider(element, labels));
        }
        Value::Set(elements) => elements.iter().for_each(|element| key(element, labels)),
        Value::Map(pairs) => both(pairs, labels),
        Value::Attributed(attributed) => {
            labels.push("attributes");
            both(&attributed.attributes, labels);
            wider(&attributed.value, labels);
        }
        _ => {}
    }
}

fn both(pairs: &[(Value, Value)], labels: &mut Vec<&'static str>) {
    for (name, value) in pairs {
        key(name, labels);
        wider(value, labels);
    }
}

fn key(value: &Value, labels: &mut Vec<&'static str>) {
    if let Value::Array(_) | Value::Set(_) | Value::Map(_) = value.bare() {
        labels.push("map_key");
    }
    wider(value, labels);
}

/// Whether RESP2 has all of it.
pub(super) fn is_resp2(value: &Value) -> bool {
    match value {
        Value::Attributed(_) => false,
        Value::Array(elements) => elements.iter().all(is_resp2),
        other => other.kind().is_resp2(),
    }
}

pub(super) fn of(value: &Value) -> Option<String> {
    Some(match value.bare() {
        Value::Simple(text) => bytes('+', text),
        Value::Error(text) => bytes('-', text),
        Value::Integer(number) => format!(":{number}"),
        Value::Bulk(text) => bytes('$', text),
        Value::Null(_) => "_".into(),
        Value::Double(text) => double(std::str::from_utf8(text).ok()?.parse().ok()?),
        Value::Boolean(is) => format!("#{is}"),
        Value::BigNumber(text) => bytes('(', text),
        Value::BulkError(text) => bytes('!', text),
        Value::Verbatim { format, text } => {
            format!("={}:{}", format.escape_ascii(), text.escape_ascii())
        }
        Value::Array(elements) => list('*', all(elements, of)?),
        Value::Push(elements) => list('>', all(elements, of)?),
        Value::Set(elements) => list('~', unordered(all(elements, of)?)?),
        Value::Map(pairs) => map(pairs.iter().map(|(name, value)| (of(name), of(value))))?,
        Value::Attributed(_) => return None,
    })
}

pub(super) fn of_resp3(frame: &resp3::types::BytesFrame) -> Option<String> {
    use resp3::types::{BytesFrame as F, VerbatimStringFormat};
    Some(match frame {
        F::SimpleString { data, .. } => bytes('+', data),
        F::SimpleError { data, .. } => bytes('-', data.as_bytes()),
        F::Number { data, .. } => format!(":{data}"),
        F::BlobString { data, .. } => bytes('$', data),
        F::Null => "_".into(),
        F::Double { data, .. } => double(*data),
        F::Boolean { data, .. } => format!("#{data}"),
        F::BigNumber { data, .. } => bytes('(', data),
        F::BlobError { data, .. } => bytes('!', data),
        F::VerbatimString { data, format, .. } => {
            let format = match format {
                VerbatimStringFormat::Text => "txt",
                VerbatimStringFormat::Markdown => "mkd",
            };
            format!("={format}:{}", data.escape_ascii())
        }
        F::Array { data, .. } => list('*', all(data, of_resp3)?),
        F::Push { data, .. } => list('>', all(data, of_resp3)?),
        F::Set { data, .. } => list('~', unordered(all(data, of_resp3)?)?),
        F::Map { data, .. } => map(data
            .iter()
            .map(|(name, value)| (of_resp3(name), of_resp3(value))))?,
        other @ (F::Hello { .. } | F::ChunkedString(_)) => panic!("we took {other:?}"),
    })
}

pub(super) fn of_resp2(frame: &resp2::types::BytesFrame) -> Option<String> {
    use resp2::types::BytesFrame as F;
    Some(match frame {
        F::SimpleString(text) => bytes('+', text),
        F::Error(text) => bytes('-', text.as_bytes()),
        F::Integer(number) => format!(":{number}"),
        F::BulkString(text) => bytes('$', text),
        F::Array(elements) => list('*', all(elements, of_resp2)?),
        F::Null => "_".into(),
    })
}

fn bytes(kind: char, text: &[u8]) -> String {
    format!("{kind}{}", text.escape_ascii())
}

fn double(number: f64) -> String {
    if number.is_nan() {
        ",nan".into()
    } else if number == 0.0 {
        ",0".into()
    } else {
        format!(",{number}")
    }
}

fn all<'a, T: 'a>(
    elements: impl IntoIterator<Item = &'a T>,
    meaning: impl Fn(&T) -> Option<String>,
) -> Option<Vec<String>> {
    elements.into_iter().map(meaning).collect()
}

fn list(kind: char, elements: Vec<String>) -> String {
    format!("{kind}[{}]", elements.join(" "))
}

/// Sorted; nothing where something is there twice.
fn unordered(mut elements: Vec<String>) -> Option<Vec<String>> {
    let count = elements.len();
    elements.sort();
    elements.dedup();
    (elements.len() == count).then_some(elements)
}

fn map(pairs: impl Iterator<Item = (Option<String>, Option<String>)>) -> Option<String> {
    let pairs: Option<Vec<_>> = pairs.map(|(name, value)| name.zip(value)).collect();
    let pairs = pairs?;
    unordered(pairs.iter().map(|(name, _)| name.clone()).collect())?;
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    Some(list('%', unordered(pairs.collect())?))
}
