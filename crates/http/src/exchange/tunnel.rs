//! Plain bytes both ways, after an upgrade that the upstream confirmed or an allowed CONNECT.
//!
//! A tunnel begins only after the upstream's 101 (RFC 9110 section 7.8): until then bytes behind the request
//! wait. Not for HTTP bodies. Start at [`Exchange::tunnel`].

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::relay::{Fault, Intercept, Progress, Relay, Stage};
use super::request::ForwardTarget;
use super::{Exchange, Halt, ResponseState};
use crate::KnownField;
use crate::fields::list_members;
use crate::framing::Framing;
use crate::head::{ResponseHead, Status};
use crate::message::{Response, ResponseBody};
use crate::stream::UpstreamStream;

impl Exchange<'_> {
    /// Upstream switched protocols: tells downstream and carries bytes until both sides are done.
    pub(super) async fn upgrade(&mut self, upstream: &mut dyn UpstreamStream) -> Result<(), Halt> {
        match self.answer.take() {
            Some(head) if self.is_upgraded_as_asked(&head) && self.upload.read => {
                self.begin_tunnel(head, upstream).await
            }
            _ => Err(self.reply(Status::BAD_GATEWAY, "unexpected_upgrade")),
        }
    }

    /// Whether a 101 is about the protocol that was asked for, and no other (RFC 9110 section 7.8).
    fn is_upgraded_as_asked(&self, head: &ResponseHead) -> bool {
        let mut members = head
            .fields
            .get_all(KnownField::Upgrade)
            .flat_map(list_members);
        match (&self.record.request.upgrade, members.next(), members.next()) {
            (Some(asked), Some(named), None) => named.eq_ignore_ascii_case(asked),
            _ => false,
        }
    }

    /// A CONNECT that a route allows: its cluster's endpoint is the other end.
    pub(super) async fn connect_tunnel(&mut self, target: &ForwardTarget) -> Result<(), Halt> {
        let (mut upstream, _permits) = match self.reach(target).await {
            Ok(reached) => reached,
            Err(failed) => return Err(self.halt_of(failed)),
        };
        if !upstream.takes_connect() {
            return Err(self.reply(Status::BAD_GATEWAY, "connect_unsupported"));
        }
        let head = ResponseHead::new(Status::OK);
        self.begin_tunnel(head, &mut *upstream).await
    }

    async fn begin_tunnel(
        &mut self,
        head: ResponseHead,
        upstream: &mut dyn UpstreamStream,
    ) -> Result<(), Halt> {
        let mut response = Response {
            head,
            body: ResponseBody::Upstream(Framing::None),
            trailers: None,
            reason: None,
        };
        crate::forward::clean_response(&mut response.head);
        if let (Status::SWITCHING_PROTOCOLS, Some(upgrade)) =
            (response.head.status, &self.record.request.upgrade)
        {
            response.head.fields.set(KnownField::Upgrade, upgrade);
        }
        self.filter_response(&mut response).await?;
        self.queue_head(response.head, Framing::None, false)?;
        self.downstream.start_tunnel();
        upstream.start_tunnel();
        self.tunnel(upstream).await
    }

    /// Carries bytes until both sides have ended, or nothing moved for the tunnel's idle time.
    async fn tunnel(&mut self, upstream: &mut dyn UpstreamStream) -> Result<(), Halt> {
        self.upload.read = false;
        self.upload.sent = false;
        self.upload.flushed = false;
        self.upload.limit = u64::MAX;
        self.deadline = None;
        let mut relay = Relay {
            upstream,
            stage: Stage::Body,
            intercept: Intercept::NOTHING,
            progress: Progress::new(self.cx.now),
            rests: false,
            stall: self.route.as_ref().map_or_else(
                || self.service.timeouts().tunnel_idle(),
                |route| route.idle_timeout_or(self.service.timeouts().tunnel_idle()),
            ),
            wait: None,
            response_read: false,
        };
        let ended = poll_fn(|task| self.poll_tunnel(&mut relay, task)).await;
        self.response = ResponseState::Ended;
        self.tunneled = true;
        ended.map_err(|fault| {
            Halt::Abort(match fault {
                Fault::Deadline => "tunnel_idle",
                Fault::Downstream(_) | Fault::TooLarge => "downstream_reset",
                Fault::Upstream(_) => "upstream_reset",
            })
        })
    }

    fn poll_tunnel(
        &mut self,
        relay: &mut Relay<'_>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        if relay.rests {
            relay.rests = false;
            self.catch_up();
        }
        loop {
            let mut moved = false;
            self.pump_upload(relay, task, &mut moved)?;
            self.pump_download(relay, task, &mut moved)?;
            if !moved {
                break;
            }
        }
        let up = relay.upstream.poll_flush(task).map_err(Fault::Upstream)?;
        let down = self
            .downstream
            .poll_flush(task)
            .map_err(Fault::Downstream)?;
        if self.upload.sent && relay.response_read && up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.check_deadlines(relay, task)
            .map(|result| result.map(|_| ()))
    }
}
