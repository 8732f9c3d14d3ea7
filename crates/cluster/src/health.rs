//! Active health checks without the checking: when the next one is due, and what its result means.
//!
//! Sockets and timers are the control side's; it runs one check per endpoint for the whole process. Start
//! at [`EndpointHealth`], or at [`HealthMachine`] for the thresholds alone.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::Percent;
use portcullis_stats::{Counter, Shard, SharedGauge};

use crate::cluster::AvailabilityGauges;
use crate::{ClusterShared, Endpoint, HealthCheckConfig};

/// An endpoint changed sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It may be picked again.
    BecameHealthy,
    /// It is not to be picked.
    BecameUnhealthy,
}

/// Thresholds and timing of one endpoint's checks.
///
/// A streak of results against the present state has to reach a threshold before the state changes, so an
/// endpoint that flaps faster than its thresholds changes nothing. The very first result, when it is a
/// success, makes the endpoint healthy at once: a restart should not wait out a threshold.
#[derive(Debug, Clone)]
pub struct HealthMachine {
    interval: Duration,
    jitter: Percent,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    healthy: bool,
    seen_any: bool,
    /// Results in a row that speak against the present state.
    streak: u32,
    changed_at: Option<Instant>,
}

impl HealthMachine {
    /// A machine that has seen nothing yet; `healthy` is where it begins.
    pub fn new(config: &HealthCheckConfig, healthy: bool) -> Self {
        Self {
            interval: config.interval.into(),
            jitter: config.jitter,
            healthy_threshold: config.healthy_threshold.get(),
            unhealthy_threshold: config.unhealthy_threshold.get(),
            healthy,
            seen_any: false,
            streak: 0,
            changed_at: None,
        }
    }

    /// What the checks have come to.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// When it last changed sides.
    pub fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }

    /// A check ended: `ok` is whether the endpoint passed.
    pub fn on_result(&mut self, ok: bool, now: Instant) -> Option<Transition> {
        let first = !std::mem::replace(&mut self.seen_any, true);
        if ok == self.healthy {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let needed = match (ok, first) {
            (true, true) => 1,
            (true, false) => self.healthy_threshold,
            (false, _) => self.unhealthy_threshold,
        };
        if self.streak < needed {
            return None;
        }
        self.streak = 0;
        self.healthy = ok;
        self.changed_at = Some(now);
        Some(if ok {
            Transition::BecameHealthy
        } else {
            Transition::BecameUnhealthy
        })
    }

    /// When the very first check is due: spread over one interval, so that a start with many endpoints is
    /// no burst.
    pub fn first_check(&self, now: Instant, random: u64) -> Instant {
        now + fraction(self.interval, random)
    }

    /// When to check again, after a check that ended at `now`. `random` is uniform over `u64`.
    pub fn next_check(&self, now: Instant, random: u64) -> Instant {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let spread = Duration::from_nanos(self.jitter.of(interval));
        now + self.interval.saturating_sub(spread) + fraction(spread.saturating_mul(2), random)
    }
}

/// The part of `time` that `random` is of all of `u64`.
fn fraction(time: Duration, random: u64) -> Duration {
    let nanos = (time.as_nanos().min(u128::from(u64::MAX)) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// One endpoint's checks with their effect: tells the workers and the stats.
#[derive(Debug)]
pub struct EndpointHealth {
    machine: HealthMachine,
    shared: Arc<ClusterShared>,
    endpoint: Arc<Endpoint>,
    gauge: SharedGauge,
    availability: AvailabilityGauges,
    passed: Counter,
    failed: Counter,
}

impl EndpointHealth {
    /// Begins with what the endpoint's state says now, so a reload forgets no result.
    pub fn new(
        shared: Arc<ClusterShared>,
        endpoint: Arc<Endpoint>,
        config: &HealthCheckConfig,
        shard: &Shard,
    ) -> Self {
        let healthy = endpoint.state().is_healthy();
        let labels: [(&'static str, &str); 2] =
            [("cluster", shared.name()), ("endpoint", endpoint.label())];
        let shard = shard.scoped(&labels);
        let checks = |result| {
            shard.counter(
                "portcullis_endpoint_health_checks_total",
                "Active health checks, by result.",
                &[("result", result)],
            )
        };
        let gauge = shard.registry().shared_gauge(
            "portcullis_endpoint_healthy",
            "1 while the active health check passes.",
            &labels,
        );
        gauge.set(i64::from(healthy));
        Self {
            machine: HealthMachine::new(config, healthy),
            availability: AvailabilityGauges::new(&shard, shared.name()),
            passed: checks("passed"),
            failed: checks("failed"),
            shared,
            endpoint,
            gauge,
        }
    }

    /// The endpoint that is checked.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Its thresholds and timing.
    pub fn machine(&self) -> &HealthMachine {
        &self.machine
    }

    /// A check ended. A change reaches the workers with their next pick.
    pub fn on_result(&mut self, ok: bool, now: Instant) -> Option<Transition> {
        if ok { &self.passed } else { &self.failed }.inc();
        let transition = self.machine.on_result(ok, now)?;
        self.shared.set_healthy(&self.endpoint, ok);
        self.gauge.set(i64::from(ok));
        // A cluster without requests has nobody else to say so.
        let (endpoints, available, panic) = self.shared.availability(now);
        self.availability.set(endpoints, available, panic);
        Some(transition)
    }
}
