//! `rate_limit`: at most so many datagrams, bytes or flows for each combination of facts, exact for the process.
//!
//! What exceeds the limit is lost: UDP has no words for a refusal. The count is [`portcullis_filter::filters::RateLimit`]'s.
//! Start at [`RateLimitConfig`].

use portcullis_config::{BuildError, Diagnostics, Located, Node, Rate};
use portcullis_filter::filters::{RateLimit as Counting, RateLimitConfig as CountingConfig};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use portcullis_limit::Key;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Direction;
use crate::message::{Datagram, FlowOpening, UdpMessages};

/// Settings of `rate_limit`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// What is counted. Default: datagrams.
    #[serde(default)]
    pub count: Counted,
    /// Whose are counted. Default: those from clients. Flows are always the clients'.
    #[serde(default = "up")]
    pub direction: Direction,
    /// Facts that tell one key from another, such as `client.ip`. None: one limit for all.
    #[serde(default)]
    pub per: Vec<Located<String>>,
    /// How many per time, such as `100/s`.
    pub rate: Located<Rate>,
    /// How many may come at once. Default: the whole count of the rate, 100 for `100/s`.
    #[serde(default)]
    pub burst: Option<Located<u64>>,
    /// Count what would be lost, and let it pass.
    #[serde(default)]
    pub shadow: bool,
    /// Keys kept at most; then those unused for longest go. Default 100000: about 10 MB.
    #[serde(default = "default_keys")]
    pub max_keys: usize,
}

const fn up() -> Direction {
    Direction::Up
}

const fn default_keys() -> usize {
    100_000
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Datagrams.
    #[default]
    Datagrams,
    /// Their bytes.
    Bytes,
    /// Flows that begin.
    Flows,
}

/// The largest datagram over IPv4 (RFC 768, RFC 791); of IPv6 it is twenty bytes more.
const LARGEST: u64 = 65_527;

impl RateLimitConfig {
    fn counting(&self) -> CountingConfig {
        CountingConfig {
            per: self.per.clone(),
            rate: self.rate,
            burst: self.burst,
            cost: 1,
            shadow: self.shadow,
            max_keys: self.max_keys,
        }
    }

    fn burst(&self) -> u64 {
        let burst = self.burst.as_ref();
        burst.map_or_else(|| self.rate.count(), |burst| burst.value)
    }
}

/// The filter.
pub struct RateLimit {
    counting: Counting<UdpMessages>,
    count: Counted,
    direction: Direction,
}

/// The key of a flow, for each filter of this kind in the chain.
struct Held(Vec<(*const RateLimit, Option<Key>)>);

impl FilterKind<UdpMessages> for RateLimit {
    const NAME: &'static str = "rate_limit";
    type Config = RateLimitConfig;

    fn check(config: &RateLimitConfig, node: &Node, diagnostics: &mut Diagnostics) {
        <Counting<UdpMessages> as FilterKind<_>>::check(&config.counting(), node, diagnostics);
        if config.count == Counted::Bytes && config.burst() < LARGEST {
            diagnostics
                .error_at(node, "large datagrams would never pass")
                .expected(format!("a burst of at least {LARGEST} bytes"));
        }
        if config.count == Counted::Flows && config.direction != Direction::Up {
            diagnostics.error_at(node, "flows begin at clients, so their direction is up");
        }
    }

    fn build(
        config: &RateLimitConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<UdpMessages>>, BuildError> {
        Ok(Box::new(Self {
            counting: Counting::new(&config.counting(), cx)?,
            count: config.count,
            direction: config.direction,
        }))
    }
}

impl RateLimit {
    fn verdict(&self, datagram: Datagram, cx: &Context) -> Verdict<'static, UdpMessages> {
        let mine = |(filter, key): &(*const Self, Option<Key>)| {
            std::ptr::eq(*filter, self).then_some(*key)
        };
        let held = cx.held::<Held>();
        let Some(key) = held.and_then(|held| held.0.iter().find_map(mine)) else {
            return Verdict::Continue;
        };
        let cost = match self.count {
            Counted::Bytes => datagram.bytes as u64,
            Counted::Datagrams | Counted::Flows => 1,
        };
        match self.counting.check(key, cost, cx.now) {
            Ok(()) => Verdict::Continue,
            Err(stop) => Verdict::Stop(stop),
        }
    }
}

impl Filter<UdpMessages> for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    fn interest(&self) -> Interest {
        match self.count {
            Counted::Flows => Interest::REQUEST,
            Counted::Datagrams | Counted::Bytes => Interest::REQUEST.and(self.direction.interest()),
        }
    }

    fn on_request<'a>(
        &'a self,
        opening: &'a mut FlowOpening,
        cx: &'a mut Context,
    ) -> Verdict<'a, UdpMessages> {
        if self.count == Counted::Flows {
            return self.counting.on_request(opening, cx);
        }
        let entry = (std::ptr::from_ref(self), self.counting.key(opening, cx));
        match cx.held_mut::<Held>() {
            Some(held) => held.0.push(entry),
            None => cx.hold(Held(vec![entry])),
        }
        Verdict::Continue
    }

    fn on_request_data<'a>(
        &'a self,
        datagram: &'a mut Datagram,
        _: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, UdpMessages> {
        self.verdict(*datagram, cx)
    }

    fn on_response_data<'a>(
        &'a self,
        datagram: &'a mut Datagram,
        _: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, UdpMessages> {
        self.verdict(*datagram, cx)
    }
}
