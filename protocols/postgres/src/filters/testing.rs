//! Chains from configuration, and requests without a session, for the tests of filters.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use portcullis_config::{Diagnostics, Source, load};
use portcullis_filter::log::{LogSink, LogSinks};
use portcullis_filter::{
    Connection, Context, FilterChain, FilterContext, Random, SharedStore, Stop, Timer,
};
use portcullis_limit::Seed;
use portcullis_stats::Registry;

use super::registry;
use crate::reject::ErrorReply;
use crate::request::{PostgresMessages, StatementRequest};
use crate::sql::{Options, analyse};

/// Lines that a chain's logs have written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl LogSink for Lines {
    fn write(&self, line: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(line);
    }
}

impl LogSinks for Lines {
    fn open(&self, _: &str) -> std::io::Result<Arc<dyn LogSink>> {
        Ok(Arc::new(self.clone()))
    }
}

/// The chain of a list that is right.
pub(crate) fn chain(yaml: &str) -> FilterChain<PostgresMessages> {
    chain_and_lines(yaml).0
}

pub(crate) fn chain_and_lines(yaml: &str) -> (FilterChain<PostgresMessages>, Lines) {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let list = registry().read_list(&node, "listeners.db.filters", &mut diagnostics);
    assert_eq!(diagnostics.render(false), "", "{yaml}");
    let lines = Lines::default();
    let shared = SharedStore::new();
    shared.provide::<Arc<dyn LogSinks>>(Arc::new(lines.clone()));
    let chain = list.build(&FilterContext {
        stats: &Registry::new(1).shard(0),
        shared: &shared,
        seed: &Seed::fixed(1),
        random: &Rc::new(Random::new(1)),
        now: now(),
        path: "listeners.db.filters",
    });
    (chain.unwrap(), lines)
}

/// What is said of a list that is wrong.
pub(crate) fn problems(yaml: &str) -> String {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    registry().read_list(&node, "listeners.db.filters", &mut diagnostics);
    diagnostics.render(false)
}

#[allow(clippy::disallowed_methods)] // any instant will do
fn now() -> Instant {
    Instant::now()
}

/// The context of a client with this address.
pub(crate) fn context(client: &str) -> Context {
    let connection = Connection {
        listener: "db".into(),
        peer: None,
        local: None,
        client: Some(format!("{client}:4321").parse().unwrap()),
        secure: false,
        tls: None,
        accepted_at: now(),
        id: 42,
    };
    Context::new(Rc::new(connection), now())
}

/// A text of user ann in the database shop.
pub(crate) fn request(sql: &str) -> StatementRequest {
    let mut request = StatementRequest::new(&"ann".into(), &"shop".into(), &"test".into());
    request.set_text(sql.as_bytes(), |sql, analysis| {
        analyse(sql, &Options::default(), analysis);
    });
    request
}

/// Whether a request passes, else the reason and the SQLSTATE.
pub(crate) fn passes(
    chain: &FilterChain<PostgresMessages>,
    request: &mut StatementRequest,
    cx: &mut Context,
) -> Result<(), String> {
    let asked = pin!(chain.on_request(request, cx, &NoTimer));
    let Poll::Ready(answer) = asked.poll(&mut TaskContext::from_waker(Waker::noop())) else {
        panic!("a filter waits");
    };
    answer.map_err(|stop| match stop {
        Stop::Close(reason) => reason.to_owned(),
        stop => {
            let reply = ErrorReply::of(stop).unwrap();
            format!("{} {}", reply.reason, reply.sqlstate.as_str())
        }
    })
}

struct NoTimer;

impl Timer for NoTimer {
    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        panic!("a filter holds a request");
    }
}
