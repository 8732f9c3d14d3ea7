//! Counters of calls by service and method, under names that a configuration has spelled out.
//!
//! What a peer calls its methods is never a label: a name is one that a descriptor set or the matching route knows,
//! or it is `other`. Series are made when their method is first called, so that a large descriptor set costs
//! nothing. Start at [`CallStats::of`].

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use portcullis_http::Request;
use portcullis_http::grpc::{Named, split_path};
use portcullis_stats::{Counter, Histogram, Shard, Unit};

use crate::GrpcStatus;
use crate::descriptor::MethodName;

/// The counters of all calls that one filter sees.
pub(super) struct CallStats {
    shard: Shard,
    /// Paths of methods, and `/service/` for services, that the descriptor set names.
    known: HashSet<Box<[u8]>>,
    /// By path, or by `/service/` where only the service is known. Bounded by what is known and what routes name.
    methods: RefCell<HashMap<Box<[u8]>, Rc<MethodStats>>>,
    other: Rc<MethodStats>,
}

/// The counters of one method.
pub(super) struct MethodStats {
    shard: Shard,
    pub(super) request_messages: Counter,
    pub(super) response_messages: Counter,
    seconds: Histogram,
    by_status: [OnceCell<Counter>; GrpcStatus::ALL.len()],
}

impl CallStats {
    pub(super) fn new(shard: &Shard, names: &[MethodName]) -> Self {
        let paths = names.iter().flat_map(|name| {
            let service = format!("/{}/", name.service);
            [format!("{service}{}", name.method), service]
        });
        Self {
            shard: shard.clone(),
            known: paths.map(|path| path.into_bytes().into()).collect(),
            methods: RefCell::default(),
            other: Rc::new(MethodStats::new(shard, OTHER, OTHER)),
        }
    }

    /// The counters that a request counts in.
    pub(super) fn of(&self, request: &Request) -> Rc<MethodStats> {
        let path = request.head.target.path();
        let Some((service, method)) = split_path(path) else {
            return Rc::clone(&self.other);
        };
        let prefix = path.get(..service.len() + 2).unwrap_or_default();
        if self.known.contains(path) || request.grpc_named == Named::Method {
            self.named(path, service, method)
        } else if self.known.contains(prefix) || request.grpc_named == Named::Service {
            self.named(prefix, service, OTHER.as_bytes())
        } else {
            Rc::clone(&self.other)
        }
    }

    fn named(&self, key: &[u8], service: &[u8], method: &[u8]) -> Rc<MethodStats> {
        if let Some(stats) = self.methods.borrow().get(key) {
            return Rc::clone(stats);
        }
        // Both stand in the configuration, where names are ASCII.
        let service = String::from_utf8_lossy(service);
        let method = String::from_utf8_lossy(method);
        let stats = Rc::new(MethodStats::new(&self.shard, &service, &method));
        self.methods
            .borrow_mut()
            .insert(key.into(), Rc::clone(&stats));
        stats
    }
}

/// The label of what no configuration names.
const OTHER: &str = "other";

impl MethodStats {
    fn new(shard: &Shard, service: &str, method: &str) -> Self {
        let shard = shard.scoped(&[("service", service), ("method", method)]);
        let messages = |direction| {
            shard.counter(
                "portcullis_grpc_messages_total",
                "Messages of gRPC calls, by direction.",
                &[("direction", direction)],
            )
        };
        Self {
            request_messages: messages("request"),
            response_messages: messages("response"),
            seconds: shard.histogram(
                "portcullis_grpc_call_seconds",
                "Time from a call's head to its end.",
                Unit::Microseconds,
                &[],
            ),
            by_status: [const { OnceCell::new() }; GrpcStatus::ALL.len()],
            shard,
        }
    }

    /// A call is over.
    pub(super) fn on_complete(&self, status: GrpcStatus, duration: Duration) {
        let micros = duration.as_micros();
        self.seconds.record(micros.try_into().unwrap_or(u64::MAX));
        if let Some(counter) = self.by_status.get(usize::from(status.code())) {
            let make = || {
                self.shard.counter(
                    "portcullis_grpc_calls_total",
                    "gRPC calls by how they ended.",
                    &[("status", status.as_str())],
                )
            };
            counter.get_or_init(make).inc();
        }
    }
}
