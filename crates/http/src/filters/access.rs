//! `allow` and `deny` by the client's network, by the name in its certificate, by what is asked for, or by several.
//!
//! Not authentication. Replaces the filters of the same names that other protocols share: those know no requests.
//! Start at [`AccessConfig`].

use portcullis_config::{BuildError, Diagnostics, Located, Network, Node};
use portcullis_filter::filters::{check_lists, is_named};
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Rejection, RejectionKind, SanPattern,
    Stop, Verdict,
};
use portcullis_route::{AnyOf, HostPattern, Match as _};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::head::Status;
use crate::local_reply;
use crate::message::{Http, Request};
use crate::route::Predicate;
use crate::route::config::MatchRule;

/// Settings of `allow` and `deny`. What is named must all hold for a request to be meant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// The clients meant, such as `[10.0.0.0/8, ::1]`. Default: all.
    pub client: Option<Located<Vec<Network>>>,
    /// The names meant: one of those in the certificate that the client has shown to a listener with `tls` and
    /// `client_certificates`, such as `[billing.corp, "*.ops.corp", "spiffe://corp/*"]`. A client that has shown none is
    /// not meant. Default: all, shown or not.
    pub san: Option<Vec<SanPattern>>,
    /// The requests meant, as in a route. Default: all.
    #[serde(rename = "match")]
    pub condition: Option<MatchRule>,
    /// The status that refused requests are answered with. Default 403.
    pub status: Option<Located<u16>>,
}

/// Refuses every request that is not meant.
pub struct Allow(Rule);

/// Refuses every request that is meant.
pub struct Deny(Rule);

struct Rule {
    clients: Option<Vec<Network>>,
    names: Option<Vec<SanPattern>>,
    hosts: Option<AnyOf<HostPattern>>,
    predicate: Predicate,
    status: Status,
    refused: Counter,
}

impl Rule {
    fn check(config: &AccessConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.client.is_none() && config.san.is_none() && config.condition.is_none() {
            diagnostics
                .error_at(node, "the rule does not say which requests it means")
                .expected("client, san, match, or several of them");
        }
        check_lists(node, &["client", "san"], diagnostics);
        if let Some(status) = &config.status
            && !(400..=599).contains(&status.value)
        {
            diagnostics
                .error(status.span, format!("{} is not an error", status.value))
                .expected("a status from 400 to 599");
        }
    }

    fn new(name: &'static str, config: &AccessConfig, cx: &FilterContext<'_>) -> Self {
        let condition = config.condition.as_ref();
        let hosts = condition.map(|condition| condition.host.0.clone());
        Self {
            clients: config.client.as_ref().map(|clients| clients.value.clone()),
            names: config.san.clone(),
            hosts: hosts.filter(|hosts| !hosts.is_empty()).map(AnyOf),
            predicate: condition.map(MatchRule::predicate).unwrap_or_default(),
            status: config
                .status
                .as_ref()
                .and_then(|status| Status::from_code(status.value))
                .unwrap_or(Status::FORBIDDEN),
            refused: cx.stats.counter(
                "portcullis_access_denied_total",
                "Requests refused by a rule.",
                &[("filter", cx.path), ("rule", name)],
            ),
        }
    }

    fn means(&self, request: &Request, cx: &Context) -> bool {
        self.clients
            .as_ref()
            .is_none_or(|clients| clients.iter().any(|network| network.contains(cx.client_ip)))
            && self.names.as_ref().is_none_or(|names| is_named(cx, names))
            && self.hosts.matches(request.host())
            && self.predicate.matches(request)
    }

    fn verdict(&self, refuse: bool) -> Verdict<'_, Http> {
        if !refuse {
            return Verdict::Continue;
        }
        self.refused.inc();
        Verdict::Stop(if self.status == Status::FORBIDDEN {
            Stop::Reject(Rejection {
                reason: "denied",
                kind: RejectionKind::Denied,
            })
        } else {
            Stop::Reply(Box::new(local_reply::bare(self.status, "denied")))
        })
    }
}

impl FilterKind<Http> for Allow {
    const NAME: &'static str = "allow";
    type Config = AccessConfig;

    fn check(config: &AccessConfig, node: &Node, diagnostics: &mut Diagnostics) {
        Rule::check(config, node, diagnostics);
    }

    fn build(
        config: &AccessConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        Ok(Box::new(Self(Rule::new(Self::NAME, config, cx))))
    }
}

impl Filter<Http> for Allow {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        self.0.verdict(!self.0.means(request, cx))
    }
}

impl FilterKind<Http> for Deny {
    const NAME: &'static str = "deny";
    type Config = AccessConfig;

    fn check(config: &AccessConfig, node: &Node, diagnostics: &mut Diagnostics) {
        Rule::check(config, node, diagnostics);
    }

    fn build(
        config: &AccessConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        Ok(Box::new(Self(Rule::new(Self::NAME, config, cx))))
    }
}

impl Filter<Http> for Deny {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        self.0.verdict(self.0.means(request, cx))
    }
}
