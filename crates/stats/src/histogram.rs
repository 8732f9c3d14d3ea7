//! Log-linear histograms: how values are spread, to within a sixteenth.
//!
//! Memory comes as values do: nothing until the first record, then 128 bytes for each power of two that occurs, at most 9 KiB per
//! shard in all. Reading them back (quantiles, Prometheus buckets) is in `snapshot`; the bucket arithmetic in `buckets`. Start at
//! [`Histogram::record`].

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::buckets::{GROUP, GROUPS, locate};
use crate::snapshot::HistogramSnapshot;

/// What a recorded value counts, which decides how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Recorded in microseconds, shown in seconds. Names end in `_seconds`.
    Microseconds,
    /// Bytes. Names end in `_bytes`.
    Bytes,
    /// A plain number of things.
    Count,
}

/// A distribution of values. Cloning refers to the same cells; not `Send`, as every handle of a shard.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Arc<Buckets>,
    /// Only the thread of the shard may write.
    thread: PhantomData<Rc<()>>,
}

impl Histogram {
    pub(crate) fn new(buckets: Arc<Buckets>) -> Self {
        Self {
            buckets,
            thread: PhantomData,
        }
    }

    /// Records one value, in the unit the histogram was made with. Allocates only when no value of that size was seen before.
    #[inline]
    pub fn record(&self, value: u64) {
        self.buckets.record(value, 1);
    }

    /// Records the same value so many times: as many [`record`](Self::record)s, at the cost of one.
    #[inline]
    pub fn record_many(&self, value: u64, count: u64) {
        self.buckets.record(value, count);
    }

    /// Records a time in microseconds, for a histogram of [`Unit::Microseconds`].
    #[inline]
    pub fn record_duration(&self, time: Duration) {
        let micros = u64::from(time.subsec_micros());
        self.record(
            time.as_secs()
                .saturating_mul(1_000_000)
                .saturating_add(micros),
        );
    }

    /// How many values this shard has recorded.
    pub fn count(&self) -> u64 {
        let mut all = HistogramSnapshot::default();
        self.buckets.add_to(&mut all);
        all.count()
    }
}

/// The cells of one histogram in one shard.
#[derive(Debug, Default)]
pub(crate) struct Buckets(OnceLock<Box<Spine>>);

/// Aligned so that no two shards' sums share a cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Spine {
    sum: AtomicU64,
    max: AtomicU64,
    groups: [OnceLock<Box<Group>>; GROUPS],
}

#[derive(Debug)]
#[repr(align(128))]
struct Group([AtomicU64; GROUP]);

impl Buckets {
    #[inline]
    fn record(&self, value: u64, count: u64) {
        let spine = self.0.get_or_init(Spine::boxed);
        let (group, index) = locate(value);
        // Both are in range for every value (see `locate`): the alternatives are never taken.
        let Some(group) = spine.groups.get(group) else {
            return;
        };
        let Some(cell) = group.get_or_init(Group::boxed).0.get(index) else {
            return;
        };
        // One writer per shard, so a load and a store are enough, as in `cell`.
        cell.store(cell.load(Relaxed).wrapping_add(count), Relaxed);
        let all = value.wrapping_mul(count);
        spine
            .sum
            .store(spine.sum.load(Relaxed).wrapping_add(all), Relaxed);
        if value > spine.max.load(Relaxed) {
            spine.max.store(value, Relaxed);
        }
    }

    /// Adds what was recorded here to `all`.
    pub(crate) fn add_to(&self, all: &mut HistogramSnapshot) {
        let Some(spine) = self.0.get() else { return };
        for (group, cells) in spine.groups.iter().enumerate() {
            let Some(cells) = cells.get() else { continue };
            for (index, cell) in cells.0.iter().enumerate() {
                all.add(group * GROUP + index, cell.load(Relaxed));
            }
        }
        all.add_totals(spine.sum.load(Relaxed), spine.max.load(Relaxed));
    }
}

impl Spine {
    #[cold]
    fn boxed() -> Box<Self> {
        Box::new(Self {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            groups: std::array::from_fn(|_| OnceLock::new()),
        })
    }
}

impl Group {
    #[cold]
    fn boxed() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}
