//! `grpc`: watches calls. Messages are held to a length and to their framing, every call ends with a status, and
//! calls are counted by service and method.
//!
//! Nothing is collected or changed: messages are judged by their prefixes as they pass. Requests that are no calls
//! are not its business. Start at [`CallsConfig`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::rc::Rc;

use portcullis_config::{BuildError, ByteSize, Diagnostics, Located, Node};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use portcullis_http::grpc::{GrpcKind, kind};
use portcullis_http::message::Data;
use portcullis_http::{Http, Record, Request, Response, ResponseBody, Status};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::stats::{CallStats, MethodStats};
use super::{is_call, is_compressed, refuse_request, refuse_response};
use crate::descriptor::{MethodName, method_names};
use crate::{GrpcStatus, MessageError, MessageLimits, MessageScanner};

/// Settings of `grpc`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallsConfig {
    /// The longest message, as sent, in either direction; a longer one ends its call with RESOURCE_EXHAUSTED. Default 4MiB:
    /// what gRPC's own libraries accept where nothing else is said.
    pub max_message: Located<ByteSize>,
    /// A file that `protoc --descriptor_set_out` wrote: the methods that it names have counters of their own, as those do
    /// that routes spell out (`grpc: shop.Cart/Add`). All others count as `other`. A reload reads it again.
    pub descriptor_set: Option<Located<PathBuf>>,
}

impl Default for CallsConfig {
    fn default() -> Self {
        Self {
            max_message: ByteSize::mib(4).into(),
            descriptor_set: None,
        }
    }
}

impl CallsConfig {
    /// The names in the descriptor set; none without one.
    fn read_names(&self) -> Result<Vec<MethodName>, String> {
        let Some(path) = &self.descriptor_set else {
            return Ok(Vec::new());
        };
        let path = &path.value;
        let set = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        method_names(&set).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The filter.
pub struct Calls {
    max_message: u32,
    stats: CallStats,
    missing_status: Counter,
}

/// One call under way.
struct Call {
    /// The filter that watches it: the first of its kind in the chain. Only compared.
    owner: *const Calls,
    stats: Rc<MethodStats>,
    /// The longest message.
    max_message: u32,
    request: MessageScanner,
    /// `None` where the answer is no gRPC, or was refused.
    response: Option<MessageScanner>,
    status: Option<GrpcStatus>,
}

impl FilterKind<Http> for Calls {
    const NAME: &'static str = "grpc";
    type Config = CallsConfig;

    fn check(config: &CallsConfig, _: &Node, diagnostics: &mut Diagnostics) {
        if u32::try_from(config.max_message.value.get()).is_err() {
            diagnostics
                .error(config.max_message.span, "no gRPC message is that long")
                .expected("less than 4GiB");
        }
        if let (Err(reason), Some(path)) = (config.read_names(), &config.descriptor_set) {
            diagnostics
                .error(path.span, reason)
                .expected("a file that `protoc --descriptor_set_out` wrote");
        }
    }

    /// Of the descriptor set. A file that cannot be read was refused by the check.
    fn fingerprint(config: &CallsConfig) -> u64 {
        let path = config.descriptor_set.as_ref();
        let contents = path.and_then(|path| std::fs::read(&path.value).ok());
        let mut hasher = DefaultHasher::new();
        contents.hash(&mut hasher);
        hasher.finish()
    }

    fn build(
        config: &CallsConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        let names = config.read_names().map_err(|reason| cx.error(reason))?;
        Ok(Box::new(Self {
            max_message: u32::try_from(config.max_message.value.get()).unwrap_or(u32::MAX),
            stats: CallStats::new(cx.stats, &names),
            missing_status: cx.stats.counter(
                "portcullis_grpc_missing_status_total",
                "Calls that an upstream ended without grpc-status.",
                &[("filter", cx.path)],
            ),
        }))
    }
}

impl Filter<Http> for Calls {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
            .and(Interest::REQUEST_DATA)
            .and(Interest::RESPONSE)
            .and(Interest::RESPONSE_DATA)
            .and(Interest::COMPLETE)
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        if !is_call(request) {
            return Verdict::Continue;
        }
        let compressed = is_compressed(&request.head.fields);
        if let Some(call) = cx.held_mut::<Call>() {
            // The listener and the route list it: the listener's counts, and the smaller limit holds.
            call.max_message = call.max_message.min(self.max_message);
            call.request = scanner(call.max_message, compressed);
            return Verdict::Continue;
        }
        cx.hold(Call {
            owner: self,
            stats: self.stats.of(request),
            max_message: self.max_message,
            request: scanner(self.max_message, compressed),
            response: None,
            status: None,
        });
        Verdict::Continue
    }

    fn on_request_data<'a>(
        &'a self,
        data: &'a mut Data,
        last: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(call) = self.call(cx) else {
            return Verdict::Continue;
        };
        let scanned = call.request.scan(&data.bytes).and_then(|began| {
            call.stats.request_messages.add(u64::from(began));
            if last { call.request.finish() } else { Ok(()) }
        });
        match scanned {
            Ok(()) => Verdict::Continue,
            Err(error) => {
                call.refused(error);
                refuse_request(error)
            }
        }
    }

    fn on_response<'a>(
        &'a self,
        response: &'a mut Response,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(call) = self.call(cx) else {
            return Verdict::Continue;
        };
        let fields = &response.head.fields;
        let is_grpc = response.head.status == Status::OK && kind(fields) == Some(GrpcKind::Grpc);
        call.status = call.status.or_else(|| {
            let trailers = response.trailers.as_deref();
            GrpcStatus::of(fields).or_else(|| trailers.and_then(GrpcStatus::of))
        });
        call.response = (is_grpc && !matches!(response.body, ResponseBody::Local(_)))
            .then(|| scanner(call.max_message, is_compressed(fields)));
        Verdict::Continue
    }

    fn on_response_data<'a>(
        &'a self,
        data: &'a mut Data,
        last: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let Some(call) = self.call(cx) else {
            return Verdict::Continue;
        };
        let Some(response) = &mut call.response else {
            return Verdict::Continue;
        };
        let mut judged = match response.scan(&data.bytes) {
            Ok(began) => {
                call.stats.response_messages.add(u64::from(began));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if last && judged.is_ok() {
            let status = data.trailers.as_deref().and_then(GrpcStatus::of);
            // A call that failed may have failed in the middle of a message.
            if matches!(status.or(call.status), None | Some(GrpcStatus::Ok)) {
                judged = response.finish();
            }
            call.status = status.or(call.status);
        }
        if let Err(error) = judged {
            call.refused(error);
            return refuse_response(error);
        }
        if last && call.status.is_none() {
            self.missing_status.inc();
            call.status = Some(GrpcStatus::Internal);
            let trailers = data.trailers.get_or_insert_default();
            GrpcStatus::Internal.write(MISSING_STATUS, trailers);
        }
        Verdict::Continue
    }

    fn on_complete(&self, record: &Record, cx: &Context) {
        let Some(call) = cx.held::<Call>().filter(|call| call.is_of(self)) else {
            return;
        };
        let status = call
            .status
            .or_else(|| GrpcStatus::of(&record.response_fields))
            .unwrap_or_else(|| outcome(record));
        call.stats.on_complete(status, record.duration);
    }
}

impl Calls {
    fn call<'a>(&self, cx: &'a mut Context) -> Option<&'a mut Call> {
        cx.held_mut::<Call>().filter(|call| call.is_of(self))
    }
}

/// What the caller is told where an upstream did not say how a call ended.
pub(super) const MISSING_STATUS: &str = "upstream ended without grpc-status";

const fn scanner(message_bytes: u32, compressed: bool) -> MessageScanner {
    MessageScanner::new(MessageLimits {
        message_bytes,
        compressed,
    })
}

impl Call {
    fn is_of(&self, filter: &Calls) -> bool {
        std::ptr::eq(self.owner, filter)
    }

    fn refused(&mut self, error: MessageError) {
        self.response = None;
        self.status = Some(error.status());
    }
}

/// How a call ended that has no status: its client sees none either, or makes one of what it sees.
fn outcome(record: &Record) -> GrpcStatus {
    match (record.reason, record.status) {
        (Some(reason), _) if reason.starts_with("downstream") => GrpcStatus::Cancelled,
        (Some("request_timeout"), _) => GrpcStatus::DeadlineExceeded,
        (_, Some(status)) if status != Status::OK => GrpcStatus::from_http(status),
        (Some(_), _) => GrpcStatus::Unavailable,
        (None, _) => GrpcStatus::Unknown,
    }
}
