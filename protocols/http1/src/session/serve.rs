//! The life of one downstream connection: idle, a head, an exchange, and again.
//!
//! What is needed only while requests are served lives in a future of its own, so that an idle connection is
//! small. Not the exchange: that is `portcullis_http::exchange`. Start at [`serve`].

use std::future::poll_fn;
use std::hint::cold_path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Instant;

use portcullis_codec::WireError;
use portcullis_filter::{Connection as Facts, Context};
use portcullis_http::exchange::{Arrival, Ended, exchange_in};
use portcullis_http::head::{Method, RequestHead, Status};
use portcullis_http::service::{HttpService, Refused, ServiceHandle};
use portcullis_http::slate::Slate;
use portcullis_http::{Framing, ResponseBody};
use portcullis_net::drain::DrainListener;
use portcullis_net::{ConnectionGuard, DrainSignal, Timer, clock};

use super::connection::Connection;
use super::downstream::{Downstream, Lifetime};
use super::linger::{drain_body, linger};
use crate::decoder::{RequestDecoder, glimpse};
use crate::encoder::{self, Encode};
use crate::limits::{BodyLimits, HeadLimits};
use crate::message::Connection as Persistence;

/// What a session needs besides its connection.
pub struct Session {
    /// The service of the listener, as reloads make it.
    pub service: ServiceHandle,
    /// Tells the session to finish.
    pub drain: DrainSignal,
}

/// Serves one connection until it ends. `timer` is the connection's: one that has been armed while its version was found
/// out need not be made again.
///
/// Its state is boxed once: a future that owned it would hold it twice, as an argument and as a variable. The future is
/// boxed here, not by whoever starts it: the code of a future is made where it is first used, by the settings of that
/// package, and this one is to be fast.
pub fn serve(
    session: Rc<Session>,
    downstream: portcullis_net::Downstream,
    facts: Rc<Facts>,
    timer: Timer,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let mut life = Box::new(Life {
        draining: session.drain.listen(),
        session,
        facts,
        connection: Connection::new(downstream.stream, downstream.prefix),
        timer,
        accepted: downstream.accepted_at,
        _guard: downstream.guard,
    });
    Box::pin(async move {
        let mut first = true;
        while !life.connection.input.is_empty() || life.idle(first).await {
            first = false;
            if !Box::pin(life.requests().run()).await {
                return;
            }
            life.connection.shrink();
        }
    })
}

/// One connection, as long as it lasts.
struct Life {
    session: Rc<Session>,
    facts: Rc<Facts>,
    connection: Connection,
    timer: Timer,
    draining: DrainListener,
    accepted: Instant,
    _guard: ConnectionGuard,
}

impl Life {
    fn requests(&mut self) -> Requests<'_> {
        Requests {
            session: &self.session,
            facts: &self.facts,
            connection: &mut self.connection,
            timer: &mut self.timer,
            accepted: self.accepted,
        }
    }

    /// Waits for the first byte of a request. The answer is whether there is one.
    fn idle(&mut self, first: bool) -> impl Future<Output = bool> {
        let service = self.session.service.current();
        let timeouts = service.timeouts();
        // Until it has sent anything, a new connection is held to the shorter deadline of a head.
        let patience = if first {
            timeouts.head()
        } else {
            timeouts.idle()
        };
        let deadline = HttpService::earlier(
            clock::now().checked_add(patience),
            HttpService::deadline(self.accepted, timeouts.max_connection_age()),
        );
        drop(service);
        let mut random = None;
        poll_fn(move |task| {
            match self.connection.poll_fill(task) {
                Poll::Ready(Ok(true)) => return Poll::Ready(true),
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => {}
            }
            // Idle connections close over the whole drain window, so that their clients do not all come back at once.
            let closing = match self.draining.poll_draining(task) {
                Poll::Ready(()) => {
                    let service = &self.session.service;
                    let chosen = || service.current().environment.random.next();
                    let random = *random.get_or_insert_with(chosen);
                    self.session.drain.close_at(random)
                }
                Poll::Pending => None,
            };
            self.timer
                .poll_expired(task, HttpService::earlier(deadline, closing))
                .map(|()| false)
        })
    }
}

/// Reads what is left of a request's body that nobody read, if the connection is to be kept and if that is worth it. The answer
/// is whether it can be.
async fn leave_unread(mut downstream: Downstream<'_>, service: &HttpService) -> bool {
    if !downstream.keeps() {
        return false;
    }
    let drained = drain_body(&mut downstream).await;
    if !drained {
        service.stats.on_downstream_error("unread_body");
    }
    drained
}

/// A decoder for one head, within the service's limits.
fn decoder(service: &HttpService) -> RequestDecoder {
    let limits = &service.config.limits;
    RequestDecoder::new(HeadLimits {
        head_bytes: limits.head_bytes(),
        target_bytes: limits.uri_bytes(),
        fields: limits.fields(),
    })
}

/// Requests being served, one after another.
struct Requests<'c> {
    session: &'c Session,
    facts: &'c Rc<Facts>,
    connection: &'c mut Connection,
    timer: &'c mut Timer,
    accepted: Instant,
}

/// What came of waiting for a head.
enum Received {
    /// A head, and the slate that it stands on.
    Head(Box<Slate>),
    /// Nothing: the peer closed between requests.
    Closed,
    /// Answer with this status and reason, then close.
    Refused(Box<Slate>, Status, &'static str),
    /// Close without an answer.
    Gone(&'static str),
}

impl Requests<'_> {
    /// Serves requests until none is in sight. The answer is whether the connection goes on.
    async fn run(mut self) -> bool {
        loop {
            let service = self.session.service.current();
            // Most heads are there at once.
            let mut decoder = decoder(&service);
            let received = if let Some(received) = self.decode(&service, &mut decoder) {
                received
            } else {
                cold_path();
                Box::pin(self.receive(&service, decoder)).await
            };
            let mut slate = match received {
                Received::Head(slate) => slate,
                ended => {
                    cold_path();
                    return Box::pin(self.end(&service, ended)).await;
                }
            };
            let framing = match Framing::of_request(slate.request_head()) {
                Ok(framing) => framing,
                Err(error) => {
                    cold_path();
                    let refused = Received::Refused(slate, error.status(), error.label());
                    return Box::pin(self.end(&service, refused)).await;
                }
            };
            let mut cx = Context::new(Rc::clone(self.facts), slate.taken());
            let mut downstream = self.downstream(&service, slate.request_head(), framing);
            let mut arrival = Some(Arrival {
                service: &service,
                downstream: &mut downstream,
                slate: &mut slate,
                framing,
                cx: &mut cx,
            });
            let ended = exchange_in(&mut arrival).await;
            drop(cx);
            service.slates.put(slate);
            let goes_on = match ended {
                Ended::Complete { request_read } if request_read && downstream.keeps() => true,
                // Nothing of this request is unread, so closing destroys nothing on its way.
                Ended::Complete { request_read: true } | Ended::Tunneled | Ended::Aborted => false,
                Ended::Complete { .. } => {
                    cold_path();
                    let drained = Box::pin(leave_unread(downstream, &service)).await;
                    if !drained {
                        Box::pin(linger(self.connection, self.timer)).await;
                    }
                    drained
                }
            };
            if !goes_on || self.connection.input.is_empty() {
                return goes_on;
            }
        }
    }

    /// The stream of one request.
    fn downstream<'r>(
        &'r mut self,
        service: &HttpService,
        head: &RequestHead,
        framing: Framing,
    ) -> Downstream<'r> {
        let limits = BodyLimits {
            // The exchange counts the body against the route's limit; here only the coding is bounded.
            total_bytes: u64::MAX,
            ..BodyLimits::default()
        };
        let lifetime = Lifetime {
            drain: &self.session.drain,
            expires: HttpService::deadline(self.accepted, service.timeouts().max_connection_age()),
        };
        Downstream::new(
            self.connection,
            self.timer,
            head,
            framing,
            limits,
            service.config.limits.pipelined_bytes(),
            lifetime,
        )
    }

    /// What is done where no head came.
    async fn end(&mut self, service: &HttpService, received: Received) -> bool {
        match received {
            Received::Head(_) | Received::Closed => {}
            Received::Refused(slate, status, reason) => {
                let connection = self.facts;
                let refused = Refused {
                    connection,
                    slate,
                    status,
                    reason,
                };
                self.refuse(service, refused).await;
            }
            Received::Gone(reason) => service.stats.on_downstream_error(reason),
        }
        false
    }

    /// Takes a head off what was read; `None` while it is not complete. It holds no slate then.
    fn decode(&mut self, service: &HttpService, decoder: &mut RequestDecoder) -> Option<Received> {
        let mut slate = service.slates.take(clock::now());
        match decoder.decode_into(&mut self.connection.input, slate.request_head()) {
            Ok(true) => Some(Received::Head(slate)),
            Ok(false) => {
                service.slates.put(slate);
                None
            }
            Err(error) => Some(Received::Refused(slate, error.status(), error.label())),
        }
    }

    /// Reads the rest of a head within its deadline.
    async fn receive(&mut self, service: &HttpService, mut decoder: RequestDecoder) -> Received {
        let deadline = clock::now().checked_add(service.timeouts().head());
        poll_fn(|task| {
            loop {
                match self.connection.poll_fill(task) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) if self.connection.input.is_empty() => {
                        return Poll::Ready(Received::Closed);
                    }
                    Poll::Ready(Ok(false)) => return Poll::Ready(Received::Gone("head_truncated")),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Received::Gone(error.label()));
                    }
                    Poll::Pending => break,
                }
                if let Some(received) = self.decode(service, &mut decoder) {
                    return Poll::Ready(received);
                }
            }
            ready!(self.timer.poll_expired(task, deadline));
            let mut slate = service.slates.take(clock::now());
            glimpse(&self.connection.input, slate.request_head());
            Poll::Ready(Received::Refused(
                slate,
                Status::REQUEST_TIMEOUT,
                "head_timeout",
            ))
        })
        .await
    }

    /// Answers a request that is no request, and closes.
    async fn refuse(&mut self, service: &HttpService, mut refused: Refused<'_>) {
        let is_head = refused.slate.request_head().method == Method::Head;
        let response = service.refuse(refused);
        let ResponseBody::Local(body) = response.body else {
            return;
        };
        let options = Encode {
            framing: Framing::Length(body.len() as u64),
            connection: Persistence::Close,
        };
        let output = &mut self.connection.output;
        let encoded = output
            .push_with(|buffer| encoder::encode_response_head(&response.head, options, buffer));
        if encoded.is_ok() {
            if !is_head {
                output.push_data(body);
            }
            Box::pin(linger(self.connection, self.timer)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size_of_future<'c, F: Future>(_: fn(Requests<'c>) -> F) -> usize {
        size_of::<F>()
    }

    /// It is allocated for each request that a client waits for, and small blocks are far cheaper to have.
    #[test]
    fn what_serves_requests_is_a_small_block() {
        let size = size_of_future(Requests::run);
        assert!(size <= 1024, "{size} bytes");
    }
}
