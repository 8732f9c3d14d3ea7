//! Decoders of request and response heads: find the end, run the grammar once, freeze, slice.
//!
//! Not body decoders (see [`crate::body`]), and not judges of framing (see [`portcullis_http::Framing`]): after
//! a head the session asks `Framing`, then builds a `BodyDecoder`. Start at [`RequestDecoder`].
//!
//! Three promises hold for both decoders. `Ok(None)` leaves the buffer untouched: empty lines before a request
//! are only dropped together with the head behind them. Errors do not depend on how the bytes were cut: each is
//! found at the shortest input that proves it. After an error the decoder and its buffer are of no more use.
//!
//! Nearly all heads come in one piece and are right: the grammar takes those in one pass (`whole_head`). It says nothing of
//! others; what is wrong with them, or that they are not complete, is found by looking for their end first (`Progress`).

use bytes::{Buf, Bytes, BytesMut};
use portcullis_codec::Decoder;
use portcullis_codec::scan::Scanner;
use portcullis_http::{
    Fields, Method, RequestHead, ResponseHead, Status, Target, TargetForm, Version,
};

use crate::error::HeadError;
use crate::grammar::{self, RequestLine, StatusLine, TargetSpans};
use crate::limits::{EMPTY_LINES, HeadLimits, METHOD_BYTES, REASON_BYTES};

/// Takes request heads off a buffer (RFC 9112 sections 2, 3 and 5).
#[derive(Debug)]
pub struct RequestDecoder {
    limits: HeadLimits,
    progress: Progress<RequestLine>,
}

impl RequestDecoder {
    /// A decoder that keeps `limits`.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits: clamped(limits),
            progress: Progress::NEW,
        }
    }

    /// As [`decode`](Decoder::decode), with the head written to `head`, which is [blank](RequestHead::blank): an answer that
    /// held it would be copied at every step. The answer is whether there was one; where there was none, `head` is blank
    /// still.
    ///
    /// # Errors
    /// As there. `head` then has what could be read of the request line, for whoever logs it, and is good for nothing else.
    #[inline]
    pub fn decode_into(
        &mut self,
        src: &mut BytesMut,
        head: &mut RequestHead,
    ) -> Result<bool, HeadError> {
        if self.progress.is_new()
            && let Some((line, end)) = whole_head(src, &self.limits, &mut head.fields)
        {
            let block = front(src, end);
            head.fields.place(block.clone());
            write_request_head(head, block, &line);
            return Ok(true);
        }
        self.decode_slowly(src, head)
    }

    #[cold]
    fn decode_slowly(
        &mut self,
        src: &mut BytesMut,
        head: &mut RequestHead,
    ) -> Result<bool, HeadError> {
        let skipped = empty_lines(src);
        let bytes = src.get(skipped..).unwrap_or_default();
        let Some((line, end)) = self
            .progress
            .advance(bytes, &self.limits)
            .inspect_err(|_| glimpse(bytes, head))?
        else {
            return Ok(false);
        };
        src.advance(skipped);
        let block = src.split_to(end.head).freeze();
        let filled = fill_fields(&mut head.fields, &block, end.line, self.limits.fields);
        write_request_head(head, block, &line);
        filled.map(|()| true)
    }
}

impl Decoder for RequestDecoder {
    type Item = RequestHead;
    type Error = HeadError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<RequestHead>, HeadError> {
        let mut head = RequestHead::blank();
        Ok(self.decode_into(src, &mut head)?.then_some(head))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<RequestHead>, HeadError> {
        let item = self.decode(src)?;
        if item.is_none() && empty_lines(src) < src.len() {
            return Err(HeadError::Truncated);
        }
        Ok(item)
    }
}

/// Takes response heads off a buffer, interim ones too (RFC 9112 sections 2, 4 and 5).
#[derive(Debug)]
pub struct ResponseDecoder {
    limits: HeadLimits,
    progress: Progress<StatusLine>,
}

impl ResponseDecoder {
    /// A decoder that keeps `limits`; `target_bytes` plays no part.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits: clamped(limits),
            progress: Progress::NEW,
        }
    }

    /// As [`RequestDecoder::decode_into`], of a head that was [cleared](ResponseHead::clear).
    ///
    /// # Errors
    /// As [`decode`](Decoder::decode).
    #[inline]
    pub fn decode_into(
        &mut self,
        src: &mut BytesMut,
        head: &mut ResponseHead,
    ) -> Result<bool, HeadError> {
        if self.progress.is_new()
            && let Some((line, end)) = whole_head(src, &self.limits, &mut head.fields)
        {
            head.fields.place(front(src, end));
            write_response_head(head, line);
            return Ok(true);
        }
        self.decode_slowly(src, head)
    }

    #[cold]
    fn decode_slowly(
        &mut self,
        src: &mut BytesMut,
        head: &mut ResponseHead,
    ) -> Result<bool, HeadError> {
        let Some((line, end)) = self.progress.advance(src, &self.limits)? else {
            return Ok(false);
        };
        let block = src.split_to(end.head).freeze();
        fill_fields(&mut head.fields, &block, end.line, self.limits.fields)?;
        write_response_head(head, line);
        Ok(true)
    }
}

impl Decoder for ResponseDecoder {
    type Item = ResponseHead;
    type Error = HeadError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ResponseHead>, HeadError> {
        let mut head = ResponseHead::new(Status::OK);
        Ok(self.decode_into(src, &mut head)?.then_some(head))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<ResponseHead>, HeadError> {
        let item = self.decode(src)?;
        if item.is_none() && !src.is_empty() {
            return Err(HeadError::Truncated);
        }
        Ok(item)
    }
}

/// What differs between the first lines of requests and responses.
trait StartLine: Copy {
    /// The longest that a line within the limits can be, line end included.
    fn max_len(limits: &HeadLimits) -> usize;
    /// Refuses a line that is not complete, if its first bytes already prove it wrong.
    fn check_prefix(bytes: &[u8]) -> Result<(), HeadError>;
    /// Why a line that fills `window` without ending is refused.
    fn overlong(window: &[u8], limits: &HeadLimits) -> HeadError;
    /// Parses the line at the front, which is complete. The answer is how long it is, too.
    fn parse(line: &[u8], limits: &HeadLimits) -> Result<(Self, usize), HeadError>;
}

impl StartLine for RequestLine {
    #[inline]
    fn max_len(limits: &HeadLimits) -> usize {
        METHOD_BYTES + limits.target_bytes + " HTTP/1.1 \r\n".len()
    }

    fn check_prefix(bytes: &[u8]) -> Result<(), HeadError> {
        grammar::method_len(bytes).map(|_| ())
    }

    fn overlong(window: &[u8], limits: &HeadLimits) -> HeadError {
        grammar::overlong_request_line(window, limits.target_bytes)
    }

    #[inline]
    fn parse(line: &[u8], limits: &HeadLimits) -> Result<(Self, usize), HeadError> {
        grammar::request_line(line, limits.target_bytes)
    }
}

impl StartLine for StatusLine {
    #[inline]
    fn max_len(_: &HeadLimits) -> usize {
        "HTTP/1.1 200 \r\n".len() + REASON_BYTES
    }

    fn check_prefix(bytes: &[u8]) -> Result<(), HeadError> {
        grammar::status_prefix(bytes)
    }

    fn overlong(window: &[u8], _: &HeadLimits) -> HeadError {
        grammar::overlong_status_line(window)
    }

    #[inline]
    fn parse(line: &[u8], _: &HeadLimits) -> Result<(Self, usize), HeadError> {
        grammar::status_line(line)
    }
}

/// How far a head has been looked at. No byte is searched twice, however slowly the head arrives.
#[derive(Debug)]
struct Progress<L> {
    scanner: Scanner,
    /// The first line and its length, once it has ended.
    start: Option<(L, usize)>,
}

/// Where the first line and the whole head end.
#[derive(Debug, Clone, Copy)]
struct End {
    line: usize,
    head: usize,
}

impl<L: StartLine> Progress<L> {
    const NEW: Self = Self {
        scanner: Scanner::new(),
        start: None,
    };

    /// Whether nothing of the head was looked at.
    #[inline]
    const fn is_new(&self) -> bool {
        self.scanner.searched() == 0 && self.start.is_none()
    }

    /// The first line, and where it and the head end; `None` until the head is complete.
    #[inline]
    fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(L, End)>, HeadError> {
        let (line, line_len) = match self.start {
            Some(start) => start,
            None => match self.start_line(bytes, limits)? {
                Some(start) => start,
                None => return Ok(None),
            },
        };
        // The line feed of the first line may be the first half of a blank line's mark.
        let from = line_len.saturating_sub(1);
        let window = bytes.get(..limits.head_bytes).unwrap_or(bytes);
        match self
            .scanner
            .blank_line_end(window.get(from..).unwrap_or_default())
        {
            Some(end) => {
                self.start = None;
                let end = End {
                    line: line_len,
                    head: from + end,
                };
                Ok(Some((line, end)))
            }
            None if bytes.len() >= limits.head_bytes => Err(HeadError::HeadTooLarge),
            None => {
                self.start = Some((line, line_len));
                Ok(None)
            }
        }
    }

    #[inline]
    fn start_line(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<(L, usize)>, HeadError> {
        // A lone CR may yet turn out to be one more empty line, which would move the front.
        if bytes.is_empty() || bytes == b"\r" {
            return Ok(None);
        }
        let max_len = L::max_len(limits).min(limits.head_bytes);
        let window = bytes.get(..max_len).unwrap_or(bytes);
        let Some(end) = self.scanner.line_end(window) else {
            L::check_prefix(window)?;
            return if bytes.len() >= max_len {
                Err(L::overlong(window, limits))
            } else {
                Ok(None)
            };
        };
        L::parse(window.get(..end).unwrap_or_default(), limits).map(Some)
    }
}

/// The head at the front, if all of it is there and nothing is wrong with it: in one pass, without looking for its end
/// first. Its lines go to `fields`, which are empty; so they are where there is none. Tried once for each head, so that however slowly one arrives, no byte is looked at more than twice; whatever
/// is the matter, [`Progress::advance`] finds out and says.
#[inline]
fn whole_head<L: StartLine>(
    bytes: &[u8],
    limits: &HeadLimits,
    fields: &mut Fields,
) -> Option<(L, usize)> {
    let window = bytes.get(..limits.head_bytes).unwrap_or(bytes);
    let (line, start) = L::parse(window, limits).ok()?;
    fields.begin();
    let push = |name, value, known, plain| fields.push_line(name, value, known, plain);
    let end = grammar::fields(window, start, limits.fields, push).ok();
    if end.is_none() {
        fields.clear();
    }
    Some((line, end?))
}

/// Spans are 32 bits wide; no sensible limit comes near.
fn clamped(mut limits: HeadLimits) -> HeadLimits {
    limits.head_bytes = limits.head_bytes.min(u32::MAX as usize);
    limits.target_bytes = limits.target_bytes.min(limits.head_bytes);
    limits
}

/// Bytes of empty lines to skip before a request line (RFC 9112 section 2.2).
#[inline]
fn empty_lines(bytes: &[u8]) -> usize {
    if bytes.first() != Some(&b'\r') {
        return 0;
    }
    bytes
        .chunks_exact(2)
        .take(EMPTY_LINES)
        .take_while(|pair| pair == b"\r\n")
        .count()
        * 2
}

fn fill_fields(
    fields: &mut Fields,
    block: &Bytes,
    start: usize,
    limit: usize,
) -> Result<(), HeadError> {
    fields.begin();
    fields.place(block.clone());
    grammar::fields(block, start, limit, |name, value, known, plain| {
        fields.push_line(name, value, known, plain);
    })?;
    Ok(())
}

/// What the request line says; the fields are there.
#[inline]
fn write_request_head(head: &mut RequestHead, block: Bytes, line: &RequestLine) {
    let name = block.get(..line.method_len).unwrap_or_default();
    // A blank head says GET already.
    if name != b"GET" {
        head.method =
            Method::known(name).unwrap_or_else(|| Method::Other(block.slice(..name.len())));
    }
    head.version = line.version;
    if line.target.form == TargetForm::Origin {
        head.target.path_and_query = part(block, line.target.path);
    } else {
        head.target = uncommon_target(&block, &line.target);
    }
}

/// What can be made out of a request line that is wrong, or is not all there: its method, and its target if something follows
/// it. Only for logs: nothing of it was checked but its length.
pub(crate) fn glimpse(bytes: &[u8], head: &mut RequestHead) {
    /// The longest target that is worth a line.
    const TARGET: usize = 1024;
    head.fields.clear();
    let bytes = bytes.trim_ascii_start();
    let mut words = bytes.splitn(3, |&byte| matches!(byte, b' ' | b'\r' | b'\n'));
    let (method, target) = (words.next(), words.next());
    let rest = words.next();
    head.method = match method {
        Some(name)
            if target.is_some()
                && (1..=METHOD_BYTES).contains(&name.len())
                && name.iter().all(u8::is_ascii_graphic) =>
        {
            Method::known(name).unwrap_or_else(|| Method::Other(Bytes::copy_from_slice(name)))
        }
        _ => Method::Other(Bytes::new()),
    };
    let target = target.filter(|target| rest.is_some() && target.len() <= TARGET);
    head.target = Target::origin(Bytes::copy_from_slice(target.unwrap_or_default()));
    if rest.is_some_and(|rest| rest.starts_with(b"HTTP/1.0")) {
        head.version = Version::Http10;
    }
}

/// What the status line says; the fields are there.
#[inline]
fn write_response_head(head: &mut ResponseHead, line: StatusLine) {
    head.status = line.status;
    head.version = line.version;
    let fields = &head.fields;
    let reason = line.reason_start..line.reason_start + line.reason_len;
    let usual: &[u8] = match line.status {
        Status::OK => b"OK",
        status => status.canonical_reason().as_bytes(),
    };
    head.reason = if fields.block().get(reason.clone()) == Some(usual) {
        Bytes::from_static(usual)
    } else {
        part(fields.block().clone(), (reason.start, reason.end))
    };
}

/// The first bytes of a buffer; the buffer itself if those are all.
#[inline]
pub(crate) fn front(src: &mut BytesMut, end: usize) -> Bytes {
    if end == src.len() {
        std::mem::take(src).freeze()
    } else {
        src.split_to(end).freeze()
    }
}

#[cold]
fn uncommon_target(block: &Bytes, spans: &TargetSpans) -> Target {
    let has_authority = spans.authority.0 < spans.authority.1;
    let path = part(block.clone(), spans.path);
    let path_and_query = match (spans.form, path.first()) {
        (TargetForm::Absolute, None) => empty_path(block, spans),
        // RFC 9112 section 3.2.1: an empty path is sent as `/`. Rare enough to copy.
        (TargetForm::Absolute, Some(b'?')) => {
            let mut whole = BytesMut::with_capacity(path.len() + 1);
            whole.extend_from_slice(b"/");
            whole.extend_from_slice(&path);
            whole.freeze()
        }
        _ => path,
    };
    Target {
        form: spans.form,
        scheme: spans.scheme,
        authority: has_authority.then(|| part(block.clone(), spans.authority)),
        path_and_query,
    }
}

/// RFC 9112 section 3.2.4: OPTIONS for a URI without path or query asks about the server: `*`.
fn empty_path(block: &Bytes, spans: &TargetSpans) -> Bytes {
    debug_assert!(spans.scheme.is_some(), "absolute-form has a scheme");
    if block.starts_with(b"OPTIONS ") {
        Bytes::from_static(b"*")
    } else {
        Bytes::from_static(b"/")
    }
}

/// The range as a slice that shares the block. Takes the block, so that the last user pays for no count.
#[inline]
fn part(mut block: Bytes, (start, end): (usize, usize)) -> Bytes {
    block.truncate(end);
    block.advance(start.min(block.len()));
    block
}

#[cfg(test)]
mod tests;
