//! `protocol: http`: where the versions of HTTP are joined under one name.
//!
//! What a request means is `portcullis-http`'s, each wire format its own crate's; here a connection finds its version.
//! There is one so far. Start at [`Http`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use portcullis_cluster::Cluster;
use portcullis_config::{BuildError, Node};
use portcullis_http::config::HttpConfig;
use portcullis_http::service::{Clock, Environment, HttpService, ServiceHandle};
use portcullis_http::stream::UpstreamPool;
use portcullis_http1::session::{Session, serve};
use portcullis_net::{Downstream, SessionTimer, Sniff, clock};
use portcullis_proxy::{ListenerContext, Protocol, ReadContext, Server};
use serde_json::Value;

use crate::upstreams;

/// The protocol `http`.
pub(crate) struct Http;

impl Protocol for Http {
    const NAME: &'static str = "http";
    type Config = Arc<HttpConfig>;
    type Server = HttpServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Arc<HttpConfig>> {
        HttpConfig::read(raw, cx).map(Arc::new)
    }

    fn schema() -> Value {
        HttpConfig::schema()
    }

    fn sniff(prefix: &[u8]) -> Sniff {
        portcullis_http1::session::sniff(prefix)
    }

    fn build(config: &Arc<HttpConfig>, cx: &ListenerContext) -> Result<HttpServer, BuildError> {
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
        let service = HttpService::new(Arc::clone(config), environment, &cx.filters(&path), &find)?;
        Ok(HttpServer {
            listener: Arc::clone(&cx.listener),
            session: Rc::new(Session {
                service: ServiceHandle::new(service),
                drain: cx.drain.clone(),
            }),
        })
    }
}

/// HTTP, configured for one listener on one worker.
pub(crate) struct HttpServer {
    listener: Arc<str>,
    session: Rc<Session>,
}

impl Server for HttpServer {
    fn serve(self: Rc<Self>, downstream: Downstream) -> impl Future<Output = ()> + 'static {
        let facts = Rc::new(downstream.facts(&self.listener));
        serve(Rc::clone(&self.session), downstream, facts)
    }

    /// Connections that stay open see the new routes and filters at their next request.
    fn on_replaced(&self, successor: &Rc<Self>) {
        self.session.service.replace(&successor.session.service);
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
