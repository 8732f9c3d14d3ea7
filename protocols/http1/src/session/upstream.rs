//! One connection to an upstream: a request goes up, a response comes down, and if both ended cleanly the
//! connection waits in its pool for the next.
//!
//! What an upstream sends is trusted no more than what a client sends: doubt about a body's length, or bytes
//! behind a response that nobody asked for, end the connection. Start at [`Upstream`].

use std::rc::Weak;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use portcullis_cluster::{ConnectionPermit, EndpointId};
use portcullis_codec::WireError;
use portcullis_http::head::{Method, RequestHead, ResponseHead, Status};
use portcullis_http::stream::{BodyPiece, StreamError, UpstreamStream};
use portcullis_http::{Fields, Framing, KnownField};

use super::connection::{Connection, Shutdown};
use super::pool::Pool;
use super::writer::BodyWriter;
use crate::body::BodyDecoder;
use crate::decoder::ResponseDecoder;
use crate::encoder::{self, Encode};
use crate::limits::BodyLimits;
use crate::message::{self, Connection as Persistence};

/// One connection to an upstream.
pub(crate) struct Upstream {
    pub(crate) connection: Connection,
    pub(crate) pool: Weak<Pool>,
    pub(crate) endpoint: EndpointId,
    pub(crate) requests: u64,
    /// The version of the cluster's endpoints that its own was last found among.
    pub(crate) known_in: Option<u64>,
    _permit: ConnectionPermit,
    decoder: ResponseDecoder,
    response: ResponseBody,
    writer: BodyWriter,
    method: Method,
    sent_before: u64,
    received: bool,
    /// Whether the connection may carry another request, as far as is known.
    keep: bool,
}

enum ResponseBody {
    /// No final head was read.
    Waiting,
    Decoding(BodyDecoder),
    Tunnel,
    Done,
}

impl Upstream {
    pub(crate) fn new(
        connection: Connection,
        pool: Weak<Pool>,
        endpoint: EndpointId,
        permit: ConnectionPermit,
        decoder: ResponseDecoder,
    ) -> Self {
        Self {
            connection,
            pool,
            endpoint,
            requests: 0,
            known_in: None,
            _permit: permit,
            decoder,
            response: ResponseBody::Done,
            writer: BodyWriter::Finished,
            method: Method::Get,
            sent_before: 0,
            received: false,
            keep: true,
        }
    }

    /// Whether both directions are complete and nothing contradicts another request.
    fn is_reusable(&self) -> bool {
        self.keep
            && matches!(self.response, ResponseBody::Done)
            && self.writer == BodyWriter::Finished
            && self.connection.output.is_empty()
            && self.connection.input.is_empty()
            && !self.connection.read_closed
    }

    fn decode_head(
        &mut self,
        place: &mut Option<ResponseHead>,
    ) -> Result<Option<Framing>, StreamError> {
        let head = place.get_or_insert_with(|| ResponseHead::new(Status::OK));
        let is_there = self
            .decoder
            .decode_into(&mut self.connection.input, head)
            .map_err(|error| bad_gateway(error.label()))?;
        if !is_there {
            return Ok(None);
        }
        let framing =
            Framing::of_response(head, &self.method).map_err(|error| bad_gateway(error.label()))?;
        if head.status.is_interim() && head.status != Status::SWITCHING_PROTOCOLS {
            return Ok(Some(Framing::None));
        }
        self.keep &= message::is_persistent(head.version, &head.fields)
            && framing != Framing::UntilClose
            && !head.status.is_interim();
        self.response = if framing.is_empty() {
            ResponseBody::Done
        } else {
            let decoder = BodyDecoder::new(framing, BodyLimits::default());
            ResponseBody::Decoding(decoder.map_err(|error| bad_gateway(error.label()))?)
        };
        Ok(Some(framing))
    }

    fn decode_piece(&mut self) -> Result<Option<BodyPiece>, StreamError> {
        match &mut self.response {
            ResponseBody::Decoding(decoder) => {
                let piece = super::next_piece(decoder, &mut self.connection.input)
                    .map_err(|error| bad_gateway(error.label()))?;
                if matches!(piece, Some(BodyPiece::End | BodyPiece::Trailers(_))) {
                    self.response = ResponseBody::Done;
                }
                Ok(piece)
            }
            ResponseBody::Tunnel if !self.connection.input.is_empty() => Ok(Some(BodyPiece::Data(
                self.connection.input.split().freeze(),
            ))),
            ResponseBody::Tunnel => Ok(None),
            ResponseBody::Waiting | ResponseBody::Done => Ok(Some(BodyPiece::End)),
        }
    }

    /// The end of upstream's direction: the end of the body for some framings, a truncation for others.
    fn decode_eof(&mut self) -> Result<BodyPiece, StreamError> {
        let whole = match &mut self.response {
            ResponseBody::Tunnel => true,
            ResponseBody::Decoding(decoder) => {
                super::last_piece(decoder, &mut self.connection.input)
                    .is_ok_and(|piece| piece == BodyPiece::End)
            }
            ResponseBody::Waiting | ResponseBody::Done => false,
        };
        if !whole {
            return Err(StreamError::Closed);
        }
        self.response = ResponseBody::Done;
        Ok(BodyPiece::End)
    }
}

#[cold]
fn bad_gateway(label: &'static str) -> StreamError {
    StreamError::Protocol {
        label,
        status: Status::BAD_GATEWAY,
    }
}

impl UpstreamStream for Upstream {
    fn send_head(&mut self, head: &RequestHead, framing: Framing) -> Result<(), StreamError> {
        self.connection.changes_task();
        self.sent_before = self.connection.output.total();
        self.received = false;
        self.response = ResponseBody::Waiting;
        self.method = head.method.clone();
        let connection = if head.fields.contains(KnownField::Upgrade) {
            Persistence::Upgrade
        } else if head.fields.contains(KnownField::Te) {
            Persistence::Te
        } else {
            Persistence::Implied
        };
        let options = Encode {
            framing,
            connection,
        };
        self.connection
            .output
            .push_with(|buffer| encoder::encode_request_head(head, options, buffer))
            .map_err(|error| StreamError::Protocol {
                label: error.label(),
                status: Status::BAD_REQUEST,
            })?;
        self.writer = if framing.is_empty() {
            BodyWriter::Finished
        } else {
            BodyWriter::new(framing)
        };
        Ok(())
    }

    fn send_data(&mut self, data: Bytes) {
        self.writer.push(&mut self.connection, data);
    }

    fn send_end(&mut self, trailers: Option<&Fields>) {
        self.keep &= self.writer.finish(&mut self.connection, trailers);
    }

    fn is_full(&self) -> bool {
        self.connection.output.is_full()
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.poll_flush(task)
    }

    fn poll_head(
        &mut self,
        task: &mut Context<'_>,
        place: &mut Option<ResponseHead>,
    ) -> Poll<Result<Framing, StreamError>> {
        loop {
            if !self.connection.input.is_empty()
                && let Some(framing) = self.decode_head(place)?
            {
                return Poll::Ready(Ok(framing));
            }
            if !ready!(self.connection.poll_fill(task))? {
                return Poll::Ready(Err(StreamError::Closed));
            }
            self.received = true;
        }
    }

    fn take_rest(&mut self) -> Option<Bytes> {
        let ResponseBody::Decoding(decoder) = &mut self.response else {
            return None;
        };
        let rest = decoder.take_rest(&mut self.connection.input)?;
        self.response = ResponseBody::Done;
        Some(rest)
    }

    fn poll_body(&mut self, task: &mut Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        loop {
            if let Some(piece) = self.decode_piece()? {
                return Poll::Ready(Ok(piece));
            }
            if !ready!(self.connection.poll_fill(task))? {
                return Poll::Ready(self.decode_eof());
            }
        }
    }

    fn start_tunnel(&mut self) {
        self.keep = false;
        self.response = ResponseBody::Tunnel;
        self.writer = BodyWriter::UntilClose;
    }

    fn is_reused(&self) -> bool {
        self.requests > 0
    }

    fn has_sent(&self) -> bool {
        self.connection.output.total() > self.sent_before
    }

    fn has_received(&self) -> bool {
        self.received
    }

    fn bytes_sent(&self) -> u64 {
        self.connection.output.total() - self.sent_before
    }

    fn release(mut self: Box<Self>) {
        if !self.is_reusable() {
            return;
        }
        self.requests += 1;
        self.connection.shrink();
        debug_assert!(self.connection.shutdown == Shutdown::No);
        if let Some(pool) = self.pool.upgrade() {
            pool.put(self);
        }
    }
}
