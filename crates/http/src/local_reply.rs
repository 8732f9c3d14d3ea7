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
mod tests {
    use super::*;
    use crate::framing::Framing;
    use crate::head::{RequestHead, Target, Version};

    fn request(accept: Option<&str>) -> Request {
        let mut fields = Fields::new();
        if let Some(accept) = accept {
            fields.append(KnownField::Accept, accept.as_bytes());
        }
        let head = RequestHead {
            method: Method::Get,
            target: Target::origin(Bytes::from_static(b"/")),
            version: Version::Http11,
            fields,
        };
        Request::new(head, Framing::None, false)
    }

    fn body(response: &Response) -> &str {
        let ResponseBody::Local(body) = &response.body else {
            panic!("not made here");
        };
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn bodies_follow_accept() {
        let text = "404 Not Found: no_route\n";
        let json = "{\"status\":404,\"reason\":\"no_route\",\"message\":\"Not Found\"}\n";
        let rows = [
            ("none", None, text),
            ("anything", Some("*/*"), text),
            (
                "browser",
                Some("text/html,application/xml;q=0.9,*/*;q=0.8"),
                text,
            ),
            ("json", Some("application/json"), json),
            (
                "json in another case",
                Some("Application/JSON; charset=utf-8"),
                json,
            ),
            (
                "json first",
                Some("application/json, text/plain, */*"),
                json,
            ),
            (
                "text preferred",
                Some("application/json;q=0.5, text/plain"),
                text,
            ),
            (
                "json preferred",
                Some("text/*;q=0.5, application/json;q=0.51"),
                json,
            ),
            ("json refused", Some("application/json;q=0"), text),
            ("garbage", Some(";q=,,;/"), text),
        ];
        for (name, accept, expected) in rows {
            let reply = reply(
                Status::NOT_FOUND,
                "no_route",
                &request(accept),
                &LocalReplyConfig::default(),
            );
            assert_eq!(body(&reply), expected, "{name}");
            assert_eq!(reply.reason, Some("no_route"), "{name}");
        }
    }

    #[test]
    fn a_405_says_what_is_allowed() {
        let all = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";
        let rows = [
            (405, Method::Trace, Some(all)),
            (405, Method::Connect, Some(all)),
            (
                405,
                Method::Put,
                Some("GET, HEAD, POST, DELETE, OPTIONS, PATCH"),
            ),
            (404, Method::Put, None),
        ];
        for (code, method, expected) in rows {
            let mut request = request(None);
            request.head.method = method.clone();
            let status = Status::from_code(code).unwrap();
            let config = LocalReplyConfig::default();
            let mut bare = bare(status, "denied");
            complete(&mut bare, &request, &config);
            for reply in [bare, reply(status, "denied", &request, &config)] {
                let found = reply.head.fields.get(KnownField::Allow);
                assert_eq!(found, expected.map(str::as_bytes), "{code} {method:?}");
            }
        }
    }

    #[test]
    fn the_reason_can_be_kept_back() {
        for (name, reason_header, header, expected) in [
            (
                "shown",
                true,
                Some(&b"no_route"[..]),
                "404 Not Found: no_route\n",
            ),
            ("kept back", false, None, "404 Not Found\n"),
        ] {
            let config = LocalReplyConfig { reason_header };
            let reply = reply(Status::NOT_FOUND, "no_route", &request(None), &config);
            let found = reply.head.fields.get(KnownField::XPortcullisReason);
            assert_eq!(found, header, "{name}");
            assert_eq!(body(&reply), expected, "{name}");
        }
    }

    #[test]
    fn rejections_have_their_statuses() {
        let limited = |retry_after, period| RejectionKind::RateLimited {
            retry_after: Duration::from_millis(retry_after),
            limit: 100,
            period: Duration::from_millis(period),
        };
        type Row<'a> = (&'a str, RejectionKind, u16, &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            ("denied", RejectionKind::Denied, 403, &[]),
            ("overloaded", RejectionKind::Overloaded, 503, &[]),
            (
                "limited",
                limited(1500, 60_000),
                429,
                &["2", "\"r\";r=0;t=2", "\"r\";q=100;w=60"],
            ),
            (
                "at once",
                limited(0, 1000),
                429,
                &["1", "\"r\";r=0;t=1", "\"r\";q=100;w=1"],
            ),
            (
                "short period",
                limited(10, 100),
                429,
                &["1", "\"r\";r=0;t=1", "\"r\";q=1000;w=1"],
            ),
        ];
        for (name, kind, status, expected) in rows {
            let rejection = Rejection {
                reason: "r",
                kind: *kind,
            };
            let reply = reject(&rejection, &request(None), &LocalReplyConfig::default());
            assert_eq!(reply.head.status.code(), *status, "{name}");
            let found: Vec<&str> = [
                KnownField::RetryAfter,
                KnownField::RateLimit,
                KnownField::RateLimitPolicy,
            ]
            .into_iter()
            .filter_map(|field| reply.head.fields.get(field))
            .map(|value| std::str::from_utf8(value).unwrap())
            .collect();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn bare_errors_are_given_words() {
        let mut with_field = bare(Status::FORBIDDEN, "denied");
        with_field.head.fields.append("x-a", b"1");
        let rows = [
            (
                "bare",
                bare(Status::FORBIDDEN, "denied"),
                "403 Forbidden: denied\n",
            ),
            ("no error", bare(Status::OK, "direct_response"), ""),
            ("with a field", with_field, ""),
        ];
        for (name, mut response, expected) in rows {
            complete(&mut response, &request(None), &LocalReplyConfig::default());
            assert_eq!(body(&response), expected, "{name}");
        }
    }

    #[test]
    fn calls_are_answered_in_their_own_words() {
        let rows: &[(&str, u16, &str, &str)] = &[
            (
                "application/grpc",
                503,
                "application/grpc",
                "14 Service Unavailable: r",
            ),
            (
                "application/grpc+proto",
                504,
                "application/grpc+proto",
                "4 Gateway Timeout: r",
            ),
            (
                "application/grpc",
                413,
                "application/grpc",
                "8 Content Too Large: r",
            ),
            (
                "application/grpc",
                404,
                "application/grpc",
                "12 Not Found: r",
            ),
            (
                "application/grpc-web",
                429,
                "application/grpc-web",
                "8 Too Many Requests: r",
            ),
            (
                "application/grpc-web-text+proto",
                403,
                "application/grpc-web-text+proto",
                "7 Forbidden: r",
            ),
        ];
        for (asked, code, content_type, expected) in rows {
            let mut request = request(Some("application/json"));
            request
                .head
                .fields
                .append(KnownField::ContentType, asked.as_bytes());
            let status = Status::from_code(*code).unwrap();
            let mut reply = bare(status, "r");
            complete(&mut reply, &request, &LocalReplyConfig::default());
            assert_eq!(reply.head.status, Status::OK, "{asked} {code}");
            assert_eq!(body(&reply), "");
            let field = |name: &str| {
                let value = reply.head.fields.get_named(name).unwrap();
                std::str::from_utf8(value).unwrap()
            };
            assert_eq!(field("content-type"), *content_type);
            let said = format!("{} {}", field("grpc-status"), field("grpc-message"));
            assert_eq!(said, *expected, "{asked} {code}");
            assert_eq!(reply.reason, Some("r"));
        }
    }

    #[test]
    fn statuses_without_body_have_none() {
        let reply = reply(
            Status::NO_CONTENT,
            "preflight",
            &request(None),
            &LocalReplyConfig::default(),
        );
        assert_eq!(body(&reply), "");
        assert!(!reply.head.fields.contains(KnownField::ContentType));
    }
}
