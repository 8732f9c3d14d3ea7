//! From rules as written to rules that can be built, with every mistake at its place.
//!
//! Nothing is built here: filters and clusters are only names yet. Start at [`read_routes`].

mod action;
mod needless;
mod unmet;

use std::time::Duration;

use portcullis_config::{
    ByteSize, Duration as ConfigDuration, Located, Node, Span, Timeout, suggest,
};
use portcullis_filter::{FilterList, FilterRegistry};
use portcullis_route::{AnyOf, HostPattern, NamedRule, RuleWords, check_rules};

use super::any_host;
use super::condition::Condition;
use super::config::{RetryRule, RouteConfig, RouteRule, default_upgrades};
use super::retry::Retry;
use super::rewrite::Rewrite;
use crate::config::ReadContext;
use crate::message::Http;
use crate::normalize::NormalizeConfig;

/// What of a listener its rules depend on.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Its filters, which rules may switch off.
    pub filters: &'a FilterList<Http>,
    /// How long a response's head may take where a rule does not say.
    pub response_timeout: Option<Duration>,
    /// How it settles requests before a rule sees them.
    pub normalize: NormalizeConfig,
}

/// Reads the list of rules. What could be read is returned; mistakes are in the diagnostics.
pub fn read_routes(
    list: &Node,
    registry: &FilterRegistry<Http>,
    listener: Around<'_>,
    cx: &mut ReadContext<'_>,
) -> Vec<RouteConfig> {
    let Some(items) = list.as_sequence() else {
        cx.diagnostics
            .error_at(list, "routes must be a list")
            .expected("a list of rules, such as `- cluster: site`");
        return Vec::new();
    };
    if items.is_empty() {
        cx.diagnostics
            .error_at(list, "there are no routes")
            .help("every request would be answered 404");
    }
    let mut reader = Reader {
        cx,
        registry,
        listener_filters: listener.filters,
        response_timeout: listener.response_timeout,
        normalize: listener.normalize,
    };
    let rules: Vec<(Span, RouteConfig)> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| Some((item.label_span(), reader.read_rule(item, index)?)))
        .collect();
    let conditions: Vec<_> = rules.iter().map(|(_, rule)| covered(rule)).collect();
    let named = rules.iter().zip(&conditions);
    let named = named.map(|((span, rule), condition)| NamedRule {
        span: *span,
        name: &rule.name,
        condition,
    });
    check_rules(named, WORDS, reader.cx.diagnostics);
    rules.into_iter().map(|(_, rule)| rule).collect()
}

/// What rules take, in the words of the checks.
const WORDS: RuleWords = RuleWords {
    all: "all its requests",
    them: "them",
};

/// All that a rule takes, its hosts among it.
fn covered(rule: &RouteConfig) -> (AnyOf<HostPattern>, Condition) {
    let hosts = if rule.hosts.is_empty() {
        any_host()
    } else {
        rule.hosts.clone()
    };
    (AnyOf(hosts), rule.condition.clone())
}

struct Reader<'r, 'c> {
    cx: &'r mut ReadContext<'c>,
    registry: &'r FilterRegistry<Http>,
    listener_filters: &'r FilterList<Http>,
    response_timeout: Option<Duration>,
    normalize: NormalizeConfig,
}

impl Reader<'_, '_> {
    fn read_rule(&mut self, item: &Node, index: usize) -> Option<RouteConfig> {
        let rule: RouteRule = item.read(self.cx.diagnostics)?;
        let path = format!("{}.routes[{index}]", self.cx.path);
        let paths = rule.condition.paths();
        let action = self.read_action(item, &rule, paths.as_ref());
        let rewrite = match &rule.rewrite {
            Some(rewrite) => self.read_rewrite(rewrite, paths.as_ref()),
            None => Some(Rewrite::default()),
        };
        let filters = rule
            .filters
            .as_ref()
            .map_or_else(FilterList::default, |list| {
                self.registry
                    .read_list(list, &format!("{path}.filters"), self.cx.diagnostics)
            });
        self.check_without(&rule.without);
        self.check_needless(item, &rule);
        self.check_unmet(item);
        let upgrades = self.read_upgrades(&rule);
        let condition = Self::read_condition(&rule);
        let name = rule
            .name
            .as_ref()
            .map_or_else(|| format!("routes[{index}]"), |name| name.value.clone());
        Some(RouteConfig {
            name: name.into(),
            hosts: rule.condition.host.0,
            condition,
            action: action?,
            rewrite: rewrite?,
            timeout: rule.timeout.map(Timeout::get),
            idle_timeout: rule.idle_timeout.map(ConfigDuration::get),
            retry: self.read_retry(rule.retry.as_ref()),
            request_edits: rule.request_headers,
            response_edits: rule.response_headers,
            filters,
            without: rule
                .without
                .into_iter()
                .map(|name| name.value.into())
                .collect(),
            max_body: rule.max_body.map(ByteSize::get),
            upgrades,
        })
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.cx.diagnostics.error(span, message);
    }

    fn read_condition(rule: &RouteRule) -> Condition {
        Condition {
            predicate: rule.condition.predicate(),
            connect: rule.connect.as_ref().map(|places| AnyOf(places.0.clone())),
        }
    }

    fn read_retry(&mut self, rule: Option<&RetryRule>) -> Retry {
        const MOST: u32 = 10;
        let Some(rule) = rule else {
            return Retry::default();
        };
        if rule.attempts.value > MOST {
            self.cx
                .diagnostics
                .error(
                    rule.attempts.span,
                    format!("{} retries of one request", rule.attempts.value),
                )
                .expected(format!("at most {MOST}"));
        }
        let mut retry = Retry::new(rule.attempts.value, rule.on.iter().copied());
        retry.per_try_timeout = rule.per_try_timeout.map(ConfigDuration::get);
        retry.backoff = rule
            .backoff
            .map_or(Duration::from_millis(25), ConfigDuration::get);
        retry
    }

    fn check_without(&mut self, names: &[Located<String>]) {
        for name in names {
            let known: Vec<&str> = self
                .listener_filters
                .0
                .iter()
                .map(|filter| filter.name)
                .collect();
            if known.contains(&name.as_str()) {
                continue;
            }
            let error = self.cx.diagnostics.error(
                name.span,
                format!("the listener has no filter '{}' to switch off", name.value),
            );
            if let Some(near) = suggest(name, known.iter().copied()) {
                error.suggest(near);
            }
        }
    }

    fn read_upgrades(&mut self, rule: &RouteRule) -> Vec<Box<str>> {
        let Some(upgrades) = &rule.upgrade else {
            return default_upgrades();
        };
        upgrades
            .iter()
            .filter_map(|upgrade| {
                let protocol = upgrade.to_ascii_lowercase();
                if protocol == "h2c" {
                    self.error(
                        upgrade.span,
                        "h2c is not allowed: requests inside of it would pass unseen",
                    );
                    return None;
                }
                Some(protocol.into_boxed_str())
            })
            .collect()
    }
}
