//! Formats: text with operators between, compiled once into segments.
//!
//! What operators mean is in [`super::operator`]. Start at [`Format::text`] and [`Format::json`].

use std::cell::Cell;

use portcullis_filter::Context;
use serde_json::{Map, Value};

use super::escape;
use super::operator::{Operator, Output};
use crate::message::Record;

/// The form of one line, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Text(Vec<Segment>),
    Json(Vec<Member>),
}

/// A member of an object: what stands before its value, ready to be written, and the value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    key: Box<[u8]>,
    value: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<[u8]>),
    Operator(Operator),
}

/// The longest text of a format: it is worked through for every request.
const MAX_LENGTH: usize = 4096;

impl Format {
    /// A line of text. A line feed is added if it does not end with one.
    ///
    /// # Errors
    /// An operator that does not exist or is misspelt, in words.
    pub fn text(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Self(Form::Text(segments(text)?)))
    }

    /// An object; its values are text with operators.
    ///
    /// # Errors
    /// As for text; also a value that is not text.
    pub fn json(object: &Map<String, Value>) -> Result<Self, String> {
        let members = object
            .iter()
            .enumerate()
            .map(|(index, (key, value))| {
                let text = value
                    .as_str()
                    .ok_or_else(|| format!("the value of '{key}' is not text with operators"))?;
                let mut start = Vec::new();
                start.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
                escape::json(key.as_bytes(), &mut start);
                start.extend_from_slice(b"\":");
                Ok(Member {
                    key: start.into(),
                    value: segments(text)?,
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Self(Form::Json(members)))
    }

    /// Appends the line of one exchange, with its line feed.
    pub fn write(&self, record: &Record, cx: &Context, line: &mut Vec<u8>) {
        match &self.0 {
            Form::Text(segments) => {
                for segment in segments {
                    segment.write_text(record, cx, line);
                }
            }
            Form::Json(members) => {
                line.push(b'{');
                for member in members {
                    line.extend_from_slice(&member.key);
                    write_member(&member.value, record, cx, line);
                }
                line.push(b'}');
            }
        }
        line.push(b'\n');
    }
}

impl Segment {
    fn write_text(&self, record: &Record, cx: &Context, line: &mut Vec<u8>) {
        match self {
            Self::Literal(text) => line.extend_from_slice(text),
            Self::Operator(operator) => {
                let written = Cell::new(false);
                operator.write(record, cx, line, &TextOutput(&written));
                if !written.get() {
                    line.push(b'-');
                }
            }
        }
    }
}

/// A single operator keeps its type and may be `null`; anything else is a string.
fn write_member(value: &[Segment], record: &Record, cx: &Context, line: &mut Vec<u8>) {
    if let [Segment::Operator(operator)] = value {
        let written = Cell::new(false);
        operator.write(record, cx, line, &TypedOutput(&written));
        if !written.get() {
            line.extend_from_slice(b"null");
        }
        return;
    }
    line.push(b'"');
    for segment in value {
        match segment {
            Segment::Literal(text) => escape::json(text, line),
            Segment::Operator(operator) => {
                let written = Cell::new(false);
                operator.write(record, cx, line, &StringOutput(&written));
                if !written.get() {
                    line.push(b'-');
                }
            }
        }
    }
    line.push(b'"');
}

/// Inside a line of text.
struct TextOutput<'a>(&'a Cell<bool>);

/// As a value of its own in JSON.
struct TypedOutput<'a>(&'a Cell<bool>);

/// Inside a string in JSON.
struct StringOutput<'a>(&'a Cell<bool>);

impl Output for TextOutput<'_> {
    fn peer(&self, value: &[u8], line: &mut Vec<u8>) {
        if !value.is_empty() {
            self.0.set(true);
            escape::text(value, line);
        }
    }

    fn own(&self, value: &[u8], line: &mut Vec<u8>) {
        self.0.set(true);
        line.extend_from_slice(value);
    }

    fn number(&self, digits: &[u8], line: &mut Vec<u8>) {
        self.own(digits, line);
    }
}

impl Output for TypedOutput<'_> {
    fn peer(&self, value: &[u8], line: &mut Vec<u8>) {
        self.0.set(true);
        line.push(b'"');
        escape::json(value, line);
        line.push(b'"');
    }

    fn own(&self, value: &[u8], line: &mut Vec<u8>) {
        self.peer(value, line);
    }

    fn number(&self, digits: &[u8], line: &mut Vec<u8>) {
        self.0.set(true);
        line.extend_from_slice(digits);
    }
}

impl Output for StringOutput<'_> {
    fn peer(&self, value: &[u8], line: &mut Vec<u8>) {
        if !value.is_empty() {
            self.0.set(true);
            escape::json(value, line);
        }
    }

    fn own(&self, value: &[u8], line: &mut Vec<u8>) {
        self.peer(value, line);
    }

    fn number(&self, digits: &[u8], line: &mut Vec<u8>) {
        self.0.set(true);
        line.extend_from_slice(digits);
    }
}

/// Splits a text at its operators: `%NAME%`, `%NAME(parameter)%`, `%NAME(parameter):length%`; `%%` is a percent sign.
fn segments(text: &str) -> Result<Vec<Segment>, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("a format has at most {MAX_LENGTH} bytes"));
    }
    if text.contains(['\r', '\n', '\0']) {
        return Err("a line has no line breaks inside".to_owned());
    }
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('%') {
        literal.push_str(plain);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (operator, after) = operator(after)?;
        flush(&mut literal, &mut segments);
        segments.push(Segment::Operator(operator));
        rest = after;
    }
    literal.push_str(rest);
    flush(&mut literal, &mut segments);
    Ok(segments)
}

fn flush(literal: &mut String, segments: &mut Vec<Segment>) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(
            std::mem::take(literal).into_bytes().into(),
        ));
    }
}

fn operator(text: &str) -> Result<(Operator, &str), String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut parameter = None;
    if let Some(inside) = rest.strip_prefix('(') {
        let (inner, after) = inside
            .split_once(')')
            .ok_or_else(|| format!("the bracket after %{name} is never closed"))?;
        parameter = Some(inner);
        rest = after;
    }
    let mut length = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after.find('%').unwrap_or(after.len());
        let (digits, after) = after.split_at(end);
        let parsed = digits
            .parse::<usize>()
            .map_err(|_| format!("'{digits}' is no length for %{name}%"))?;
        length = Some(parsed);
        rest = after;
    }
    let rest = rest
        .strip_prefix('%')
        .ok_or_else(|| format!("operator %{name} is never closed with a %"))?;
    Ok((Operator::parse(name, parameter, length)?, rest))
}
