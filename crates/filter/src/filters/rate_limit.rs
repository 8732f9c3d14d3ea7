//! `rate_limit`: at most so many requests for each combination of facts, exact for the process.
//!
//! Not a queue: what exceeds the limit is refused at once, with the time after which it would pass.
//! Start at [`RateLimitConfig`].

use std::sync::Arc;
use std::time::Instant;

use portcullis_config::{BuildError, Diagnostics, Located, Node, Rate};
use portcullis_limit::{Decision, Key, Quota, QuotaError, RateLimiter};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check_facts;
use crate::facts::{Descriptor, Facts};
use crate::{
    Context, Filter, FilterContext, FilterKind, Interest, Rejection, RejectionKind, Stop, Verdict,
};

/// Settings of `rate_limit`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Facts that tell one key from another, such as `client.ip`. None: one limit for all.
    #[serde(default)]
    pub per: Vec<Located<String>>,
    /// How many per time, such as `100/s`.
    pub rate: Located<Rate>,
    /// How many may come at once. Default: the whole count of the rate, 100 for `100/s`.
    #[serde(default)]
    pub burst: Option<Located<u64>>,
    /// What one request counts for, at least 1. Default 1.
    #[serde(default = "one")]
    pub cost: u64,
    /// Count what would be refused, and let it pass.
    #[serde(default)]
    pub shadow: bool,
    /// With `per`: keys kept at most; then those unused for longest go. Default 100000: about 10 MB.
    #[serde(default = "default_keys")]
    pub max_keys: usize,
}

const fn one() -> u64 {
    1
}

const fn default_keys() -> usize {
    100_000
}

impl RateLimitConfig {
    fn quota(&self) -> Result<Quota, QuotaError> {
        let quota = Quota::new(self.rate.count(), self.rate.per())?;
        let quota = match &self.burst {
            Some(burst) => quota.with_burst(**burst)?,
            None => quota,
        };
        quota.check_cost(self.cost)?;
        Ok(quota)
    }
}

/// The filter.
pub struct RateLimit<M: Facts> {
    descriptor: Descriptor<M>,
    limiter: Arc<RateLimiter>,
    cost: u64,
    shadow: bool,
    limited: Counter,
    shadowed: Counter,
}

impl<M: Facts> FilterKind<M> for RateLimit<M> {
    const NAME: &'static str = "rate_limit";
    type Config = RateLimitConfig;

    fn check(config: &RateLimitConfig, node: &Node, diagnostics: &mut Diagnostics) {
        check_facts::<M>(&config.per, node, diagnostics);
        if let Err(error) = config.quota() {
            diagnostics.error(node.span, error.to_string());
        }
        if let Some(written) = node.get("max_keys") {
            if config.max_keys == 0 {
                diagnostics
                    .error(written.span, "a limit that keeps no key forgets at once")
                    .expected("at least 1");
            } else if config.per.is_empty() {
                diagnostics
                    .error(
                        written.span,
                        "without `per` there is one limit, and no keys",
                    )
                    .help("leave `max_keys` out, or say what tells one key from another");
            }
        }
    }

    fn build(
        config: &RateLimitConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<M>>, BuildError> {
        Ok(Box::new(Self::new(config, cx)?))
    }
}

impl<M: Facts> RateLimit<M> {
    /// The limit, for a filter that is made of it.
    ///
    /// # Errors
    /// The settings make no limit, which reading has seen.
    pub fn new(config: &RateLimitConfig, cx: &FilterContext<'_>) -> Result<Self, BuildError> {
        let names = config.per.iter().map(|name| name.as_str());
        let descriptor =
            Descriptor::new(names, cx.seed.clone()).map_err(|error| cx.error(error))?;
        let quota = config.quota().map_err(|error| cx.error(error))?;
        let key = format!(
            "rate_limit {} {quota:?} {} {:?}",
            cx.path, config.max_keys, config.per
        );
        let limiter = cx.shared.of(key, || {
            if descriptor.is_empty() {
                RateLimiter::new(quota, cx.now)
            } else {
                RateLimiter::keyed_with(quota, config.max_keys, cx.now)
            }
        });
        let counter = |outcome| {
            cx.stats.counter(
                "portcullis_rate_limit_total",
                "Requests over a rate limit, by what was done with them.",
                &[("filter", cx.path), ("outcome", outcome)],
            )
        };
        Ok(Self {
            descriptor,
            limiter,
            cost: config.cost,
            shadow: config.shadow,
            limited: counter("refused"),
            shadowed: counter("shadow"),
        })
    }

    /// What a request is counted by.
    pub fn key(&self, request: &M::Request, cx: &Context) -> Option<Key> {
        self.descriptor.key(request, cx)
    }

    /// Counts `cost` for a key.
    ///
    /// # Errors
    /// It is over the limit, which is not counted then.
    pub fn check(&self, key: Option<Key>, cost: u64, now: Instant) -> Result<(), Stop<M>> {
        let decision = self.limiter.check(key, cost, now);
        let Decision::Denied { retry_after, .. } = decision else {
            return Ok(());
        };
        if self.shadow {
            self.shadowed.inc();
            return Ok(());
        }
        self.limited.inc();
        let quota = self.limiter.quota();
        Err(Stop::Reject(Rejection {
            reason: "rate_limited",
            kind: RejectionKind::RateLimited {
                retry_after,
                limit: quota.count(),
                period: quota.period(),
            },
        }))
    }
}

impl<M: Facts> Filter<M> for RateLimit<M> {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut M::Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, M> {
        match self.check(self.key(request, cx), self.cost, cx.now) {
            Ok(()) => Verdict::Continue,
            Err(stop) => Verdict::Stop(stop),
        }
    }
}
