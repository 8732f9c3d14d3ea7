//! One request and its response, from "head read" to "response written", whatever versions meet.
//!
//! The phases are files: [`request`](self) settles, routes and filters; `attempt` finds an upstream, `failure` decides about retries;
//! `relay` moves bodies both ways, `pieces` shows them to filters; `respond` writes heads, from upstream or made here, and `pour` a body that
//! is made as time goes on; `tunnel` takes over after
//! an upgrade; `call` is what gRPC adds, `answer` for what is refused before any of that. Not a connection: keep-alive is for the session to decide, from [`Ended`].
//!
//! `cold_path` says where few exchanges pass: the code of the ways that nearly all take then lies together. It is far longer than
//! what the processor has at hand, and is read anew for every request.
//!
//! Start at [`exchange`].

mod answer;
mod attempt;
mod call;
mod failure;
mod misdirected;
mod pieces;
mod pour;
mod relay;
mod request;
mod respond;
mod tunnel;

pub use answer::answer;

use std::hint::cold_path;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use portcullis_filter::Context;

use crate::framing::Framing;
use crate::head::{Method, RequestHead, ResponseHead};
use crate::message::{Record, Response, Side};
use crate::route::Route;
use crate::service::HttpService;
use crate::slate::Slate;
use crate::stream::{DownstreamStream, StreamError};

/// How an exchange left its downstream stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The response was written completely.
    Complete {
        /// Whether the request's body was read to its end; if not, the session drains or closes.
        request_read: bool,
    },
    /// The connection became a tunnel, which has ended: the stream must be closed.
    Tunneled,
    /// The response could not be completed: the stream must be closed.
    Aborted,
}

/// Carries out one exchange. `cx` must be fresh for this request.
pub fn exchange<'a>(
    service: &'a HttpService,
    downstream: &'a mut dyn DownstreamStream,
    head: RequestHead,
    framing: Framing,
    cx: &'a mut Context,
) -> impl Future<Output = Ended> + 'a {
    // Made before the future, which would hold the head twice otherwise: as an argument and in here.
    let mut slate = service.slates.take(cx.now);
    *slate.request_head() = head;
    async move {
        let mut arrival = Some(Arrival {
            service,
            downstream,
            slate: &mut slate,
            framing,
            cx,
        });
        let ended = exchange_in(&mut arrival).await;
        service.slates.put(slate);
        ended
    }
}

/// What an exchange begins with.
pub struct Arrival<'a> {
    /// The service of the listener.
    pub service: &'a HttpService,
    /// The stream that the head was read from.
    pub downstream: &'a mut dyn DownstreamStream,
    /// What holds the head, and all else that comes of the exchange. Whoever took it puts it back.
    pub slate: &'a mut Slate,
    /// How the body is delimited.
    pub framing: Framing,
    /// Fresh for this request.
    pub cx: &'a mut Context,
}

/// As [`exchange`], of what has arrived in `place`, which is empty afterwards: a future that begins small is moved at little
/// cost, and what it works with is made where it stays. Nothing is done where there is nothing.
pub async fn exchange_in(place: &mut Option<Arrival<'_>>) -> Ended {
    let Some(arrival) = place.take() else {
        return Ended::Aborted;
    };
    let mut exchange = Exchange::new(arrival);
    exchange.service.stats.active.inc();
    let result = exchange.run().await;
    let ended = match result {
        Ok(()) => exchange.ended(),
        Err(halt) => {
            cold_path();
            Box::pin(exchange.conclude(halt)).await
        }
    };
    exchange.write_ledger();
    exchange.service.stats.active.dec();
    ended
}

/// Everything that one exchange knows.
struct Exchange<'a> {
    service: &'a HttpService,
    downstream: &'a mut dyn DownstreamStream,
    cx: &'a mut Context,
    record: &'a mut Record,
    route: Option<Rc<Route>>,
    upload: Upload,
    /// The request's body, where a filter asked for all of it.
    collected: Option<Bytes>,
    /// Upstream's last head, until it is passed on.
    answer: &'a mut Option<ResponseHead>,
    response: ResponseState,
    /// The route's edits are in the response.
    is_edited: bool,
    /// How the response's body is delimited, as far as was announced.
    announced: Framing,
    deadline: Option<Instant>,
    /// The deadline, or a part of it, is the caller's: upstreams are told what is left of it.
    tells_deadline: bool,
    /// The request is a gRPC call.
    is_call: bool,
    /// There are filters, which alone see the record.
    is_logged: bool,
    tunneled: bool,
}

/// The request's body on its way up.
struct Upload {
    /// Whether the end was read from downstream.
    read: bool,
    /// Whether the end was handed to the upstream of the current attempt, or nobody there listens any more.
    sent: bool,
    /// Whether that is with the kernel, too, or never will be.
    flushed: bool,
    /// Whether a piece was taken that cannot be sent again.
    consumed: bool,
    /// What was sent of a gRPC call so far, while it is short enough.
    kept: Option<Box<call::Kept>>,
    limit: u64,
}

/// How far the response towards downstream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseState {
    /// No final head was queued.
    Waiting,
    /// The head was queued; the body may be under way.
    Started,
    /// The end was queued.
    Ended,
}

/// Why a phase went no further.
enum Halt {
    /// Answer with this, then carry on with the connection if it is sound.
    Reply(Box<Response>),
    /// Answer with this and close: what follows on the connection cannot be trusted.
    ReplyAndClose(Box<Response>),
    /// There is nobody to answer, or an answer was already begun: close. The label is the reason.
    Abort(&'static str),
}

impl<'a> Exchange<'a> {
    #[inline]
    fn new(arrival: Arrival<'a>) -> Self {
        let Arrival {
            service,
            downstream,
            slate,
            framing,
            cx,
        } = arrival;
        let Slate { record, answer } = slate;
        record.request.begin(framing, cx.connection.secure);
        let upload = Upload {
            read: framing.is_empty(),
            sent: false,
            flushed: false,
            consumed: false,
            kept: None,
            limit: service.config.limits.body_bytes(),
        };
        Self {
            deadline: HttpService::deadline(cx.now, service.timeouts().request()),
            service,
            downstream,
            record,
            answer,
            cx,
            route: None,
            upload,
            collected: None,
            response: ResponseState::Waiting,
            announced: Framing::None,
            is_edited: false,
            tells_deadline: false,
            is_call: false,
            is_logged: !service.routes.fallback().chain.is_empty(),
            tunneled: false,
        }
    }

    /// The phases in order. Each that may wait and that few requests go through has a block of its own, as has all that
    /// concerns the upstream: small blocks are far cheaper to have than one that holds all.
    async fn run(&mut self) -> Result<(), Halt> {
        self.settle()?;
        let route = self.find_route();
        if !route.chain.is_empty() {
            Box::pin(self.filter_request(&route)).await?;
        }
        if self.record.request.answered_by_filter {
            cold_path();
            Box::pin(self.collect_body(&route)).await?;
        }
        let target = self.direct(&route)?;
        if self.record.request.head.method == Method::Connect {
            cold_path();
            return Box::pin(self.connect_tunnel(target)).await;
        }
        self.settle_call(&route)?;
        self.prepare_upstream_request(&route)?;
        Box::pin(self.proxy(&route, target)).await
    }

    /// Answers what is still unanswered.
    async fn conclude(&mut self, halt: Halt) -> Ended {
        let finished = self.finish_response(halt).await;
        self.catch_up();
        match finished {
            Ok(()) => self.ended(),
            Err(error) => {
                self.downstream.abort();
                self.record.reason.get_or_insert(error);
                Ended::Aborted
            }
        }
    }

    /// How it ended where nothing went wrong.
    const fn ended(&self) -> Ended {
        if self.tunneled {
            return Ended::Tunneled;
        }
        Ended::Complete {
            request_read: self.upload.read,
        }
    }

    fn write_ledger(&mut self) {
        self.record.duration = self.cx.now.saturating_duration_since(self.record.started);
        self.service.stats.on_complete(self.record);
        if let Some(route) = &self.route {
            route.on_complete(self.record);
        }
        if !self.is_logged {
            return;
        }
        self.record.date(self.service.environment.clock.wall());
        let chain = match &self.route {
            Some(route) => &route.chain,
            None => &self.service.routes.fallback().chain,
        };
        if self.route.is_some() {
            chain.on_complete(self.record, self.cx);
        } else {
            chain.on_refused(self.record, self.cx);
        }
    }

    /// To be said after every wait: the time in the context is the time of this turn, so that it is asked for once a turn.
    fn catch_up(&mut self) {
        self.cx.now = self.downstream.now();
    }

    /// Notes whose message was malformed, if that is the failure.
    fn blame(&mut self, error: StreamError) {
        if let StreamError::Protocol { status, .. } = error {
            self.record.malformed = Some(Side::to_blame(status));
        }
    }

    /// A failure of the downstream side, as the end of the exchange.
    #[cold]
    fn downstream_failed(&mut self, error: StreamError) -> Halt {
        self.blame(error);
        match error {
            StreamError::Protocol { label, status } if self.response == ResponseState::Waiting => {
                Halt::ReplyAndClose(Box::new(self.local_reply(status, label)))
            }
            StreamError::Protocol { label, .. } => Halt::Abort(label),
            StreamError::Closed => Halt::Abort("downstream_closed"),
            StreamError::Reset | StreamError::Unprocessed => Halt::Abort("downstream_reset"),
            StreamError::Io => Halt::Abort("downstream_io"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Target;

    const fn size_of_future<'a, F: Future>(
        _: fn(
            &'a HttpService,
            &'a mut dyn DownstreamStream,
            RequestHead,
            Framing,
            &'a mut Context,
        ) -> F,
    ) -> usize {
        size_of::<F>()
    }

    const fn size_of_future_in_place<'a, F: Future>(
        _: fn(&'a mut Option<Arrival<'a>>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    const fn size_of_proxy<'a, F: Future>(
        _: fn(&'a mut Exchange<'a>, &'a Rc<Route>, &'a Target) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// Both are allocated for each request, and small blocks are far cheaper to have.
    #[test]
    fn an_exchange_takes_small_blocks() {
        for (name, size) in [
            ("exchange", size_of_future(exchange)),
            ("exchange in place", size_of_future_in_place(exchange_in)),
            ("proxy", size_of_proxy(Exchange::proxy)),
        ] {
            assert!(size <= 1024, "{name}: {size} bytes");
        }
    }
}
