//! Frames off a buffer, one at a time (RFC 9113 section 4).
//!
//! A frame is taken when all of it is there; what it holds is sliced, not copied. The one thing known between two frames is
//! whether a header block is open. Not a session: streams, windows and compression are not looked at.
//! Start at [`FrameDecoder`].

use bytes::{Buf, Bytes, BytesMut};
use portcullis_codec::{Decoder, Severity, WireError};

use crate::error::FrameError;
use crate::frame::{
    Continuation, Data, Frame, FrameHeader, FrameKind, GoAway, HEADER_BYTES, Headers, Ping,
    PushPromise, Reset, Settings, StreamId, Unknown, WindowUpdate, flags,
};
use crate::grammar;

/// Takes frames off a buffer.
///
/// ```
/// use bytes::BytesMut;
/// use portcullis_codec::Decoder;
/// use portcullis_http2::frame::{Frame, LEAST_MAX_FRAME_SIZE, Ping};
/// use portcullis_http2::FrameDecoder;
///
/// let mut buffer = BytesMut::from(&b"\0\0\x08\x06\x01\0\0\0\0portculls"[..]);
/// let mut frames = FrameDecoder::new(LEAST_MAX_FRAME_SIZE);
/// let frame = frames.decode(&mut buffer)?.expect("a whole frame");
/// assert_eq!(frame, Frame::Ping(Ping { ack: true, payload: *b"portcull" }));
/// assert_eq!(&buffer[..], b"s");
/// # Ok::<(), portcullis_http2::FrameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameDecoder {
    max_frame_size: u32,
    /// The stream whose header block is open.
    open: Option<StreamId>,
    wants: usize,
}

impl FrameDecoder {
    /// A decoder that takes payloads of up to so many bytes: what we told the peer in SETTINGS_MAX_FRAME_SIZE.
    #[must_use]
    pub const fn new(max_frame_size: u32) -> Self {
        Self {
            max_frame_size,
            open: None,
            wants: HEADER_BYTES,
        }
    }

    /// Whether a header block is open, so that nothing but CONTINUATION may follow.
    #[must_use]
    pub const fn is_mid_block(&self) -> bool {
        self.open.is_some()
    }

    /// RFC 9113 sections 4.3 and 6.10: a header block is not interrupted.
    fn check_order(&mut self, header: &FrameHeader) -> Result<(), FrameError> {
        match (self.open, header.kind) {
            (None, FrameKind::Continuation) => return Err(FrameError::UnexpectedContinuation),
            (Some(stream), FrameKind::Continuation) if stream == header.stream => {}
            (Some(_), _) => return Err(FrameError::ExpectedContinuation),
            (None, _) => {}
        }
        if header.kind.has_block() {
            let ends = header.has(flags::END_HEADERS);
            self.open = (!ends).then_some(header.stream);
        }
        Ok(())
    }
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(header) = grammar::frame_header(src) else {
            self.wants = HEADER_BYTES.saturating_sub(src.len());
            return Ok(None);
        };
        if header.length > self.max_frame_size {
            return Err(FrameError::TooLarge);
        }
        let length = HEADER_BYTES + header.length as usize;
        if src.len() < length {
            self.wants = length - src.len();
            return Ok(None);
        }
        self.wants = HEADER_BYTES;
        self.check_order(&header)?;
        // Checked before anything is taken, so that only a lost stream costs its frame.
        let body = src.get(HEADER_BYTES..length).unwrap_or_default();
        match check(&header, body) {
            Err(error) if error.severity() == Severity::Stream => {
                src.advance(length);
                return Err(error);
            }
            checked => checked?,
        }
        let mut payload = src.split_to(length).freeze();
        payload.advance(HEADER_BYTES);
        frame(&header, payload).map(Some)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(src)? {
            None if !src.is_empty() || self.open.is_some() => Err(FrameError::Truncated),
            frame => Ok(frame),
        }
    }

    fn wants(&self) -> usize {
        self.wants
    }
}

/// What [`frame`] would refuse.
fn check(header: &FrameHeader, payload: &[u8]) -> Result<(), FrameError> {
    grammar::check_stream(header.kind, header.stream)?;
    match header.kind {
        FrameKind::Priority => grammar::priority(payload).map(|_| ()),
        FrameKind::WindowUpdate => grammar::window_update(header.stream, payload).map(|_| ()),
        _ => Ok(()),
    }
}

/// The frame of this header and payload.
fn frame(header: &FrameHeader, payload: Bytes) -> Result<Frame, FrameError> {
    let stream = header.stream;
    Ok(match header.kind {
        FrameKind::Data => data(header, &payload)?,
        FrameKind::Headers => headers(header, &payload)?,
        FrameKind::Priority => Frame::Priority(stream, grammar::priority(&payload)?),
        FrameKind::Reset => Frame::Reset(Reset {
            stream,
            code: grammar::reset(&payload)?,
        }),
        FrameKind::Settings => {
            grammar::check_settings(header, &payload)?;
            Frame::Settings(Settings::from_payload(header.has(flags::ACK), payload))
        }
        FrameKind::PushPromise => push_promise(header, &payload)?,
        FrameKind::Ping => Frame::Ping(Ping {
            ack: header.has(flags::ACK),
            payload: grammar::ping(&payload)?,
        }),
        FrameKind::GoAway => {
            let (last_stream, code, debug) = grammar::go_away(&payload)?;
            Frame::GoAway(GoAway {
                last_stream,
                code,
                debug: payload.slice_ref(debug),
            })
        }
        FrameKind::WindowUpdate => Frame::WindowUpdate(WindowUpdate {
            stream,
            increment: grammar::window_update(stream, &payload)?,
        }),
        FrameKind::Continuation => Frame::Continuation(Continuation {
            stream,
            block: payload,
            end_headers: header.has(flags::END_HEADERS),
        }),
        FrameKind::Unknown(kind) => Frame::Unknown(Unknown {
            kind,
            flags: header.flags,
            stream,
            payload,
        }),
    })
}

fn data(header: &FrameHeader, payload: &Bytes) -> Result<Frame, FrameError> {
    let (data, padding) = grammar::unpadded(header, payload)?;
    Ok(Frame::Data(Data {
        stream: header.stream,
        data: payload.slice_ref(data),
        end_stream: header.has(flags::END_STREAM),
        padding,
    }))
}

fn headers(header: &FrameHeader, payload: &Bytes) -> Result<Frame, FrameError> {
    let (inner, padding) = grammar::unpadded(header, payload)?;
    let (priority, block) = grammar::headers(header, inner)?;
    Ok(Frame::Headers(Headers {
        stream: header.stream,
        block: payload.slice_ref(block),
        end_stream: header.has(flags::END_STREAM),
        end_headers: header.has(flags::END_HEADERS),
        priority,
        padding,
    }))
}

fn push_promise(header: &FrameHeader, payload: &Bytes) -> Result<Frame, FrameError> {
    let (inner, padding) = grammar::unpadded(header, payload)?;
    let (promised, block) = grammar::push_promise(inner)?;
    Ok(Frame::PushPromise(PushPromise {
        stream: header.stream,
        promised,
        block: payload.slice_ref(block),
        end_headers: header.has(flags::END_HEADERS),
        padding,
    }))
}
