//! The filters that know gRPC, by name, one file each.
//!
//! In a chain `grpc_web` stands before the others: behind it there are only gRPC calls. Not the chain itself: that
//! is `portcullis_filter`'s. Start at [`grpc_filters`].

pub mod calls;
pub mod health;
mod stats;
#[cfg(test)]
mod tests;
pub mod web;

use bytes::Bytes;
use portcullis_codec::WireError as _;
use portcullis_filter::{FilterRegistry, Stop, Verdict};
use portcullis_http::grpc::{GrpcKind, kind};
use portcullis_http::{Fields, Http, KnownField, Method, Request, Response, Status, local_reply};

pub use calls::Calls;
pub use health::{Health, Readiness};
pub use web::Web;

use crate::{GrpcStatus, MessageError};

/// Adds the filters of gRPC to those that an HTTP listener or route may list.
#[must_use]
pub fn grpc_filters(registry: FilterRegistry<Http>) -> FilterRegistry<Http> {
    registry.with::<Calls>().with::<Web>().with::<Health>()
}

/// Whether a request is a call in gRPC itself, not in gRPC-Web.
fn is_call(request: &Request) -> bool {
    request.head.method == Method::Post && kind(&request.head.fields) == Some(GrpcKind::Grpc)
}

/// The refusal of bytes that a client sent.
fn refuse_request(error: MessageError) -> Verdict<'static, Http> {
    let status = match error.status() {
        GrpcStatus::ResourceExhausted => Status::CONTENT_TOO_LARGE,
        _ => Status::BAD_REQUEST,
    };
    refuse(status, error)
}

/// The refusal of bytes that an upstream sent.
fn refuse_response(error: MessageError) -> Verdict<'static, Http> {
    let status = match error.status() {
        GrpcStatus::ResourceExhausted => Status::CONTENT_TOO_LARGE,
        _ => Status::INTERNAL_SERVER_ERROR,
    };
    refuse(status, error)
}

/// Said as an HTTP status: the exchange makes a gRPC status of it, in a head or in trailers.
fn refuse(status: Status, error: MessageError) -> Verdict<'static, Http> {
    let reply = local_reply::bare(status, error.label());
    Verdict::Stop(Stop::Reply(Box::new(reply)))
}

/// A response that has nothing but a status ("Trailers-Only").
fn trailers_only(status: GrpcStatus, message: &str, reason: &'static str) -> Response {
    let mut response = Response::local(Status::OK, reason, Bytes::new());
    let fields = &mut response.head.fields;
    let content_type = GrpcKind::Grpc.content_type();
    fields.append(KnownField::ContentType, content_type.as_bytes());
    status.write(message, fields);
    response
}

/// Whether messages may be compressed under this head.
fn is_compressed(fields: &Fields) -> bool {
    fields
        .get_named("grpc-encoding")
        .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}
