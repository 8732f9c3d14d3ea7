//! What reading a protocol's part of a configuration needs besides the configuration.
//!
//! It holds no configuration itself. Start at [`ReadContext`].

use portcullis_config::{Diagnostics, Located, Node, suggest};

/// What reading a protocol's configuration needs besides the configuration.
pub struct ReadContext<'a> {
    /// Where mistakes go.
    pub diagnostics: &'a mut Diagnostics,
    /// The names of all clusters.
    pub clusters: &'a [String],
    /// Where the block stands, such as `listeners.web`.
    pub path: &'a str,
}

/// Where a listener says that things go.
pub enum Targets<'k, R> {
    /// Everything to one cluster, which exists or was reported.
    Cluster(&'k Located<String>),
    /// By rules, which are still to be looked at.
    Routes(&'k R),
}

impl ReadContext<'_> {
    /// Which of the keys `cluster` and `routes` the listener `raw` has; `None` and a report if it has both or neither. `what`
    /// goes there: `statements`.
    pub fn targets<'k, R>(
        &mut self,
        raw: &Node,
        cluster: Option<&'k Located<String>>,
        routes: Option<&'k Located<R>>,
        what: &str,
    ) -> Option<Targets<'k, Located<R>>> {
        match (cluster, routes) {
            (Some(cluster), None) => {
                self.check_cluster(cluster);
                Some(Targets::Cluster(cluster))
            }
            (None, Some(routes)) => Some(Targets::Routes(routes)),
            (Some(cluster), Some(routes)) => {
                self.diagnostics
                    .error(cluster.span, "a listener has either a cluster or routes")
                    .also(routes.span, "the routes")
                    .help("a route without `match` takes everything");
                None
            }
            (None, None) => {
                self.diagnostics
                    .error(
                        raw.label_span(),
                        format!("the listener does not say where {what} go"),
                    )
                    .expected("`cluster` or `routes`");
                None
            }
        }
    }

    /// Reports a cluster that does not exist, with a near miss.
    pub fn check_cluster(&mut self, name: &Located<String>) {
        if self.clusters.contains(name) {
            return;
        }
        let error = self
            .diagnostics
            .error(name.span, format!("unknown cluster '{}'", name.as_str()));
        if let Some(near) = suggest(name, self.clusters.iter().map(String::as_str)) {
            error.suggest(near);
        }
    }
}
