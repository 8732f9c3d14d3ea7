//! The way back: interim and final heads, and answers made here.
//!
//! Response filters run here, also over the gateway's own answers. Not the body of an upstream's response: that
//! is the relay's. Start at [`Exchange::begin_response`].

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use portcullis_filter::Interest;

use super::relay::Progress;
use super::{Exchange, Halt, ResponseState};
use crate::fields::Fields;
use crate::forward;
use crate::framing::Framing;
use crate::head::{Method, ResponseHead, Status};
use crate::local_reply;
use crate::message::{Response, ResponseBody};

impl Exchange<'_> {
    /// Passes on an interim response (RFC 9110 section 15.2): not to HTTP/1.0, which does not know them.
    pub(super) fn pass_interim(&mut self, mut head: ResponseHead) -> Result<(), Halt> {
        if self.record.request.head.version == crate::head::Version::Http10 {
            return Ok(());
        }
        forward::clean_response(&mut head);
        self.downstream
            .send_interim(&head)
            .map_err(|error| self.downstream_failed(error))
    }

    /// Filters upstream's final head and queues it.
    pub(super) async fn begin_response(
        &mut self,
        head: ResponseHead,
        framing: Framing,
    ) -> Result<(), Halt> {
        let announced = self.announced(&head, framing);
        let mut response = Response {
            head,
            body: ResponseBody::Upstream(framing),
            trailers: None,
            reason: None,
        };
        let service = self.service;
        forward::prepare_response(
            &mut response.head,
            &service.config.forward,
            &*service.environment.clock,
        );
        if let Some(route) = &self.route {
            route.edit_response(&mut response);
        }
        if self.is_response_seen() {
            self.filter_response(&mut response).await?;
        }
        let announced = match response.body {
            ResponseBody::Local(_) | ResponseBody::Stream(_) => {
                return Err(Halt::Reply(Box::new(response)));
            }
            // A filter will change the length.
            ResponseBody::Upstream(changed) if changed != framing => changed,
            ResponseBody::Upstream(_) => announced,
        };
        self.queue_head(response, announced, false)
    }

    /// The framing to announce: where a response has no body of its own, the length that it speaks of is kept
    /// (RFC 9110 section 8.6).
    fn announced(&self, head: &ResponseHead, framing: Framing) -> Framing {
        let is_head = self.record.request.head.method == Method::Head;
        if is_head || head.status == Status::NOT_MODIFIED {
            return Framing::stated(&head.fields, head.version)
                .ok()
                .flatten()
                .unwrap_or(Framing::None);
        }
        framing
    }

    /// Whether a filter looks at responses.
    fn is_response_seen(&self) -> bool {
        let route = self.route.as_ref();
        route.is_some_and(|route| route.chain.interest().includes(Interest::RESPONSE))
    }

    pub(super) async fn filter_response(&mut self, response: &mut Response) -> Result<(), Halt> {
        let Some(route) = self.route.clone() else {
            return Ok(());
        };
        let timer = Rc::clone(&self.service.environment.timer);
        let asked = route.chain.on_response(response, self.cx, &*timer).await;
        asked.map_err(|stop| self.stopped(stop))
    }

    pub(super) fn queue_head(
        &mut self,
        response: Response,
        announced: Framing,
        close: bool,
    ) -> Result<(), Halt> {
        self.record.status = Some(response.head.status);
        self.announced = announced;
        self.downstream
            .send_head(&response.head, announced, close)
            .map_err(|error| self.downstream_failed(error))?;
        self.response = ResponseState::Started;
        self.record.response_fields = response.head.fields;
        Ok(())
    }

    pub(super) fn queue_end(&mut self, trailers: Option<&Fields>) {
        self.downstream.send_end(trailers);
        self.response = ResponseState::Ended;
    }

    /// Brings the exchange to its end: answers if it was halted, and writes everything out. The error is the
    /// reason why the stream must be closed.
    pub(super) async fn finish_response(
        &mut self,
        result: Result<(), Halt>,
    ) -> Result<(), &'static str> {
        let (response, close) = match result {
            Ok(()) => return Ok(()),
            Err(Halt::Abort(reason)) => return Box::pin(self.end_call(reason, None)).await,
            Err(Halt::Reply(response)) => (response, false),
            Err(Halt::ReplyAndClose(response)) => (response, true),
        };
        self.record.reason = response.reason.or(self.record.reason);
        let mut response = response;
        let settings = &self.service.config.local_reply;
        local_reply::complete(&mut response, &self.record.request, settings);
        if self.response != ResponseState::Waiting {
            let reason = response.reason.unwrap_or("response_replaced");
            return Box::pin(self.end_call(reason, Some(response))).await;
        }
        Box::pin(self.answer(*response, close)).await
    }

    async fn answer(&mut self, mut response: Response, close: bool) -> Result<(), &'static str> {
        // A filter that stops its own kind of answer would loop: what it says then is an abort.
        match self.filter_response(&mut response).await {
            Ok(()) => {}
            Err(Halt::Reply(other) | Halt::ReplyAndClose(other)) => response = *other,
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
        if self.queue_head(response, framing, close).is_err() {
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
