//! `grpc_web`: translates gRPC-Web, as browsers speak it, to gRPC, and the answers back.
//!
//! Framing only: messages pass unopened, compressed or not. Preflights are `cors`'s. Requests that are not in
//! gRPC-Web pass untouched. Start at [`Web`].

use bytes::{Bytes, BytesMut};
use portcullis_codec::Decoder as _;
use portcullis_config::BuildError;
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use portcullis_http::grpc::{GrpcKind, content_kind, kind, subtype};
use portcullis_http::message::Data;
use portcullis_http::{
    Fields, Framing, Http, KnownField, Method, Request, Response, ResponseBody, Status,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::calls::MISSING_STATUS;
use super::{refuse_request, refuse_response};
use crate::encoder::encode_trailers_frame;
use crate::web::{TextDecoder, encode_text};
use crate::{GrpcStatus, MessageError, MessageLimits, MessageScanner};

/// Settings of `grpc_web`: there are none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {}

/// The filter.
pub struct Web;

/// One gRPC-Web call under way.
struct WebCall {
    /// The front of a group of base64 that a piece ended in, where the request is text.
    text: Option<BytesMut>,
    /// A request has messages only: a client's trailers have no place in gRPC.
    messages: MessageScanner,
    /// What the client is answered in.
    answer: GrpcKind,
    download: Download,
}

/// What is to be done with the answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Download {
    /// Nothing: no answer yet, or one without a body.
    Pass,
    /// It is gRPC, of which trailers are to follow.
    Translate,
    /// The same; the head had the status already.
    StatusKnown,
}

impl FilterKind<Http> for Web {
    const NAME: &'static str = "grpc_web";
    type Config = WebConfig;

    fn build(_: &WebConfig, _: &FilterContext<'_>) -> Result<Box<dyn Filter<Http>>, BuildError> {
        Ok(Box::new(Self))
    }
}

impl Filter<Http> for Web {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
            .and(Interest::REQUEST_DATA)
            .and(Interest::RESPONSE)
            .and(Interest::RESPONSE_DATA)
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(asked @ (GrpcKind::Web | GrpcKind::WebText)) = kind(&request.head.fields) else {
            return Verdict::Continue;
        };
        if request.head.method != Method::Post {
            return Verdict::Continue;
        }
        let is_text = asked == GrpcKind::WebText;
        cx.hold(WebCall {
            text: is_text.then(BytesMut::new),
            messages: MessageScanner::new(ANY_MESSAGE),
            answer: wanted(&request.head.fields).unwrap_or(asked),
            download: Download::Pass,
        });
        set_kind(&mut request.head.fields, GrpcKind::Grpc);
        // The gRPC protocol document: "TE must be trailers", which tells proxies that do not pass them.
        request.head.fields.set(KnownField::Te, b"trailers");
        if is_text && !request.framing.is_empty() {
            request.framing = Framing::Chunked;
        }
        Verdict::Continue
    }

    fn on_request_data<'a>(
        &'a self,
        data: &'a mut Data,
        last: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(call) = cx.held_mut::<WebCall>() else {
            return Verdict::Continue;
        };
        match call.translate_request(data, last) {
            Ok(()) => Verdict::Continue,
            Err(error) => refuse_request(error),
        }
    }

    fn on_response<'a>(
        &'a self,
        response: &'a mut Response,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        if let Some(call) = cx.held_mut::<WebCall>() {
            call.translate_head(response);
        }
        Verdict::Continue
    }

    fn on_response_data<'a>(
        &'a self,
        data: &'a mut Data,
        last: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(call) = cx.held_mut::<WebCall>() else {
            return Verdict::Continue;
        };
        match call.translate_response(data, last) {
            Ok(()) => Verdict::Continue,
            Err(error) => refuse_response(error),
        }
    }
}

/// Lengths are for `grpc` to judge; here only what is a message and what is not.
const ANY_MESSAGE: MessageLimits = MessageLimits {
    message_bytes: u32::MAX,
    compressed: true,
};

impl WebCall {
    fn translate_request(&mut self, data: &mut Data, last: bool) -> Result<(), MessageError> {
        if let Some(text) = &mut self.text {
            text.extend_from_slice(&data.bytes);
            let decoded = TextDecoder.decode(text)?;
            data.bytes = decoded.unwrap_or_default();
            if last && !text.is_empty() {
                return Err(MessageError::TruncatedBase64);
            }
        }
        self.messages.scan(&data.bytes)?;
        if last { self.messages.finish() } else { Ok(()) }
    }

    fn translate_head(&mut self, response: &mut Response) {
        let is_grpc = kind(&response.head.fields) == Some(GrpcKind::Grpc);
        match &mut response.body {
            ResponseBody::Local(body) if is_grpc => {
                if let Some(trailers) = response.trailers.take() {
                    let mut translated = BytesMut::from(&body[..]);
                    // Trailers made here are short.
                    let _ = encode_trailers_frame(&trailers, &mut translated);
                    *body = self.written(translated.freeze());
                }
            }
            ResponseBody::Stream(_) if is_grpc => self.download = Download::Translate,
            // Said by a route, or gRPC-Web already.
            ResponseBody::Local(_) | ResponseBody::Stream(_) => return,
            ResponseBody::Upstream(_) if !is_grpc => {
                answer_for(response);
            }
            ResponseBody::Upstream(framing) if framing.is_empty() => {}
            ResponseBody::Upstream(framing) => {
                *framing = Framing::Chunked;
                self.download = match GrpcStatus::of(&response.head.fields) {
                    Some(_) => Download::StatusKnown,
                    None => Download::Translate,
                };
            }
        }
        set_kind(&mut response.head.fields, self.answer);
    }

    fn translate_response(&mut self, data: &mut Data, last: bool) -> Result<(), MessageError> {
        if self.download == Download::Pass {
            return Ok(());
        }
        if last {
            let mut trailers = data.trailers.take();
            if self.download == Download::Translate
                && trailers.as_deref().and_then(GrpcStatus::of).is_none()
            {
                let trailers = trailers.get_or_insert_default();
                GrpcStatus::Internal.write(MISSING_STATUS, trailers);
            }
            if let Some(trailers) = trailers {
                let mut bytes = BytesMut::from(&data.bytes[..]);
                encode_trailers_frame(&trailers, &mut bytes)?;
                data.bytes = bytes.freeze();
            }
        }
        data.bytes = self.written(std::mem::take(&mut data.bytes));
        Ok(())
    }

    /// Bytes as the client wants them written.
    fn written(&self, bytes: Bytes) -> Bytes {
        if self.answer == GrpcKind::WebText && !bytes.is_empty() {
            encode_text(&bytes)
        } else {
            bytes
        }
    }
}

/// What the client asks to be answered in.
fn wanted(fields: &Fields) -> Option<GrpcKind> {
    let members = fields.get(KnownField::Accept)?.split(|&byte| byte == b',');
    members
        .filter_map(|member| content_kind(member.trim_ascii()))
        .find(|kind| *kind != GrpcKind::Grpc)
}

/// Puts another kind into the content type; what says how messages are written stays.
fn set_kind(fields: &mut Fields, kind: GrpcKind) {
    let mut content_type = kind.content_type().as_bytes().to_vec();
    let old = fields.get(KnownField::ContentType).unwrap_or_default();
    content_type.extend_from_slice(subtype(old));
    fields.set(KnownField::ContentType, &content_type);
}

/// An upstream's answer that is no gRPC, as the status that a gRPC client would make of it: gRPC-Web has no other
/// words.
fn answer_for(response: &mut Response) {
    let http = response.head.status;
    let status = GrpcStatus::from_http(http);
    response.head.status = Status::OK;
    response.head.reason = Bytes::new();
    response.body = ResponseBody::Local(Bytes::new());
    response.reason = Some("grpc_web_not_grpc");
    let fields = &mut response.head.fields;
    for field in [KnownField::ContentType, KnownField::ContentEncoding] {
        fields.remove(field);
    }
    let message = format!("upstream answered with HTTP status {}", http.code());
    status.write(&message, fields);
}
