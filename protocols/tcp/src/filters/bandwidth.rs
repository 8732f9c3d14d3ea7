//! `bandwidth`: at most so many bytes per time, for each connection, each client, or all of a listener.
//!
//! Nothing is refused: bytes wait, and the peer feels it as back-pressure. A listener with this filter is copied
//! through the process instead of spliced in the kernel. Start at [`BandwidthConfig`].

mod clients;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use portcullis_config::{BuildError, ByteRate, ByteSize};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use portcullis_limit::SharedBandwidth;
use schemars::JsonSchema;
use serde::Deserialize;

use self::clients::Clients;
use crate::message::{TcpConnection, TcpMessages};

/// Settings of `bandwidth`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandwidthConfig {
    /// Bytes per time, such as `1MiB/s`, each way. Less than a byte a second counts as one.
    pub rate: ByteRate,
    /// Bytes that may pass at once. Default: what the rate allows in one second.
    #[serde(default)]
    pub burst: Option<ByteSize>,
    /// Whose bytes are counted together. Default: each connection's own.
    #[serde(default)]
    pub per: Per,
    /// Which direction is limited. Default: both, each with its own count.
    #[serde(default)]
    pub direction: Direction,
}

/// Whose bytes are counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each connection has the whole rate.
    #[default]
    Connection,
    /// All connections of a client share the rate, over all workers. A client is an IP address.
    Client,
    /// All connections of the listener share the rate, over all workers.
    Listener,
}

/// Which direction is limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both directions.
    #[default]
    Both,
    /// Downstream to upstream.
    Up,
    /// Upstream to downstream.
    Down,
}

impl Direction {
    const fn includes(self, up: bool) -> bool {
        match self {
            Self::Both => true,
            Self::Up => up,
            Self::Down => !up,
        }
    }
}

/// Bytes per second and at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    rate: u64,
    burst: u64,
}

impl Limit {
    fn new(config: &BandwidthConfig) -> Self {
        let seconds = config.rate.per().as_secs().max(1);
        let rate = config.rate.bytes().div_ceil(seconds);
        let burst = config.burst.map_or(rate, ByteSize::get).max(1);
        Self { rate, burst }
    }

    fn buckets(self, now: Instant) -> Buckets {
        let bucket = || SharedBandwidth::new(self.rate, self.burst, now);
        Buckets {
            up: bucket(),
            down: bucket(),
        }
    }
}

/// What is counted together, each way.
#[derive(Debug)]
struct Buckets {
    up: SharedBandwidth,
    down: SharedBandwidth,
}

/// The filter.
pub struct Bandwidth {
    limit: Limit,
    direction: Direction,
    counts: Counts,
}

/// Where a connection finds its buckets.
enum Counts {
    Connection,
    Client(Arc<Clients>),
    Listener(Arc<Buckets>),
}

/// The buckets of one connection, for each filter of this kind in the chain.
struct Held(Vec<(*const Bandwidth, Arc<Buckets>)>);

impl FilterKind<TcpMessages> for Bandwidth {
    const NAME: &'static str = "bandwidth";
    type Config = BandwidthConfig;

    fn build(
        config: &BandwidthConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<TcpMessages>>, BuildError> {
        let limit = Limit::new(config);
        let key = || format!("bandwidth {} {limit:?}", cx.path);
        let counts = match config.per {
            Per::Connection => Counts::Connection,
            Per::Client => Counts::Client(cx.shared.of(key(), || Clients::new(limit))),
            Per::Listener => Counts::Listener(cx.shared.of(key(), || limit.buckets(cx.now))),
        };
        Ok(Box::new(Self {
            limit,
            direction: config.direction,
            counts,
        }))
    }
}

impl Bandwidth {
    /// Takes the bytes at once, running into debt, and holds them until the debt is paid: the rate is kept
    /// without cutting pieces.
    fn verdict(&self, up: bool, bytes: usize, cx: &Context) -> Verdict<'static, TcpMessages> {
        if !self.direction.includes(up) || bytes == 0 {
            return Verdict::Continue;
        }
        let mine = |(filter, buckets): &(*const Self, Arc<Buckets>)| {
            std::ptr::eq(*filter, self).then(|| Arc::clone(buckets))
        };
        let Some(buckets) = cx
            .held::<Held>()
            .and_then(|held| held.0.iter().find_map(mine))
        else {
            return Verdict::Continue;
        };
        let bucket = if up { &buckets.up } else { &buckets.down };
        let paid = bucket.borrow_ahead(bytes as u64, cx.now);
        if paid > cx.now {
            Verdict::Delay(paid)
        } else {
            Verdict::Continue
        }
    }
}

impl Filter<TcpMessages> for Bandwidth {
    fn name(&self) -> &'static str {
        "bandwidth"
    }

    fn interest(&self) -> Interest {
        let data = match self.direction {
            Direction::Both => Interest::REQUEST_DATA.and(Interest::RESPONSE_DATA),
            Direction::Up => Interest::REQUEST_DATA,
            Direction::Down => Interest::RESPONSE_DATA,
        };
        Interest::REQUEST.and(data)
    }

    fn on_request<'a>(
        &'a self,
        _: &'a mut TcpConnection,
        cx: &'a mut Context,
    ) -> Verdict<'a, TcpMessages> {
        let buckets = match &self.counts {
            Counts::Connection => Arc::new(self.limit.buckets(cx.now)),
            Counts::Client(clients) => clients.of(cx.client_ip, cx.now),
            Counts::Listener(buckets) => Arc::clone(buckets),
        };
        let entry = (std::ptr::from_ref(self), buckets);
        match cx.held_mut::<Held>() {
            Some(held) => held.0.push(entry),
            None => cx.hold(Held(vec![entry])),
        }
        Verdict::Continue
    }

    fn on_request_data<'a>(
        &'a self,
        data: &'a mut Bytes,
        _: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, TcpMessages> {
        self.verdict(true, data.len(), cx)
    }

    fn on_response_data<'a>(
        &'a self,
        data: &'a mut Bytes,
        _: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, TcpMessages> {
        self.verdict(false, data.len(), cx)
    }
}
