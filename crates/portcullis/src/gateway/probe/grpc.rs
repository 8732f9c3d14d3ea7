//! A health check by the gRPC health protocol: one call of `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! Not a gRPC client: two tiny messages are written and read by hand, and everything that an endpoint may send is
//! bounded. How long it may take is the caller's matter. Start at [`ask`].

#[cfg(test)]
mod tests;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use portcullis_grpc::encoder::encode_message_frame;
use portcullis_grpc::{GrpcKind, GrpcStatus};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::{Failed, USER_AGENT};

/// What is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";

/// The most bytes that are read of one connection, frames and all: an answer takes some two hundred, and an endpoint may
/// add its settings and pings.
const MAX_CONNECTION: u64 = 64 * 1024;

/// The most bytes of fields of a head or of trailers, counted as RFC 9113 section 6.5.2 does.
const MAX_FIELDS: u32 = 16 * 1024;

/// The longest body: a message has one field of a few bytes; room is left for fields that are not known yet.
const MAX_BODY: usize = 1024;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// The name of a serving status other than SERVING, if it has one.
pub(super) fn serving_status(status: u64) -> Option<&'static str> {
    match status {
        0 => Some("serving status unknown"),
        2 => Some("not serving"),
        3 => Some("service unknown"),
        _ => None,
    }
}

/// The authority of calls to an endpoint: the configured one, else the endpoint's name, else (it is a path) `localhost`.
pub(super) fn authority(host: Option<&str>, endpoint: &str) -> Result<Authority, Failed> {
    match host {
        Some(host) => host.parse().map_err(|_| Failed::Request),
        None => Ok(endpoint
            .parse()
            .unwrap_or_else(|_| Authority::from_static("localhost"))),
    }
}

/// A call, written out.
#[derive(Debug)]
pub(super) struct Question {
    head: Request<()>,
    body: Bytes,
}

impl Question {
    /// Asks about `service`; the empty name is the endpoint as a whole.
    pub(super) fn new(
        service: &str,
        authority: Authority,
        is_encrypted: bool,
    ) -> Result<Self, Failed> {
        let scheme = if is_encrypted {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let target = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(METHOD)
            .build();
        let head = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(target.map_err(|_| Failed::Request)?)
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, GrpcKind::Grpc.content_type())
            .header(header::USER_AGENT, USER_AGENT)
            .body(())
            .map_err(|_| Failed::Request)?;
        let mut body = BytesMut::new();
        encode_message_frame(&request_message(service), &mut body).map_err(|_| Failed::Request)?;
        Ok(Self {
            head,
            body: body.freeze(),
        })
    }
}

/// `HealthCheckRequest { string service = 1 }`; the empty string is left out, as protobuf does.
fn request_message(service: &str) -> BytesMut {
    let mut message = BytesMut::with_capacity(service.len() + 4);
    if service.is_empty() {
        return message;
    }
    // Field 1, of type bytes.
    message.put_u8(0x0a);
    let mut length = service.len();
    while length > 0x7f {
        message.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.put_u8(length as u8);
    message.put_slice(service.as_bytes());
    message
}

/// Makes the call on a fresh connection and closes it. It passes if the answer is SERVING.
pub(super) async fn ask<S>(stream: S, question: Question) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (read, write) = tokio::io::split(stream);
    let io = tokio::io::join(read.take(MAX_CONNECTION), write);
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_FIELDS)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(Failed::Http2)?;
    let result = {
        let call = call(sender, question);
        tokio::pin!(call);
        tokio::select! {
            biased;
            result = &mut call => result,
            // All that came is there: it is the answer, or there will be none.
            ended = &mut connection => match (call.now_or_never(), ended) {
                (Some(Err(Failed::Http2(_))) | None, Err(error)) => Err(Failed::Http2(error)),
                (None, Ok(())) => Err(Failed::Answer("the connection was closed")),
                (Some(result), _) => result,
            },
        }
    };
    // Nothing is open on it any more, so that it says goodbye at once; an endpoint that does not read that is not
    // waited for.
    let _ = connection.now_or_never();
    result
}

async fn call(sender: SendRequest<Bytes>, question: Question) -> Result<(), Failed> {
    let mut sender = sender.ready().await.map_err(Failed::Http2)?;
    let (response, mut body) = sender
        .send_request(question.head, false)
        .map_err(Failed::Http2)?;
    body.send_data(question.body, true).map_err(Failed::Http2)?;
    let (head, mut body) = response.await.map_err(Failed::Http2)?.into_parts();
    check_head(head.status, &head.headers)?;
    let message = collect(&mut body).await?;
    let trailers = body.trailers().await.map_err(Failed::Http2)?;
    // An answer without a message may have its status in the head.
    let status = trailers.as_ref().and_then(grpc_status);
    match status.or_else(|| grpc_status(&head.headers)) {
        Some(GrpcStatus::Ok) => check_body(&message),
        Some(status) => Err(Failed::Grpc(status)),
        None => Err(Failed::Answer("no grpc-status")),
    }
}

fn check_head(status: StatusCode, fields: &HeaderMap) -> Result<(), Failed> {
    if status != StatusCode::OK {
        return Err(Failed::Status(status));
    }
    let kind = fields
        .get(header::CONTENT_TYPE)
        .and_then(|value| portcullis_http::grpc::content_kind(value.as_bytes()));
    if kind != Some(GrpcKind::Grpc) {
        return Err(Failed::Answer("no gRPC"));
    }
    match grpc_status(fields) {
        None | Some(GrpcStatus::Ok) => Ok(()),
        Some(status) => Err(Failed::Grpc(status)),
    }
}

fn grpc_status(fields: &HeaderMap) -> Option<GrpcStatus> {
    let value = fields.get("grpc-status").map(HeaderValue::as_bytes);
    value.map(GrpcStatus::parse)
}

async fn collect(body: &mut RecvStream) -> Result<BytesMut, Failed> {
    let mut collected = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(Failed::Http2)?;
        if piece.len() > MAX_BODY - collected.len() {
            return Err(Failed::Answer("too long"));
        }
        collected.extend_from_slice(&piece);
    }
    Ok(collected)
}

/// Judges a body of exactly one message, which is not compressed since no coding was offered.
fn check_body(body: &[u8]) -> Result<(), Failed> {
    let message = match body {
        [0, length @ ..] => length.split_first_chunk::<4>(),
        [] => return Err(Failed::Answer("no message")),
        _ => return Err(Failed::Answer("a compressed message")),
    };
    let message = message
        .filter(|(length, message)| u32::from_be_bytes(**length) as usize == message.len())
        .map(|(_, message)| message)
        .ok_or(Failed::Answer("not one message"))?;
    match response_status(message) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(Failed::NotServing(other)),
        None => Err(Failed::Answer("a malformed message")),
    }
}

/// The last value of `HealthCheckResponse { ServingStatus status = 1 }`, 0 where there is none; other fields are skipped,
/// as protobuf asks. `None` if the message is malformed.
fn response_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let skipped = match (key >> 3, key & 7) {
            (0, _) => return None,
            (1, 0) => {
                status = varint(&mut message)?;
                0
            }
            // Known by its number, and not of its type.
            (1, _) => return None,
            (_, 0) => {
                varint(&mut message)?;
                0
            }
            (_, 1) => 8,
            (_, 2) => usize::try_from(varint(&mut message)?).ok()?,
            (_, 5) => 4,
            // Groups are of a time before this message.
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(status)
}

/// Takes a number off the front: seven bits a byte, the lowest first, at most ten bytes.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
