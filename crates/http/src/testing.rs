//! What the tests of this crate share: requests, contexts, configurations and clusters without a process.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portcullis_cluster::{Cluster, ClusterShared, Endpoint, ResolvedAddress, ResolvedEndpoint};
use portcullis_config::{BuildError, Diagnostics, Node, Source};
use portcullis_filter::log::{LogSink, LogSinks};
use portcullis_filter::{
    Connection, Context, FilterChain, FilterContext, Random, ReadContext, SharedStore, Stop, Timer,
};
use portcullis_limit::Seed;
use portcullis_stats::{Registry, Snapshot};

use crate::config::HttpConfig;
use crate::framing::Framing;
use crate::head::{Method, RequestHead, Target, Version};
use crate::message::{Http, Request, Response};
use crate::normalize::{self, NormalizeConfig};
use crate::route::{BuildRoutes, Routes};
use crate::service::{Clock, Environment, FindCluster, HttpService};
use crate::stream::{BoxedUpstream, Connecting, UpstreamPool};

/// An arbitrary origin; tests move time themselves.
#[allow(clippy::disallowed_methods)]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A settled HTTP/1.1 request for `host` and a path.
pub(crate) fn request(method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> Request {
    let mut list = crate::Fields::new();
    list.append("host", host.as_bytes());
    for (name, value) in fields {
        list.append(*name, value.as_bytes());
    }
    let head = RequestHead {
        method: Method::known(method.as_bytes())
            .unwrap_or_else(|| Method::Other(Bytes::copy_from_slice(method.as_bytes()))),
        target: match method {
            "CONNECT" => Target {
                form: crate::TargetForm::Authority,
                scheme: None,
                authority: Some(Bytes::copy_from_slice(host.as_bytes())),
                path_and_query: Bytes::new(),
            },
            _ => Target::origin(Bytes::copy_from_slice(path.as_bytes())),
        },
        version: Version::Http11,
        fields: list,
    };
    let mut request = Request::new(head, Framing::None, false);
    normalize::settle(&mut request, &NormalizeConfig::default()).unwrap();
    request
}

/// The context of a request from this address.
pub(crate) fn context(client: &str) -> Context {
    let client = SocketAddr::new(client.parse().unwrap(), 4000);
    let connection = Connection {
        listener: "web".into(),
        peer: Some(client),
        local: Some("127.0.0.1:8080".parse().unwrap()),
        client: Some(client),
        secure: false,
        tls: None,
        accepted_at: start(),
        id: 7,
    };
    Context::new(Rc::new(connection), start())
}

/// The context of a request from a Unix socket.
pub(crate) fn unix_context() -> Context {
    let connection = Connection {
        peer: None,
        local: None,
        client: None,
        ..(*context("192.0.2.7").connection).clone()
    };
    Context::new(Rc::new(connection), start())
}

/// The configuration of a listener, with clusters `a` and `b`, and what was wrong with it.
pub(crate) fn read(yaml: &str) -> (Option<HttpConfig>, Vec<String>) {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node: Node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
    let clusters = ["a".to_owned(), "b".to_owned()];
    let config = HttpConfig::read(
        &node,
        &mut ReadContext {
            diagnostics: &mut diagnostics,
            clusters: &clusters,
            path: "listeners.web",
        },
    );
    let messages = diagnostics
        .sorted()
        .iter()
        .map(|diagnostic| {
            let line = diagnostic.span().map_or(0, |span| span.line);
            format!("{line}: {}", diagnostic.message())
        })
        .collect();
    (config, messages)
}

/// What filters are built with, and where clusters are found: all of them are there.
fn with_filters<T>(
    registry: &Registry,
    logs: &Arc<MemoryLogs>,
    now: Instant,
    build: impl FnOnce(&FilterContext<'_>, &FindCluster<'_>) -> T,
) -> T {
    let shared = SharedStore::new();
    shared.provide(Arc::clone(logs) as Arc<dyn LogSinks>);
    let filters = FilterContext {
        stats: &registry.shard(0),
        shared: &shared,
        seed: &Seed::fixed(1),
        random: &Rc::new(Random::new(1)),
        now,
        path: "listeners.web",
    };
    let find = |name: &str| -> Result<(Rc<Cluster>, Rc<dyn UpstreamPool>), BuildError> {
        Ok((cluster(name, now), Rc::new(NoPool)))
    };
    build(&filters, &find)
}

/// The routes of a configuration that has no mistakes.
pub(crate) struct Built {
    pub(crate) routes: Routes,
    pub(crate) logs: Arc<MemoryLogs>,
    pub(crate) now: Instant,
    config: Arc<HttpConfig>,
    registry: Registry,
}

impl Built {
    pub(crate) fn new(yaml: &str) -> Self {
        let (config, mistakes) = read(yaml);
        assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
        let config = Arc::new(config.unwrap());
        let registry = Registry::new(1);
        let logs = Arc::new(MemoryLogs::default());
        let now = start();
        let routes = with_filters(&registry, &logs, now, |filters, clusters| {
            Routes::build(&config, &BuildRoutes { filters, clusters }).unwrap()
        });
        Self {
            routes,
            logs,
            now,
            config,
            registry,
        }
    }

    /// The service of the same configuration.
    pub(crate) fn service(&self) -> HttpService {
        with_filters(&self.registry, &self.logs, self.now, |filters, clusters| {
            let environment = Environment {
                clock: Rc::new(StoppedClock(self.now)),
                timer: Rc::new(NoTimer::default()),
                random: Rc::clone(filters.random),
            };
            HttpService::new(Arc::clone(&self.config), environment, filters, clusters).unwrap()
        })
    }

    /// The lines of all access logs.
    pub(crate) fn lines(&self) -> String {
        String::from_utf8(self.logs.lines.lock().unwrap().clone()).unwrap()
    }

    /// The name of the route that takes a request.
    pub(crate) fn route_of(&self, request: &Request) -> Option<String> {
        self.routes
            .find(request)
            .map(|route| route.name.to_string())
    }

    /// The chain of the first route.
    pub(crate) fn chain(&self) -> &FilterChain<Http> {
        &self.routes.iter().next().unwrap().chain
    }

    /// Passes a request through the chain of the first route. The answer is the status of a refusal.
    #[allow(clippy::result_large_err)] // tests look at what a filter says
    pub(crate) fn ask(&self, request: &mut Request, cx: &mut Context) -> Result<(), Stop<Http>> {
        now(self.chain().on_request(request, cx, &NoTimer::default()))
    }

    /// Passes a response back through the chain of the first route.
    pub(crate) fn answer(&self, response: &mut Response, cx: &mut Context) {
        now(self.chain().on_response(response, cx, &NoTimer::default())).unwrap();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.registry.snapshot()
    }
}

fn cluster(name: &str, now: Instant) -> Rc<Cluster> {
    let source = Source::new("cluster.yaml", "endpoints: [\"10.0.0.1:80\"]");
    let mut diagnostics = Diagnostics::new(&source);
    let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
    let endpoint = ResolvedEndpoint {
        name: "10.0.0.1:80".into(),
        address: ResolvedAddress::Socket("10.0.0.1:80".parse().unwrap()),
        weight: 1,
        role: None,
    };
    let config = Arc::new(node.read(&mut diagnostics).unwrap());
    let shared = ClusterShared::new(name, config, [endpoint], now);
    Rc::new(Cluster::new(shared, &Registry::new(1).shard(0), now))
}

/// A pool that has nothing.
struct NoPool;

impl UpstreamPool for NoPool {
    fn take(&self, _: &Endpoint, _: bool, _: Instant) -> Option<BoxedUpstream> {
        None
    }

    fn connect<'a>(&'a self, _: &'a Endpoint, _: &'a Connection) -> Connecting<'a> {
        unreachable!("tests of routes connect nowhere")
    }
}

/// It is always then.
struct StoppedClock(Instant);

impl Clock for StoppedClock {
    fn now(&self) -> Instant {
        self.0
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn date(&self) -> [u8; 29] {
        *b"Thu, 01 Jan 1970 00:00:00 GMT"
    }
}

/// Notes when it was asked for, and is over at once.
#[derive(Default)]
pub(crate) struct NoTimer(pub(crate) RefCell<Vec<Instant>>);

impl Timer for NoTimer {
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        self.0.borrow_mut().push(at);
        Box::pin(std::future::ready(()))
    }
}

/// The answer of a future that waits for nothing.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut task::Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// Access logs in memory.
#[derive(Default)]
pub(crate) struct MemoryLogs {
    pub(crate) lines: Arc<Mutex<Vec<u8>>>,
}

struct MemorySink(Arc<Mutex<Vec<u8>>>);

impl LogSink for MemorySink {
    fn write(&self, line: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(line);
    }
}

impl LogSinks for MemoryLogs {
    fn open(&self, _: &str) -> std::io::Result<Arc<dyn LogSink>> {
        Ok(Arc::new(MemorySink(Arc::clone(&self.lines))))
    }
}

/// So many milliseconds.
pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
