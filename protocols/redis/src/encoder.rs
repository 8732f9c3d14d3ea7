//! What the gateway writes itself, in RESP2 or RESP3.
//!
//! Not for what is passed on: that keeps its bytes. Nothing here can fail: what a line cannot hold becomes a space, as in
//! Redis. Start at [`value`] and [`error`]; [`translate`] makes replies fit for a client of RESP2.

mod number;
pub mod translate;

use bytes::{BufMut as _, BytesMut};

use crate::error::RequestError;
use crate::message::{Null, RespVersion, Value};
use number::put_header;

/// `+OK`
pub fn ok(dst: &mut BytesMut) {
    dst.extend_from_slice(b"+OK\r\n");
}

/// A status. CR and LF become spaces.
pub fn simple(text: &[u8], dst: &mut BytesMut) {
    line(b'+', text, dst);
}

/// An error: its prefix (`ERR`), a space, and words. CR and LF become spaces.
pub fn error(text: &[u8], dst: &mut BytesMut) {
    line(b'-', text, dst);
}

/// What a client is told before its connection is closed.
pub fn protocol_error(error: RequestError, dst: &mut BytesMut) {
    self::error(format!("ERR {error}").as_bytes(), dst);
}

/// A number.
pub fn integer(number: i64, dst: &mut BytesMut) {
    let sign: &[u8] = if number < 0 { b"-" } else { b"" };
    number::put_signed(b':', sign, number.unsigned_abs(), dst);
}

/// A string of any bytes. Also an argument of a command.
#[inline]
pub fn bulk(bytes: &[u8], dst: &mut BytesMut) {
    dst.reserve(bytes.len() + 16);
    put_header(b'$', bytes.len(), dst);
    dst.extend_from_slice(bytes);
    dst.extend_from_slice(b"\r\n");
}

/// Nil in place of a string.
pub fn null(version: RespVersion, dst: &mut BytesMut) {
    nil(Null::Bulk, version, dst);
}

/// Nil in place of an array.
pub fn null_array(version: RespVersion, dst: &mut BytesMut) {
    nil(Null::Array, version, dst);
}

fn nil(form: Null, version: RespVersion, dst: &mut BytesMut) {
    dst.extend_from_slice(match (version, form) {
        (RespVersion::Resp3, _) => b"_\r\n",
        (RespVersion::Resp2, Null::Array) => b"*-1\r\n",
        (RespVersion::Resp2, Null::Bulk | Null::Resp3) => b"$-1\r\n",
    });
}

/// The header of an array, or of a command, of so many elements, which are to follow.
#[inline]
pub fn array(elements: usize, dst: &mut BytesMut) {
    put_header(b'*', elements, dst);
}

/// The header of a map of so many pairs, which are to follow.
pub fn map(pairs: usize, version: RespVersion, dst: &mut BytesMut) {
    match version {
        RespVersion::Resp2 => array(pairs * 2, dst),
        RespVersion::Resp3 => put_header(b'%', pairs, dst),
    }
}

/// The header of a set of so many elements, which are to follow.
pub fn set(elements: usize, version: RespVersion, dst: &mut BytesMut) {
    let kind = match version {
        RespVersion::Resp2 => b'*',
        RespVersion::Resp3 => b'~',
    };
    put_header(kind, elements, dst);
}

/// The header of a push of so many elements, which are to follow: in RESP2 an array, as its subscribers expect.
pub fn push(elements: usize, version: RespVersion, dst: &mut BytesMut) {
    let kind = match version {
        RespVersion::Resp2 => b'*',
        RespVersion::Resp3 => b'>',
    };
    put_header(kind, elements, dst);
}

/// True or false: in RESP2 1 or 0.
pub fn boolean(is: bool, version: RespVersion, dst: &mut BytesMut) {
    dst.extend_from_slice(match (version, is) {
        (RespVersion::Resp2, true) => b":1\r\n",
        (RespVersion::Resp2, false) => b":0\r\n",
        (RespVersion::Resp3, true) => b"#t\r\n",
        (RespVersion::Resp3, false) => b"#f\r\n",
    });
}

/// A double: in RESP2 a string.
pub fn double(number: f64, version: RespVersion, dst: &mut BytesMut) {
    let text = if number.is_nan() {
        "nan".to_owned()
    } else {
        number.to_string()
    };
    text_of(b',', text.as_bytes(), version, dst);
}

/// A whole command, its name first.
pub fn command<A: AsRef<[u8]>>(arguments: &[A], dst: &mut BytesMut) {
    array(arguments.len(), dst);
    for argument in arguments {
        bulk(argument.as_ref(), dst);
    }
}

/// Any value. What RESP2 does not have becomes what Redis says in its place: maps, sets and pushes arrays, doubles, big numbers and verbatim strings
/// strings, booleans 1 and 0, nil `$-1` (or `*-1` if it was), errors with a length lines. Attributes are left out.
///
/// Goes as deep as the value.
pub fn value(value: &Value, version: RespVersion, dst: &mut BytesMut) {
    match value {
        Value::Simple(text) => simple(text, dst),
        Value::Error(text) => error(text, dst),
        Value::Integer(number) => integer(*number, dst),
        Value::Bulk(bytes) => bulk(bytes, dst),
        Value::Null(form) => nil(*form, version, dst),
        Value::Boolean(is) => boolean(*is, version, dst),
        Value::Double(text) => text_of(b',', text, version, dst),
        Value::BigNumber(text) => text_of(b'(', text, version, dst),
        Value::BulkError(text) => bulk_error(text, version, dst),
        Value::Verbatim { format, text } => verbatim(*format, text, version, dst),
        Value::Array(elements) => {
            array(elements.len(), dst);
            all(elements, version, dst);
        }
        Value::Set(elements) => {
            set(elements.len(), version, dst);
            all(elements, version, dst);
        }
        Value::Push(elements) => {
            push(elements.len(), version, dst);
            all(elements, version, dst);
        }
        Value::Map(pairs) => {
            map(pairs.len(), version, dst);
            both(pairs, version, dst);
        }
        Value::Attributed(attributed) => {
            if version == RespVersion::Resp3 {
                put_header(b'|', attributed.attributes.len(), dst);
                both(&attributed.attributes, version, dst);
            }
            self::value(&attributed.value, version, dst);
        }
    }
}

fn all(elements: &[Value], version: RespVersion, dst: &mut BytesMut) {
    for element in elements {
        value(element, version, dst);
    }
}

fn both(pairs: &[(Value, Value)], version: RespVersion, dst: &mut BytesMut) {
    for (name, element) in pairs {
        value(name, version, dst);
        value(element, version, dst);
    }
}

/// What is a line in RESP3 and a string in RESP2.
fn text_of(kind: u8, text: &[u8], version: RespVersion, dst: &mut BytesMut) {
    match version {
        RespVersion::Resp2 => bulk(text, dst),
        RespVersion::Resp3 => line(kind, text, dst),
    }
}

fn bulk_error(text: &[u8], version: RespVersion, dst: &mut BytesMut) {
    match version {
        RespVersion::Resp2 => error(text, dst),
        RespVersion::Resp3 => {
            put_header(b'!', text.len(), dst);
            dst.extend_from_slice(text);
            dst.extend_from_slice(b"\r\n");
        }
    }
}

/// Text that says its format, three letters: in RESP2 a string.
pub fn verbatim(format: [u8; 3], text: &[u8], version: RespVersion, dst: &mut BytesMut) {
    match version {
        RespVersion::Resp2 => bulk(text, dst),
        RespVersion::Resp3 => {
            put_header(b'=', text.len() + format.len() + 1, dst);
            dst.extend_from_slice(&format);
            dst.put_u8(b':');
            dst.extend_from_slice(text);
            dst.extend_from_slice(b"\r\n");
        }
    }
}

/// One line. What would end it early becomes a space.
fn line(kind: u8, text: &[u8], dst: &mut BytesMut) {
    dst.reserve(text.len() + 3);
    dst.put_u8(kind);
    put_harmless(text, dst);
    dst.extend_from_slice(b"\r\n");
}

fn put_harmless(text: &[u8], dst: &mut BytesMut) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let (good, behind) = rest.split_at(at);
        dst.extend_from_slice(good);
        dst.put_u8(b' ');
        rest = behind.get(1..).unwrap_or_default();
    }
    dst.extend_from_slice(rest);
}

#[cfg(test)]
mod tests;
