//! From configuration to chain: the filters that a protocol has, by name.
//!
//! Reading happens once, on the control side, and reports every mistake with its position; building happens in
//! each worker and resolves counters and shared state. Not global: each protocol makes its own registry.
//! Start at [`FilterKind`] to add a filter, [`FilterRegistry::read_list`] for how a list is read.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_config::schema::inlined;
use portcullis_config::{BuildError, Diagnostics, Node, Span, suggest};
use portcullis_limit::Seed;
use portcullis_stats::Shard;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Filter, FilterChain, Messages, Random, ReadContext, SharedStore};

/// A kind of filter for one protocol's messages: its name, its settings, and how it is made.
pub trait FilterKind<M: Messages>: 'static {
    /// The key in a filter list.
    const NAME: &'static str;
    /// The settings.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// Reports what is wrong with settings that are well-formed: an unknown fact, an impossible bound. `node` is
    /// where they stand.
    fn check(_config: &Self::Config, _node: &Node, _diagnostics: &mut Diagnostics) {}

    /// A hash of what the filter is made from besides its settings: the contents of files that they name. A reload makes
    /// the filter anew where this is another one than before.
    fn fingerprint(_config: &Self::Config) -> u64 {
        0
    }

    /// Makes the filter for one worker.
    ///
    /// # Errors
    /// Something that only shows when it is built.
    fn build(
        config: &Self::Config,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError>;
}

/// What a filter is built from besides its settings.
pub struct FilterContext<'a> {
    /// Makes counters; its series carry the listener's label.
    pub stats: &'a Shard,
    /// State common to all workers.
    pub shared: &'a SharedStore,
    /// The process's seed for keys.
    pub seed: &'a Seed,
    /// The worker's generator.
    pub random: &'a Rc<Random>,
    /// The time at which the filter is built.
    pub now: Instant,
    /// Where the filter stands, such as `listeners.web.filters[0]`: unique in a configuration.
    pub path: &'a str,
}

impl FilterContext<'_> {
    /// An error at this filter's place.
    #[must_use]
    pub fn error(&self, reason: impl fmt::Display) -> BuildError {
        BuildError {
            path: self.path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

type BuildFilter<M> =
    dyn Fn(&FilterContext<'_>) -> Result<Box<dyn Filter<M>>, BuildError> + Send + Sync;

/// One filter of a list, read and checked but not yet built.
pub struct ConfiguredFilter<M: Messages> {
    /// The kind's name.
    pub name: &'static str,
    /// Where it stands, such as `listeners.web.filters[0]`.
    pub path: String,
    node: Node,
    fingerprint: u64,
    build: Arc<BuildFilter<M>>,
}

impl<M: Messages> Clone for ConfiguredFilter<M> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            path: self.path.clone(),
            node: self.node.clone(),
            fingerprint: self.fingerprint,
            build: Arc::clone(&self.build),
        }
    }
}

impl<M: Messages> PartialEq for ConfiguredFilter<M> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.path == other.path
            && self.node == other.node
            && self.fingerprint == other.fingerprint
    }
}

impl<M: Messages> fmt::Debug for ConfiguredFilter<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {}", self.name, self.path)
    }
}

impl<M: Messages> ConfiguredFilter<M> {
    /// Makes the filter for one worker. `cx.path` is replaced by this filter's own.
    ///
    /// # Errors
    /// As [`FilterKind::build`].
    pub fn build(&self, cx: &FilterContext<'_>) -> Result<Box<dyn Filter<M>>, BuildError> {
        (self.build)(&FilterContext {
            path: &self.path,
            ..*cx
        })
    }
}

/// The filters of one listener or route, read and checked but not yet built.
pub struct FilterList<M: Messages>(pub Vec<ConfiguredFilter<M>>);

impl<M: Messages> Default for FilterList<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M: Messages> Clone for FilterList<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Messages> PartialEq for FilterList<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<M: Messages> fmt::Debug for FilterList<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<M: Messages> FilterList<M> {
    /// Makes the chain for one worker.
    ///
    /// # Errors
    /// The first filter that cannot be built.
    pub fn build(&self, cx: &FilterContext<'_>) -> Result<FilterChain<M>, BuildError> {
        let filters = self
            .0
            .iter()
            .map(|filter| filter.build(cx))
            .collect::<Result<_, _>>()?;
        Ok(FilterChain::new(filters))
    }
}

struct Kind<M: Messages> {
    name: &'static str,
    read: fn(&Node, String, &mut Diagnostics) -> Option<ConfiguredFilter<M>>,
    schema: fn() -> Value,
}

/// The filters that a protocol has, by name.
pub struct FilterRegistry<M: Messages> {
    protocol: &'static str,
    kinds: Vec<Kind<M>>,
}

impl<M: Messages> FilterRegistry<M> {
    /// No filters yet, for the protocol of this name.
    #[must_use]
    pub const fn new(protocol: &'static str) -> Self {
        Self {
            protocol,
            kinds: Vec::new(),
        }
    }

    /// Adds a kind of filter.
    #[must_use]
    pub fn with<K: FilterKind<M>>(mut self) -> Self {
        debug_assert!(
            self.kinds.iter().all(|kind| kind.name != K::NAME),
            "two filters named {}",
            K::NAME
        );
        self.kinds.push(Kind {
            name: K::NAME,
            read: read::<M, K>,
            schema: || schemars::schema_for!(K::Config).to_value(),
        });
        self
    }

    /// The names, in order of registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|kind| kind.name)
    }

    /// Reads a list of filters: each item is a mapping with one key, the filter's name, or just the name.
    /// Mistakes go to `diagnostics`; what could be read is returned. `path` is the list's own, such as
    /// `listeners.web.filters`.
    pub fn read_list(
        &self,
        list: &Node,
        path: &str,
        diagnostics: &mut Diagnostics,
    ) -> FilterList<M> {
        let Some(items) = list.as_sequence() else {
            diagnostics
                .error(list.span, format!("{path} is not a list"))
                .expected("a list of filters");
            return FilterList::default();
        };
        let filters = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                self.read_item(item, format!("{path}[{index}]"), diagnostics)
            })
            .collect();
        FilterList(filters)
    }

    /// Reads the list of a listener, if it has one, as [`read_list`](Self::read_list).
    ///
    /// A log is put first: it wants to see what other filters refuse, wherever it is listed.
    pub fn read_listener(&self, list: Option<&Node>, cx: &mut ReadContext<'_>) -> FilterList<M> {
        let path = format!("{}.filters", cx.path);
        let read = |list| self.read_list(list, &path, cx.diagnostics);
        let mut filters = list.map_or_else(FilterList::default, read);
        filters.0.sort_by_key(|filter| filter.name != "access_log");
        filters
    }

    /// The JSON Schema of a listener's keys, `filters` among them: an object schema with `properties`, without references
    /// to other places.
    #[must_use]
    pub fn listener_schema<K: JsonSchema>(&self) -> Value {
        let mut schema = inlined::<K>();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.insert("filters".to_owned(), self.schema());
        }
        schema
    }

    fn read_item(
        &self,
        item: &Node,
        path: String,
        diagnostics: &mut Diagnostics,
    ) -> Option<ConfiguredFilter<M>> {
        if let Some(name) = item.as_str() {
            let kind = self.kind(name, item.span, diagnostics)?;
            return (kind.read)(&Node::empty_block(item.span), path, diagnostics);
        }
        let entries = item.as_mapping().unwrap_or_default();
        let [(key, settings)] = entries else {
            diagnostics
                .error(item.span, "a filter is a name with its settings")
                .expected("a mapping with exactly one key, such as `rate_limit: { rate: 100/s }`");
            return None;
        };
        let kind = self.kind(&key.name, key.span, diagnostics)?;
        (kind.read)(settings, path, diagnostics)
    }

    fn kind(&self, name: &str, at: Span, diagnostics: &mut Diagnostics) -> Option<&Kind<M>> {
        let found = self.kinds.iter().find(|kind| kind.name == name);
        if found.is_none() {
            let names: Vec<&str> = self.names().collect();
            let error = diagnostics
                .error(
                    at,
                    format!("protocol {} has no filter '{name}'", self.protocol),
                )
                .expected(format!("one of {}", names.join(", ")));
            if let Some(near) = suggest(name, names.iter().copied()) {
                error.suggest(near);
            }
        }
        found
    }

    /// The JSON Schema of a filter list.
    #[must_use]
    pub fn schema(&self) -> Value {
        let kinds: Vec<Value> = self
            .kinds
            .iter()
            .map(|kind| {
                json!({
                    "type": "object",
                    "properties": { kind.name: (kind.schema)() },
                    "required": [kind.name],
                    "additionalProperties": false,
                })
            })
            .chain([json!({ "enum": self.names().collect::<Vec<_>>() })])
            .collect();
        json!({ "type": "array", "items": { "oneOf": kinds } })
    }
}

fn read<M: Messages, K: FilterKind<M>>(
    node: &Node,
    path: String,
    diagnostics: &mut Diagnostics,
) -> Option<ConfiguredFilter<M>> {
    let config: K::Config = node.read(diagnostics)?;
    K::check(&config, node, diagnostics);
    Some(ConfiguredFilter {
        name: K::NAME,
        path,
        node: node.clone(),
        fingerprint: K::fingerprint(&config),
        build: Arc::new(move |cx| K::build(&config, cx)),
    })
}
