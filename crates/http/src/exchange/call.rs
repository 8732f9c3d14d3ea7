//! What an exchange does more where the request is a gRPC call: the caller's deadline, a body kept for another
//! attempt, and an end with a status where the response has already begun.
//!
//! Not the messages: filters see to those. Start at [`Exchange::settle_call`].

use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_filter::Interest;
use smallvec::SmallVec;

use super::{Exchange, Halt, ResponseState};
use crate::fields::Fields;
use crate::framing::Framing;
use crate::grpc::{self, GrpcKind, GrpcStatus, parse_timeout, write_timeout};
use crate::head::{Method, ResponseHead, Status, Version};
use crate::message::{Data, Response};
use crate::name::KnownField;
use crate::route::Route;
use crate::stream::BodyPiece;

/// The front of a call's body, as it was sent, for as long as the call may have to be sent again.
#[derive(Default)]
pub(super) struct Kept {
    pieces: SmallVec<[Bytes; 2]>,
    bytes: usize,
}

/// The longest body that is kept: most calls are far shorter, and each open call may cost so much.
const MOST_KEPT: usize = 16 * 1024;

impl Exchange<'_> {
    /// Makes the caller's deadline the exchange's own, within the route's, and begins to keep the body.
    pub(super) fn settle_call(&mut self, route: &Route) -> Result<(), Halt> {
        let head = &self.record.request.head;
        if head.method != Method::Post || grpc::kind(&head.fields) != Some(GrpcKind::Grpc) {
            return Ok(());
        }
        self.begin_call(route)
    }

    fn begin_call(&mut self, route: &Route) -> Result<(), Halt> {
        let head = &self.record.request.head;
        self.is_call = true;
        self.upload.kept = Some(Box::default());
        let Some(value) = head.fields.get(KnownField::GrpcTimeout) else {
            return Ok(());
        };
        let Ok(asked) = parse_timeout(value) else {
            return Err(self.reply(Status::BAD_REQUEST, "grpc_timeout_malformed"));
        };
        let time = route
            .timeout
            .flatten()
            .map_or(asked, |most| asked.min(most));
        let at = self.record.started.checked_add(time);
        self.deadline = [self.deadline, at].into_iter().flatten().min();
        self.tells_deadline = true;
        Ok(())
    }

    /// Writes into the request's head what is left of the caller's deadline.
    pub(super) fn tell_deadline(&mut self) -> Result<(), Halt> {
        match self.deadline {
            Some(deadline) if self.tells_deadline => self.tell(deadline),
            _ => Ok(()),
        }
    }

    fn tell(&mut self, deadline: Instant) -> Result<(), Halt> {
        let left = deadline.saturating_duration_since(self.downstream.now());
        if left.is_zero() {
            return Err(self.reply(Status::GATEWAY_TIMEOUT, "request_timeout"));
        }
        let mut value = String::new();
        write_timeout(left, &mut value);
        let fields = &mut self.record.request.head.fields;
        fields.set(KnownField::GrpcTimeout, value.as_bytes());
        Ok(())
    }

    /// Keeps a piece that goes upstream.
    pub(super) fn keep_upload(&mut self, piece: &BodyPiece) {
        let Some(kept) = &mut self.upload.kept else {
            return;
        };
        match piece {
            BodyPiece::Data(data) if kept.bytes + data.len() <= MOST_KEPT => {
                kept.bytes += data.len();
                kept.pieces.push(data.clone());
            }
            BodyPiece::End => {}
            BodyPiece::Data(_) | BodyPiece::Trailers(_) => self.upload.kept = None,
        }
    }

    /// Whether all of the body is at hand: it was not begun, was collected, or was kept.
    pub(super) fn is_body_whole(&mut self) -> bool {
        if !self.upload.consumed || self.collected.is_some() {
            return true;
        }
        let Some(kept) = self.upload.kept.take_if(|_| self.upload.read) else {
            return false;
        };
        self.collected = Some(match &*kept.pieces {
            [whole] => whole.clone(),
            pieces => {
                let mut whole = BytesMut::with_capacity(kept.bytes);
                for piece in pieces {
                    whole.extend_from_slice(piece);
                }
                whole.freeze()
            }
        });
        true
    }

    /// The status that the balancer and the ejection count hear: a call that failed before its first message did so
    /// in HTTP 200.
    pub(super) fn counted_status(&self, head: &ResponseHead) -> Status {
        match GrpcStatus::of(&head.fields) {
            Some(status) if self.is_call && status.is_fault() => Status::INTERNAL_SERVER_ERROR,
            _ => head.status,
        }
    }

    /// Ends a call whose response has begun with a status in trailers, if it can have any; else the answer is the
    /// reason why the stream must be closed. A peer that is gone or broken is told nothing.
    pub(super) async fn end_call(
        &mut self,
        reason: &'static str,
        response: Option<Box<Response>>,
    ) -> Result<(), &'static str> {
        let can_have_trailers = self.announced == Framing::Chunked
            && self.record.request.head.version != Version::Http10;
        let is_open = self.response == ResponseState::Started && !self.tunneled;
        if !self.is_call || !is_open || !can_have_trailers || reason.starts_with("downstream") {
            return Err(reason);
        }
        self.record.reason.get_or_insert(reason);
        let mut trailers = Fields::new();
        match response
            .as_ref()
            .and_then(|reply| GrpcStatus::of(&reply.head.fields))
        {
            Some(status) => status.write(reason, &mut trailers),
            None => status_of(reason).write(reason, &mut trailers),
        }
        let mut data = Data {
            bytes: Bytes::new(),
            trailers: Some(Box::new(trailers)),
        };
        if let Some(route) = self.route.clone()
            && route.chain.interest().includes(Interest::RESPONSE_DATA)
        {
            let timer = Rc::clone(&self.service.environment.timer);
            let seen = route
                .chain
                .on_response_data(&mut data, true, self.cx, &*timer);
            seen.await.map_err(|_| reason)?;
        }
        if !data.bytes.is_empty() {
            self.queue_data(data.bytes);
        }
        self.queue_end(data.trailers.as_deref());
        self.flush().await
    }
}

/// What an end in the middle of a response is to the caller.
fn status_of(reason: &str) -> GrpcStatus {
    match reason {
        "request_timeout" => GrpcStatus::DeadlineExceeded,
        "body_too_large" => GrpcStatus::ResourceExhausted,
        _ => GrpcStatus::Unavailable,
    }
}
