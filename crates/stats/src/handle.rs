//! Handles on counters and gauges: what a session holds and writes through.
//!
//! A handle belongs to the thread of its shard and is deliberately not `Send`; only [`SharedGauge`], for facts that the control
//! side sets about the whole process, may be written from anywhere. Histograms are in `histogram`. Start at [`Counter`].

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::cell::Slot;

/// A number that only grows. Clones refer to the same cell.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Right here and not behind a pointer: it is counted more often than it is cloned.
    slot: Slot,
    /// Only the thread of the shard may write.
    thread: PhantomData<Rc<()>>,
}

impl Counter {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            slot,
            thread: PhantomData,
        }
    }

    /// Adds one: a load, an addition and a store.
    #[inline]
    pub fn inc(&self) {
        self.slot.add(1);
    }

    /// Adds `by`. Wraps at 2^64, which a scraper sees as a restart.
    #[inline]
    pub fn add(&self, by: u64) {
        self.slot.add(by);
    }

    /// What this shard has counted; the other shards' share is in [`Registry::snapshot`](crate::Registry::snapshot).
    pub fn value(&self) -> u64 {
        self.slot.load()
    }
}

/// A number that goes up and down. What is reported is the sum over the shards.
#[derive(Debug, Clone)]
pub struct Gauge(Rc<Slot>);

impl Gauge {
    pub(crate) fn new(slot: Slot) -> Self {
        Self(Rc::new(slot))
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.0.add(1);
    }

    /// Subtracts one.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `by`.
    #[inline]
    pub fn add(&self, by: i64) {
        self.0.add(by.cast_unsigned());
    }

    /// Subtracts `by`.
    #[inline]
    pub fn sub(&self, by: i64) {
        self.0.add(by.wrapping_neg().cast_unsigned());
    }

    /// Sets this shard's share.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value.cast_unsigned());
    }

    /// This shard's share.
    pub fn value(&self) -> i64 {
        self.0.load().cast_signed()
    }

    /// Adds one now, and subtracts it when the guard is dropped.
    #[must_use = "the gauge goes down again when the guard is dropped"]
    pub fn guard(&self) -> GaugeGuard {
        self.inc();
        GaugeGuard(self.clone())
    }
}

/// One unit of a [`Gauge`], given back when dropped: an open connection, a request in flight.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A gauge for a fact about the whole process, such as the health of an endpoint. Any thread may set it; meant for the control side,
/// not for the data path. Clones refer to the same number.
#[derive(Debug, Clone)]
pub struct SharedGauge(pub(crate) Arc<AtomicI64>);

impl SharedGauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}
