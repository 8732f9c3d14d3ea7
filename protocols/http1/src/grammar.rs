//! The grammar of heads: bytes of a complete line or head in, spans and verdicts out (RFC 9112 sections 2 to 5).
//!
//! nom gives the structure; runs of characters are scanned by word and by table. Nothing here waits for bytes,
//! allocates, or copies a payload: the decoder has found the end of the unit before it calls in.
//! Start at [`request_line`], [`status_line`] and [`fields`].

mod target;

use std::ops::Range;

use nom::{Err, IResult, Parser};
use portcullis_codec::run;
use portcullis_http::{KnownField, Status, Version};

pub(crate) use portcullis_codec::TOKEN;
pub(crate) use portcullis_codec::run::text_run;
pub(crate) use target::TargetSpans;

use crate::error::HeadError;
use crate::limits::{METHOD_BYTES, REASON_BYTES};

type Parsed<'a, T> = IResult<&'a [u8], T, HeadError>;

/// Whether `bytes` may stand in a request line as a target: visible ASCII without `#`, and not empty.
#[inline]
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run::target_run(bytes) == bytes.len()
}

/// A request line as offsets from its first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLine {
    pub(crate) method_len: usize,
    pub(crate) target: TargetSpans,
    pub(crate) version: Version,
}

/// A status line as offsets from its first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusLine {
    pub(crate) version: Version,
    pub(crate) status: Status,
    pub(crate) reason_start: usize,
    pub(crate) reason_len: usize,
}

/// Parses one complete request line, line end included (RFC 9112 section 3). The answer is how long it is, too; nothing
/// behind it is looked at.
#[inline]
pub(crate) fn request_line(
    line: &[u8],
    target_bytes: usize,
) -> Result<(RequestLine, usize), HeadError> {
    if let Some(parts) = plain_request_line(line, target_bytes) {
        return Ok(parts);
    }
    let target = |input| target::run(input, target_bytes);
    let (rest, (method, target, version, ())) = (
        method,
        target,
        version_of(line),
        line_end(HeadError::RequestLine),
    )
        .parse(line)
        .map_err(into_error)?;
    let parts = RequestLine {
        method_len: method.len(),
        target: target::spans(method, target)?.shifted(method.len() + 1),
        version,
    };
    Ok((parts, line.len() - rest.len()))
}

/// The line of nearly all requests: GET, a path, HTTP/1.1. `None` for all others, right or wrong.
#[inline]
fn plain_request_line(line: &[u8], target_bytes: usize) -> Option<(RequestLine, usize)> {
    const METHOD: &[u8] = b"GET ";
    const VERSION: &[u8] = b" HTTP/1.1\r\n";
    let rest = line.strip_prefix(METHOD)?;
    let length = run::target_run(rest);
    let is_plain = rest.starts_with(b"/")
        && length <= target_bytes
        && rest.get(length..)?.starts_with(VERSION);
    let end = METHOD.len() + length;
    let parts = RequestLine {
        method_len: METHOD.len() - 1,
        target: TargetSpans::origin(METHOD.len(), end),
        version: Version::Http11,
    };
    is_plain.then_some((parts, end + VERSION.len()))
}

/// Parses one complete status line, line end included (RFC 9112 section 4). The answer is how long it is, too; nothing
/// behind it is looked at.
#[inline]
pub(crate) fn status_line(line: &[u8]) -> Result<(StatusLine, usize), HeadError> {
    if line.starts_with(USUAL) {
        let parts = StatusLine {
            version: Version::Http11,
            status: Status::OK,
            reason_start: USUAL.len() - "OK\r\n".len(),
            reason_len: "OK".len(),
        };
        return Ok((parts, USUAL.len()));
    }
    status_prefix(line)?;
    let (rest, (version, status, reason, ())) = (
        status_version,
        status_code,
        reason,
        line_end(HeadError::FieldValue),
    )
        .parse(line)
        .map_err(into_error)?;
    let parts = StatusLine {
        version,
        status,
        // `HTTP/1.1 200 `: the space is missing only where the reason is empty.
        reason_start: 13,
        reason_len: reason.len(),
    };
    Ok((parts, line.len() - rest.len()))
}

/// The line of most responses.
const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// How long the method at the front of `bytes` is; `None` while the space behind it has not been seen.
///
/// This also judges lines that are not complete, so that noise on the port is refused at its first bytes.
pub(crate) fn method_len(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let window = bytes.get(..=METHOD_BYTES).unwrap_or(bytes);
    let length = TOKEN.prefix_len(window);
    match window.get(length) {
        Some(b' ') if length > 0 => Ok(Some(length)),
        // A line end is judged with the complete line.
        Some(b'\r' | b'\n') => Ok(None),
        Some(0) => Err(HeadError::Nul),
        Some(_) => Err(HeadError::Method),
        None if length > METHOD_BYTES => Err(HeadError::MethodTooLong),
        None => Ok(None),
    }
}

/// Refuses bytes that cannot begin a status line, complete or not.
pub(crate) fn status_prefix(bytes: &[u8]) -> Result<(), HeadError> {
    let matches = bytes.iter().zip(b"HTTP/").all(|(byte, want)| byte == want);
    matches.then_some(()).ok_or(HeadError::StatusLine)
}

/// Why a request line longer than `window` is refused.
#[cold]
pub(crate) fn overlong_request_line(window: &[u8], target_bytes: usize) -> HeadError {
    let rest = match method_len(window) {
        Ok(Some(length)) => window.get(length + 1..).unwrap_or_default(),
        Ok(None) => return method_refusal(window),
        Err(error) => return error,
    };
    match target::run(rest, target_bytes.min(rest.len().saturating_sub(1))) {
        Ok(_) => HeadError::RequestLine,
        Err(error) => into_error(error),
    }
}

/// Why a status line longer than `window` is refused: judged like a complete one, the excess being its reason.
#[cold]
pub(crate) fn overlong_status_line(window: &[u8]) -> HeadError {
    match status_line(window) {
        // The window holds no line feed, so the line end is what is missing.
        Ok(_) | Err(HeadError::FieldValue) => HeadError::ReasonTooLong,
        Err(error) => error,
    }
}

/// Parses every field line of `block` from `start` up to and including the empty line (RFC 9112 section 5). The answer
/// is where that ends; nothing behind it is looked at.
///
/// `push` receives the spans of name and value within `block`, which known field it is, and whether the line is
/// written as the gateway would.
pub(crate) fn fields(
    block: &[u8],
    start: usize,
    limit: usize,
    mut push: impl FnMut(Range<usize>, Range<usize>, Option<KnownField>, bool),
) -> Result<usize, HeadError> {
    let mut input = block.get(start..).unwrap_or_default();
    let mut count = 0;
    while !input.starts_with(b"\r\n") {
        count += 1;
        if count > limit {
            return Err(HeadError::TooManyFields);
        }
        let at = block.len() - input.len();
        let (rest, line) = field_line(input).map_err(into_error)?;
        let value = at + line.value;
        push(
            at..at + line.name,
            value..value + line.value_len,
            line.known,
            line.plain,
        );
        input = rest;
    }
    Ok(block.len() - input.len() + "\r\n".len())
}

/// A field line as offsets from its first byte.
struct FieldLine {
    name: usize,
    known: Option<KnownField>,
    value: usize,
    value_len: usize,
    /// One space before the value, nothing behind it.
    plain: bool,
}

/// One line: name, colon, value, line end.
#[inline]
fn field_line(input: &[u8]) -> Parsed<'_, FieldLine> {
    match plain_line(input) {
        Some(line) => Ok(line),
        None => any_line(input),
    }
}

/// A line in the form that nearly all have, one space before the value and none behind; `None` for all others, right
/// or wrong.
#[inline]
fn plain_line(input: &[u8]) -> Option<(&[u8], FieldLine)> {
    let (name, behind) = input.split_at_checked(run::colon(input))?;
    let text = behind.strip_prefix(b": ")?;
    let known = KnownField::classify(name);
    if known.is_none() && (name.is_empty() || !TOKEN.contains_all(name)) {
        return None;
    }
    let (value, rest) = text.split_at_checked(text_run(text))?;
    let rest = rest.strip_prefix(b"\r\n")?;
    if is_space(value.first()) || is_space(value.last()) {
        return None;
    }
    let line = FieldLine {
        name: name.len(),
        known,
        value: name.len() + ": ".len(),
        value_len: value.len(),
        plain: true,
    };
    Some((rest, line))
}

/// A line in any form. Everything that is wrong is found by the parsers of its parts.
fn any_line(input: &[u8]) -> Parsed<'_, FieldLine> {
    let (behind, (name, known)) = field_name(input)?;
    let (behind, value) = field_value(behind)?;
    let (rest, ()) = line_end(HeadError::FieldValue)(behind)?;
    let value_end = input.len() - behind.len() - value.trailing;
    let line = FieldLine {
        name: name.len(),
        known,
        value: value_end - value.length,
        value_len: value.length,
        plain: false,
    };
    Ok((rest, line))
}

fn method(input: &[u8]) -> Parsed<'_, &[u8]> {
    match method_len(input).map_err(Err::Failure)? {
        Some(length) => {
            let (method, rest) = input.split_at(length);
            Ok((rest.get(1..).unwrap_or_default(), method))
        }
        None => Err(Err::Failure(method_refusal(input))),
    }
}

/// Why the line end came before the space behind the method.
#[cold]
fn method_refusal(input: &[u8]) -> HeadError {
    match input.get(TOKEN.prefix_len(input)..).unwrap_or_default() {
        [b'\r', b'\n', ..] if input.starts_with(b"\r") => HeadError::EmptyLines,
        rest => refusal(rest, HeadError::RequestLine),
    }
}

/// RFC 9112 section 2.3. Only what this codec speaks is accepted; the rest of `line` tells why not.
#[inline]
fn version_of<'l>(line: &'l [u8]) -> impl FnMut(&'l [u8]) -> Parsed<'l, Version> {
    move |input| match input.split_first_chunk() {
        Some((b"HTTP/1.1", rest)) => Ok((rest, Version::Http11)),
        Some((b"HTTP/1.0", rest)) => Ok((rest, Version::Http10)),
        _ => Err(Err::Failure(version_refusal(line, input))),
    }
}

#[cold]
fn version_refusal(line: &[u8], input: &[u8]) -> HeadError {
    match input {
        _ if line == b"PRI * HTTP/2.0\r\n" => HeadError::Http2Preface,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, ..]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::Version
        }
        _ => refusal(input, HeadError::RequestLine),
    }
}

fn status_version(input: &[u8]) -> Parsed<'_, Version> {
    match input.split_first_chunk() {
        Some((b"HTTP/1.1 ", rest)) => Ok((rest, Version::Http11)),
        Some((b"HTTP/1.0 ", rest)) => Ok((rest, Version::Http10)),
        _ => Err(Err::Failure(match version_refusal(input, input) {
            HeadError::RequestLine => HeadError::StatusLine,
            HeadError::Version if input.starts_with(b"HTTP/1.0") => HeadError::StatusLine,
            HeadError::Version if input.starts_with(b"HTTP/1.1") => HeadError::StatusLine,
            error => error,
        })),
    }
}

fn status_code(input: &[u8]) -> Parsed<'_, Status> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    if let [a, b, c, rest @ ..] = input
        && let (Some(a), Some(b), Some(c)) = (digit(*a), digit(*b), digit(*c))
        && let Some(status) = Status::from_code(a * 100 + b * 10 + c)
    {
        return Ok((rest, status));
    }
    fail(input, HeadError::StatusCode)
}

/// The phrase may be empty, and the space before an empty one is often left out.
fn reason(input: &[u8]) -> Parsed<'_, &[u8]> {
    let Some(phrase) = input.strip_prefix(b" ") else {
        return if input.starts_with(b"\r\n") {
            Ok((input, &[]))
        } else {
            fail(input, HeadError::StatusCode)
        };
    };
    let (reason, rest) = phrase.split_at(text_run(phrase));
    if reason.len() > REASON_BYTES {
        return Err(Err::Failure(HeadError::ReasonTooLong));
    }
    Ok((rest, reason))
}

/// A name and its colon. Known names need no further check: their spelling is a token.
#[inline]
fn field_name(input: &[u8]) -> Parsed<'_, (&[u8], Option<KnownField>)> {
    let colon = run::colon(input);
    if let Some((name, rest)) = input.split_at_checked(colon)
        && let Some(rest) = rest.get(1..)
    {
        let known = KnownField::classify(name);
        if known.is_some() || (!name.is_empty() && TOKEN.contains_all(name)) {
            return Ok((rest, (name, known)));
        }
    }
    Err(Err::Failure(field_name_refusal(input)))
}

#[cold]
fn field_name_refusal(input: &[u8]) -> HeadError {
    let length = TOKEN.prefix_len(input);
    let rest = input.get(length..).unwrap_or_default();
    match rest {
        [b' ' | b'\t', ..] if length == 0 => HeadError::ObsFold,
        [b':', ..] if length == 0 => HeadError::EmptyFieldName,
        [b' ' | b'\t', ..] if rest.trim_ascii_start().starts_with(b":") => {
            HeadError::SpaceBeforeColon
        }
        [b'\r', b'\n', ..] | [] => HeadError::MissingColon,
        _ => refusal(rest, HeadError::FieldName),
    }
}

/// The length of a value, and of the white space between it and the line end.
#[derive(Clone, Copy)]
struct Value {
    length: usize,
    trailing: usize,
}

/// RFC 9112 section 5: white space around the value is left out; it may be empty.
#[inline]
#[allow(clippy::unnecessary_wraps)] // a nom parser; the line end behind it judges what stopped the run
fn field_value(input: &[u8]) -> Parsed<'_, Value> {
    let (run, rest) = input.split_at(text_run(input));
    let leading = white_space(run.iter());
    let value = run.get(leading..).unwrap_or_default();
    let trailing = white_space(value.iter().rev());
    let length = value.len() - trailing;
    Ok((rest, Value { length, trailing }))
}

const fn is_space(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

fn white_space<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    bytes
        .take_while(|&&byte| byte == b' ' || byte == b'\t')
        .count()
}

/// RFC 9112 section 2.2: every line ends in CRLF, nothing less.
#[inline]
fn line_end<'l>(otherwise: HeadError) -> impl Fn(&'l [u8]) -> Parsed<'l, ()> {
    move |input| match input.strip_prefix(b"\r\n") {
        Some(rest) => Ok((rest, ())),
        None => fail(input, otherwise),
    }
}

#[cold]
fn fail<T>(input: &[u8], otherwise: HeadError) -> Parsed<'_, T> {
    Err(Err::Failure(refusal(input, otherwise)))
}

/// Names the line-end abuses apart from everything else that may stand at the front of `input`.
#[cold]
fn refusal(input: &[u8], otherwise: HeadError) -> HeadError {
    match input {
        [b'\n', ..] => HeadError::BareLineFeed,
        [b'\r', b'\n', ..] | [b'\r'] => otherwise,
        [b'\r', ..] => HeadError::BareCarriageReturn,
        [0, ..] => HeadError::Nul,
        _ => otherwise,
    }
}

/// `Incomplete` cannot happen: no streaming parser is used.
#[allow(clippy::needless_pass_by_value)] // the shape that `map_err` wants
fn into_error(error: Err<HeadError>) -> HeadError {
    match error {
        Err::Error(error) | Err::Failure(error) => error,
        Err::Incomplete(_) => HeadError::Truncated,
    }
}
