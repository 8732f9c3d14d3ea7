//! What stands in the place of HTTP/3 in a build without the feature `http3`: nothing can be made of it, and asking for it is an
//! error of the configuration.
//!
//! The same names as in `http3.rs`. Start at [`Http3Config::read`].

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, StatusCode};
use portcullis_cluster::{Cluster, ClusterShared, Endpoint};
use portcullis_config::{Diagnostics, Node, Value};
use portcullis_http::service::{Alternative, ServiceHandle};
use portcullis_http::stream::UpstreamPool;
use portcullis_net::Datagrams;
use portcullis_proxy::ListenerContext;
use portcullis_stats::{Counter, Shard};
use serde_json::{Value as Json, json};

/// There is none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Http3Config {}

impl Http3Config {
    /// As the one of `portcullis-http3`: the key may say `false`, or not be there.
    #[expect(clippy::option_option)]
    pub(crate) fn read(node: Option<&Node>, diagnostics: &mut Diagnostics) -> Option<Option<Self>> {
        match node {
            None => Some(None),
            Some(node) if node.value == Value::Bool(false) => Some(None),
            Some(node) => {
                diagnostics.error_at(node, "HTTP/3 was left out of this build");
                None
            }
        }
    }

    pub(crate) fn schema() -> Json {
        json!({ "description": "HTTP/3 was left out of this build.", "const": false })
    }
}

pub(crate) fn alternative(config: &Http3Config) -> Alternative {
    match *config {}
}

#[derive(Clone)]
pub(crate) enum Side {}

impl Side {
    pub(crate) fn new(
        config: &Http3Config,
        _: ServiceHandle,
        _: Counter,
        _: &ListenerContext,
    ) -> Self {
        match *config {}
    }

    #[expect(clippy::unused_async)] // there is nothing to wait for
    pub(crate) async fn serve_datagrams(self, _: Datagrams) {
        match self {}
    }

    pub(crate) fn replace(&self, _: &Self) {
        match *self {}
    }
}

/// A configuration with a cluster that needs this pool is refused.
pub(crate) fn pool_of(cluster: &Rc<Cluster>, _: &Shard) -> Rc<dyn UpstreamPool> {
    portcullis_http1::session::pool_of(cluster)
}

#[derive(Debug, thiserror::Error)]
#[error("HTTP/3 was left out of this build")]
pub(crate) struct CheckFailed;

/// As with [`pool_of`].
#[expect(clippy::unused_async)] // nor here
pub(crate) async fn check(
    _: &Arc<ClusterShared>,
    _: &Endpoint,
    _: Request<()>,
) -> Result<StatusCode, CheckFailed> {
    Err(CheckFailed)
}
