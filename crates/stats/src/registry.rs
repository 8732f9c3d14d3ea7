//! Every series of the process: which there are, where their cells are, and what they add up to.
//!
//! One lock guards the whole map. It is taken when handles are made and when somebody looks, never to count. There is no
//! global registry: whoever starts the process makes one and hands out clones. Start at [`Registry::shard`] and
//! [`Registry::snapshot`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cell::{Cells, Slot};
use crate::handle::SharedGauge;
use crate::histogram::{Buckets, Unit};
use crate::labels::Labels;
use crate::shard::Shard;
use crate::snapshot::{self, HistogramSnapshot, Kind, Snapshot, Value};

/// How many series a registry holds unless told otherwise. Labels come from the configuration, so reaching it means a label that should
/// not be one; a scrape of this many lines is already some 10 MB.
pub const DEFAULT_SERIES_LIMIT: usize = 100_000;

/// The counter of requests for a series that the series limit refused.
pub const DROPPED_SERIES: &str = "portcullis_stats_dropped_series_total";

/// The label of counters that say why.
const REASON: &str = "reason";

/// The statistics of a process. Clones refer to the same one.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    families: BTreeMap<&'static str, Family>,
    shards: BTreeMap<usize, ShardCells>,
    series: usize,
    series_limit: usize,
    dropped: u64,
}

/// What belongs to one shard rather than to a series.
#[derive(Debug, Default)]
struct ShardCells {
    cells: Cells,
    /// Written by handles whose series is not kept; never shown.
    overflow: Option<Slot>,
    overflow_buckets: Arc<Buckets>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: Kind,
    series: BTreeMap<Labels, Series>,
}

/// The cells of one series, by shard. Few shards, so a list is searched faster than a map.
#[derive(Debug, Default)]
struct Series {
    slots: Vec<(usize, Slot)>,
    buckets: Vec<(usize, Arc<Buckets>)>,
    shared: Option<Arc<AtomicI64>>,
}

impl Registry {
    /// A registry for `shards` threads: one for each worker and one for the control side. Holds up to [`DEFAULT_SERIES_LIMIT`] series.
    pub fn new(shards: usize) -> Self {
        Self::with_series_limit(shards, DEFAULT_SERIES_LIMIT)
    }

    /// As [`new`](Self::new), with room for `series_limit` series. A series beyond it counts into a cell that is not shown, and
    /// [`DROPPED_SERIES`] goes up by one for each request for one.
    pub fn with_series_limit(shards: usize, series_limit: usize) -> Self {
        let shards = (0..shards)
            .map(|index| (index, ShardCells::default()))
            .collect();
        Self(Arc::new(Mutex::new(State {
            families: BTreeMap::new(),
            shards,
            series: 0,
            series_limit,
            dropped: 0,
        })))
    }

    /// The shard with this index, for the calling thread.
    ///
    /// Each index belongs to one thread: two threads that use the same one lose counts to each other. An index beyond the
    /// number given to [`new`](Self::new) makes one more shard.
    pub fn shard(&self, index: usize) -> Shard {
        Shard::new(self.clone(), index)
    }

    /// A gauge for a fact about the whole process, writable from any thread. Part of the sum when shards have a gauge of the
    /// same name and labels. The same name and labels give the same gauge.
    pub fn shared_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> SharedGauge {
        let labels = Labels::merged(&Labels::default(), labels);
        let mut state = self.lock();
        let shared = state
            .series(name, help, Kind::Gauge, labels)
            .map(|series| Arc::clone(series.shared.get_or_insert_default()));
        SharedGauge(shared.unwrap_or_default())
    }

    /// The sum over all shards, family by family. A count that a worker adds meanwhile may or may not be in it.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let mut families: Vec<_> = state
            .families
            .iter()
            .map(|(name, family)| family.sum(name))
            .collect();
        let at = families.partition_point(|family| family.name < DROPPED_SERIES);
        families.insert(at, dropped_family(state.dropped));
        Snapshot { families }
    }

    /// Forgets every series that no handle refers to, for after a reload: the counters of a removed listener go with it, and their
    /// cells are used again.
    ///
    /// A series with a `reason` is made when its reason first happens, so what a reload makes anew has no handle to it yet: it
    /// stays as long as there is a live series with its other labels.
    pub fn retain_live(&self) {
        let mut state = self.lock();
        let scopes = state.live_labels();
        let State {
            families,
            shards,
            series: count,
            ..
        } = &mut *state;
        for family in families.values_mut() {
            family.series.retain(|labels, series| {
                let scope = || labels.without(REASON);
                let in_scope = || scope().is_some_and(|scope| scopes.contains(&scope));
                let live = series.is_live() || in_scope();
                if !live {
                    *count -= 1;
                    for (shard, slot) in series.slots.drain(..) {
                        shards.entry(shard).or_default().cells.put_back(slot);
                    }
                }
                live
            });
        }
        families.retain(|_, family| !family.series.is_empty());
    }

    /// The cell of a counter or gauge in one shard.
    pub(crate) fn slot(
        &self,
        shard: usize,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: Labels,
    ) -> Slot {
        let mut state = self.lock();
        let State { shards, .. } = &mut *state;
        let fresh = shards.entry(shard).or_default().cells.take();
        let Some(series) = state.series(name, help, kind, labels) else {
            return state.overflow(shard, fresh);
        };
        if let Some((_, slot)) = series.slots.iter().find(|(index, _)| *index == shard) {
            let slot = slot.clone();
            state.shards.entry(shard).or_default().cells.put_back(fresh);
            return slot;
        }
        series.slots.push((shard, fresh.clone()));
        fresh
    }

    /// The cells of a histogram in one shard.
    pub(crate) fn buckets(
        &self,
        shard: usize,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        labels: Labels,
    ) -> Arc<Buckets> {
        let mut state = self.lock();
        let Some(series) = state.series(name, help, Kind::Histogram(unit), labels) else {
            return Arc::clone(&state.shards.entry(shard).or_default().overflow_buckets);
        };
        if let Some((_, buckets)) = series.buckets.iter().find(|(index, _)| *index == shard) {
            return Arc::clone(buckets);
        }
        let buckets = Arc::<Buckets>::default();
        series.buckets.push((shard, Arc::clone(&buckets)));
        buckets
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything that can panic, so a poisoned map is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The labels of all series that a handle refers to.
    fn live_labels(&mut self) -> BTreeSet<Labels> {
        let families = self.families.values_mut();
        let series = families.flat_map(|family| &mut family.series);
        let live = series.filter_map(|(labels, series)| series.is_live().then(|| labels.clone()));
        live.collect()
    }

    /// The series with this name and these labels, made when new. `None` when the limit is reached or the name is of another kind.
    fn series(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: Labels,
    ) -> Option<&mut Series> {
        debug_assert!(is_metric_name(name), "not a metric name: {name}");
        let full = self.series >= self.series_limit;
        if full
            && !self
                .families
                .get(name)
                .is_some_and(|family| family.series.contains_key(&labels))
        {
            self.dropped += 1;
            return None;
        }
        let family = self.families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            series: BTreeMap::new(),
        });
        debug_assert!(
            family.kind == kind,
            "{name} is used as {:?} and as {kind:?}",
            family.kind
        );
        debug_assert!(
            family.help == help,
            "{name} has two help texts: {:?} and {help:?}",
            family.help
        );
        if family.kind != kind {
            return None;
        }
        let count = &mut self.series;
        Some(family.series.entry(labels).or_insert_with(|| {
            *count += 1;
            Series::default()
        }))
    }

    /// The cell of `shard` for what is counted but not kept, which is `fresh` the first time.
    fn overflow(&mut self, shard: usize, fresh: Slot) -> Slot {
        let ShardCells {
            cells, overflow, ..
        } = self.shards.entry(shard).or_default();
        if let Some(slot) = overflow {
            cells.put_back(fresh);
            return slot.clone();
        }
        overflow.insert(fresh).clone()
    }
}

impl Family {
    fn sum(&self, name: &'static str) -> snapshot::Family {
        let series = self.series.iter().map(|(labels, series)| snapshot::Series {
            labels: labels.clone(),
            value: series.sum(self.kind),
        });
        snapshot::Family {
            name,
            help: self.help,
            kind: self.kind,
            series: series.collect(),
        }
    }
}

impl Series {
    fn sum(&self, kind: Kind) -> Value {
        let total = self
            .slots
            .iter()
            .fold(0u64, |sum, (_, slot)| sum.wrapping_add(slot.load()));
        match kind {
            Kind::Counter => Value::Counter(total),
            Kind::Gauge => {
                let shared = self
                    .shared
                    .as_ref()
                    .map_or(0, |shared| shared.load(Relaxed));
                Value::Gauge(total.cast_signed().wrapping_add(shared))
            }
            Kind::Histogram(_) => {
                let mut all = HistogramSnapshot::default();
                self.buckets
                    .iter()
                    .for_each(|(_, buckets)| buckets.add_to(&mut all));
                Value::Histogram(all)
            }
        }
    }

    fn is_live(&mut self) -> bool {
        self.slots.iter_mut().any(|(_, slot)| slot.is_live())
            || self
                .buckets
                .iter_mut()
                .any(|(_, buckets)| Arc::get_mut(buckets).is_none())
            || self
                .shared
                .as_mut()
                .is_some_and(|shared| Arc::get_mut(shared).is_none())
    }
}

fn dropped_family(dropped: u64) -> snapshot::Family {
    let series = vec![snapshot::Series {
        labels: Labels::default(),
        value: Value::Counter(dropped),
    }];
    let help = "Requests for a series that the series limit refused.";
    snapshot::Family {
        name: DROPPED_SERIES,
        help,
        kind: Kind::Counter,
        series,
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`: the colon is left to recording rules.
fn is_metric_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}
