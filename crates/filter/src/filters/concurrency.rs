//! `concurrency`: at most so many requests at once for each combination of facts, exact for the process.
//!
//! Not a queue: what exceeds the limit is refused at once. Start at [`ConcurrencyConfig`].

use std::sync::Arc;

use portcullis_config::{BuildError, Diagnostics, Located, Node};
use portcullis_limit::ConcurrencyLimiter;
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check_facts;
use crate::facts::{Descriptor, Facts};
use crate::{
    Context, Filter, FilterContext, FilterKind, Interest, Rejection, RejectionKind, Stop, Verdict,
};

/// Settings of `concurrency`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyConfig {
    /// Facts that tell one key from another, such as `client.ip`. None: one limit for all.
    #[serde(default)]
    pub per: Vec<Located<String>>,
    /// How many at once.
    pub max: Located<u64>,
    /// Count what would be refused, and let it pass.
    #[serde(default)]
    pub shadow: bool,
}

/// The filter.
pub struct Concurrency<M: Facts> {
    descriptor: Descriptor<M>,
    limiter: Arc<ConcurrencyLimiter>,
    shadow: bool,
    refused: Counter,
    shadowed: Counter,
}

impl<M: Facts> FilterKind<M> for Concurrency<M> {
    const NAME: &'static str = "concurrency";
    type Config = ConcurrencyConfig;

    fn check(config: &ConcurrencyConfig, node: &Node, diagnostics: &mut Diagnostics) {
        check_facts::<M>(&config.per, node, diagnostics);
        if *config.max == 0 {
            diagnostics
                .error(config.max.span, "a limit of 0 refuses everything")
                .expected("at least 1");
        }
    }

    fn build(
        config: &ConcurrencyConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        let names = config.per.iter().map(|name| name.as_str());
        let descriptor =
            Descriptor::new(names, cx.seed.clone()).map_err(|error| cx.error(error))?;
        let key = format!("concurrency {} {} {:?}", cx.path, *config.max, config.per);
        let max = *config.max;
        let limiter = cx.shared.of(key, || {
            if descriptor.is_empty() {
                ConcurrencyLimiter::new(max)
            } else {
                ConcurrencyLimiter::keyed(max)
            }
        });
        let counter = |outcome| {
            cx.stats.counter(
                "portcullis_concurrency_total",
                "Requests over a concurrency limit, by what was done with them.",
                &[("filter", cx.path), ("outcome", outcome)],
            )
        };
        Ok(Box::new(Self {
            descriptor,
            limiter,
            shadow: config.shadow,
            refused: counter("refused"),
            shadowed: counter("shadow"),
        }))
    }
}

impl<M: Facts> Filter<M> for Concurrency<M> {
    fn name(&self) -> &'static str {
        "concurrency"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut M::Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, M> {
        let key = self.descriptor.key(request, cx);
        if let Some(permit) = self.limiter.try_acquire(key) {
            cx.hold(permit);
            return Verdict::Continue;
        }
        if self.shadow {
            self.shadowed.inc();
            return Verdict::Continue;
        }
        self.refused.inc();
        Verdict::Stop(Stop::Reject(Rejection {
            reason: "concurrency",
            kind: RejectionKind::Overloaded,
        }))
    }
}
