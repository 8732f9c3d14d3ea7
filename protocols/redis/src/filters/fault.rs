//! `fault`: delays and errors on purpose, for a share of commands, to see how clients bear them.
//!
//! Not a limit. A command that both strike is aborted at once. Start at [`FaultConfig`].

use std::rc::Rc;
use std::time::Duration as Span;

use portcullis_config::{BuildError, Diagnostics, Duration, Node, Percent};
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Random, Stop, Verdict,
};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::chain::{CommandRequest, ErrorText, RedisMessages};

/// Settings of `fault`: a delay, an abort, or both.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultConfig {
    /// Holds commands back, and with them what the client sends behind them.
    pub delay: Option<DelayConfig>,
    /// Answers commands with an error.
    pub abort: Option<AbortConfig>,
}

/// How long commands are held back.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelayConfig {
    /// How long.
    pub time: Duration,
    /// The share of commands. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

/// What commands are answered with.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortConfig {
    /// The error, its prefix first: `LOADING Redis is loading the dataset in memory`.
    pub error: String,
    /// The share of commands. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

fn all() -> Percent {
    Percent::whole(100)
}

/// The filter.
pub struct Fault {
    delay: Option<(Span, u32)>,
    abort: Option<(String, u32)>,
    random: Rc<Random>,
    delayed: Counter,
    aborted: Counter,
}

impl FilterKind<RedisMessages> for Fault {
    const NAME: &'static str = "fault";
    type Config = FaultConfig;

    fn check(config: &FaultConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.delay.is_none() && config.abort.is_none() {
            diagnostics
                .error_at(node, "the fault does nothing")
                .expected("delay, abort, or both");
        }
        let abort = config.abort.as_ref();
        let is_prefix = |text: &str| {
            let word = text.split(' ').next().unwrap_or_default();
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        if abort.is_some_and(|abort| !is_prefix(&abort.error)) {
            diagnostics
                .error_at(node, "an error begins with a word in capital letters")
                .expected("such as `ERR made on purpose`");
        }
    }

    fn build(
        config: &FaultConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<RedisMessages>>, BuildError> {
        let counter = |kind| {
            cx.stats.counter(
                "portcullis_redis_faults_total",
                "Faults made on purpose, by kind.",
                &[("filter", cx.path), ("kind", kind)],
            )
        };
        let delay = config.delay.as_ref();
        let abort = config.abort.as_ref();
        Ok(Box::new(Self {
            delay: delay.map(|delay| (delay.time.get(), delay.percent.millionths())),
            abort: abort.map(|abort| (abort.error.clone(), abort.percent.millionths())),
            random: Rc::clone(cx.random),
            delayed: counter("delay"),
            aborted: counter("abort"),
        }))
    }
}

impl Filter<RedisMessages> for Fault {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        _: &'a mut CommandRequest,
        cx: &'a mut Context,
    ) -> Verdict<'a, RedisMessages> {
        if let Some((error, share)) = &self.abort
            && self.random.happens(*share)
        {
            self.aborted.inc();
            return Verdict::Stop(Stop::Reply(Box::new(ErrorText(error.clone()))));
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
