//! `fault`: delays and errors on purpose, for a share of requests, to see how clients bear them.
//!
//! Not a limit. A request that both strike is aborted at once. What an error is, each protocol says. Start at [`FaultConfig`],
//! then [`Faults`].

use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration as Span;

use portcullis_config::{BuildError, Diagnostics, Duration, Node, Percent};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{
    Context, Filter, FilterContext, FilterKind, Interest, Messages, Random, Stop, Verdict,
};

/// A protocol's errors on purpose.
pub trait Faults: Messages + Sized {
    /// Settings of `abort`: what requests are answered with, and the share of them.
    type Abort: Clone + Debug + PartialEq + Send + Sync + DeserializeOwned + JsonSchema + 'static;
    /// The counter's name.
    const COUNTER: &'static str;

    /// The share of requests.
    fn share(abort: &Self::Abort) -> Percent;

    /// Reports what is wrong with the settings, which stand at `node`, although they are well-formed.
    fn check(_abort: &Self::Abort, _node: &Node, _diagnostics: &mut Diagnostics) {}

    /// What a request is answered with.
    fn reply(abort: &Self::Abort) -> Self::Response;
}

/// Settings of `fault`: a delay, an abort, or both.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig<A> {
    /// Holds requests back.
    pub delay: Option<DelayConfig>,
    /// Answers requests with an error.
    pub abort: Option<A>,
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

/// All requests, for defaults.
pub const fn all() -> Percent {
    Percent::ALL
}

/// The filter.
pub struct Fault<M: Faults> {
    delay: Option<(Span, u32)>,
    abort: Option<(M::Abort, u32)>,
    random: Rc<Random>,
    delayed: Counter,
    aborted: Counter,
}

impl<M: Faults> FilterKind<M> for Fault<M> {
    const NAME: &'static str = "fault";
    type Config = FaultConfig<M::Abort>;

    fn check(config: &Self::Config, node: &Node, diagnostics: &mut Diagnostics) {
        if config.delay.is_none() && config.abort.is_none() {
            diagnostics
                .error_at(node, "the fault does nothing")
                .expected("delay, abort, or both");
        }
        if let Some(abort) = &config.abort {
            M::check(abort, node, diagnostics);
        }
    }

    fn build(
        config: &Self::Config,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        let counter = |kind| {
            cx.stats.counter(
                M::COUNTER,
                "Faults made on purpose, by kind.",
                &[("filter", cx.path), ("kind", kind)],
            )
        };
        let delay = config.delay.as_ref();
        let abort = config.abort.as_ref();
        Ok(Box::new(Self {
            delay: delay.map(|delay| (delay.time.get(), delay.percent.millionths())),
            abort: abort.map(|abort| (abort.clone(), M::share(abort).millionths())),
            random: Rc::clone(cx.random),
            delayed: counter("delay"),
            aborted: counter("abort"),
        }))
    }
}

impl<M: Faults> Filter<M> for Fault<M> {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(&'a self, _: &'a mut M::Request, cx: &'a mut Context) -> Verdict<'a, M> {
        if let Some((abort, share)) = &self.abort
            && self.random.happens(*share)
        {
            self.aborted.inc();
            return Verdict::Stop(Stop::Reply(Box::new(M::reply(abort))));
        }
        if let Some((time, share)) = self.delay
            && self.random.happens(share)
        {
            self.delayed.inc();
            let until = cx.now.checked_add(time);
            return until.map_or(Verdict::Continue, Verdict::Delay);
        }
        Verdict::Continue
    }
}
