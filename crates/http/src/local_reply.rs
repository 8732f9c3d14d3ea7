//! The gateway's own answers: refusals, errors, limits.
//!
//! Small on purpose: a status, a reason, a line of text or of JSON; to a gRPC call its own kind of error. Not the `respond` and `redirect` actions of
//! routes, whose words are the configuration's. Start at [`reply`].

use std::time::Duration;

use bytes::Bytes;
use portcullis_filter::{Rejection, RejectionKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{Fields, list_members};
use crate::forward::date_response;
use crate::grpc::{self, GrpcKind, GrpcStatus};
use crate::head::{Method, Status};
use crate::message::{Request, Response, ResponseBody};
use crate::name::KnownField;
use crate::service::Clock;

/// How the gateway's own answers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalReplyConfig {
    /// Whether answers say why they were made, in `x-portcullis-reason` and in the body. Default true: it tells the
    /// gateway's errors from the application's. Reasons are fixed words, never what a peer sent.
    pub reason_header: bool,
}

impl Default for LocalReplyConfig {
    fn default() -> Self {
        Self {
            reason_header: true,
        }
    }
}

/// An answer made here, in JSON if the request prefers it, else in plain text. An error that answers a gRPC call is
/// a trailers-only response: HTTP 200, and `grpc-status` by [`GrpcStatus::of_reply`]. Interim statuses, 204 and 304
/// have no body. For HEAD the body is there for its length; the exchange does not send it.
#[must_use]
pub fn reply(
    status: Status,
    reason: &'static str,
    request: &Request,
    config: &LocalReplyConfig,
) -> Response {
    if status.code() >= 400
        && let Some(kind) = grpc::kind(&request.head.fields)
    {
        return call_reply(status, reason, kind, request, *config);
    }
    let format = Format::accepted(&request.head.fields);
    let mut response = make(status, reason, format, *config);
    if status == Status::METHOD_NOT_ALLOWED {
        append_allow(&mut response.head.fields, &request.head.method);
    }
    response
}

/// RFC 9110 section 15.5.6: a 405 says what is allowed. What upstreams make of a method the gateway does not know; it speaks of
/// those that it passes on, without the one that was refused.
fn append_allow(fields: &mut Fields, refused: &Method) {
    const PASSED_ON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    let others = PASSED_ON.into_iter();
    let others = others.filter(|method| method.as_bytes() != refused.as_bytes());
    let list: Vec<&str> = others.collect();
    fields.append(KnownField::Allow, list.join(", ").as_bytes());
}

/// "Trailers-Only" of the gRPC protocol document; clients of gRPC-Web look for the same fields in a head.
fn call_reply(
    status: Status,
    reason: &'static str,
    kind: GrpcKind,
    request: &Request,
    config: LocalReplyConfig,
) -> Response {
    let mut response = Response::local(Status::OK, reason, Bytes::new());
    let fields = &mut response.head.fields;
    fields.reserve(128);
    let asked = request.head.fields.get(KnownField::ContentType);
    let mut content_type = kind.content_type().as_bytes().to_vec();
    content_type.extend_from_slice(grpc::subtype(asked.unwrap_or_default()));
    fields.append(KnownField::ContentType, &content_type);
    let phrase = status.canonical_reason();
    let grpc_status = GrpcStatus::of_reply(status);
    if config.reason_header {
        grpc_status.write(&format!("{phrase}: {reason}"), fields);
        fields.append(KnownField::XPortcullisReason, reason.as_bytes());
    } else {
        grpc_status.write(phrase, fields);
    }
    response
}

/// The answer to bytes that were no request, with its date: nothing else will look at it.
#[must_use]
pub(crate) fn refuse(
    status: Status,
    reason: &'static str,
    config: LocalReplyConfig,
    clock: &dyn Clock,
) -> Response {
    let mut response = make(status, reason, Format::Text, config);
    date_response(&mut response.head, clock);
    response
}

/// The answer that a filter's refusal means: 403 for a rule, 429 for a rate limit, 503 for overload.
///
/// A 429 has `retry-after` (RFC 9110 section 10.2.3) and the fields `ratelimit` and `ratelimit-policy` of
/// draft-ietf-httpapi-ratelimit-headers-10.
#[must_use]
pub fn reject(rejection: &Rejection, request: &Request, config: &LocalReplyConfig) -> Response {
    let status = match rejection.kind {
        RejectionKind::Denied => Status::FORBIDDEN,
        RejectionKind::RateLimited { .. } => Status::TOO_MANY_REQUESTS,
        RejectionKind::Overloaded => Status::SERVICE_UNAVAILABLE,
    };
    let mut response = reply(status, rejection.reason, request, config);
    if let RejectionKind::RateLimited {
        retry_after,
        limit,
        period,
    } = rejection.kind
    {
        let fields = &mut response.head.fields;
        append_limit(fields, rejection.reason, retry_after, limit, period);
    }
    response
}

/// An answer that has only a status and a reason: [`complete`] gives it words once the request and the settings are
/// at hand. For filters.
#[must_use]
pub fn bare(status: Status, reason: &'static str) -> Response {
    Response::local(status, reason, Bytes::new())
}

/// Gives words to an error made here that has none: no field, no body. Other answers stay as they are.
pub fn complete(response: &mut Response, request: &Request, config: &LocalReplyConfig) {
    let is_bare = response.head.status.code() >= 400
        && response.head.fields.is_empty()
        && matches!(&response.body, ResponseBody::Local(body) if body.is_empty());
    if let (true, Some(reason)) = (is_bare, response.reason) {
        *response = reply(response.head.status, reason, request, config);
    }
}

fn append_limit(
    fields: &mut Fields,
    name: &str,
    retry_after: Duration,
    limit: u64,
    period: Duration,
) {
    let wait = seconds_up(retry_after);
    // Windows are whole seconds in the draft: a shorter period is told as its rate for one second.
    let window = seconds_up(period);
    let quota = if period < Duration::from_secs(1) && !period.is_zero() {
        (u128::from(limit) * 1_000_000_000 / period.as_nanos()) as u64
    } else {
        limit
    };
    fields.append(KnownField::RetryAfter, wait.to_string().as_bytes());
    let state = format!("\"{name}\";r=0;t={wait}");
    fields.append(KnownField::RateLimit, state.as_bytes());
    let policy = format!("\"{name}\";q={quota};w={window}");
    fields.append(KnownField::RateLimitPolicy, policy.as_bytes());
}

/// Whole seconds, rounded up, at least one: a client that comes back too early is refused again.
fn seconds_up(time: Duration) -> u64 {
    let rest = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(rest).max(1)
}

fn make(
    status: Status,
    reason: &'static str,
    format: Format,
    config: LocalReplyConfig,
) -> Response {
    let shown = config.reason_header.then_some(reason);
    let body = if status.is_bodiless() {
        Bytes::new()
    } else {
        format.body(status, shown)
    };
    let has_body = !body.is_empty();
    let mut response = Response::local(status, reason, body);
    let fields = &mut response.head.fields;
    fields.reserve(96);
    if has_body {
        fields.append(KnownField::ContentType, format.content_type());
    }
    if status.code() >= 400 {
        // RFC 9111 section 4.2.2: a 404 and its like may otherwise be kept and shown to others.
        fields.append(KnownField::CacheControl, b"no-store");
    }
    if let Some(reason) = shown {
        fields.append(KnownField::XPortcullisReason, reason.as_bytes());
    }
    response
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Format {
    /// JSON where the request names it and likes it at least as much as text (RFC 9110 section 12.5.1).
    fn accepted(fields: &Fields) -> Self {
        let (mut json, mut text) = (0, 0);
        for member in fields.get_all(KnownField::Accept).flat_map(list_members) {
            let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().unwrap_or_default();
            let quality = parts.find_map(quality).unwrap_or(1000);
            if is_json(range) {
                json = json.max(quality);
            } else if range.len() >= 5
                && range
                    .get(..5)
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"text/"))
            {
                text = text.max(quality);
            }
        }
        if json > 0 && json >= text {
            Self::Json
        } else {
            Self::Text
        }
    }

    const fn content_type(self) -> &'static [u8] {
        match self {
            Self::Text => b"text/plain; charset=utf-8",
            Self::Json => b"application/json",
        }
    }

    /// Reasons and phrases are our own words: nothing needs escaping.
    fn body(self, status: Status, reason: Option<&str>) -> Bytes {
        let code = status.code();
        let phrase = status.canonical_reason();
        Bytes::from(match (self, reason) {
            (Self::Text, Some(reason)) => format!("{code} {phrase}: {reason}\n"),
            (Self::Text, None) => format!("{code} {phrase}\n"),
            (Self::Json, Some(reason)) => {
                format!("{{\"status\":{code},\"reason\":\"{reason}\",\"message\":\"{phrase}\"}}\n")
            }
            (Self::Json, None) => format!("{{\"status\":{code},\"message\":\"{phrase}\"}}\n"),
        })
    }
}

fn is_json(range: &[u8]) -> bool {
    range.eq_ignore_ascii_case(b"application/json")
        || range.eq_ignore_ascii_case(b"application/problem+json")
        || range.eq_ignore_ascii_case(b"application/*")
}

/// The weight of `q=0.8` in thousandths; `None` if the parameter is another.
fn quality(parameter: &[u8]) -> Option<u32> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else {
        return None;
    };
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        [whole] => (*whole, &[][..]),
        _ => return Some(0),
    };
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0').min(9));
    let thousandths = fraction
        .iter()
        .take(3)
        .zip([100, 10, 1])
        .map(|(&byte, place)| digit(byte) * place)
        .sum::<u32>();
    Some((digit(whole) * 1000 + thousandths).min(1000))
}

#[cfg(test)]
mod tests;
