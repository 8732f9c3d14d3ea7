//! `fault`: datagrams lost and held back on purpose, to see how clients bear a bad network.
//!
//! Not a limit. What is lost is not held back. Start at [`FaultConfig`].

use std::rc::Rc;
use std::time::Duration;

use portcullis_config::{BuildError, Diagnostics, Node, Percent};
use portcullis_filter::filters::fault::DelayConfig;
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Random, Stop, Verdict,
};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Direction;
use crate::message::{Datagram, UdpMessages};

/// Settings of `fault`: loss, a delay, or both.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// The share of datagrams that is lost.
    pub loss: Option<Percent>,
    /// Holds datagrams back; those that come later may overtake them.
    pub delay: Option<DelayConfig>,
    /// Which datagrams. Default: of both directions.
    #[serde(default = "both")]
    pub direction: Direction,
}

const fn both() -> Direction {
    Direction::Both
}

/// The filter.
pub struct Fault {
    loss: u32,
    delay: Option<(Duration, u32)>,
    direction: Direction,
    random: Rc<Random>,
    lost: Counter,
    delayed: Counter,
}

impl FilterKind<UdpMessages> for Fault {
    const NAME: &'static str = "fault";
    type Config = FaultConfig;

    fn check(config: &FaultConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.loss.is_none() && config.delay.is_none() {
            diagnostics
                .error_at(node, "the fault does nothing")
                .expected("loss, delay, or both");
        }
    }

    fn build(
        config: &FaultConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<UdpMessages>>, BuildError> {
        let counter = |kind| {
            cx.stats.counter(
                "portcullis_udp_faults_total",
                "Faults made on purpose, by kind.",
                &[("filter", cx.path), ("kind", kind)],
            )
        };
        let delay = config.delay.as_ref();
        Ok(Box::new(Self {
            loss: config.loss.map_or(0, Percent::millionths),
            delay: delay.map(|delay| (delay.time.get(), delay.percent.millionths())),
            direction: config.direction,
            random: Rc::clone(cx.random),
            lost: counter("loss"),
            delayed: counter("delay"),
        }))
    }
}

impl Fault {
    fn verdict(&self, cx: &Context) -> Verdict<'static, UdpMessages> {
        if self.random.happens(self.loss) {
            self.lost.inc();
            return Verdict::Stop(Stop::Close("fault_loss"));
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

impl Filter<UdpMessages> for Fault {
    fn name(&self) -> &'static str {
        "fault"
    }

    fn interest(&self) -> Interest {
        self.direction.interest()
    }

    fn on_request_data<'a>(
        &'a self,
        _: &'a mut Datagram,
        _: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, UdpMessages> {
        self.verdict(cx)
    }

    fn on_response_data<'a>(
        &'a self,
        _: &'a mut Datagram,
        _: bool,
        cx: &'a mut Context,
    ) -> Verdict<'a, UdpMessages> {
        self.verdict(cx)
    }
}
