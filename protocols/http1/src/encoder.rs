//! The encoder of heads, chunks and trailers: appends wire bytes to a buffer.
//!
//! Framing and connection fields are written from typed values; whatever the list of fields says about them is
//! left out, never echoed. Every byte that could end a line early is refused, wherever the head came from. Not a
//! policy: which fields are forwarded was decided before. Start at [`encode_request_head`].

use bytes::BytesMut;
use portcullis_codec::{Severity, WireError};
use portcullis_http::{
    Field, Fields, Framing, KnownField, Method, RequestHead, ResponseHead, Run, Status, TargetForm,
};

use crate::grammar::{TOKEN, is_target, text_run};
use crate::message::{Connection, is_trailer_allowed};

/// What the encoder is told beside the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encode {
    /// How the body's end is told: written as `content-length` or `transfer-encoding`.
    ///
    /// In a response to HEAD, or a 304, this may state the length or coding that GET would have had.
    pub framing: Framing,
    /// What is said about the connection.
    pub connection: Connection,
}

/// Why a head has no wire form. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EncodeError {
    /// The method is not a token.
    #[error("method is not a token")]
    Method,
    /// The target is empty, or holds more than visible ASCII.
    #[error("target holds bytes that a request line cannot carry")]
    Target,
    /// The reason phrase holds a control byte.
    #[error("reason phrase holds a control byte")]
    Reason,
    /// A field name is not a token.
    #[error("field name is not a token")]
    FieldName,
    /// A field value holds a control byte.
    #[error("field value holds a control byte")]
    FieldValue,
    /// The framing cannot be said in this message: a request until close, a body on 1xx or 204.
    #[error("framing that this message cannot have")]
    Framing,
}

impl WireError for EncodeError {
    fn severity(&self) -> Severity {
        Severity::Message
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Method => "unclean_method",
            Self::Target => "unclean_target",
            Self::Reason => "unclean_reason",
            Self::FieldName => "unclean_field_name",
            Self::FieldValue => "unclean_field_value",
            Self::Framing => "impossible_framing",
        }
    }
}

/// A buffer that wire bytes are appended to: `Vec<u8>` or [`BytesMut`].
pub trait Output: sealed::Sealed {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
    /// How many bytes it holds.
    fn written(&self) -> usize;
    /// Drops what was appended past `length`.
    fn cut(&mut self, length: usize);
    /// Makes room for `bytes` more.
    fn make_room(&mut self, bytes: usize);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for Vec<u8> {}
    impl Sealed for bytes::BytesMut {}
}

impl Output for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn written(&self) -> usize {
        self.len()
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }

    fn make_room(&mut self, bytes: usize) {
        self.reserve(bytes);
    }
}

impl Output for BytesMut {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn written(&self) -> usize {
        self.len()
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }

    fn make_room(&mut self, bytes: usize) {
        self.reserve(bytes);
    }
}

/// Appends a request head: request line in HTTP/1.1, fields, framing, connection, empty line.
///
/// The target is written in origin-form (or authority-form, asterisk-form), as origins expect; the Host field is
/// written as it stands in the fields. Of `fields`, `content-length`, `transfer-encoding`, `connection`,
/// `keep-alive` and `proxy-connection` are left out, and `upgrade` unless [`Connection::Upgrade`] is said.
///
/// # Errors
/// See [`EncodeError`]; `dst` is left as it was.
pub fn encode_request_head(
    head: &RequestHead,
    options: Encode,
    dst: &mut impl Output,
) -> Result<(), EncodeError> {
    if options.framing == Framing::UntilClose {
        return Err(EncodeError::Framing);
    }
    let target = match (head.target.form, &head.target.authority) {
        (TargetForm::Authority, Some(authority)) => authority,
        _ => &head.target.path_and_query,
    };
    let method = head.method.as_bytes();
    let is_known = !matches!(head.method, Method::Other(_));
    if !is_known && (method.is_empty() || !TOKEN.contains_all(method)) {
        return Err(EncodeError::Method);
    }
    if !is_target(target) {
        return Err(EncodeError::Target);
    }
    let start = dst.written();
    dst.make_room(head.fields.block().len() + SLACK);
    if head.method == Method::Get {
        dst.put(b"GET ");
    } else {
        dst.put(method);
        dst.put(b" ");
    }
    dst.put(target);
    dst.put(b" HTTP/1.1\r\n");
    put_rest(&head.fields, options, dst).inspect_err(|_| dst.cut(start))
}

/// Appends a response head: status line in HTTP/1.1, fields, framing, connection, empty line.
///
/// The reason phrase is the head's, or the registered one where it has none. Fields are treated as
/// [`encode_request_head`] does. [`Framing::None`] writes no framing field: right for 1xx, 204, 304 and answers
/// to HEAD only. [`Framing::UntilClose`] writes none either; say [`Connection::Close`] with it.
///
/// # Errors
/// See [`EncodeError`]; `dst` is left as it was.
pub fn encode_response_head(
    head: &ResponseHead,
    options: Encode,
    dst: &mut impl Output,
) -> Result<(), EncodeError> {
    // RFC 9110 section 8.6, RFC 9112 section 6.1: neither field in 1xx and 204.
    let stated = matches!(options.framing, Framing::Length(_) | Framing::Chunked);
    if stated && (head.status.is_interim() || head.status == Status::NO_CONTENT) {
        return Err(EncodeError::Framing);
    }
    if text_run(&head.reason) != head.reason.len() {
        return Err(EncodeError::Reason);
    }
    let start = dst.written();
    dst.make_room(head.fields.block().len() + SLACK);
    put_status_line(head, dst);
    put_rest(&head.fields, options, dst).inspect_err(|_| dst.cut(start))
}

/// What goes between the data of two chunks, and behind the last data chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the size line of a chunk. The caller writes so many bytes, then [`CHUNK_END`].
///
/// A chunk of no bytes would end the body: nothing is written for it, and no [`CHUNK_END`] must follow.
pub fn encode_chunk_header(length: u64, dst: &mut impl Output) {
    if length == 0 {
        return;
    }
    let mut digits = [0_u8; 18];
    let mut left = length;
    let mut count = 0;
    // Filled from the back: CRLF, then the digits from the least.
    for (place, slot) in digits.iter_mut().rev().enumerate() {
        *slot = match place {
            0 => b'\n',
            1 => b'\r',
            _ => hexadecimal_digit((left & 0xf) as u8),
        };
        if place >= 2 {
            left >>= 4;
        }
        count = place + 1;
        if place >= 2 && left == 0 {
            break;
        }
    }
    dst.put(digits.get(digits.len() - count..).unwrap_or_default());
}

/// Appends one chunk of data, whole. Nothing is written for no data.
pub fn encode_chunk(data: &[u8], dst: &mut impl Output) {
    if !data.is_empty() {
        encode_chunk_header(data.len() as u64, dst);
        dst.put(data);
        dst.put(CHUNK_END);
    }
}

/// Appends the last chunk and the trailer section. Fields that may not be trailers are left out
/// (RFC 9110 section 6.5.1).
///
/// # Errors
/// [`EncodeError::FieldName`] and [`EncodeError::FieldValue`]; `dst` is left as it was.
pub fn encode_last_chunk(
    trailers: Option<&Fields>,
    dst: &mut impl Output,
) -> Result<(), EncodeError> {
    let start = dst.written();
    dst.put(b"0\r\n");
    if let Some(fields) = trailers {
        fields
            .iter()
            .filter(|field| is_trailer_allowed(field.name, field.known))
            .try_for_each(|field| put_field(field, dst))
            .inspect_err(|_| dst.cut(start))?;
    }
    dst.put(b"\r\n");
    Ok(())
}

/// Room for what the encoder adds to a head beside its own bytes.
const SLACK: usize = 256;

fn put_rest(fields: &Fields, options: Encode, dst: &mut impl Output) -> Result<(), EncodeError> {
    let skipped = match options.connection {
        // There is no body to have trailers.
        Connection::Upgrade => WRITTEN_FROM_TYPES | KnownField::Te.bit(),
        _ => WRITTEN_FROM_TYPES | KnownField::Upgrade.bit(),
    };
    fields.try_for_each_run(skipped, |run| match run {
        Run::Lines(lines) => {
            dst.put(lines);
            Ok(())
        }
        Run::Field(field) => put_field(field, dst),
    })?;
    match options.framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => dst.put(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => put_length(length, dst),
    }
    dst.put(match options.connection {
        Connection::Implied => b"\r\n",
        Connection::KeepAlive => b"connection: keep-alive\r\n\r\n",
        Connection::Close => b"connection: close\r\n\r\n",
        Connection::Upgrade => b"connection: upgrade\r\n\r\n",
        Connection::Te => b"connection: te\r\n\r\n",
    });
    Ok(())
}

/// Framing and the fate of the connection are ours to say (RFC 9110 section 7.6.1, RFC 9112 section 6).
const WRITTEN_FROM_TYPES: u64 = KnownField::ContentLength.bit()
    | KnownField::TransferEncoding.bit()
    | KnownField::Connection.bit()
    | KnownField::KeepAlive.bit()
    | KnownField::ProxyConnection.bit();

#[inline]
fn put_field(field: Field<'_>, dst: &mut impl Output) -> Result<(), EncodeError> {
    // The spelling of a known name is a token by itself.
    let is_token = || !field.name.is_empty() && TOKEN.contains_all(field.name);
    if field.known.is_none() && !is_token() {
        return Err(EncodeError::FieldName);
    }
    if text_run(field.value) != field.value.len() {
        return Err(EncodeError::FieldValue);
    }
    dst.put(field.name);
    dst.put(b": ");
    dst.put(field.value);
    dst.put(b"\r\n");
    Ok(())
}

fn put_status_line(head: &ResponseHead, dst: &mut impl Output) {
    let reason: &[u8] = if head.reason.is_empty() {
        head.status.canonical_reason().as_bytes()
    } else {
        &head.reason
    };
    if head.status == Status::OK && reason == b"OK" {
        dst.put(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let code = head.status.code();
    let digit = |place: u16| b'0' + (code / place % 10) as u8;
    let [hundreds, tens, units] = [digit(100), digit(10), digit(1)];
    let line = [
        b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', hundreds, tens, units, b' ',
    ];
    dst.put(&line);
    dst.put(reason);
    dst.put(b"\r\n");
}

/// The line of `content-length`, put together from its end.
fn put_length(length: u64, dst: &mut impl Output) {
    const LONGEST: usize = b"content-length: 18446744073709551615\r\n".len();
    const NAME: &[u8; 16] = b"content-length: ";
    let mut line = [0; LONGEST];
    let mut start = LONGEST;
    let mut put = |bytes: &[u8]| {
        let end = start;
        start -= bytes.len();
        if let Some(place) = line.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
    };
    put(b"\r\n");
    let mut left = length;
    loop {
        put(&[b'0' + (left % 10) as u8]);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    put(NAME);
    dst.put(line.get(start..).unwrap_or_default());
}

const fn hexadecimal_digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

#[cfg(test)]
mod tests;
