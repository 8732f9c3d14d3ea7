//! One stream: its head is checked, then it is an exchange like any other.
//!
//! Start at [`serve_stream`].

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h3::error::{Code, StreamError as H3Error};
use h3::server::RequestResolver;
use portcullis_filter::Context;
use portcullis_http::exchange::{self, Ended, exchange};
use portcullis_http::head::{RequestHead, Status, Version};
use portcullis_http::service::{HttpService, Refused};
use portcullis_http::slate::Slate;
use portcullis_http::types::{self as fields, Came, FieldError, HeadBounds};
use portcullis_http::{Framing, KnownField, Method};
use portcullis_net::{Timer, clock};

use super::client::Client;
use super::stats::{error_label, reason};
use super::stream::{RequestStream, Stream};
use super::wire::{Halves, QuicConnection, Reader, SendHalf};

/// Serves one stream until its response has been received, or the stream was reset.
pub(super) async fn serve_stream(
    client: Rc<Client>,
    resolver: RequestResolver<QuicConnection, Bytes>,
    (send, reader): Halves,
) {
    let _active = client.session.stats.streams_active.guard();
    let service = client.session.service.current();
    match resolve(&client, &service, resolver, &send).await {
        Ok((request, h3)) => {
            let is_head = request.method() == http::Method::HEAD;
            let halves = (Rc::clone(&send), Rc::clone(&reader));
            let stream = Stream::new(&client, h3, halves, is_head, service.head_bounds());
            answer(&client, &service, request, stream).await;
        }
        Err(no) => no.conclude(&client, &service, &send),
    }
    linger(&client, &send, &reader).await;
}

/// Why there is no head.
enum NoHead {
    /// The client does not want an answer any more.
    Gone,
    /// It did not come in time.
    Late,
    /// `h3` does not take it.
    Refused(H3Error),
}

/// Reads the head, within its deadline.
async fn resolve(
    client: &Client,
    service: &HttpService,
    resolver: RequestResolver<QuicConnection, Bytes>,
    send: &SendHalf,
) -> Result<(http::Request<()>, RequestStream), NoHead> {
    let deadline = clock::now().checked_add(service.timeouts().head());
    let mut timer = Timer::new();
    let mut resolving = pin!(resolver.resolve_request());
    poll_fn(|task| {
        if let Poll::Ready(resolved) = resolving.as_mut().poll(task) {
            return Poll::Ready(resolved.map_err(NoHead::Refused));
        }
        if send.poll_outcome(task).is_ready() {
            return Poll::Ready(Err(NoHead::Gone));
        }
        timer.poll_expired(task, deadline).map(|()| {
            client.session.stats.on_refused(reason::HEAD_TIMEOUT);
            Err(NoHead::Late)
        })
    })
    .await
}

impl NoHead {
    fn conclude(self, client: &Client, service: &HttpService, send: &SendHalf) {
        match self {
            Self::Gone | Self::Refused(H3Error::RemoteTerminate { .. }) => {
                on_client_reset(client);
                send.reset(Code::H3_REQUEST_CANCELLED.value());
            }
            Self::Late => {
                client.session.stats.resets.gateway.inc();
                send.reset(Code::H3_EXCESSIVE_LOAD.value());
            }
            // `h3` has answered with 431.
            Self::Refused(H3Error::HeaderTooBig { .. }) => {
                let mut slate = service.slates.take(clock::now());
                let head = slate.request_head();
                (head.method, head.version) = (Method::Other(Bytes::new()), Version::Http3);
                service.on_refused(Refused {
                    connection: &client.facts(),
                    slate,
                    status: Status::HEADER_FIELDS_TOO_LARGE,
                    reason: FieldError::TooLarge.label(),
                });
                send.finish();
            }
            Self::Refused(H3Error::StreamError { code, .. }) => {
                service.stats.on_downstream_error(error_label(code));
                client.session.stats.resets.gateway.inc();
                send.reset(code.value());
            }
            // The connection has ended, which is counted where it did.
            Self::Refused(_) => send.reset(Code::H3_REQUEST_CANCELLED.value()),
        }
    }
}

/// The client gave the request up.
fn on_client_reset(client: &Client) {
    client.session.stats.resets.client.inc();
    client.wire.on_reset();
}

async fn answer(
    client: &Rc<Client>,
    service: &HttpService,
    request: http::Request<()>,
    mut stream: Stream,
) {
    let bounds = service.head_bounds();
    let (parts, ()) = request.into_parts();
    let ended = stream.look_for_end().await;
    let seen = || {
        let mut slate = service.slates.take(clock::now());
        fields::refused_head(&parts, Version::Http3, slate.request_head());
        slate
    };
    if let Some(breach) = stream.breach() {
        return reset_malformed(client, service, &mut stream, breach.label(), seen());
    }
    let (mut head, framing) = match read_head(&parts, ended, bounds) {
        Ok(read) => read,
        Err(error) => return refuse(client, service, &mut stream, error, seen()).await,
    };
    stream.expect(&head, framing);
    if stream.is_early() && !client.is_proven() {
        if !is_safe(&head.method) {
            client.session.stats.early.refused.inc();
            return refuse_early(client, service, &mut stream, seen()).await;
        }
        client.session.stats.early.served.inc();
        // RFC 8470 section 5.1.
        head.fields.set(KnownField::EarlyData, b"1");
    }
    drop(parts);
    let Some(_held) = client.hold_head(&head) else {
        client.session.stats.on_refused(reason::HEADS);
        stream.reset(Code::H3_REQUEST_REJECTED);
        return;
    };
    let mut cx = Context::new(client.facts(), clock::now());
    let ended = exchange(service, &mut stream, head, framing, &mut cx).await;
    if stream.was_given_up() {
        on_client_reset(client);
    } else if ended == Ended::Aborted {
        client.session.stats.resets.gateway.inc();
    }
}

/// RFC 9110 section 9.2.1: what may be repeated by anybody.
const fn is_safe(method: &Method) -> bool {
    matches!(
        method,
        Method::Get | Method::Head | Method::Options | Method::Trace
    )
}

fn read_head(
    parts: &http::request::Parts,
    ended: bool,
    bounds: HeadBounds,
) -> Result<(RequestHead, Framing), FieldError> {
    // Extended CONNECT (RFC 9220) is not offered: `h3` knows no protocol of it that we do.
    if parts.extensions.get::<h3::ext::Protocol>().is_some() {
        return Err(FieldError::Protocol);
    }
    let came = Came {
        version: Version::Http3,
        ended,
        extended: false,
    };
    fields::request_head(parts, came, bounds)
}

/// Answers a request that is too much, and resets one that is malformed (RFC 9114 section 4.1.2).
async fn refuse(
    client: &Client,
    service: &HttpService,
    stream: &mut Stream,
    error: FieldError,
    slate: Box<Slate>,
) {
    let Some(status) = error.status() else {
        return reset_malformed(client, service, stream, error.label(), slate);
    };
    let response = service.refuse(Refused {
        connection: &client.facts(),
        slate,
        status,
        reason: error.label(),
    });
    exchange::answer(service, stream, response).await;
}

/// RFC 9114 section 4.1.2.
fn reset_malformed(
    client: &Client,
    service: &HttpService,
    stream: &mut Stream,
    reason: &'static str,
    slate: Box<Slate>,
) {
    service.on_malformed(&client.facts(), slate, reason);
    client.session.stats.resets.gateway.inc();
    stream.reset(Code::H3_MESSAGE_ERROR);
}

/// 425: it is to come again when the handshake is over (RFC 8470 section 5.2).
async fn refuse_early(
    client: &Client,
    service: &HttpService,
    stream: &mut Stream,
    slate: Box<Slate>,
) {
    let response = service.refuse(Refused {
        connection: &client.facts(),
        slate,
        status: Status::TOO_EARLY,
        reason: "early_data",
    });
    exchange::answer(service, stream, response).await;
}

/// How much more of a request is taken from a client that has its answer already. Many send a request's end apart from its head,
/// and do not like to be told at once that it is not wanted.
const LEFT_OVER: usize = 16 * 1024;

/// Waits until the client has the response, or does not want it: what closes the connection before would take it back.
/// Meanwhile what is left of the request is passed over, or refused if it is much (RFC 9114 section 4.1.1).
async fn linger(client: &Client, send: &SendHalf, reader: &Reader) {
    let window = client.settings.stall.window.get().saturating_mul(2);
    let deadline = clock::now().checked_add(window);
    let mut timer = Timer::new();
    let mut left_over = LEFT_OVER;
    poll_fn(|task| {
        // What was not ended is reset when it is dropped.
        if send.poll_flush(task).is_ready() && !send.is_ended() {
            return Poll::Ready(());
        }
        if reader.poll_discard(task, &mut left_over).is_ready() {
            reader.stop(Code::H3_NO_ERROR.value());
        }
        if send.poll_outcome(task).is_ready() {
            return Poll::Ready(());
        }
        timer.poll_expired(task, deadline).map(|()| {
            client.session.stats.on_refused(reason::STREAM_STALLED);
            send.reset(Code::H3_EXCESSIVE_LOAD.value());
        })
    })
    .await;
    reader.stop(Code::H3_NO_ERROR.value());
}
