//! Routes: ordered rules, each with its action, its edits and its filter chain. The first that matches decides.
//!
//! Not the exchange that carries an action out. [`config`] is what people write, [`read`] checks it, and a worker
//! builds [`Routes`] from it. Start at [`Routes::find`] and [`Route`].

pub mod condition;
pub mod config;
pub mod read;
pub mod reply;
pub mod retry;
pub mod rewrite;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_cluster::Cluster;
use portcullis_config::BuildError;
use portcullis_filter::{FilterChain, FilterContext, FilterKind};
use portcullis_route::{HostPattern, HostRouteTable, Weighted};

use crate::config::HttpConfig;
use crate::edit::EditConfig;
use crate::filters::AccessLog;
use crate::grpc::{GrpcMatch, Named};
use crate::head::{Method, ResponseHead};
use crate::message::{Http, Record, Request};
use crate::normalize::RequestError;
use crate::service::FindCluster;
use crate::stats::ByClass;
use crate::stream::UpstreamPool;

pub use condition::{Condition, ConnectPattern, Predicate};
pub use config::{ActionConfig, RouteConfig};
pub use reply::{Redirect, ReplyAction, Respond};
pub use retry::{Budget, Retry, RetryOn};
pub use rewrite::Rewrite;

/// What routes are built from, besides their configuration.
pub struct BuildRoutes<'a> {
    /// What filters are built from. Its `path` is not used: each filter knows its own.
    pub filters: &'a FilterContext<'a>,
    /// Finds clusters and the pools of their streams.
    pub clusters: &'a FindCluster<'a>,
}

/// The routes of one listener on one worker.
pub struct Routes {
    table: HostRouteTable<Condition, Rc<Route>>,
    fallback: Rc<Route>,
}

impl Routes {
    /// Makes the routes of one listener on one worker.
    ///
    /// # Errors
    /// A filter that cannot be built, or a cluster that is not there.
    pub fn build(config: &HttpConfig, cx: &BuildRoutes<'_>) -> Result<Self, BuildError> {
        let mut targets = Targets::new(config, cx);
        let rules = config
            .routes
            .iter()
            .map(|rule| {
                let route = Route::build(rule, config, cx, &mut targets)?;
                Ok((rule.hosts.clone(), rule.condition.clone(), Rc::new(route)))
            })
            .collect::<Result<Vec<_>, BuildError>>()?;
        let fallback = RouteConfig::no_route();
        Ok(Self {
            table: HostRouteTable::new(rules),
            fallback: Rc::new(Route::build(&fallback, config, cx, &mut targets)?),
        })
    }

    /// The first route whose rule takes the request. A CONNECT is only taken by rules that allow its target. Does
    /// not allocate, unless a rule asks for an escaped parameter of the query.
    #[must_use]
    pub fn find(&self, request: &Request) -> Option<&Rc<Route>> {
        self.table
            .find(request.host(), request)
            .map(|(_, route)| route)
    }

    /// Where requests go that no rule takes: the listener's filters, then 404.
    #[must_use]
    pub const fn fallback(&self) -> &Rc<Route> {
        &self.fallback
    }

    /// Every route, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Route>> {
        self.table.rules().iter().map(|(_, route)| route)
    }
}

/// What happens to the requests that one rule takes.
pub struct Route {
    /// The name: the `route` label of its counters.
    pub name: Arc<str>,
    /// The name again, for what stays on this worker.
    pub local_name: Rc<str>,
    /// What is done with a request.
    pub action: Action,
    /// When it is sent again.
    pub retry: Retry,
    /// The listener's filters, without those that are switched off here, then the route's own.
    pub chain: FilterChain<Http>,
    /// The longest body accepted; `None` for the listener's limit.
    pub max_body: Option<u64>,
    /// The longest wait for a response's head, if any; `None` for the listener's.
    pub timeout: Option<Option<Duration>>,
    /// The longest time without a byte of a body, or of a tunnel; `None` for the listener's.
    pub idle_timeout: Option<Duration>,
    rewrite: Rewrite,
    request_edits: EditConfig,
    response_edits: EditConfig,
    upgrades: Vec<Box<str>>,
    allows_connect: bool,
    grpc: Option<GrpcMatch>,
    responses: ByClass,
}

/// What a route does with a request.
pub enum Action {
    /// It goes to a cluster.
    Forward(Forward),
    /// It is answered here.
    Reply(ReplyAction),
}

/// The clusters of a route, by weight.
pub struct Forward(Weighted<Target>);

impl Forward {
    /// One cluster; `random` is uniform over all of `u64`.
    #[must_use]
    pub fn choose(&self, random: u64) -> Option<&Target> {
        Some(self.0.pick(random))
    }

    /// The clusters.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        self.0.items()
    }
}

/// One cluster that a route forwards to.
#[derive(Clone)]
pub struct Target {
    /// The cluster.
    pub cluster: Rc<Cluster>,
    /// Its name, for what stays on this worker.
    pub local_name: Rc<str>,
    /// Streams to its endpoints.
    pub pool: Rc<dyn UpstreamPool>,
    /// What bounds retries to it, from all routes of this listener.
    pub budget: Rc<Budget>,
}

impl Route {
    fn build(
        rule: &RouteConfig,
        config: &HttpConfig,
        cx: &BuildRoutes<'_>,
        targets: &mut Targets<'_>,
    ) -> Result<Self, BuildError> {
        let action = match &rule.action {
            ActionConfig::Reply(action) => Action::Reply(action.clone()),
            ActionConfig::Forward(clusters) => Action::Forward(targets.forward(clusters)?),
        };
        let chain = build_chain(rule, config, cx.filters)?;
        let stats = cx.filters.stats.scoped(&[("route", &rule.name)]);
        Ok(Self {
            name: Arc::clone(&rule.name),
            local_name: Rc::from(&*rule.name),
            action,
            retry: rule.retry.clone(),
            chain,
            max_body: rule.max_body,
            timeout: rule.timeout,
            idle_timeout: rule.idle_timeout,
            rewrite: rule.rewrite.clone(),
            request_edits: rule.request_edits.clone(),
            response_edits: rule.response_edits.clone(),
            upgrades: rule.upgrades.clone(),
            allows_connect: rule.condition.connect.is_some(),
            grpc: rule.condition.predicate.grpc.clone(),
            responses: ByClass::new(
                &stats,
                "portcullis_http_route_responses_total",
                "Final responses of a route by class of their status.",
            ),
        })
    }

    /// Rewrites the target and edits the fields of a request, as the last step before it goes upstream.
    ///
    /// # Errors
    /// [`RequestError::UnsafeRewrite`]: answer it, the request must not go upstream.
    pub fn edit_request(&self, request: &mut Request) -> Result<(), RequestError> {
        self.rewrite.apply(request)?;
        self.request_edits.apply(&mut request.head.fields);
        Ok(())
    }

    /// Edits the fields of a response on its way downstream.
    pub fn edit_response(&self, head: &mut ResponseHead) {
        self.response_edits.apply(&mut head.fields);
    }

    /// Whether requests may switch to this protocol (in lower case).
    #[must_use]
    pub fn allows_upgrade(&self, protocol: &[u8]) -> bool {
        self.upgrades
            .iter()
            .any(|allowed| allowed.as_bytes() == protocol)
    }

    /// Whether the route may carry this CONNECT. Its rule has matched, so the target is on its list.
    #[must_use]
    pub fn allows_connect(&self, request: &Request) -> bool {
        self.allows_connect && request.head.method == Method::Connect
    }

    /// How much of the name of a gRPC call the rule spells out.
    #[must_use]
    pub fn grpc_named(&self, request: &Request) -> Named {
        self.grpc
            .as_ref()
            .map_or(Named::No, |calls| calls.named(request.head.target.path()))
    }

    /// The longest wait for a response's head, given the listener's.
    #[must_use]
    pub fn timeout_or(&self, listeners: Option<Duration>) -> Option<Duration> {
        self.timeout.unwrap_or(listeners)
    }

    /// The longest time without a byte moved, given the listener's.
    #[must_use]
    pub fn idle_timeout_or(&self, listeners: Duration) -> Duration {
        self.idle_timeout.unwrap_or(listeners)
    }

    /// A request that took this route is over.
    pub fn on_complete(&self, record: &Record) {
        if let Some(status) = record.status {
            self.responses.inc(status);
        }
    }
}

/// The listener's filters without those that are switched off, then the rule's own. Access logs come first wherever
/// they are listed: a filter sees only requests that reach it, and a log should also have those that others refuse.
fn build_chain(
    rule: &RouteConfig,
    config: &HttpConfig,
    cx: &FilterContext<'_>,
) -> Result<FilterChain<Http>, BuildError> {
    let is_on = |name: &str| !rule.without.iter().any(|off| **off == *name);
    let listed = config.filters.0.iter().filter(|filter| is_on(filter.name));
    let (logs, others): (Vec<_>, Vec<_>) = listed
        .chain(&rule.filters.0)
        .partition(|filter| filter.name == <AccessLog as FilterKind<Http>>::NAME);
    let filters = logs
        .into_iter()
        .chain(others)
        .map(|filter| filter.build(cx))
        .collect::<Result<_, _>>()?;
    Ok(FilterChain::new(filters))
}

/// Finds each cluster once, so that all routes to it share one budget.
struct Targets<'a> {
    config: &'a HttpConfig,
    find: &'a FindCluster<'a>,
    found: HashMap<Arc<str>, Target>,
}

impl<'a> Targets<'a> {
    fn new(config: &'a HttpConfig, cx: &BuildRoutes<'a>) -> Self {
        Self {
            config,
            find: cx.clusters,
            found: HashMap::new(),
        }
    }

    fn forward(&mut self, clusters: &[(Arc<str>, u32)]) -> Result<Forward, BuildError> {
        let targets = clusters
            .iter()
            .map(|(name, weight)| Ok((self.target(name)?, *weight)))
            .collect::<Result<Vec<_>, BuildError>>()?;
        let weighted = Weighted::new(targets).map_err(|error| BuildError {
            path: "clusters".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Forward(weighted))
    }

    fn target(&mut self, name: &Arc<str>) -> Result<Target, BuildError> {
        if let Some(target) = self.found.get(name) {
            return Ok(target.clone());
        }
        let (cluster, pool) = (self.find)(name)?;
        let budget = &self.config.retry_budget;
        let target = Target {
            local_name: Rc::from(cluster.name()),
            cluster,
            pool,
            budget: Rc::new(Budget::new(budget.whole_percent(), budget.min_per_second)),
        };
        self.found.insert(Arc::clone(name), target.clone());
        Ok(target)
    }
}

/// The hosts of a rule that names none.
pub(crate) fn any_host() -> Vec<HostPattern> {
    vec![HostPattern::any()]
}
