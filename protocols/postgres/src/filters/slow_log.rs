//! `slow_log`: the access log of what took long, without values.
//!
//! Lines, formats and files are those of `access_log`. Start at [`SlowLogConfig`].

use std::time::Duration as Span;

use portcullis_config::{BuildError, Diagnostics, Duration, Located, Node};
use portcullis_filter::log::AccessLogConfig;
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::AccessLog;
use crate::request::{PostgresMessages, Record};

/// Settings of `slow_log`: which requests are written, and the keys of `access_log`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowLogConfig {
    /// Requests that took at least so long, from their arrival to their end.
    pub over: Duration,
    /// As in `access_log`. Default `stdout`.
    pub path: Option<Located<String>>,
    /// As in `access_log`. Default `json`.
    pub format: Option<Located<String>>,
    /// As in `access_log`.
    pub text: Option<Located<String>>,
    /// As in `access_log`.
    pub json: Option<Located<Map<String, Value>>>,
}

impl SlowLogConfig {
    fn log(&self) -> AccessLogConfig {
        AccessLogConfig {
            path: self.path.clone(),
            format: self.format.clone(),
            text: self.text.clone(),
            json: self.json.clone(),
        }
    }
}

/// The filter.
pub struct SlowLog {
    over: Span,
    log: Box<dyn Filter<PostgresMessages>>,
}

impl FilterKind<PostgresMessages> for SlowLog {
    const NAME: &'static str = "slow_log";
    type Config = SlowLogConfig;

    fn check(config: &SlowLogConfig, node: &Node, diagnostics: &mut Diagnostics) {
        <AccessLog as FilterKind<PostgresMessages>>::check(&config.log(), node, diagnostics);
    }

    fn build(
        config: &SlowLogConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<PostgresMessages>>, BuildError> {
        Ok(Box::new(Self {
            over: config.over.get(),
            log: <AccessLog as FilterKind<PostgresMessages>>::build(&config.log(), cx)?,
        }))
    }
}

impl Filter<PostgresMessages> for SlowLog {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::COMPLETE
    }

    fn on_complete(&self, record: &Record, cx: &Context) {
        if record.duration >= self.over {
            self.log.on_complete(record, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::testing::{chain_and_lines, context, passes, problems, request};
    use super::*;

    #[test]
    fn only_what_took_long_is_written() {
        let (chain, lines) = chain_and_lines("[{slow_log: {over: 1s, text: '%DURATION%'}}]");
        let mut cx = context("192.0.2.1");
        assert_eq!(passes(&chain, &mut request("select 1"), &mut cx), Ok(()));
        for millis in [999, 1000, 2500] {
            let mut record = Record::new(request("select 1"), UNIX_EPOCH, cx.now);
            record.duration = Span::from_millis(millis);
            chain.on_complete(&record, &cx);
        }
        assert_eq!(lines.take(), "1000\n2500\n");
    }

    #[test]
    fn mistakes_are_those_of_the_access_log() {
        assert!(problems("[{slow_log: {over: 1s, text: '%DURATIO%'}}]").contains("DURATIO"));
        assert!(problems("[slow_log]").contains("over"));
    }
}
