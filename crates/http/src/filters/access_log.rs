//! `access_log`: one line for each request, in the operators that Envoy's logs are written with.
//!
//! It writes nothing itself: a line goes whole to a [`LogSink`], which belongs to the process. Wherever it is listed,
//! it comes first in the chain, so that requests which other filters refuse are logged too. Start at
//! [`AccessLogConfig`]; [`operator`] has the table of operators.

pub mod escape;
pub mod format;
pub mod operator;
mod preset;
#[cfg(test)]
mod tests;
mod time;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use portcullis_config::{BuildError, Diagnostics, Located, Node};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::message::{Http, Record};
use format::Format;

/// Where lines go.
pub trait LogSink: Send + Sync {
    /// Adds a line, which ends with a line feed. Never waits.
    fn write(&self, line: &[u8]);
}

/// Makes sinks: the access logs of the process. Provided to filters as `Arc<dyn LogSinks>` through
/// [`portcullis_filter::SharedStore::provide`].
pub trait LogSinks: Send + Sync {
    /// A sink for `stdout`, `stderr` or the path of a file.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn open(&self, target: &str) -> io::Result<Arc<dyn LogSink>>;
}

/// Settings of `access_log`: one of `format`, `text` and `json` says what a line holds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// Where lines go: `stdout`, `stderr` or the path of a file. Default `stdout`.
    pub path: Option<Located<String>>,
    /// A format by name. Default `json`: logs are read by machines first.
    pub format: Option<Located<Preset>>,
    /// A line of text with operators, such as `%REQ(:METHOD)% %RESPONSE_CODE%`.
    pub text: Option<Located<String>>,
    /// An object whose values are text with operators; a value that is a single operator keeps its type.
    pub json: Option<Located<Map<String, Value>>>,
}

/// The formats that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Envoy's default line.
    Envoy,
    /// The combined format of Apache and nginx.
    Combined,
    /// An object with what is usually wanted.
    Json,
}

impl AccessLogConfig {
    fn compile(&self) -> Result<Format, String> {
        if let Some(text) = &self.text {
            return Format::text(text);
        }
        if let Some(object) = &self.json {
            return Format::json(object);
        }
        preset::compile(self.format.as_ref().map_or(Preset::Json, |name| name.value))
    }

    fn target(&self) -> &str {
        self.path.as_ref().map_or("stdout", |path| path.as_str())
    }
}

/// The filter.
pub struct AccessLog {
    format: Format,
    sink: Arc<dyn LogSink>,
    line: RefCell<Vec<u8>>,
}

impl FilterKind<Http> for AccessLog {
    const NAME: &'static str = "access_log";
    type Config = AccessLogConfig;

    fn check(config: &AccessLogConfig, node: &Node, diagnostics: &mut Diagnostics) {
        let forms = [
            config.format.as_ref().map(|form| form.span),
            config.text.as_ref().map(|form| form.span),
            config.json.as_ref().map(|form| form.span),
        ];
        let mut forms = forms.into_iter().flatten();
        let first = forms.next();
        if let (Some(first), Some(second)) = (first, forms.next()) {
            diagnostics
                .error(second, "a line has one form")
                .expected("only one of format, text and json")
                .also(first, "the first one");
            return;
        }
        if let Err(reason) = config.compile() {
            diagnostics.error(first.unwrap_or(node.span), reason);
        }
    }

    fn build(
        config: &AccessLogConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        let sinks = cx
            .shared
            .service::<Arc<dyn LogSinks>>()
            .ok_or_else(|| cx.error("this process has no access logs"))?;
        let target = config.target();
        let sink = sinks
            .open(target)
            .map_err(|error| cx.error(format!("cannot open {target}: {error}")))?;
        Ok(Box::new(Self {
            format: config.compile().map_err(|reason| cx.error(reason))?,
            sink,
            line: RefCell::default(),
        }))
    }
}

impl Filter<Http> for AccessLog {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::COMPLETE
    }

    fn on_complete(&self, record: &Record, cx: &Context) {
        let mut line = self.line.borrow_mut();
        line.clear();
        self.format.write(record, cx, &mut line);
        self.sink.write(&line);
    }
}
