//! An exchange played by hand: head, body and answer through a chain, and what is left of them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis_config::{Diagnostics, Source};
use portcullis_filter::{
    Connection, Context, FilterChain, FilterContext, Random, SharedStore, Stop, Timer,
};
use portcullis_http::filters::http_filters;
use portcullis_http::grpc::Named;
use portcullis_http::local_reply::{LocalReplyConfig, complete};
use portcullis_http::message::Data;
use portcullis_http::{
    Fields, Framing, Http, Method, Record, Request, RequestHead, Response, ResponseBody,
    ResponseHead, Status, Target, Version,
};
use portcullis_limit::Seed;
use portcullis_stats::{Registry, Snapshot};

use crate::filters::{Readiness, grpc_filters};

/// What was wrong with a list of filters.
pub(super) fn mistakes(filters: &str) -> Vec<String> {
    let source = Source::new("test.yaml", filters);
    let mut diagnostics = Diagnostics::new(&source);
    let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
    grpc_filters(http_filters()).read_list(&node, "filters", &mut diagnostics);
    let messages = diagnostics.sorted();
    messages
        .iter()
        .map(|message| message.message().clone())
        .collect()
}

/// A chain, and the one exchange that passes it.
pub(super) struct Play {
    chain: FilterChain<Http>,
    cx: Context,
    pub(super) request: Request,
    registry: Registry,
}

struct Switch(bool);

impl Readiness for Switch {
    fn is_ready(&self) -> bool {
        self.0
    }

    fn is_draining(&self) -> bool {
        !self.0
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::pending())
    }
}

impl Play {
    /// The filters as a YAML list, and a request.
    pub(super) fn new(filters: &str, path: &str, fields: &[(&str, &str)]) -> Self {
        Self::with_readiness(filters, path, fields, true)
    }

    pub(super) fn with_readiness(
        filters: &str,
        path: &str,
        fields: &[(&str, &str)],
        ready: bool,
    ) -> Self {
        let source = Source::new("test.yaml", filters);
        let mut diagnostics = Diagnostics::new(&source);
        let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
        let list = grpc_filters(http_filters()).read_list(&node, "filters", &mut diagnostics);
        assert_eq!(diagnostics.sorted().len(), 0, "{filters}");
        let registry = Registry::new(1);
        let shared = SharedStore::new();
        shared.provide::<Arc<dyn Readiness>>(Arc::new(Switch(ready)));
        let chain = list.build(&FilterContext {
            stats: &registry.shard(0),
            shared: &shared,
            seed: &Seed::fixed(1),
            random: &Rc::new(Random::new(1)),
            now: now(),
            path: "filters",
        });
        Self {
            chain: chain.unwrap(),
            cx: context(),
            request: request(path, fields),
            registry,
        }
    }

    pub(super) fn named(mut self, named: Named) -> Self {
        self.request.grpc_named = named;
        self
    }

    /// The head upwards. `Err`: how it is answered instead.
    pub(super) fn ask(&mut self) -> Result<(), Said> {
        let asked = self
            .chain
            .on_request(&mut self.request, &mut self.cx, &NoTimer);
        let stopped = at_once(asked).err();
        stopped.map_or(Ok(()), |stop| Err(self.stopped(stop)))
    }

    /// A piece of the body upwards; what goes on.
    pub(super) fn send(&mut self, bytes: &[u8], last: bool) -> Result<Vec<u8>, Said> {
        let mut data = Data {
            bytes: Bytes::copy_from_slice(bytes),
            trailers: None,
        };
        let asked = self
            .chain
            .on_request_data(&mut data, last, &mut self.cx, &NoTimer);
        match at_once(asked) {
            Ok(()) => Ok(data.bytes.to_vec()),
            Err(stop) => Err(self.stopped(stop)),
        }
    }

    /// An upstream's head downwards; the head and framing that go on.
    pub(super) fn answer(
        &mut self,
        status: u16,
        fields: &[(&str, &str)],
        framing: Framing,
    ) -> Said {
        let mut response = Response {
            head: ResponseHead::new(Status::from_code(status).unwrap()),
            body: ResponseBody::Upstream(framing),
            trailers: None,
            reason: None,
        };
        for (name, value) in fields {
            response.head.fields.append(*name, value.as_bytes());
        }
        self.pass(&mut response);
        Said::of(&response)
    }

    /// A piece of the answer downwards; what goes on.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        end: Option<&[(&str, &str)]>,
    ) -> Result<(Vec<u8>, Option<String>), Said> {
        let trailers = end.filter(|fields| !fields.is_empty()).map(|fields| {
            let mut trailers = Fields::new();
            for (name, value) in fields {
                trailers.append(*name, value.as_bytes());
            }
            Box::new(trailers)
        });
        let mut data = Data {
            bytes: Bytes::copy_from_slice(bytes),
            trailers,
        };
        let asked = self
            .chain
            .on_response_data(&mut data, end.is_some(), &mut self.cx, &NoTimer);
        match at_once(asked) {
            Ok(()) => Ok((
                data.bytes.to_vec(),
                data.trailers.map(|fields| text(&fields)),
            )),
            Err(stop) => Err(self.stopped(stop)),
        }
    }

    /// The end of the exchange, with what the gateway said of it.
    pub(super) fn complete(&mut self, said: &Said, reason: Option<&'static str>) -> Snapshot {
        let mut record = Record::new(self.request.clone(), now());
        record.duration = Duration::from_millis(5);
        record.status = Status::from_code(said.status);
        for (name, value) in &said.fields {
            record
                .response_fields
                .append(name.as_str(), value.as_bytes());
        }
        record.reason = reason;
        self.chain.on_complete(&record, &self.cx);
        self.registry.snapshot()
    }

    fn pass(&mut self, response: &mut Response) {
        at_once(self.chain.on_response(response, &mut self.cx, &NoTimer)).unwrap();
    }

    /// As the exchange answers a refusal: in words, through the chain.
    fn stopped(&mut self, stop: Stop<Http>) -> Said {
        let Stop::Reply(mut response) = stop else {
            panic!("{stop:?}");
        };
        complete(&mut response, &self.request, &LocalReplyConfig::default());
        self.pass(&mut response);
        Said::of(&response)
    }
}

/// A response in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    /// Made here, with this body and these trailers.
    pub(super) body: Option<(Vec<u8>, Option<String>)>,
    pub(super) framing: Option<Framing>,
    pub(super) reason: Option<&'static str>,
}

impl Said {
    fn of(response: &Response) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (body, framing) = match &response.body {
            ResponseBody::Local(body) => {
                let trailers = response.trailers.as_deref().map(self::text);
                (Some((body.to_vec(), trailers)), None)
            }
            ResponseBody::Upstream(framing) => (None, Some(*framing)),
            ResponseBody::Stream(_) => (None, None),
        };
        Self {
            status: response.head.status.code(),
            fields: response
                .head
                .fields
                .iter()
                .map(|field| (text(field.name), text(field.value)))
                .collect(),
            body,
            framing,
            reason: response.reason,
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// `content-type | grpc-status | grpc-message`.
    pub(super) fn call(&self) -> String {
        ["content-type", "grpc-status", "grpc-message"]
            .map(|name| self.field(name).unwrap_or("-"))
            .join(" | ")
    }
}

fn text(fields: &Fields) -> String {
    let field =
        |name: &[u8], value: &[u8]| format!("{}: {}", name.escape_ascii(), value.escape_ascii());
    fields
        .iter()
        .map(|found| field(found.name, found.value))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes::BytesMut::new();
    crate::encoder::encode_message_frame(bytes, &mut frame).unwrap();
    frame.to_vec()
}

fn request(path: &str, fields: &[(&str, &str)]) -> Request {
    let mut list = Fields::new();
    for (name, value) in fields {
        list.append(*name, value.as_bytes());
    }
    let head = RequestHead {
        method: Method::Post,
        target: Target::origin(Bytes::copy_from_slice(path.as_bytes())),
        version: Version::Http2,
        fields: list,
    };
    Request::new(head, Framing::Length(100), false)
}

fn context() -> Context {
    let client: SocketAddr = "10.0.0.1:4000".parse().unwrap();
    let connection = Connection {
        listener: "web".into(),
        peer: Some(client),
        local: None,
        client: Some(client),
        secure: false,
        tls: None,
        accepted_at: now(),
        id: 1,
    };
    Context::new(Rc::new(connection), now())
}

/// An arbitrary origin.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

struct NoTimer;

impl Timer for NoTimer {
    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        unreachable!("these filters do not delay")
    }
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut task = task::Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut task) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}
