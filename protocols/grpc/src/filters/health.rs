//! `grpc_health`: this gateway's own `grpc.health.v1.Health`, so that whoever stands in front of it can ask.
//!
//! It says SERVING unless the gateway drains or was told to fail: to `Check` now, to `Watch` whenever that changes, over
//! HTTP/2. Not the health of what stands behind it: that is the clusters'. Start at [`HealthConfig`].

mod watch;

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use portcullis_config::BuildError;
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Stop, Verdict};
use portcullis_http::grpc::{GrpcKind, split_path};
use portcullis_http::head::Version;
use portcullis_http::message::Data;
use portcullis_http::{Fields, Http, KnownField, Request, Response, ResponseBody, Status};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{is_call, refuse_request, trailers_only};
use crate::encoder::encode_message_frame;
use crate::{GrpcStatus, MessageDecoder, MessageError, MessageLimits, MessagePiece};

/// Whether the gateway takes new work. The process provides it to filters as `Arc<dyn Readiness>`
/// ([`portcullis_filter::SharedStore::provide`]).
pub trait Readiness: Send + Sync {
    /// Whether it does.
    fn is_ready(&self) -> bool;

    /// Whether it never will again.
    fn is_draining(&self) -> bool;

    /// Completes once either answer may be another than at this call.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// Settings of `grpc_health`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Services that are answered for, such as `shop.Cart`, besides the empty name, which is the gateway as a whole. Default
    /// none: others are NOT_FOUND.
    pub services: Vec<String>,
}

/// The filter.
pub struct Health {
    services: Vec<String>,
    readiness: Option<Arc<dyn Readiness>>,
}

/// The request is for us, to be answered when its message is there.
enum Asked {
    Check,
    Watch,
}

impl FilterKind<Http> for Health {
    const NAME: &'static str = "grpc_health";
    type Config = HealthConfig;

    fn build(
        config: &HealthConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        Ok(Box::new(Self {
            services: config.services.clone(),
            readiness: cx.shared.service::<Arc<dyn Readiness>>(),
        }))
    }
}

impl Filter<Http> for Health {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST.and(Interest::REQUEST_DATA)
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let method = match split_path(request.head.target.path()) {
            Some((b"grpc.health.v1.Health", method)) if is_call(request) => method,
            _ => return Verdict::Continue,
        };
        let asked = match method {
            b"Check" => Asked::Check,
            // Over HTTP/1 nothing tells a client that waits from one that is gone.
            b"Watch" if request.head.version >= Version::Http2 => Asked::Watch,
            _ => {
                let message = "there are Check, and Watch over HTTP/2";
                let reply = trailers_only(GrpcStatus::Unimplemented, message, REASON);
                return Verdict::Stop(Stop::Reply(Box::new(reply)));
            }
        };
        cx.hold(asked);
        let most = request.collect_body.unwrap_or(u64::MAX);
        request.collect_body = Some(most.min(MAX_REQUEST));
        request.answered_by_filter = true;
        Verdict::Continue
    }

    /// The body was collected: it comes in one piece.
    fn on_request_data<'a>(
        &'a self,
        data: &'a mut Data,
        last: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(asked) = cx.held::<Asked>().filter(|_| last) else {
            return Verdict::Continue;
        };
        let reply = match (asked_service(&data.bytes), asked) {
            (Ok(service), Asked::Check) => self.check(&service),
            (Ok(service), Asked::Watch) => self.watch(&service),
            (Err(error), _) => return refuse_request(error),
        };
        Verdict::Stop(Stop::Reply(Box::new(reply)))
    }
}

/// The label of these answers.
const REASON: &str = "grpc_health";

/// A request is a name of a service.
const MAX_REQUEST: u64 = 1024;

impl Health {
    fn knows(&self, service: &[u8]) -> bool {
        let mut services = self.services.iter();
        service.is_empty() || services.any(|known| known.as_bytes() == service)
    }

    fn check(&self, service: &[u8]) -> Response {
        if !self.knows(service) {
            return trailers_only(GrpcStatus::NotFound, "unknown service", REASON);
        }
        let is_ready = self
            .readiness
            .as_ref()
            .is_none_or(|readiness| readiness.is_ready());
        let mut response =
            Response::local(Status::OK, REASON, ServingStatus::of(is_ready).message());
        set_content_type(&mut response);
        let mut trailers = Fields::new();
        GrpcStatus::Ok.write("", &mut trailers);
        response.trailers = Some(Box::new(trailers));
        response
    }

    fn watch(&self, service: &[u8]) -> Response {
        let mut response = Response::local(Status::OK, REASON, Bytes::new());
        set_content_type(&mut response);
        let is_known = self.knows(service);
        response.body = ResponseBody::Stream(watch::stream(is_known, self.readiness.clone()));
        response
    }
}

fn set_content_type(response: &mut Response) {
    let content_type = GrpcKind::Grpc.content_type();
    let fields = &mut response.head.fields;
    fields.append(KnownField::ContentType, content_type.as_bytes());
}

/// `HealthCheckResponse.ServingStatus`, as far as it is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServingStatus {
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    const fn of(is_ready: bool) -> Self {
        if is_ready {
            Self::Serving
        } else {
            Self::NotServing
        }
    }

    /// A message `HealthCheckResponse { status }`.
    fn message(self) -> Bytes {
        let mut message = BytesMut::new();
        // Two bytes are not too long.
        let _ = encode_message_frame(&[0x08, self as u8], &mut message);
        message.freeze()
    }
}

/// The service that a body of exactly one `HealthCheckRequest { string service = 1 }` names.
fn asked_service(body: &[u8]) -> Result<Bytes, MessageError> {
    use portcullis_codec::Decoder as _;
    let limits = MessageLimits {
        message_bytes: MAX_REQUEST as u32,
        compressed: false,
    };
    let mut decoder = MessageDecoder::new(limits);
    let mut src = BytesMut::from(body);
    let mut message = Bytes::new();
    let mut begun = 0;
    while let Some(piece) = decoder.decode_eof(&mut src)? {
        match piece {
            MessagePiece::Start(_) => begun += 1,
            // The body is whole, so is its message.
            MessagePiece::Data(data) => message = data,
            MessagePiece::End => {}
        }
    }
    if begun != 1 {
        return Err(MessageError::Truncated);
    }
    service_name(&message).ok_or(MessageError::Truncated)
}

/// The last value of field 1; other fields are not for us and skipped, as protobuf asks.
fn service_name(message: &Bytes) -> Option<Bytes> {
    let mut name = Bytes::new();
    for field in crate::descriptor::fields(message) {
        if let (1, crate::descriptor::Value::Bytes(value)) = field.ok()? {
            name = message.slice_ref(value);
        }
    }
    Some(name)
}
