//! Moving bodies: both directions at once, on one task, with back-pressure.
//!
//! Nothing here decides anything but "more, or not now": what a failure means is for the caller. Pieces go from
//! one side's buffer to the other's queue and are written once per turn, so a head and a small body leave in
//! one write. Start at [`Exchange::poll_relay`].

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Exchange;
use crate::framing::Framing;
use crate::message::Http;
use crate::normalize;
use crate::service::HttpService;
use crate::stream::{BodyPiece, StreamError, UpstreamStream};
use portcullis_filter::FilterChain;

/// Something that the poll-driven part hands to the sequential part.
pub(super) enum Event {
    /// Upstream's next head, interim or final, stands in [`Exchange::answer`].
    Head(Framing),
    /// A piece of the request that filters want to see before it is sent.
    RequestPiece(BodyPiece),
    /// A piece of the response that filters want to see before it is sent.
    ResponsePiece(BodyPiece),
    /// The response is written, to the last byte.
    Done,
}

/// Why a relay ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The downstream side failed.
    Downstream(StreamError),
    /// The upstream side failed.
    Upstream(StreamError),
    /// The request's body is longer than allowed.
    TooLarge,
    /// A deadline passed.
    Deadline,
}

/// What a turn of the relay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Until a head arrives.
    Head,
    /// Until the response's end is written.
    Body,
}

/// What of the relay must pass through filters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intercept {
    pub(super) request: bool,
    pub(super) response: bool,
}

impl Intercept {
    pub(super) const NOTHING: Self = Self {
        request: false,
        response: false,
    };

    pub(super) fn of(chain: &FilterChain<Http>) -> Self {
        use portcullis_filter::Interest;
        Self {
            request: chain.interest().includes(Interest::REQUEST_DATA),
            response: chain.interest().includes(Interest::RESPONSE_DATA),
        }
    }
}

/// When the relay last moved a byte, so that a stall can be told from a slow transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    moved: u64,
    pub(super) at: Instant,
}

impl Progress {
    pub(super) const fn new(now: Instant) -> Self {
        Self { moved: 0, at: now }
    }

    /// Notes how much has moved by now.
    pub(super) fn update(&mut self, moved: u64, now: Instant) {
        if moved != self.moved {
            *self = Self { moved, at: now };
        }
    }
}

/// One relay under way: the upstream and what is left to do with it.
pub(super) struct Relay<'u> {
    pub(super) upstream: &'u mut dyn UpstreamStream,
    pub(super) stage: Stage,
    pub(super) intercept: Intercept,
    pub(super) progress: Progress,
    /// Longest time without a byte moved in either direction while a body is under way.
    pub(super) stall: Duration,
    /// Longest wait for the head once the request is sent.
    pub(super) wait: Option<Duration>,
    /// Whether upstream's body has been read to its end.
    pub(super) response_read: bool,
    /// Whether it waits: the next turn is a later one.
    pub(super) rests: bool,
}

impl Exchange<'_> {
    /// Drives both directions until something needs the sequential part.
    pub(super) fn poll_relay(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
    ) -> Poll<Result<Event, Fault>> {
        if relay.rests {
            relay.rests = false;
            self.catch_up();
        }
        loop {
            let mut moved = false;
            if let Some(piece) = self.pump_upload(relay, task, &mut moved)? {
                return Poll::Ready(Ok(Event::RequestPiece(piece)));
            }
            if let Some(event) = self.pump_response(relay, task, &mut moved)? {
                return Poll::Ready(Ok(event));
            }
            if !moved {
                break;
            }
        }
        self.check_deadlines(relay, task)
    }

    /// Request pieces from downstream to upstream's queue, then to the wire.
    pub(super) fn pump_upload(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
        moved: &mut bool,
    ) -> Result<Option<BodyPiece>, Fault> {
        if self.upload.flushed {
            return Ok(None);
        }
        if self.upload.sent {
            // As from the start where there is no body.
            self.flush_upload(relay, task);
            return Ok(None);
        }
        let was_full = relay.upstream.is_full();
        while !self.upload.read && !self.upload.sent && !relay.upstream.is_full() {
            let Poll::Ready(piece) = self.downstream.poll_body(task) else {
                break;
            };
            let mut piece = piece.map_err(Fault::Downstream)?;
            *moved = true;
            self.count_upload(&mut piece)?;
            if relay.intercept.request {
                return Ok(Some(piece));
            }
            self.forward_upload(relay.upstream, piece);
        }
        self.flush_upload(relay, task);
        *moved |= was_full && !relay.upstream.is_full();
        Ok(None)
    }

    fn flush_upload(&mut self, relay: &mut Relay<'_>, task: &mut Context<'_>) {
        // An upstream may answer and close without reading the rest: its answer, if there is one, still counts,
        // so a failed write only ends the upload. If there is none, reading the head fails next.
        if let Poll::Ready(flushed) = relay.upstream.poll_flush(task) {
            self.upload.sent |= flushed.is_err();
            self.upload.flushed = self.upload.sent;
        }
    }

    /// A piece of the request's body has come. Of trailers only what may pass is left.
    pub(super) fn count_upload(&mut self, piece: &mut BodyPiece) -> Result<(), Fault> {
        self.upload.consumed = true;
        match piece {
            BodyPiece::Data(data) => {
                self.record.request_bytes += data.len() as u64;
                if self.record.request_bytes > self.upload.limit {
                    return Err(Fault::TooLarge);
                }
            }
            BodyPiece::Trailers(trailers) => {
                normalize::settle_trailers(trailers, &self.service.config.normalize);
                self.upload.read = true;
            }
            BodyPiece::End => self.upload.read = true,
        }
        Ok(())
    }

    pub(super) fn forward_upload(&mut self, upstream: &mut dyn UpstreamStream, piece: BodyPiece) {
        self.keep_upload(&piece);
        if self.upload.sent {
            return;
        }
        match piece {
            BodyPiece::Data(data) => upstream.send_data(data),
            BodyPiece::Trailers(trailers) => {
                upstream.send_end(Some(&*trailers));
                self.upload.sent = true;
            }
            BodyPiece::End => {
                upstream.send_end(None);
                self.upload.sent = true;
            }
        }
    }

    fn pump_response(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
        moved: &mut bool,
    ) -> Result<Option<Event>, Fault> {
        match relay.stage {
            Stage::Head => self.poll_upstream_head(relay, task),
            Stage::Body => self.pump_download(relay, task, moved),
        }
    }

    fn poll_upstream_head(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
    ) -> Result<Option<Event>, Fault> {
        if let Poll::Ready(framing) = relay.upstream.poll_head(task, self.answer) {
            return match framing {
                Ok(framing) => Ok(Some(Event::Head(framing))),
                Err(error) => Err(Fault::Upstream(error)),
            };
        }
        // Interim responses queued earlier, and a client that went away.
        if let Poll::Ready(result) = self.downstream.poll_flush(task) {
            result.map_err(Fault::Downstream)?;
        }
        if self.upload.read
            && let Poll::Ready(error) = self.downstream.poll_gone(task)
        {
            return Err(Fault::Downstream(error));
        }
        Ok(None)
    }

    /// Response pieces from upstream to downstream's queue, then to the wire.
    pub(super) fn pump_download(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
        moved: &mut bool,
    ) -> Result<Option<Event>, Fault> {
        let was_full = self.downstream.is_full();
        while !relay.response_read && !self.downstream.is_full() {
            if !relay.intercept.response
                && let Some(rest) = relay.upstream.take_rest()
            {
                *moved = true;
                relay.response_read = true;
                self.queue_data(rest);
                self.queue_end(None);
                break;
            }
            let Poll::Ready(piece) = relay.upstream.poll_body(task) else {
                break;
            };
            let piece = piece.map_err(Fault::Upstream)?;
            *moved = true;
            relay.response_read = !matches!(piece, BodyPiece::Data(_));
            if relay.intercept.response {
                return Ok(Some(Event::ResponsePiece(piece)));
            }
            self.forward_download(piece);
        }
        match self.downstream.poll_flush(task) {
            Poll::Ready(Ok(())) if relay.response_read => Ok(Some(Event::Done)),
            Poll::Ready(Err(error)) => Err(Fault::Downstream(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {
                *moved |= was_full && !self.downstream.is_full();
                if !*moved
                    && self.upload.read
                    && let Poll::Ready(error) = self.downstream.poll_gone(task)
                {
                    return Err(Fault::Downstream(error));
                }
                Ok(None)
            }
        }
    }

    pub(super) fn forward_download(&mut self, piece: BodyPiece) {
        match piece {
            BodyPiece::Data(data) => self.queue_data(data),
            BodyPiece::Trailers(trailers) => self.queue_end(Some(&*trailers)),
            BodyPiece::End => self.queue_end(None),
        }
    }

    pub(super) fn queue_data(&mut self, data: Bytes) {
        self.record.response_bytes += data.len() as u64;
        self.downstream.send_data(data);
    }

    /// Whether the request is sent and only the upstream's head is missing.
    pub(super) const fn is_waiting(&self, relay: &Relay<'_>) -> bool {
        matches!(relay.stage, Stage::Head) && (self.upload.read || self.upload.sent)
    }

    pub(super) fn check_deadlines(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
    ) -> Poll<Result<Event, Fault>> {
        let moved = self.downstream.bytes_sent()
            + relay.upstream.bytes_sent()
            + self.record.request_bytes
            + self.record.response_bytes;
        relay.rests = true;
        relay.progress.update(moved, self.cx.now);
        let patience = if self.is_waiting(relay) {
            relay.wait
        } else {
            Some(relay.stall)
        };
        let stalled = patience.and_then(|patience| relay.progress.at.checked_add(patience));
        let deadline = HttpService::earlier(self.deadline, stalled);
        match self.downstream.poll_deadline(task, deadline) {
            Poll::Ready(()) => Poll::Ready(Err(Fault::Deadline)),
            Poll::Pending => Poll::Pending,
        }
    }
}
