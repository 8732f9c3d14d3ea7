//! `access_log`: one line for each record.
//!
//! A filter sees the end of the requests that reached it, so this one belongs to the front of a chain: protocols put it
//! there wherever it is listed. Start at [`AccessLogConfig`].

use std::cell::RefCell;
use std::sync::Arc;

use portcullis_config::{BuildError, Diagnostics, Located, Node, Span, suggest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Format, FormatError, LogRecords, LogSink, LogSinks};
use crate::{Context, Filter, FilterContext, FilterKind, Interest};

/// Settings of `access_log`: one of `format`, `text` and `json` says what a line holds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// Where lines go: `stdout`, `stderr` or the path of a file, which is appended to and opened again on USR1.
    /// Default `stdout`, where containers look for it.
    pub path: Option<Located<String>>,
    /// A format by name. Default `json`: logs are read by machines first.
    pub format: Option<Located<String>>,
    /// A line of text with operators, such as `%DURATION% %BYTES_SENT%`.
    pub text: Option<Located<String>>,
    /// An object whose values are text with operators; a value that is a single operator keeps its type.
    pub json: Option<Located<Map<String, Value>>>,
}

impl AccessLogConfig {
    fn compile<M: LogRecords>(&self) -> Result<Format<M>, LogFormatError> {
        if let Some(text) = &self.text {
            return Ok(Format::text(text)?);
        }
        if let Some(object) = &self.json {
            let keys = object.iter().map(|(key, value)| match value {
                Value::String(text) => Ok((&**key, &**text)),
                _ => Err(LogFormatError::NotText(key.clone())),
            });
            return Ok(Format::json(keys.collect::<Result<Vec<_>, _>>()?)?);
        }
        let name = self.format.as_ref().map_or("json", |name| name.as_str());
        let preset = M::PRESETS.iter().find(|preset| preset.name() == name);
        let preset = preset.ok_or_else(|| LogFormatError::Preset(name.to_owned()))?;
        Ok(Format::preset(preset)?)
    }

    fn target(&self) -> &str {
        self.path.as_ref().map_or("stdout", |path| path.as_str())
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        let format = self.format.as_ref().map(|format| format.span);
        let text = self.text.as_ref().map(|text| text.span);
        let json = self.json.as_ref().map(|json| json.span);
        [format, text, json].into_iter().flatten()
    }
}

/// Why settings give no format.
#[derive(Debug, thiserror::Error)]
enum LogFormatError {
    #[error("no format is named '{0}'")]
    Preset(String),
    #[error("the value of '{0}' is not text")]
    NotText(String),
    #[error(transparent)]
    Format(#[from] FormatError),
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
        if let Some(second) = config.spans().nth(1) {
            diagnostics
                .error(second, "the line is said twice")
                .expected("one of `format`, `text` and `json`");
        }
        let Err(error) = config.compile::<M>() else {
            return;
        };
        let span = config.spans().next().unwrap_or(node.span);
        let diagnostic = diagnostics.error(span, error.to_string());
        let (name, known) = match error {
            LogFormatError::Preset(name) => {
                (name, M::PRESETS.iter().map(super::Preset::name).collect())
            }
            LogFormatError::Format(FormatError::Operator { name, known, .. })
                if !known.contains(&name.as_str()) =>
            {
                (name, known)
            }
            _ => return,
        };
        diagnostic.expected(format!("one of {}", known.join(", ")));
        if let Some(near) = suggest(&name, known.iter().copied()) {
            diagnostic.suggest(near);
        }
    }

    fn build(
        config: &AccessLogConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        let format = config.compile().map_err(|error| cx.error(error))?;
        let sinks = cx.shared.service::<Arc<dyn LogSinks>>();
        let sinks = sinks.ok_or_else(|| cx.error("this process writes no access logs"))?;
        let target = config.target();
        let sink = sinks
            .open(target)
            .map_err(|error| cx.error(format!("cannot open {target}: {error}")))?;
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
        Interest::COMPLETE.and(Interest::REFUSED)
    }

    fn on_complete(&self, record: &M::Record, cx: &Context) {
        let mut line = self.line.borrow_mut();
        line.clear();
        self.format.write(record, cx, &mut line);
        self.sink.write(&line);
    }
}
