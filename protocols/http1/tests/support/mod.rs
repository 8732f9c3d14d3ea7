//! Whole messages as one decoder: head, framing, body, and the next message behind it.
//!
//! This is what a session does with the codec, without a socket, so that vectors, laws and fuzz targets judge
//! the parts together: smuggling happens between them. Start at [`Messages`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use bytes::BytesMut;
use portcullis_codec::{Decoder, Severity, WireError};
use portcullis_http::{Fields, Framing, FramingError, Method, RequestHead, ResponseHead, Status};
use portcullis_http1::{
    BodyDecoder, BodyError, BodyLimits, BodyPiece, HeadError, HeadLimits, RequestDecoder,
    ResponseDecoder,
};

/// What is seen of a stream of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Request(Box<RequestHead>),
    Response(Box<ResponseHead>),
    Framing(Framing),
    Data(Vec<u8>),
    Trailers(Box<Fields>),
    End,
    /// The error that follows would be answered with this status.
    Refused(Status),
}

/// Records events with adjacent data merged: where content is cut carries no meaning.
pub fn merged(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (Some(Event::Data(before)), Event::Data(data)) => before.extend(data),
        (_, event) => events.push(event),
    }
}

/// Which way the messages go.
#[derive(Debug)]
pub enum Role {
    Requests(RequestDecoder),
    /// Responses, each to a request with this method.
    Responses(ResponseDecoder, Method),
}

impl Role {
    pub fn requests(limits: HeadLimits) -> Self {
        Self::Requests(RequestDecoder::new(limits))
    }

    pub fn responses(limits: HeadLimits, method: Method) -> Self {
        Self::Responses(ResponseDecoder::new(limits), method)
    }
}

/// Decodes message after message.
#[derive(Debug)]
pub struct Messages {
    role: Option<Role>,
    limits: BodyLimits,
    body: Option<BodyDecoder>,
    framing: Option<Framing>,
    refused: Option<AnyError>,
}

impl Messages {
    pub const fn new(role: Role, limits: BodyLimits) -> Self {
        Self {
            role: Some(role),
            limits,
            body: None,
            framing: None,
            refused: None,
        }
    }

    /// One body alone.
    pub fn body(framing: Framing, limits: BodyLimits) -> Self {
        Self {
            role: None,
            limits,
            body: None,
            framing: Some(framing),
            refused: None,
        }
    }

    fn step(&mut self, src: &mut BytesMut, eof: bool) -> Result<Option<Event>, AnyError> {
        if let Some(framing) = self.framing.take() {
            self.body = Some(BodyDecoder::new(framing, self.limits)?);
            return Ok(Some(Event::Framing(framing)));
        }
        if let Some(body) = &mut self.body {
            let piece = if eof {
                body.decode_eof(src)?
            } else {
                body.decode(src)?
            };
            return Ok(piece.map(|piece| match piece {
                BodyPiece::Data(data) => Event::Data(data.to_vec()),
                BodyPiece::Trailers(trailers) => Event::Trailers(trailers),
                BodyPiece::End => {
                    self.body = None;
                    Event::End
                }
            }));
        }
        self.head(src, eof)
    }

    fn head(&mut self, src: &mut BytesMut, eof: bool) -> Result<Option<Event>, AnyError> {
        Ok(match &mut self.role {
            None => None,
            Some(Role::Requests(decoder)) => {
                let Some(head) = decode(decoder, src, eof)? else {
                    return Ok(None);
                };
                self.framing = Some(Framing::of_request(&head)?);
                Some(Event::Request(Box::new(head)))
            }
            Some(Role::Responses(decoder, method)) => {
                let Some(head) = decode(decoder, src, eof)? else {
                    return Ok(None);
                };
                self.framing = Some(Framing::of_response(&head, method)?);
                Some(Event::Response(Box::new(head)))
            }
        })
    }

    /// Says the status of an error first, then the error.
    fn told(&mut self, src: &mut BytesMut, eof: bool) -> Result<Option<Event>, AnyError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        match self.step(src, eof) {
            Err(error) => {
                self.refused = Some(error);
                Ok(Some(Event::Refused(error.status())))
            }
            event => event,
        }
    }
}

fn decode<D: Decoder>(
    decoder: &mut D,
    src: &mut BytesMut,
    eof: bool,
) -> Result<Option<D::Item>, D::Error> {
    if eof {
        decoder.decode_eof(src)
    } else {
        decoder.decode(src)
    }
}

impl Decoder for Messages {
    type Item = Event;
    type Error = AnyError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Event>, AnyError> {
        self.told(src, false)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Event>, AnyError> {
        self.told(src, true)
    }
}

/// Any error of the codec or of the framing decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyError {
    Head(HeadError),
    Framing(FramingError),
    Body(BodyError),
}

impl AnyError {
    fn status(self) -> Status {
        match self {
            Self::Head(error) => error.status(),
            Self::Framing(error) => error.status(),
            Self::Body(error) => error.status(),
        }
    }
}

impl From<HeadError> for AnyError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl From<FramingError> for AnyError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

impl From<BodyError> for AnyError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl std::fmt::Display for AnyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.label())
    }
}

impl std::error::Error for AnyError {}

impl WireError for AnyError {
    fn severity(&self) -> Severity {
        Severity::Connection
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Head(error) => error.label(),
            Self::Framing(error) => error.label(),
            Self::Body(error) => error.label(),
        }
    }
}
