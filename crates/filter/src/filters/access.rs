//! `allow` and `deny` by the client's network.
//!
//! Not authentication: an address says where a peer is, not who it is. Start at [`NetworksConfig`].

use std::net::IpAddr;

use portcullis_config::{BuildError, Network};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Filter, FilterContext, FilterKind, Interest, Messages, Rejection, RejectionKind, Stop,
    Verdict,
};

/// Settings of `allow` and `deny`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworksConfig {
    /// The clients meant, such as `[10.0.0.0/8, ::1]`.
    pub client: Vec<Network>,
}

impl NetworksConfig {
    fn contains(&self, ip: IpAddr) -> bool {
        self.client.iter().any(|network| network.contains(ip))
    }
}

/// Refuses every client that is not listed.
pub struct Allow(Rule);

/// Refuses every client that is listed.
pub struct Deny(Rule);

struct Rule {
    networks: NetworksConfig,
    refused: Counter,
}

impl Rule {
    fn new(name: &'static str, networks: &NetworksConfig, cx: &FilterContext<'_>) -> Self {
        Self {
            networks: networks.clone(),
            refused: cx.stats.counter(
                "portcullis_access_denied_total",
                "Requests refused by the client's network.",
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
    type Config = NetworksConfig;

    fn build(
        config: &NetworksConfig,
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
        self.0.verdict(!self.0.networks.contains(cx.client_ip))
    }
}

impl<M: Messages> FilterKind<M> for Deny {
    const NAME: &'static str = "deny";
    type Config = NetworksConfig;

    fn build(
        config: &NetworksConfig,
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
        self.0.verdict(self.0.networks.contains(cx.client_ip))
    }
}
