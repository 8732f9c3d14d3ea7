//! `fault`: delays and errors on purpose, for a share of requests, to see how clients bear them.
//!
//! Not a limit. A request that both strike is aborted at once. Start at [`FaultConfig`].

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration as Span;

use portcullis_config::{BuildError, Diagnostics, Duration, Node, Percent};
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Random, Stop, Verdict,
};
use portcullis_stats::Counter;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::reject::{ErrorReply, reason};
use crate::request::{PostgresMessages, StatementRequest};
use crate::sqlstate::SqlState;

/// Settings of `fault`: a delay, an abort, or both.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultConfig {
    /// Holds requests back.
    pub delay: Option<DelayConfig>,
    /// Answers requests with an error.
    pub abort: Option<AbortConfig>,
}

/// How long requests are held back.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelayConfig {
    /// How long.
    pub time: Duration,
    /// The share of requests. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

/// What requests are answered with.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortConfig {
    /// The SQLSTATE of an error, such as `40001` (serialization failure) or `57P01` (the server shuts down).
    pub sqlstate: SqlStateText,
    /// The share of requests. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

fn all() -> Percent {
    Percent::whole(100)
}

/// A SQLSTATE of an error as it is written: five digits and capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlStateText(pub SqlState);

impl<'de> Deserialize<'de> for SqlStateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Classes 00 to 02 are successes and warnings (appendix A of the documentation).
        let is_error = !matches!(text.get(..2), Some("00" | "01" | "02"));
        let is_code = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let state = SqlState::new(text.as_bytes());
        state
            .filter(|_| is_error && text.bytes().all(is_code))
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no SQLSTATE of an error: expected five digits and capital letters, such as \"40001\""))
    }
}

impl JsonSchema for SqlStateText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SqlState".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9A-Z]{5}$",
            "description": "The SQLSTATE of an error",
            "examples": ["40001", "57P01"],
        })
    }
}

/// The filter.
pub struct Fault {
    delay: Option<(Span, u32)>,
    abort: Option<(SqlState, u32)>,
    random: Rc<Random>,
    delayed: Counter,
    aborted: Counter,
}

impl FilterKind<PostgresMessages> for Fault {
    const NAME: &'static str = "fault";
    type Config = FaultConfig;

    fn check(config: &FaultConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.delay.is_none() && config.abort.is_none() {
            diagnostics
                .error_at(node, "the fault does nothing")
                .expected("delay, abort, or both");
        }
    }

    fn build(
        config: &FaultConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<PostgresMessages>>, BuildError> {
        let counter = |kind| {
            cx.stats.counter(
                "portcullis_postgres_faults_total",
                "Faults made on purpose, by kind.",
                &[("filter", cx.path), ("kind", kind)],
            )
        };
        let delay = config.delay.as_ref();
        let abort = config.abort.as_ref();
        Ok(Box::new(Self {
            delay: delay.map(|delay| (delay.time.get(), delay.percent.millionths())),
            abort: abort.map(|abort| (abort.sqlstate.0, abort.percent.millionths())),
            random: Rc::clone(cx.random),
            delayed: counter("delay"),
            aborted: counter("abort"),
        }))
    }
}

impl Filter<PostgresMessages> for Fault {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        _: &'a mut StatementRequest,
        cx: &'a mut Context,
    ) -> Verdict<'a, PostgresMessages> {
        if let Some((sqlstate, share)) = self.abort
            && self.random.happens(share)
        {
            self.aborted.inc();
            let reply = ErrorReply::new(
                reason::FAULT,
                sqlstate,
                "an error of the gateway, made on purpose",
            );
            return Verdict::Stop(Stop::Reply(Box::new(reply)));
        }
        if let Some((time, share)) = self.delay
            && self.random.happens(share)
        {
            self.delayed.inc();
            return cx
                .now
                .checked_add(time)
                .map_or(Verdict::Continue, Verdict::Delay);
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chain, context, passes, problems, request};

    #[test]
    fn requests_are_aborted_or_held() {
        let mut cx = context("192.0.2.1");
        let abort = chain("[{fault: {abort: {sqlstate: \"40001\"}, delay: {time: 1s}}}]");
        let error = passes(&abort, &mut request("select 1"), &mut cx).unwrap_err();
        assert_eq!(error, "fault_abort 40001");
        let never = chain("[{fault: {abort: {sqlstate: 57P01, percent: 0%}}}]");
        assert_eq!(passes(&never, &mut request("select 1"), &mut cx), Ok(()));
    }

    #[test]
    fn what_is_no_error_is_a_mistake() {
        for (yaml, message) in [
            ("[fault]", "does nothing"),
            ("[{fault: {abort: {sqlstate: \"00000\"}}}]", "no SQLSTATE"),
            ("[{fault: {abort: {sqlstate: \"4000\"}}}]", "no SQLSTATE"),
            ("[{fault: {abort: {sqlstate: 57p01}}}]", "no SQLSTATE"),
        ] {
            assert!(
                problems(yaml).contains(message),
                "{yaml}: {}",
                problems(yaml)
            );
        }
    }
}
