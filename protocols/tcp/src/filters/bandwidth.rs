//! `bandwidth`: at most so many bytes per time, for each connection or for each combination of facts.
//!
//! Nothing is refused: bytes wait, and the peer feels it as back-pressure. A listener with this filter is copied
//! through the process instead of spliced in the kernel. Start at [`BandwidthConfig`].

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_config::{BuildError, ByteRate, ByteSize, Located};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Verdict};
use portcullis_limit::{Bandwidth as Bucket, SharedBandwidth};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::message::{TcpConnection, TcpMessages};

/// Settings of `bandwidth`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandwidthConfig {
    /// Bytes per time, such as `1MiB/s`, each way.
    pub rate: Located<ByteRate>,
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

/// The filter.
pub struct Bandwidth {
    rate: u64,
    burst: u64,
    direction: Direction,
    shared: Option<Arc<[SharedBandwidth; 2]>>,
}

/// One connection's buckets: up, down.
struct Buckets(RefCell<[Bucket; 2]>);

impl FilterKind<TcpMessages> for Bandwidth {
    const NAME: &'static str = "bandwidth";
    type Config = BandwidthConfig;

    fn build(
        config: &BandwidthConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<TcpMessages>>, BuildError> {
        let rate = config.rate.bytes_per_second().max(1);
        let burst = config.burst.map_or(rate, ByteSize::bytes).max(1);
        let shared = (config.per == Per::Listener).then(|| {
            let key = format!("bandwidth {} {rate} {burst}", cx.path);
            let bucket = || SharedBandwidth::new(rate, burst, cx.now);
            cx.shared.of(key, || [bucket(), bucket()])
        });
        Ok(Box::new(Self {
            rate,
            burst,
            direction: config.direction,
            shared,
        }))
    }
}

impl Bandwidth {
    /// Takes the bytes at once, running into debt, and holds them until the debt is paid: the rate is kept
    /// without cutting pieces.
    fn verdict<'a>(&'a self, up: bool, bytes: usize, cx: &Context) -> Verdict<'a, TcpMessages> {
        let applies = match self.direction {
            Direction::Both => true,
            Direction::Up => up,
            Direction::Down => !up,
        };
        if !applies || bytes == 0 {
            return Verdict::Continue;
        }
        let want = bytes as u64;
        let index = usize::from(!up);
        let ready = if let Some(shared) = &self.shared {
            shared.get(index).map(|bucket| bucket.borrow_ahead(want, cx.now))
        } else {
            cx.held::<Buckets>().and_then(|buckets| {
                let mut buckets = buckets.0.borrow_mut();
                buckets.get_mut(index).map(|bucket| bucket.borrow_ahead(want, cx.now))
            })
        };
        match ready {
            Some(at) if at > cx.now => Verdict::Delay(at),
            _ => Verdict::Continue,
        }
    }
}

impl Filter<TcpMessages> for Bandwidth {
    fn name(&self) -> &'static str {
        "bandwidth"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
            .and(Interest::REQUEST_DATA)
            .and(Interest::RESPONSE_DATA)
    }

    fn on_request<'a>(
        &'a self,
        _: &'a mut TcpConnection,
        cx: &'a mut Context,
    ) -> Verdict<'a, TcpMessages> {
        if self.shared.is_none() {
            let bucket = || Bucket::new(self.rate, self.burst, cx.now);
            let buckets = Buckets(RefCell::new([bucket(), bucket()]));
            cx.hold(buckets);
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
