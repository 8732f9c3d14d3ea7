//! The keys of a listener with `protocol: tcp`.
//!
//! What is common to all listeners is not here. Start at [`TcpConfig`].

use portcullis_config::{Duration, Located, Node};
use portcullis_filter::FilterList;
use portcullis_filter::ReadContext;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::filters::registry;
use crate::message::TcpMessages;

/// The configuration of a TCP listener.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpConfig {
    /// Settings without the filters.
    pub settings: Settings,
    /// The filters, in order.
    pub filters: FilterList<TcpMessages>,
}

/// Settings of a TCP listener.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where connections go.
    pub cluster: Located<String>,
    /// A connection on which nothing moved for so long is closed. Default 1h: longer than the keep-alive of most
    /// clients, and short enough that forgotten connections go away.
    #[serde(default = "default_idle")]
    pub idle_timeout: Duration,
    /// A connection is closed after so long, whatever moves. Default: no cap.
    #[serde(default)]
    pub max_duration: Option<Duration>,
    /// How many endpoints are tried for one connection. Default 3: one failed endpoint, and one more at the same
    /// time, cost no connection.
    #[serde(default = "default_attempts")]
    pub connect_attempts: Located<u32>,
}

fn default_idle() -> Duration {
    Duration::from_secs(3600)
}

fn default_attempts() -> Located<u32> {
    Located::new(3)
}

impl TcpConfig {
    /// Reads the keys of a listener that are TCP's own.
    pub fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let (filters, rest) = raw.split(&["filters"]);
        let filters = filters.get("filters").map(|list| {
            let path = format!("{}.filters", cx.path);
            registry().read_list(list, &path, cx.diagnostics)
        });
        let settings: Settings = rest.read(cx.diagnostics)?;
        cx.check_cluster(&settings.cluster);
        if *settings.connect_attempts == 0 {
            cx.diagnostics
                .error(settings.connect_attempts.span(), "no endpoint would ever be tried")
                .expected("at least 1");
        }
        Some(Self {
            settings,
            filters: filters.unwrap_or_default(),
        })
    }

    /// JSON Schema of those keys.
    #[must_use]
    pub fn schema() -> Value {
        let mut schema = schemars::schema_for!(Settings).to_value();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.insert("filters".to_owned(), registry().schema());
        }
        debug_assert!(schema.get("properties").is_some_and(|keys| *keys != json!({})));
        schema
    }
}
