//! The configuration of an `http` listener, without the keys that all listeners have.
//!
//! Typed, checked, free of its source format; equality decides whether a reload changes the listener. Routes have
//! files of their own ([`crate::route::config`]). Start at [`HttpConfig::read`].

mod limits;
#[cfg(test)]
mod tests;
mod timeouts;

use portcullis_config::schema::inlined;
use portcullis_config::{Located, Node, Percent};
use portcullis_filter::{FilterList, FilterRegistry, ReadContext as Context};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::filters::http_filters;
use crate::forward::ForwardConfig;
use crate::local_reply::LocalReplyConfig;
use crate::message::Http;
use crate::normalize::NormalizeConfig;
use crate::route::RouteConfig;
use crate::route::config::RouteRule;
use crate::route::read::{Around, read_routes};

pub use limits::Limits;
pub use portcullis_filter::ReadContext;
pub use timeouts::Timeouts;

/// The configuration of an `http` listener.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpConfig {
    /// The rules, in order.
    pub routes: Vec<RouteConfig>,
    /// The filters that all requests pass.
    pub filters: FilterList<Http>,
    /// Bounds on sizes and counts.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// What the next hop is told.
    pub forward: ForwardConfig,
    /// How targets are normalised.
    pub normalize: NormalizeConfig,
    /// How the gateway's own answers look.
    pub local_reply: LocalReplyConfig,
    /// What bounds retries.
    pub retry_budget: RetryBudgetConfig,
}

/// What bounds retries to one cluster from one listener.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudgetConfig {
    /// How many retries there may be for each hundred requests of the last ten seconds. Default 20%: an upstream that fails
    /// everything then sees at most 1.2 times its load.
    pub percent: Percent,
    /// How many retries there may be in a second in any case, in each worker. Default 3, so that a quiet listener
    /// may retry at all.
    pub min_per_second: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            percent: Percent::whole(20),
            min_per_second: 3,
        }
    }
}

impl RetryBudgetConfig {
    /// The share in whole percents, rounded up so that a small one is not none.
    #[must_use]
    pub fn whole_percent(&self) -> u32 {
        self.percent.millionths().div_ceil(10_000)
    }
}

/// The keys as they are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpKeys {
    /// The cluster that every request goes to. Either this or `routes`.
    cluster: Option<Located<String>>,
    /// Ordered rules; the first that matches decides, and a request that none takes is answered 404.
    routes: Option<Node>,
    /// Filters that every request passes, in order, also those that no route takes.
    filters: Option<Node>,
    /// Bounds on sizes and counts.
    #[serde(default)]
    limits: Limits,
    /// Bounds on time.
    #[serde(default)]
    timeouts: Timeouts,
    /// What the next hop is told about the client, and who may tell us.
    #[serde(default)]
    forward: ForwardConfig,
    /// How hosts, paths and field names are normalised before routing.
    #[serde(default)]
    normalize: NormalizeConfig,
    /// How the gateway's own answers look.
    #[serde(default)]
    local_reply: LocalReplyConfig,
    /// What bounds retries.
    #[serde(default)]
    retry_budget: RetryBudgetConfig,
}

impl HttpConfig {
    /// Reads the keys of a listener that are not common to all listeners. Mistakes go to the diagnostics, all of
    /// them; `None` if there is nothing usable.
    pub fn read(raw: &Node, cx: &mut Context<'_>) -> Option<Self> {
        Self::read_with(&http_filters(), raw, cx)
    }

    /// As [`HttpConfig::read`], with these filters to choose from: HTTP's own and those of what is spoken over it.
    pub fn read_with(
        registry: &FilterRegistry<Http>,
        raw: &Node,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        let keys: HttpKeys = raw.read(cx.diagnostics)?;
        let filters = keys
            .filters
            .as_ref()
            .map_or_else(FilterList::default, |list| {
                registry.read_list(list, &format!("{}.filters", cx.path), cx.diagnostics)
            });
        keys.limits.check(raw.get("limits"), cx.diagnostics);
        let routes = Self::read_rules(raw, &keys, registry, &filters, cx)?;
        Some(Self {
            routes,
            filters,
            limits: keys.limits,
            timeouts: keys.timeouts,
            forward: keys.forward,
            normalize: keys.normalize,
            local_reply: keys.local_reply,
            retry_budget: keys.retry_budget,
        })
    }

    fn read_rules(
        raw: &Node,
        keys: &HttpKeys,
        registry: &FilterRegistry<Http>,
        filters: &FilterList<Http>,
        cx: &mut Context<'_>,
    ) -> Option<Vec<RouteConfig>> {
        match (&keys.cluster, &keys.routes) {
            (Some(cluster), None) => {
                cx.check_cluster(cluster);
                Some(vec![RouteConfig::catch_all(cluster)])
            }
            (None, Some(list)) => {
                let around = Around {
                    filters,
                    response_timeout: keys.timeouts.response(),
                    normalize: keys.normalize,
                };
                Some(read_routes(list, registry, around, cx))
            }
            (Some(cluster), Some(list)) => {
                cx.diagnostics
                    .error(cluster.span, "a listener has either a cluster or routes")
                    .also(list.label_span(), "the routes")
                    .help("a last route with nothing but `cluster` takes what is left");
                None
            }
            (None, None) => {
                cx.diagnostics
                    .error_at(raw, "the listener does not say where requests go")
                    .expected("routes, or a cluster");
                None
            }
        }
    }

    /// JSON Schema of those keys: an object schema with `properties`. What it refers to is in its own `$defs`.
    #[must_use]
    pub fn schema() -> Value {
        Self::schema_with(&http_filters())
    }

    /// As [`HttpConfig::schema`], with these filters to choose from.
    #[must_use]
    pub fn schema_with(registry: &FilterRegistry<Http>) -> Value {
        let mut filters = registry.schema();
        let mut definitions = Map::new();
        take_definitions(&mut filters, &mut definitions);
        let mut schema = inlined::<HttpKeys>();
        let mut rule = inlined::<RouteRule>();
        set_property(&mut rule, "filters", filters.clone());
        set_property(&mut schema, "filters", filters);
        let routes = json!({
            "type": "array",
            "description": "Ordered rules; the first that matches decides.",
            "items": rule,
        });
        set_property(&mut schema, "routes", routes);
        if let Some(object) = schema.as_object_mut() {
            object.insert("$defs".to_owned(), Value::Object(definitions));
        }
        schema
    }
}

/// Moves the definitions of each filter to where references look for them.
fn take_definitions(schema: &mut Value, definitions: &mut Map<String, Value>) {
    match schema {
        Value::Array(items) => {
            for item in items {
                take_definitions(item, definitions);
            }
        }
        Value::Object(object) => {
            object.remove("$schema");
            if let Some(Value::Object(own)) = object.remove("$defs") {
                definitions.extend(own);
            }
            for value in object.values_mut() {
                take_definitions(value, definitions);
            }
        }
        _ => {}
    }
}

fn set_property(schema: &mut Value, name: &str, property: Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(name.to_owned(), property);
    }
}
