//! One stream: its head is checked, then it is an exchange like any other.
//!
//! Start at [`serve_stream`].

use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use portcullis_filter::Context;
use portcullis_http::Framing;
use portcullis_http::exchange::{answer, exchange};
use portcullis_http::head::{RequestHead, Version};
use portcullis_http::service::{HttpService, Refused};
use portcullis_http::slate::Slate;
use portcullis_net::clock;

use super::common::Common;
use super::downstream::Downstream;
use super::stats::reason;
use super::tunnel::Tunnel;
use portcullis_http::types::{self as fields, Came, FieldError, HeadBounds};

/// Serves one stream until its response is written, or the stream is reset.
pub(crate) async fn serve_stream(
    common: Rc<Common>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let _active = common.session.stats.streams_active.guard();
    let service = common.session.service.current();
    let (parts, body) = request.into_parts();
    let bounds = service.head_bounds();
    let read = read_head(&parts, body.is_end_stream(), bounds, &service);
    let is_head = parts.method == http::Method::HEAD;
    let read = read.map_err(|error| {
        let mut slate = service.slates.take(clock::now());
        fields::refused_head(&parts, Version::Http2, slate.request_head());
        (error, slate)
    });
    drop(parts);
    let mut downstream = Downstream::new(Rc::clone(&common), respond, body, is_head, bounds);
    let (head, framing, tunnel) = match read {
        Ok(read) => read,
        Err((error, slate)) => {
            return refuse(&service, &common, &mut downstream, error, slate).await;
        }
    };
    let Some(_held) = common.hold_head(&head) else {
        common.session.stats.on_refused(reason::HEADS);
        downstream.reset(Reason::REFUSED_STREAM);
        return;
    };
    downstream.set_tunnel(tunnel);
    let mut cx = Context::new(Rc::clone(&common.facts), clock::now());
    // Whatever is left of the stream ends when it is dropped: a body that nobody read is refused by a reset that
    // follows the response (RFC 9113 section 8.1).
    exchange(&service, &mut downstream, head, framing, &mut cx).await;
}

fn read_head(
    parts: &http::request::Parts,
    ended: bool,
    bounds: HeadBounds,
    service: &HttpService,
) -> Result<(RequestHead, Framing, Tunnel), FieldError> {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let came = Came {
        version: Version::Http2,
        ended,
        extended: protocol.is_some(),
    };
    let (mut head, mut framing) = fields::request_head(parts, came, bounds)?;
    let random = &service.environment.random;
    let tunnel = Tunnel::of(&mut head, &mut framing, protocol, random)?;
    Ok((head, framing, tunnel))
}

/// Answers a request that is too much, and resets one that is malformed (RFC 9113 section 8.1.1).
async fn refuse(
    service: &HttpService,
    common: &Common,
    downstream: &mut Downstream,
    error: FieldError,
    slate: Box<Slate>,
) {
    let Some(status) = error.status() else {
        service.on_malformed(&common.facts, slate, error.label());
        downstream.reset(Reason::PROTOCOL_ERROR);
        return;
    };
    let response = service.refuse(Refused {
        connection: &common.facts,
        slate,
        status,
        reason: error.label(),
    });
    answer(service, downstream, response).await;
}
