//! Who a rule is about, and the rules that can refuse a client before its first statement.
//!
//! Start at [`WhoConfig`]; [`ClientRules`] is what a session asks at start-up.

use portcullis_config::{Diagnostics, Network, Node, OneOrMany};
use portcullis_filter::filters::is_named;
use portcullis_filter::{Context, FilterKind, SanPattern};
use portcullis_route::ValuePattern;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Allow, AllowConfig, Deny, DenyConfig};
use crate::reject::reason;
use crate::request::{PostgresMessages, StatementRequest};

/// Clients: everything that is named must hold; of a list, one. Default: everybody.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WhoConfig {
    /// Users, such as `[report, "tmp_*"]`.
    pub users: OneOrMany<ValuePattern>,
    /// Databases as clients name them.
    pub databases: OneOrMany<ValuePattern>,
    /// `application_name`s. Anybody can choose one.
    pub applications: OneOrMany<ValuePattern>,
    /// Networks, such as `[10.0.0.0/8, ::1]`.
    pub client: OneOrMany<Network>,
    /// Names in the certificate that the client has shown to a listener with `tls` and `client_certificates`.
    pub san: OneOrMany<SanPattern>,
}

impl WhoConfig {
    /// Whether nobody is left out.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a client is meant.
    pub(super) fn means(&self, request: &StatementRequest, cx: &Context) -> bool {
        let value = |patterns: &OneOrMany<ValuePattern>, text: &str| {
            patterns.is_empty()
                || patterns
                    .iter()
                    .any(|pattern| pattern.matches(Some(text.as_bytes())))
        };
        let is_inside = |network: &Network| network.contains(cx.client_ip);
        value(&self.users, &request.user)
            && value(&self.databases, &request.database)
            && value(&self.applications, &request.application)
            && (self.client.is_empty() || self.client.iter().any(is_inside))
            && (self.san.is_empty() || is_named(cx, &self.san))
    }
}

/// The part of `allow` and `deny` that needs no statement: a client who could do nothing is refused when it comes. The filters
/// say the same again for each statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientRules(Vec<Rule>);

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Deny(WhoConfig),
    Allow { whose: WhoConfig, only: WhoConfig },
}

impl ClientRules {
    /// The rules among a list of filters, which was read and checked before: what is wrong with it is not said again.
    #[must_use]
    pub fn read(list: &Node) -> Self {
        let mut rules = Vec::new();
        for item in list.as_sequence().unwrap_or_default() {
            for (key, settings) in item.entries() {
                let mut ignored = Diagnostics::default();
                match key.name.as_str() {
                    <Deny as FilterKind<PostgresMessages>>::NAME => {
                        let config: Option<DenyConfig> = settings.read(&mut ignored);
                        rules.extend(config.and_then(of_deny));
                    }
                    <Allow as FilterKind<PostgresMessages>>::NAME => {
                        let config: Option<AllowConfig> = settings.read(&mut ignored);
                        rules.extend(config.and_then(of_allow));
                    }
                    _ => {}
                }
            }
        }
        Self(rules)
    }

    /// The `reason` label for which a client is refused, whatever it will ask. `request` needs no text.
    #[must_use]
    pub fn refuses(&self, request: &StatementRequest, cx: &Context) -> Option<&'static str> {
        let is_refused = self.0.iter().any(|rule| match rule {
            Rule::Deny(who) => who.means(request, cx),
            Rule::Allow { whose, only } => whose.means(request, cx) && !only.means(request, cx),
        });
        is_refused.then_some(reason::DENIED)
    }
}

fn of_deny(config: DenyConfig) -> Option<Rule> {
    let is_for_clients = !config.asks_statement() && !config.shadow;
    is_for_clients.then_some(Rule::Deny(config.who))
}

fn of_allow(config: AllowConfig) -> Option<Rule> {
    let is_for_clients = !config.shadow && !config.who.is_everybody();
    is_for_clients.then_some(Rule::Allow {
        whose: config.whose,
        only: config.who,
    })
}
