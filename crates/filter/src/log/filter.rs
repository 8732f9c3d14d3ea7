//! `access_log`: one line for each record.
//!
//! Requests that an earlier filter refused are not seen: a log that should have them stands first. Start at
//! [`AccessLogConfig`].

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use portcullis_config::{BuildError, Diagnostics, Located, Node, suggest};
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::{Format, FormatError, LogRecords, LogSink, LogSinks};
use crate::{Context, Filter, FilterContext, FilterKind, Interest};

/// Settings of `access_log`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLogConfig {
    /// Where lines go: `stdout`, `stderr` or a file, which is appended to and opened again on USR1. Default:
    /// `stdout`, where containers look for it.
    #[serde(default = "default_target")]
    pub to: String,
    /// The name of a preset, a line with operators such as `%DURATION%`, or a block of JSON keys. Default: the
    /// first preset of the protocol.
    #[serde(default)]
    pub format: Option<Located<LogFormat>>,
}

fn default_target() -> String {
    "stdout".to_owned()
}

/// A format as it is written.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum LogFormat {
    /// The name of a preset, or a line with operators.
    Text(String),
    /// JSON: keys with the formats of their values, in this order.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    Json(Vec<(String, String)>),
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormatVisitor;

        impl<'de> Visitor<'de> for FormatVisitor {
            type Value = LogFormat;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a preset, a line with operators, or a block of JSON keys")
            }

            fn visit_str<E>(self, text: &str) -> Result<LogFormat, E> {
                Ok(LogFormat::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LogFormat, A::Error> {
                let mut keys = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(LogFormat::Json(keys))
            }
        }

        deserializer.deserialize_any(FormatVisitor)
    }
}

impl AccessLogConfig {
    /// Compiles the format. `None` is the name of a preset that does not exist.
    fn compile<M: LogRecords>(&self) -> Result<Option<Format<M>>, FormatError> {
        let preset = match self.format.as_deref() {
            None => M::PRESETS.first(),
            Some(LogFormat::Json(keys)) => {
                let keys = keys.iter().map(|(key, format)| (&**key, &**format));
                return Format::json(keys).map(Some);
            }
            Some(LogFormat::Text(line)) if line.contains('%') => {
                return Format::text(line).map(Some);
            }
            Some(LogFormat::Text(name)) => M::PRESETS.iter().find(|preset| preset.name() == name),
        };
        preset.map(Format::preset).transpose()
    }
}

/// The filter.
pub struct AccessLog<M: LogRecords> {
    format: Format<M>,
    sink: Arc<dyn LogSink>,
    /// Used again for every line.
    line: RefCell<Vec<u8>>,
}

impl<M: LogRecords> FilterKind<M> for AccessLog<M> {
    const NAME: &'static str = "access_log";
    type Config = AccessLogConfig;

    fn check(config: &AccessLogConfig, node: &Node, diagnostics: &mut Diagnostics) {
        let span = config.format.as_ref().map_or(node.span, |format| format.span);
        match config.compile::<M>() {
            Ok(Some(_)) => {}
            Ok(None) => {
                let names: Vec<&str> = M::PRESETS.iter().map(super::Preset::name).collect();
                let names = names.join(", ");
                diagnostics
                    .error(span, "no format has this name")
                    .expected(format!("{names}, or a line with operators such as %DURATION%"));
            }
            Err(error) => {
                let message = error.to_string();
                let diagnostic = diagnostics.error(span, message);
                if let FormatError::Operator { name, known, .. } = error
                    && !known.contains(&name.as_str())
                {
                    diagnostic.expected(format!("one of {}", known.join(", ")));
                    if let Some(near) = suggest(&name, known.iter().copied()) {
                        diagnostic.suggest(near);
                    }
                }
            }
        }
    }

    fn build(
        config: &AccessLogConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        let format = config.compile().map_err(|error| cx.error(error))?;
        let format = format.ok_or_else(|| cx.error("no format has this name"))?;
        let sinks = cx.shared.service::<Arc<dyn LogSinks>>();
        let sinks = sinks.ok_or_else(|| cx.error("this process writes no access logs"))?;
        let sink = sinks
            .open(&config.to)
            .map_err(|error| cx.error(format!("cannot open {}: {error}", config.to)))?;
        Ok(Box::new(Self {
            format,
            sink,
            line: RefCell::default(),
        }))
    }
}

impl<M: LogRecords> Filter<M> for AccessLog<M> {
    fn name(&self) -> &'static str {
        "access_log"
    }

    fn interest(&self) -> Interest {
        Interest::COMPLETE
    }

    fn on_complete(&self, record: &M::Record, cx: &Context) {
        let mut line = self.line.borrow_mut();
        line.clear();
        self.format.write(record, cx, &mut line);
        self.sink.write(&line);
    }
}
