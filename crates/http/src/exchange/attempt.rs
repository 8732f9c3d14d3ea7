//! One try after another: pick an endpoint, get a stream, send, wait for the head.
//!
//! Whether a failure may be tried again is decided in `failure`. Once a final head is accepted there is no way
//! back. Start at [`Exchange::proxy`].

use std::future::poll_fn;
use std::hint::cold_path;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use portcullis_cluster::{
    Endpoint, EndpointId, Outcome, PickContext, PickError, Picked, RequestPermit,
};

use super::failure::{Attempts, Failed};
use super::relay::{Event, Fault, Intercept, Progress, Relay, Stage};
use super::request::ForwardTarget;
use super::{Exchange, Halt};
use crate::framing::Framing;
use crate::head::{ResponseHead, Status};
use crate::route::Route;
use crate::stream::{BoxedUpstream, StreamError};

/// What is kept while a request is on its way to an endpoint.
pub(super) struct Permits {
    picked: Picked,
    started: Instant,
    _request: RequestPermit,
}

/// What is done about a final head.
enum Next {
    /// It is passed on. The status is the one that counts for the endpoint.
    Respond(Framing, Status),
    /// The conversation goes on in another protocol.
    Upgrade,
    /// The route may want another attempt instead.
    Retry(Box<ResponseHead>, Framing),
}

impl Exchange<'_> {
    /// Sends the request to the cluster and passes the response on.
    pub(super) async fn proxy(
        &mut self,
        route: &Rc<Route>,
        target: &ForwardTarget,
    ) -> Result<(), Halt> {
        if self.record.request.collect_body.is_some() {
            cold_path();
            Box::pin(self.collect_body(route)).await?;
        }
        target.budget.on_request(self.cx.now);
        let mut attempts = Attempts::default();
        let mut earlier = None;
        loop {
            let Err(failed) = self.attempt(route, target, &mut attempts).await else {
                return Ok(());
            };
            cold_path();
            if !self.may_retry(route, target, &failed, &mut attempts) {
                return Box::pin(self.give_up(route, failed, earlier)).await;
            }
            self.pause(route, &attempts).await;
            earlier = Some(failed);
        }
    }

    /// Answers with the last failure; with the one before if the last is only that there was nothing more to try.
    async fn give_up(
        &mut self,
        route: &Rc<Route>,
        failed: Failed,
        earlier: Option<Failed>,
    ) -> Result<(), Halt> {
        let failed = match (failed, earlier) {
            (Failed::Exhausted, Some(earlier)) => earlier,
            (failed, _) => failed,
        };
        match failed {
            Failed::Status(answer) => {
                let (head, framing, upstream) = *answer;
                *self.answer = Some(head);
                self.respond(route, framing, upstream).await
            }
            failed => Err(self.halt_of(failed)),
        }
    }

    /// The pause that the policy asks for before the next attempt.
    async fn pause(&mut self, route: &Route, attempts: &Attempts) {
        let random = self.service.environment.random.next();
        let pause = route.retry.pause(attempts.made.max(1), random);
        if !pause.is_zero()
            && let Some(until) = self.downstream.now().checked_add(pause)
        {
            self.service.environment.timer.sleep_until(until).await;
            self.catch_up();
        }
    }

    async fn attempt(
        &mut self,
        route: &Rc<Route>,
        target: &ForwardTarget,
        attempts: &mut Attempts,
    ) -> Result<(), Failed> {
        let (upstream, permits) = self.reserve(target, attempts)?;
        let mut upstream = if let Some(upstream) = upstream {
            upstream
        } else {
            cold_path();
            Box::pin(self.open(target, &permits)).await?
        };
        let came = match self.send_request(&mut upstream) {
            Ok(()) => self.await_head(route, &mut upstream).await,
            Err(failed) => {
                cold_path();
                Err(failed)
            }
        };
        let result = match came.and_then(|framing| self.judge(route, framing, attempts)) {
            Ok(Next::Respond(framing, counted)) => {
                let passed = self.respond(route, framing, upstream).await;
                passed.map_or_else(|halt| Err(Failed::Halted(halt)), |()| Ok(counted))
            }
            Ok(Next::Upgrade) => {
                cold_path();
                Box::pin(self.upgrade(&mut *upstream)).await.map_or_else(
                    |halt| Err(Failed::Halted(halt)),
                    |()| Ok(Status::SWITCHING_PROTOCOLS),
                )
            }
            Ok(Next::Retry(head, framing)) => {
                cold_path();
                Err(Failed::Status(Box::new((*head, framing, upstream))))
            }
            Err(failed) => {
                cold_path();
                Err(failed)
            }
        };
        let (outcome, failed) = match result {
            Ok(status) if status.code() >= 500 => (Outcome::Failure("status"), None),
            Ok(_) => (Outcome::Success, None),
            Err(failed) => {
                cold_path();
                (failed.outcome(), Some(failed))
            }
        };
        self.report(target, &permits, outcome);
        failed.map_or(Ok(()), Err)
    }

    /// Tells the balancer and the ejection count how an attempt went.
    fn report(&self, target: &ForwardTarget, permits: &Permits, outcome: Outcome) {
        let now = self.cx.now;
        let elapsed = now.saturating_duration_since(permits.started);
        target
            .cluster
            .on_done(&permits.picked, outcome, elapsed, now);
    }

    /// A stream to any endpoint.
    pub(super) async fn reach(
        &mut self,
        target: &ForwardTarget,
    ) -> Result<(BoxedUpstream, Permits), Failed> {
        let (upstream, permits) = self.reserve(target, &mut Attempts::default())?;
        match upstream {
            Some(upstream) => Ok((upstream, permits)),
            None => Ok((self.open(target, &permits).await?, permits)),
        }
    }

    /// An endpoint that was not tried; one that was if there is no other and the failure may pass.
    fn pick(
        &self,
        target: &ForwardTarget,
        attempts: &mut Attempts,
        now: Instant,
    ) -> Result<Picked, Failed> {
        let pick = |tried: &[EndpointId]| {
            target.cluster.pick(&PickContext {
                now,
                random: self.service.environment.random.next(),
                hash: None,
                tried,
                accept: None,
            })
        };
        let mut picked = pick(&attempts.tried);
        if matches!(picked, Err(PickError::AllTried)) && attempts.again {
            attempts.tried.clear();
            picked = pick(&[]);
        }
        picked.map_err(|error| match error {
            PickError::AllTried => Failed::Exhausted,
            error => Failed::Unavailable(error.label()),
        })
    }

    /// Picks an endpoint, and takes a stream to it if there is one that needs no waiting.
    fn reserve(
        &mut self,
        target: &ForwardTarget,
        attempts: &mut Attempts,
    ) -> Result<(Option<BoxedUpstream>, Permits), Failed> {
        let now = self.cx.now;
        let request = target
            .cluster
            .try_request()
            .map_err(|_| Failed::Unavailable("upstream_request_limit"))?;
        let picked = self.pick(target, attempts, now)?;
        if attempts.made > 0 {
            self.service.stats.retries.inc();
        }
        attempts.made += 1;
        attempts.tried.push(picked.id());
        self.record.attempts += 1;
        if self.is_logged {
            self.record.endpoint = Some(Rc::clone(picked.local_name()));
        }
        let permits = Permits {
            picked,
            started: now,
            _request: request,
        };
        let careful = !self.record.request.head.method.is_idempotent();
        let upstream = if attempts.fresh {
            None
        } else {
            target.pool.take(&permits.picked, careful, now)
        };
        Ok((upstream, permits))
    }

    /// A new stream to the endpoint that was picked.
    async fn open(
        &mut self,
        target: &ForwardTarget,
        permits: &Permits,
    ) -> Result<BoxedUpstream, Failed> {
        let connected = self.connect(target, &permits.picked).await;
        self.catch_up();
        if let Err(failed) = &connected {
            self.report(target, permits, failed.outcome());
        }
        connected
    }

    /// A new connection, unless the client goes away meanwhile.
    async fn connect(
        &mut self,
        target: &ForwardTarget,
        endpoint: &Endpoint,
    ) -> Result<BoxedUpstream, Failed> {
        let _pending = target
            .cluster
            .try_pending()
            .map_err(|_| Failed::Unavailable("upstream_pending_limit"))?;
        let connection = Rc::clone(&self.cx.connection);
        let mut connecting = target.pool.connect(endpoint, &connection);
        let connected = poll_fn(|task| {
            if let Poll::Ready(result) = connecting.as_mut().poll(task) {
                return Poll::Ready(result.map_err(Failed::Connect));
            }
            if self.upload.read
                && let Poll::Ready(error) = self.downstream.poll_gone(task)
            {
                return Poll::Ready(Err(Failed::Halted(self.downstream_failed(error))));
            }
            if let Poll::Ready(()) = self.downstream.poll_deadline(task, self.deadline) {
                let late = self.reply(Status::GATEWAY_TIMEOUT, "request_timeout");
                return Poll::Ready(Err(Failed::Halted(late)));
            }
            Poll::Pending
        });
        connected.await
    }

    /// What is done about the head that came.
    fn judge(
        &mut self,
        route: &Route,
        framing: Framing,
        attempts: &Attempts,
    ) -> Result<Next, Failed> {
        let (status, counted) = match &*self.answer {
            Some(head) => (head.status, self.counted_status(head)),
            None => return Err(Failed::Halted(Halt::Abort("unexpected_head"))),
        };
        if status == Status::SWITCHING_PROTOCOLS {
            return Ok(Next::Upgrade);
        }
        if attempts.made <= route.retry.attempts
            && let Some(head) = self.answer.take_if(|head| {
                route.retry.covers_status(status) || self.is_call && route.retry.covers_call(head)
            })
        {
            return Ok(Next::Retry(Box::new(head), framing));
        }
        Ok(Next::Respond(framing, counted))
    }

    fn send_request(&mut self, upstream: &mut BoxedUpstream) -> Result<(), Failed> {
        self.tell_deadline().map_err(Failed::Halted)?;
        let framing = match &self.collected {
            Some(body) if !self.record.request.framing.is_empty() => {
                Framing::Length(body.len() as u64)
            }
            _ => self.record.request.framing,
        };
        let sent = upstream.send_head(&self.record.request.head, framing);
        sent.map_err(|error| Failed::Halted(self.reply(Status::BAD_REQUEST, error.label())))?;
        self.upload.sent = framing.is_empty();
        self.upload.flushed = false;
        if let Some(body) = &self.collected
            && !self.upload.sent
        {
            if !body.is_empty() {
                upstream.send_data(body.clone());
            }
            upstream.send_end(None);
            self.upload.sent = true;
        }
        Ok(())
    }

    /// Carries the body up until the final head comes down and stands in [`Exchange::answer`]. Interim heads pass.
    async fn await_head(
        &mut self,
        route: &Rc<Route>,
        upstream: &mut BoxedUpstream,
    ) -> Result<Framing, Failed> {
        let mut interim = 0;
        let stale = upstream.is_reused();
        let mut relay = Relay {
            intercept: Intercept::of(&route.chain),
            progress: Progress::new(self.cx.now),
            rests: false,
            stall: route.idle_timeout_or(self.service.timeouts().body_progress()),
            wait: self.patience(route),
            stage: Stage::Head,
            response_read: false,
            upstream: &mut **upstream,
        };
        loop {
            let event = poll_fn(|task| self.poll_relay(&mut relay, task)).await;
            match event {
                Ok(Event::Head(framing)) => {
                    let Some(head) = self.answer.take_if(|head| is_passed_on(head)) else {
                        self.record.first_byte = Some(self.cx.now);
                        return Ok(framing);
                    };
                    cold_path();
                    interim += 1;
                    if interim > self.service.config.limits.interim_responses() {
                        return Err(Failed::Halted(
                            self.reply(Status::BAD_GATEWAY, "too_many_interim"),
                        ));
                    }
                    self.pass_interim(head).map_err(Failed::Halted)?;
                }
                Ok(Event::RequestPiece(piece)) => {
                    cold_path();
                    Box::pin(self.filter_upload(route, &mut relay, piece))
                        .await
                        .map_err(Failed::Halted)?;
                }
                Ok(Event::ResponsePiece(_) | Event::Done) => {}
                Err(fault) => return Err(self.failed_before_head(fault, &relay, stale)),
            }
        }
    }

    /// How long one attempt may wait for the head once the request is sent.
    fn patience(&self, route: &Route) -> Option<Duration> {
        let whole = route.timeout_or(self.service.timeouts().response());
        match (whole, route.retry.per_try_timeout) {
            (Some(whole), Some(one)) => Some(whole.min(one)),
            (time, None) | (None, time) => time,
        }
    }

    #[cold]
    fn failed_before_head(&mut self, fault: Fault, relay: &Relay<'_>, stale: bool) -> Failed {
        match fault {
            Fault::Upstream(error) => Failed::Broken {
                error,
                stale: stale && !relay.upstream.has_received(),
                sent: relay.upstream.has_sent(),
                received: relay.upstream.has_received(),
            },
            Fault::Deadline if self.is_past_deadline() => {
                Failed::Halted(self.reply(Status::GATEWAY_TIMEOUT, "request_timeout"))
            }
            Fault::Deadline if self.is_waiting(relay) => Failed::TimedOut,
            Fault::Deadline if relay.upstream.is_full() => Failed::TimedOut,
            Fault::Deadline => Failed::Halted(Halt::ReplyAndClose(Box::new(
                self.local_reply(Status::REQUEST_TIMEOUT, "body_timeout"),
            ))),
            Fault::TooLarge => Failed::Halted(Halt::ReplyAndClose(Box::new(
                self.local_reply(Status::CONTENT_TOO_LARGE, "body_too_large"),
            ))),
            Fault::Downstream(error) => Failed::Halted(self.downstream_failed(error)),
        }
    }

    /// Passes on a response whose head was accepted, to its last byte.
    async fn respond(
        &mut self,
        route: &Rc<Route>,
        framing: Framing,
        mut upstream: BoxedUpstream,
    ) -> Result<(), Halt> {
        self.upload.kept = None;
        if let Some(announced) = self.begin_response(route, framing)? {
            cold_path();
            Box::pin(self.show_response(framing, announced)).await?;
        }
        let mut relay = Relay {
            intercept: Intercept::of(&route.chain),
            progress: Progress::new(self.cx.now),
            rests: false,
            stall: route.idle_timeout_or(self.service.timeouts().body_progress()),
            wait: None,
            stage: Stage::Body,
            response_read: framing.is_empty(),
            upstream: &mut *upstream,
        };
        if relay.response_read {
            self.queue_end(None);
        }
        loop {
            let event = poll_fn(|task| self.poll_relay(&mut relay, task)).await;
            match event {
                Ok(Event::Done) => break,
                Ok(Event::RequestPiece(piece)) => {
                    cold_path();
                    Box::pin(self.filter_upload(route, &mut relay, piece)).await?;
                }
                Ok(Event::ResponsePiece(piece)) => {
                    cold_path();
                    Box::pin(self.filter_download(route, piece)).await?;
                }
                Ok(Event::Head(_)) => return Err(Halt::Abort("unexpected_head")),
                Err(fault) => {
                    if let Fault::Upstream(_) = fault {
                        // What came is the client's, however it ended.
                        let _ = Box::pin(self.flush()).await;
                    }
                    return Err(self.failed_after_head(fault));
                }
            }
        }
        upstream.release();
        Ok(())
    }

    #[cold]
    fn failed_after_head(&mut self, fault: Fault) -> Halt {
        if let Fault::Upstream(error) = fault {
            self.blame(error);
        }
        match fault {
            Fault::Upstream(error) => Halt::Abort(match error {
                StreamError::Closed => "upstream_truncated",
                StreamError::Reset => "upstream_reset",
                StreamError::Io => "upstream_io",
                StreamError::Unprocessed => "upstream_unprocessed",
                StreamError::Protocol { label, .. } => label,
            }),
            Fault::Deadline if self.is_past_deadline() => Halt::Abort("request_timeout"),
            Fault::Deadline if self.downstream.is_full() => Halt::Abort("downstream_stalled"),
            Fault::Deadline => Halt::Abort("upstream_stalled"),
            Fault::TooLarge => Halt::Abort("body_too_large"),
            Fault::Downstream(error) => self.downstream_failed(error),
        }
    }

    pub(super) fn is_past_deadline(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| self.downstream.now() >= deadline)
    }
}

/// Interim responses pass; 101 ends the HTTP conversation and is a final answer here.
fn is_passed_on(head: &ResponseHead) -> bool {
    head.status.is_interim() && head.status != Status::SWITCHING_PROTOCOLS
}
