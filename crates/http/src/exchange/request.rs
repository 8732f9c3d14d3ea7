//! Before any upstream is involved: the target is settled, the client identified, a route found, filters asked.
//!
//! Not retried and not repeated: whatever is decided here holds for every attempt. Start at
//! [`Exchange::settle`].

use std::rc::Rc;
use std::sync::Arc;

use portcullis_filter::Stop;

use super::misdirected::is_misdirected;
use super::{Exchange, Halt};
use crate::forward::{self, MaxForwards};
use crate::head::{Method, Status};
use crate::local_reply;
use crate::message::{Http, Response, Side};
use crate::normalize;
use crate::route::{Action, Route, Target};

impl Exchange<'_> {
    /// Settles authority and path, and who the client is.
    pub(super) fn settle(&mut self) -> Result<(), Halt> {
        let config = &self.service.config;
        if let Err(error) = normalize::settle(&mut self.record.request, &config.normalize) {
            self.record.malformed = Some(Side::Downstream);
            let reply = self.local_reply(error.status(), error.label());
            return Err(Halt::ReplyAndClose(Box::new(reply)));
        }
        self.cx.client_ip = forward::identify(&mut self.record.request, self.cx, &config.forward);
        if is_misdirected(&self.record.request, &self.cx.connection, &config.forward) {
            return Err(self.reply(Status::MISDIRECTED_REQUEST, "misdirected"));
        }
        Ok(())
    }

    pub(super) fn find_route(&mut self) -> Rc<Route> {
        let service = self.service;
        // Without a route the listener's filters still see the request, before it is answered with 404.
        let route = Rc::clone(
            service
                .routes
                .find(&self.record.request)
                .unwrap_or_else(|| service.routes.fallback()),
        );
        // Filters alone ask for names.
        self.is_logged = !route.chain.is_empty();
        if self.is_logged {
            self.cx.route = Some(Arc::clone(&route.name));
            self.record.route = Some(Rc::clone(&route.local_name));
        }
        if let Some(limit) = route.max_body {
            self.upload.limit = limit;
        }
        self.record.request.grpc_named = route.grpc_named(&self.record.request);
        self.route = Some(Rc::clone(&route));
        route
    }

    pub(super) async fn filter_request(&mut self, route: &Route) -> Result<(), Halt> {
        let service = self.service;
        let asked = route
            .chain
            .on_request(
                &mut self.record.request,
                self.cx,
                &*service.environment.timer,
            )
            .await;
        asked.map_err(|stop| self.stopped(stop))?;
        self.catch_up();
        if let Some(limit) = self.record.request.max_body {
            self.upload.limit = self.upload.limit.min(limit);
        }
        Ok(())
    }

    /// Where the route sends the request, if it and the limits let it go anywhere.
    pub(super) fn direct<'r>(&mut self, route: &'r Route) -> Result<&'r ForwardTarget, Halt> {
        let target = match &route.action {
            Action::Forward(targets) => targets.choose(self.service.environment.random.next()),
            Action::Reply(action) => {
                let response = action.reply(&self.record.request);
                return Err(Halt::Reply(Box::new(response)));
            }
        };
        let Some(target) = target else {
            return Err(self.reply(Status::SERVICE_UNAVAILABLE, "no_cluster"));
        };
        if self.record.request.framing_exceeds(self.upload.limit) {
            let reply = self.local_reply(Status::CONTENT_TOO_LARGE, "body_too_large");
            return Err(Halt::ReplyAndClose(Box::new(reply)));
        }
        self.count_hop()?;
        self.check_upgrade(route)?;
        if self.is_logged {
            self.record.cluster = Some(Rc::clone(&target.local_name));
        }
        Ok(target)
    }

    /// RFC 9110 section 7.6.2: with no hop left, TRACE and OPTIONS are answered here. TRACE would echo fields that
    /// others added, so it is not carried out.
    fn count_hop(&mut self) -> Result<(), Halt> {
        match forward::count_hop(&mut self.record.request) {
            MaxForwards::Go => Ok(()),
            MaxForwards::Last if self.record.request.head.method == Method::Options => {
                Err(self.reply(Status::NO_CONTENT, "max_forwards"))
            }
            MaxForwards::Last => Err(self.reply(Status::METHOD_NOT_ALLOWED, "max_forwards")),
        }
    }

    /// CONNECT goes only where a route says so; an upgrade only if the route lets its protocol pass.
    fn check_upgrade(&mut self, route: &Route) -> Result<(), Halt> {
        let request = &mut self.record.request;
        if request.upgrade.is_none() && request.head.method != Method::Connect {
            return Ok(());
        }
        if request.head.method == Method::Connect && !route.allows_connect(request) {
            return Err(self.reply(Status::METHOD_NOT_ALLOWED, "connect_refused"));
        }
        if let Some(upgrade) = &request.upgrade
            && !route.allows_upgrade(upgrade)
        {
            // RFC 9110 section 7.8: a server may ignore an upgrade and answer in the current protocol.
            request.upgrade = None;
        }
        Ok(())
    }

    /// Turns the request that came in into the one that goes out.
    pub(super) fn prepare_upstream_request(&mut self, route: &Route) -> Result<(), Halt> {
        let config = &self.service.config;
        let random = &self.service.environment.random;
        forward::prepare_request(&mut self.record.request, self.cx, &config.forward, random);
        route
            .edit_request(&mut self.record.request)
            .map_err(|error| self.reply(error.status(), error.label()))
    }

    /// The end that a filter's refusal means.
    #[cold]
    pub(super) fn stopped(&self, stop: Stop<Http>) -> Halt {
        match stop {
            Stop::Reply(response) => Halt::Reply(response),
            Stop::Close(reason) => Halt::Abort(reason),
            Stop::Reject(rejection) => Halt::Reply(Box::new(local_reply::reject(
                &rejection,
                &self.record.request,
                &self.service.config.local_reply,
            ))),
        }
    }

    /// A reply made here.
    #[cold]
    pub(super) fn local_reply(&self, status: Status, reason: &'static str) -> Response {
        local_reply::reply(
            status,
            reason,
            &self.record.request,
            &self.service.config.local_reply,
        )
    }

    /// A reply made here, as the end of a phase.
    #[cold]
    pub(super) fn reply(&self, status: Status, reason: &'static str) -> Halt {
        Halt::Reply(Box::new(self.local_reply(status, reason)))
    }
}

/// What a route forwards to.
pub(super) type ForwardTarget = Target;
