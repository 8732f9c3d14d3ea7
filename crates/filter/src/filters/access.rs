//! `allow` and `deny` by the client's network, by the name in its certificate, or by both.
//!
//! An address says where a peer is, not who it is; a certificate that was verified says who it is. Start at
//! [`ClientsConfig`].

use portcullis_config::{BuildError, Diagnostics, Network, Node};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Filter, FilterContext, FilterKind, Interest, Messages, Rejection, RejectionKind,
    SanPattern, Stop, Verdict,
};

/// Settings of `allow` and `deny`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientsConfig {
    /// The networks meant, such as `[10.0.0.0/8, ::1]`. Default: all.
    pub client: Option<Vec<Network>>,
    /// The names meant: one of those in the certificate that the client has shown to a listener with `tls` and
    /// `client_certificates`, such as `[billing.corp, "*.ops.corp", "spiffe://corp/*"]`. A client that has shown none is
    /// not meant. Default: all, shown or not.
    pub san: Option<Vec<SanPattern>>,
}

impl ClientsConfig {
    fn check(&self, node: &Node, diagnostics: &mut Diagnostics) {
        if self.client.is_none() && self.san.is_none() {
            diagnostics
                .error_at(node, "the rule does not say which clients it means")
                .expected("client, san, or both");
        }
        check_lists(node, &["client", "san"], diagnostics);
    }

    fn means(&self, cx: &Context) -> bool {
        let contains = |networks: &Vec<Network>| {
            networks
                .iter()
                .any(|network| network.contains(cx.client_ip))
        };
        self.client.as_ref().is_none_or(contains)
            && self.san.as_ref().is_none_or(|names| is_named(cx, names))
    }
}

/// Reports those of a rule's lists that are there and empty: a rule that means nobody refuses all or nothing, and one that
/// takes it for anybody is wider than whoever left the list empty may have thought.
pub fn check_lists(node: &Node, keys: &[&str], diagnostics: &mut Diagnostics) {
    for key in keys {
        if let Some(list) = node.get(key)
            && list.as_sequence().is_some_and(<[Node]>::is_empty)
        {
            diagnostics
                .error_at(list, format!("`{key}` lists nothing"))
                .help("leave it out where it does not matter");
        }
    }
}

/// Whether the client has proved to have one of these names.
#[must_use]
pub fn is_named(cx: &Context, names: &[SanPattern]) -> bool {
    let certificate = cx.connection.client_certificate();
    certificate.is_some_and(|certificate| certificate.is_named(names))
}

/// Refuses every client that is not listed.
pub struct Allow(Rule);

/// Refuses every client that is listed.
pub struct Deny(Rule);

struct Rule {
    clients: ClientsConfig,
    refused: Counter,
}

impl Rule {
    fn new(name: &'static str, clients: &ClientsConfig, cx: &FilterContext<'_>) -> Self {
        Self {
            clients: clients.clone(),
            refused: cx.stats.counter(
                "portcullis_access_denied_total",
                "Requests refused by a rule.",
                &[("filter", cx.path), ("rule", name)],
            ),
        }
    }

    fn verdict<M: Messages>(&self, refuse: bool) -> Verdict<'_, M> {
        if !refuse {
            return Verdict::Continue;
        }
        self.refused.inc();
        Verdict::Stop(Stop::Reject(Rejection {
            reason: "denied",
            kind: RejectionKind::Denied,
        }))
    }
}

impl<M: Messages> FilterKind<M> for Allow {
    const NAME: &'static str = "allow";
    type Config = ClientsConfig;

    fn check(config: &ClientsConfig, node: &Node, diagnostics: &mut Diagnostics) {
        config.check(node, diagnostics);
    }

    fn build(
        config: &ClientsConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        Ok(Box::new(Self(Rule::new("allow", config, cx))))
    }
}

impl<M: Messages> Filter<M> for Allow {
    fn name(&self) -> &'static str {
        "allow"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(&'a self, _: &'a mut M::Request, cx: &'a mut Context) -> Verdict<'a, M> {
        self.0.verdict(!self.0.clients.means(cx))
    }
}

impl<M: Messages> FilterKind<M> for Deny {
    const NAME: &'static str = "deny";
    type Config = ClientsConfig;

    fn check(config: &ClientsConfig, node: &Node, diagnostics: &mut Diagnostics) {
        config.check(node, diagnostics);
    }

    fn build(
        config: &ClientsConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        Ok(Box::new(Self(Rule::new("deny", config, cx))))
    }
}

impl<M: Messages> Filter<M> for Deny {
    fn name(&self) -> &'static str {
        "deny"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(&'a self, _: &'a mut M::Request, cx: &'a mut Context) -> Verdict<'a, M> {
        self.0.verdict(self.0.clients.means(cx))
    }
}
