//! `protocol: http`: where the versions of HTTP are joined under one name.
//!
//! What a request means is `portcullis-http`'s, each wire format its own crate's; here a connection finds its version,
//! and a listener's block is taken apart. Start at [`Http`].

mod version;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use portcullis_cluster::Cluster;
use portcullis_config::schema::inlined;
use portcullis_config::{BuildError, Diagnostics, Located, Node};
use portcullis_filter::FilterRegistry;
use portcullis_grpc::filters::grpc_filters;
use portcullis_http::config::HttpConfig;
use portcullis_http::filters::http_filters;
use portcullis_http::service::{Clock, Environment, HttpService, ServiceHandle};
use portcullis_http::stream::UpstreamPool;
use portcullis_http2::Http2Config;
use portcullis_http2::session::Http2Stats;
use portcullis_net::{Datagrams, Downstream, SessionTimer, Sniff, Timer, clock};
use portcullis_proxy::{ListenerContext, Protocol, ReadContext, Server, Transport};
use portcullis_stats::{Counter, Shard};
use serde_json::Value;

use crate::http3::{self, Http3Config};
use crate::upstreams;
use version::Version;

/// The protocol `http`.
pub(crate) struct Http;

/// The configuration of a listener, by who reads it.
#[derive(Debug, PartialEq)]
pub(crate) struct ListenerConfig {
    http: Arc<HttpConfig>,
    http2: Arc<Http2Config>,
    http3: Option<Http3Config>,
}

impl Protocol for Http {
    const NAME: &'static str = "http";
    const ALPN: &'static [&'static str] = &["h2", "http/1.1"];
    type Config = ListenerConfig;
    type Server = HttpServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<ListenerConfig> {
        let (own, rest) = raw.split(&[HTTP2, HTTP3]);
        let http2 = read_http2(own.get(HTTP2), cx.diagnostics);
        let http3 = Http3Config::read(own.get(HTTP3), cx.diagnostics);
        let http = HttpConfig::read_with(&filters(), &rest, cx);
        Some(ListenerConfig {
            http: Arc::new(http?),
            http2: Arc::new(http2?),
            http3: http3?,
        })
    }

    fn schema() -> Value {
        let mut schema = HttpConfig::schema_with(&filters());
        let http2 = inlined::<Http2Config>();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(HTTP2.to_owned(), http2);
            properties.insert(HTTP3.to_owned(), Http3Config::schema());
        }
        schema
    }

    fn transport(config: &ListenerConfig) -> Transport {
        match config.http3 {
            Some(_) => Transport::Both,
            None => Transport::Connections,
        }
    }

    fn sniff(prefix: &[u8]) -> Sniff {
        match (
            portcullis_http1::session::sniff(prefix),
            portcullis_http2::sniff(prefix),
        ) {
            (Sniff::Yes, _) | (_, Some(true)) => Sniff::Yes,
            (Sniff::No, Some(false)) => Sniff::No,
            _ => Sniff::NeedMore,
        }
    }

    fn build(config: &ListenerConfig, cx: &ListenerContext) -> Result<HttpServer, BuildError> {
        let mut service = build_service(&config.http, cx)?;
        if let Some(http3) = &config.http3 {
            service.alternative = http3::alternative(http3);
        }
        let service = ServiceHandle::new(service);
        let connections = Connections::new(&cx.stats);
        Ok(HttpServer {
            listener: Arc::clone(&cx.listener),
            http2: Rc::new(portcullis_http2::session::Session {
                service: service.share(),
                drain: cx.drain.clone(),
                config: Arc::clone(&config.http2),
                stats: Http2Stats::new(&cx.stats),
            }),
            http3: config.http3.as_ref().map(|config| {
                let connections = connections.http3.clone();
                http3::Side::new(config, service.share(), connections, cx)
            }),
            http1: Rc::new(portcullis_http1::session::Session {
                service,
                drain: cx.drain.clone(),
            }),
            connections,
        })
    }
}

/// The key of the block that is HTTP/2's own.
const HTTP2: &str = "http2";

/// The key that switches HTTP/3 on.
const HTTP3: &str = "http3";

fn read_http2(node: Option<&Node>, diagnostics: &mut Diagnostics) -> Option<Http2Config> {
    let Some(node) = node else {
        return Some(Http2Config::default());
    };
    let config: Located<Http2Config> = node.read(diagnostics)?;
    Http2Config::check(&config, diagnostics);
    Some(config.into_inner())
}

fn build_service(
    config: &Arc<HttpConfig>,
    cx: &ListenerContext,
) -> Result<HttpService, BuildError> {
    let environment = Environment {
        clock: Rc::new(WorkerClock),
        timer: Rc::new(SessionTimer),
        random: Rc::clone(&cx.worker.random),
    };
    let path = cx.path();
    let find = |name: &str| -> Result<(Rc<Cluster>, Rc<dyn UpstreamPool>), BuildError> {
        let cluster = cx.cluster(name)?;
        let pool = upstreams::pool_of(&cluster, &cx.worker.stats);
        Ok((cluster, pool))
    };
    HttpService::new(Arc::clone(config), environment, &cx.filters(&path), &find)
}

/// What a listener or route may list: the filters of HTTP, and those of what is spoken over it.
fn filters() -> FilterRegistry<portcullis_http::Http> {
    grpc_filters(http_filters())
}

/// HTTP, configured for one listener on one worker.
pub(crate) struct HttpServer {
    listener: Arc<str>,
    http1: Rc<portcullis_http1::session::Session>,
    http2: Rc<portcullis_http2::session::Session>,
    http3: Option<http3::Side>,
    connections: Connections,
}

impl Server for HttpServer {
    /// The search for the version and each version's session have boxes of their own, so that a connection that waits
    /// takes no more memory than its own version needs.
    fn serve(self: Rc<Self>, downstream: Downstream) -> impl Future<Output = ()> + 'static {
        let beginning = Box::pin(self.begin(downstream));
        async move {
            let Some(session) = beginning.await else {
                return;
            };
            session.await;
        }
    }

    fn serve_datagrams(self: Rc<Self>, datagrams: Datagrams) -> impl Future<Output = ()> + 'static {
        let side = self.http3.clone();
        async move {
            if let Some(side) = side {
                side.serve_datagrams(datagrams).await;
            }
        }
    }

    /// Connections that stay open see the new routes and filters at their next request.
    fn on_replaced(&self, successor: &Rc<Self>) {
        self.http1.service.replace(&successor.http1.service);
        self.http2.service.replace(&successor.http2.service);
        if let (Some(now), Some(next)) = (&self.http3, &successor.http3) {
            now.replace(next);
        }
    }
}

impl HttpServer {
    /// The session of the version that the connection speaks; `None` if it ended before it asked for anything.
    async fn begin(self: Rc<Self>, mut downstream: Downstream) -> Option<LocalSession> {
        let facts = Rc::new(downstream.facts(&self.listener));
        let mut timer = Timer::new();
        Some(
            match version::choose(&mut downstream, &self.http1, &mut timer).await? {
                Version::Http1 => {
                    self.connections.http1.inc();
                    let session = Rc::clone(&self.http1);
                    portcullis_http1::session::serve(session, downstream, facts, timer)
                }
                Version::Http2 => {
                    self.connections.http2.inc();
                    let session = Rc::clone(&self.http2);
                    Box::pin(portcullis_http2::session::serve(session, downstream, facts))
                }
            },
        )
    }
}

/// A session under way.
type LocalSession = Pin<Box<dyn Future<Output = ()>>>;

/// Connections by version.
struct Connections {
    http1: Counter,
    http2: Counter,
    http3: Counter,
}

impl Connections {
    fn new(stats: &Shard) -> Self {
        let of = |version| {
            stats.counter(
                "portcullis_http_connections_total",
                "Connections that asked for something, by version of HTTP.",
                &[("version", version)],
            )
        };
        Self {
            http1: of("http1"),
            http2: of("http2"),
            http3: of("http3"),
        }
    }
}

/// The worker's clocks, as HTTP asks for them.
struct WorkerClock;

impl Clock for WorkerClock {
    fn now(&self) -> Instant {
        clock::now()
    }

    fn wall(&self) -> SystemTime {
        clock::wall()
    }

    fn date(&self) -> [u8; 29] {
        *clock::http_date().as_bytes()
    }
}
