//! `fault`: delays and errors on purpose, for a share of requests, to see how clients bear them.
//!
//! Not a limit. A request that both strike is aborted at once. Start at [`FaultConfig`].

use std::rc::Rc;
use std::time::Duration as Span;

use portcullis_config::{BuildError, Diagnostics, Duration, Located, Node, Percent};
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Random, Stop, Verdict,
};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::head::Status;
use crate::local_reply;
use crate::message::{Http, Request};

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
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
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
    /// The status, 400 to 599.
    pub status: Located<u16>,
    /// The share of requests. Default 100%.
    #[serde(default = "all")]
    pub percent: Percent,
}

fn all() -> Percent {
    Percent::whole(100)
}

/// The filter.
pub struct Fault {
    delay: Option<(Span, u32)>,
    abort: Option<(Status, u32)>,
    random: Rc<Random>,
    delayed: Counter,
    aborted: Counter,
}

impl FilterKind<Http> for Fault {
    const NAME: &'static str = "fault";
    type Config = FaultConfig;

    fn check(config: &FaultConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.delay.is_none() && config.abort.is_none() {
            diagnostics
                .error_at(node, "the fault does nothing")
                .expected("delay, abort, or both");
        }
        if let Some(abort) = &config.abort
            && !(400..=599).contains(&abort.status.value)
        {
            diagnostics
                .error(
                    abort.status.span,
                    format!("{} is not an error", abort.status.value),
                )
                .expected("a status from 400 to 599");
        }
    }

    fn build(
        config: &FaultConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        let counter = |kind| {
            cx.stats.counter(
                "portcullis_http_faults_total",
                "Faults made on purpose, by kind.",
                &[("filter", cx.path), ("kind", kind)],
            )
        };
        Ok(Box::new(Self {
            delay: config
                .delay
                .as_ref()
                .map(|delay| (delay.time.get(), delay.percent.millionths())),
            abort: config.abort.as_ref().and_then(|abort| {
                let status = Status::from_code(abort.status.value)?;
                Some((status, abort.percent.millionths()))
            }),
            random: Rc::clone(cx.random),
            delayed: counter("delay"),
            aborted: counter("abort"),
        }))
    }
}

impl Filter<Http> for Fault {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(&'a self, _: &'a mut Request, cx: &'a mut Context) -> Verdict<'a, Http> {
        if let Some((status, share)) = self.abort
            && self.random.happens(share)
        {
            self.aborted.inc();
            return Verdict::Stop(Stop::Reply(Box::new(local_reply::bare(
                status,
                "fault_abort",
            ))));
        }
        if let Some((time, share)) = self.delay
            && self.random.happens(share)
        {
            self.delayed.inc();
            return Verdict::Delay(cx.now + time);
        }
        Verdict::Continue
    }
}
