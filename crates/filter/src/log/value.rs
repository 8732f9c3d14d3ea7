//! How one value is written into a line, so that no peer can forge lines, fields or terminal codes.
//!
//! It knows no operators. Start at [`ValueWriter`].

use std::fmt;
use std::io::Write as _;
use std::time::SystemTime;

use super::TimeFormat;

/// Where a value stands decides how it is escaped and what stands for "there is none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// In a line of text: `-` for none.
    Text,
    /// A whole JSON value: quoted unless a number, `null` for none.
    Json,
    /// A part of a JSON string that holds more than this value: `-` for none.
    JsonPart,
}

/// Takes the one value of an operator.
#[derive(Debug)]
pub struct ValueWriter<'a> {
    line: &'a mut Vec<u8>,
    style: Style,
    longest: usize,
}

impl<'a> ValueWriter<'a> {
    /// Appends to `line` at most `longest` bytes of the value, before escaping.
    pub(super) const fn new(line: &'a mut Vec<u8>, style: Style, longest: usize) -> Self {
        Self {
            line,
            style,
            longest,
        }
    }

    /// There is no value.
    pub fn absent(self) {
        let text: &[u8] = match self.style {
            Style::Json => b"null",
            Style::Text | Style::JsonPart => b"-",
        };
        self.line.extend_from_slice(text);
    }

    /// A number.
    pub fn number(self, value: u64) {
        append(self.line, format_args!("{value}"));
    }

    /// Text, the gateway's own or a peer's: control characters, quotes, backslashes and bytes that are no UTF-8
    /// are escaped.
    pub fn text(self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let value = value.get(..self.longest).unwrap_or(value);
        if self.style == Style::Json {
            self.line.push(b'"');
        }
        escape(self.line, value, self.style);
        if self.style == Style::Json {
            self.line.push(b'"');
        }
    }

    /// What the gateway itself prints, such as an address.
    pub fn display(self, value: impl fmt::Display) {
        self.text(value.to_string());
    }

    /// A time.
    pub fn time(self, format: &TimeFormat, time: SystemTime) {
        let mut text = Vec::with_capacity(32);
        format.write(time, &mut text);
        self.text(text);
    }

    /// As [`ValueWriter::text`], or as [`ValueWriter::absent`].
    pub fn optional(self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.text(value),
            None => self.absent(),
        }
    }

    /// As [`ValueWriter::display`], or as [`ValueWriter::absent`].
    pub fn optional_display(self, value: Option<impl fmt::Display>) {
        match value {
            Some(value) => self.display(value),
            None => self.absent(),
        }
    }
}

/// Appends `value` as the inside of a string.
pub(super) fn escape(line: &mut Vec<u8>, value: &[u8], style: Style) {
    for chunk in value.utf8_chunks() {
        let mut plain = chunk.valid();
        while let Some(at) = plain.find(needs_escape) {
            let (before, rest) = plain.split_at(at);
            line.extend_from_slice(before.as_bytes());
            let mut rest = rest.chars();
            if let Some(found) = rest.next() {
                escape_one(line, found, style);
            }
            plain = rest.as_str();
        }
        line.extend_from_slice(plain.as_bytes());
        for byte in chunk.invalid() {
            match style {
                Style::Text => append(line, format_args!("\\x{byte:02x}")),
                // JSON has no bytes.
                Style::Json | Style::JsonPart => line.extend_from_slice("\u{fffd}".as_bytes()),
            }
        }
    }
}

/// C1 controls too: terminals obey them. The separators end a line for some readers.
fn needs_escape(found: char) -> bool {
    found.is_control() || matches!(found, '"' | '\\' | '\u{2028}' | '\u{2029}')
}

fn escape_one(line: &mut Vec<u8>, found: char, style: Style) {
    match (found, style) {
        ('"' | '\\', _) => line.extend_from_slice(&[b'\\', found as u8]),
        (_, Style::Text) if found.is_ascii() => {
            append(line, format_args!("\\x{:02x}", u32::from(found)));
        }
        (_, Style::Text) => append(line, format_args!("\\u{{{:x}}}", u32::from(found))),
        (_, Style::Json | Style::JsonPart) => {
            append(line, format_args!("\\u{:04x}", u32::from(found)));
        }
    }
}

/// Writing to memory does not fail.
pub(super) fn append(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}
