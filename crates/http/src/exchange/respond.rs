//! The way back: interim and final heads, and answers made here.
//!
//! Response filters run here, also over the gateway's own answers. Not the body of an upstream's response: that
//! is the relay's. Start at [`Exchange::begin_response`].

use std::future::poll_fn;
use std::task::Poll;

use portcullis_filter::Interest;

use super::relay::Progress;
use super::{Exchange, Halt, ResponseState};
use crate::KnownField;
use crate::fields::Fields;
use crate::forward;
use crate::framing::Framing;
use crate::head::{Method, ResponseHead, Status, Version};
use crate::local_reply;
use crate::message::{Response, ResponseBody};
use crate::route::Route;

impl Exchange<'_> {
    /// Passes on an interim response (RFC 9110 section 15.2): not to HTTP/1.0, which does not know them.
    pub(super) fn pass_interim(&mut self, mut head: ResponseHead) -> Result<(), Halt> {
        if self.record.request.head.version == Version::Http10 {
            return Ok(());
        }
        forward::clean_response(&mut head);
        self.downstream
            .send_interim(&head)
            .map_err(|error| self.downstream_failed(error))
    }

    /// Queues upstream's final head, unless filters are to see it first: [`Exchange::show_response`], with the framing that is
    /// the answer then.
    pub(super) fn begin_response(
        &mut self,
        route: &Route,
        framing: Framing,
    ) -> Result<Option<Framing>, Halt> {
        let Some(head) = &mut *self.answer else {
            return Err(Halt::Abort("unexpected_head"));
        };
        let announced = announced(&self.record.request.head.method, head, framing);
        let service = self.service;
        forward::prepare_response(head, &service.config.forward, &*service.environment.clock);
        route.edit_response(head);
        self.is_edited = true;
        if route.chain.interest().includes(Interest::RESPONSE) {
            return Ok(Some(announced));
        }
        self.send_head(announced, false)?;
        Ok(None)
    }

    /// Shows upstream's final head to filters, then queues it.
    pub(super) async fn show_response(
        &mut self,
        framing: Framing,
        announced: Framing,
    ) -> Result<(), Halt> {
        let Some(head) = self.answer.take() else {
            return Err(Halt::Abort("unexpected_head"));
        };
        let mut response = Box::new(Response {
            head,
            body: ResponseBody::Upstream(framing),
            trailers: None,
            reason: None,
        });
        self.filter_response(&mut response).await?;
        let announced = match response.body {
            ResponseBody::Local(_) | ResponseBody::Stream(_) => {
                return Err(Halt::Reply(response));
            }
            // A filter will change the length.
            ResponseBody::Upstream(changed) if changed != framing => changed,
            ResponseBody::Upstream(_) => announced,
        };
        self.queue_head(response.head, announced, false)
    }

    pub(super) async fn filter_response(&mut self, response: &mut Response) -> Result<(), Halt> {
        let Some(route) = self.route.clone() else {
            return Ok(());
        };
        let service = self.service;
        let asked = route
            .chain
            .on_response(response, self.cx, &*service.environment.timer)
            .await;
        self.catch_up();
        asked.map_err(|stop| self.stopped(stop))
    }

    pub(super) fn queue_head(
        &mut self,
        head: ResponseHead,
        announced: Framing,
        close: bool,
    ) -> Result<(), Halt> {
        *self.answer = Some(head);
        self.send_head(announced, close)
    }

    /// Where the client may come by HTTP/3 if the listener has it: one that came by TLS, and by another version.
    fn port_of_http3(&self) -> Option<u16> {
        let connection = &self.cx.connection;
        let is_other = self.record.request.head.version != Version::Http3;
        let local = connection.local.filter(|_| connection.secure && is_other)?;
        Some(local.port())
    }

    /// Queues the head that stands ready.
    fn send_head(&mut self, announced: Framing, close: bool) -> Result<(), Halt> {
        let port = if self.service.alternative.is_said() {
            self.port_of_http3()
        } else {
            None
        };
        let Some(head) = &mut *self.answer else {
            return Err(Halt::Abort("unexpected_head"));
        };
        self.record.status = Some(head.status);
        self.announced = announced;
        if let Some(port) = port {
            let alternative = &self.service.alternative;
            alternative.with_value(port, |value| head.fields.set(KnownField::AltSvc, value));
        }
        let sent = self.downstream.send_head(head, announced, close);
        if self.is_logged {
            std::mem::swap(&mut self.record.response_fields, &mut head.fields);
        }
        sent.map_err(|error| self.downstream_failed(error))?;
        self.response = ResponseState::Started;
        Ok(())
    }

    pub(super) fn queue_end(&mut self, trailers: Option<&Fields>) {
        self.downstream.send_end(trailers);
        self.response = ResponseState::Ended;
    }

    /// Brings an exchange that was halted to its end: answers, and writes everything out. The error is the reason why the
    /// stream must be closed.
    pub(super) async fn finish_response(&mut self, halt: Halt) -> Result<(), &'static str> {
        let (response, close) = match halt {
            Halt::Abort(reason) => return self.end_call(reason, None).await,
            Halt::Reply(response) => (response, false),
            Halt::ReplyAndClose(response) => (response, true),
        };
        self.record.reason = response.reason.or(self.record.reason);
        let mut response = response;
        let settings = &self.service.config.local_reply;
        local_reply::complete(&mut response, &self.record.request, settings);
        if self.response != ResponseState::Waiting {
            let reason = response.reason.unwrap_or("response_replaced");
            return self.end_call(reason, Some(response)).await;
        }
        self.answer(response, close).await
    }

    async fn answer(
        &mut self,
        mut response: Box<Response>,
        close: bool,
    ) -> Result<(), &'static str> {
        if !self.is_edited
            && let Some(route) = &self.route
        {
            route.edit_response(&mut response.head);
        }
        // A filter that stops its own kind of answer would loop: what it says then is an abort.
        match self.filter_response(&mut response).await {
            Ok(()) => {}
            Err(Halt::Reply(other) | Halt::ReplyAndClose(other)) => response = other,
            Err(Halt::Abort(reason)) => return Err(reason),
        }
        forward::date_response(&mut response.head, &*self.service.environment.clock);
        let (body, stream) = match &mut response.body {
            ResponseBody::Local(body) => (std::mem::take(body), None),
            ResponseBody::Stream(stream) => (bytes::Bytes::new(), Some(stream.clone())),
            ResponseBody::Upstream(_) => (bytes::Bytes::new(), None),
        };
        let trailers = response.trailers.take();
        let framing = if response.head.status.is_bodiless() {
            Framing::None
        } else if trailers.is_some() || stream.is_some() {
            Framing::Chunked
        } else {
            Framing::Length(body.len() as u64)
        };
        if self.queue_head(response.head, framing, close).is_err() {
            return Err("response_unsendable");
        }
        if let Some(stream) = stream.filter(|_| framing == Framing::Chunked)
            && self.record.request.head.method != Method::Head
        {
            return Box::pin(self.pour(&stream)).await;
        }
        if !body.is_empty() && self.record.request.head.method != Method::Head {
            self.queue_data(body);
        }
        self.queue_end(trailers.as_deref());
        self.flush().await
    }

    /// Writes out what is queued, as long as the peer takes any of it.
    pub(super) async fn flush(&mut self) -> Result<(), &'static str> {
        let stall = self.service.timeouts().body_progress();
        let mut progress = Progress::new(self.downstream.now());
        poll_fn(|task| {
            if let Poll::Ready(result) = self.downstream.poll_flush(task) {
                return Poll::Ready(result.map_err(|_| "downstream_closed"));
            }
            progress.update(self.downstream.bytes_sent(), self.downstream.now());
            let deadline = progress.at.checked_add(stall);
            self.downstream
                .poll_deadline(task, deadline)
                .map(|()| Err("downstream_stalled"))
        })
        .await
    }
}

/// The framing to announce: where a response has no body of its own, the length that it speaks of is kept
/// (RFC 9110 section 8.6).
fn announced(method: &Method, head: &ResponseHead, framing: Framing) -> Framing {
    if *method == Method::Head || head.status == Status::NOT_MODIFIED {
        return Framing::stated(&head.fields, head.version)
            .ok()
            .flatten()
            .unwrap_or(Framing::None);
    }
    framing
}
