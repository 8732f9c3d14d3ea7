//! What the registry added up to at one moment: plain data, to be searched or rendered.
//!
//! It does not change while it is read and holds no handle on live cells. The three renderings are in `prometheus` and `text`.
//! Start at [`Snapshot`]; [`Snapshot::counter`] is what tests want.

mod prometheus;
mod text;

use std::collections::BTreeMap;

use crate::buckets::{lowest, middle};
use crate::histogram::Unit;
use crate::labels::Labels;

/// All families at one moment, sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The families, sorted by name.
    pub families: Vec<Family>,
}

/// All series of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// `portcullis_<subsystem>_<noun>_<unit>`.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
    /// What the values are.
    pub kind: Kind,
    /// The series, sorted by their labels.
    pub series: Vec<Series>,
}

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of values in this unit.
    Histogram(Unit),
}

/// One set of labels and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What tells it from the others of the family.
    pub labels: Labels,
    /// The sum over the shards.
    pub value: Value,
}

/// The value of a series, of the kind of its family.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a [`Kind::Counter`].
    Counter(u64),
    /// Of a [`Kind::Gauge`].
    Gauge(i64),
    /// Of a [`Kind::Histogram`].
    Histogram(HistogramSnapshot),
}

impl Snapshot {
    /// Only the families whose name contains `part`.
    #[must_use]
    pub fn matching(mut self, part: &str) -> Self {
        self.families.retain(|family| family.name.contains(part));
        self
    }

    /// The family with this name.
    pub fn family(&self, name: &str) -> Option<&Family> {
        let at = self
            .families
            .binary_search_by(|family| family.name.cmp(name))
            .ok()?;
        self.families.get(at)
    }

    /// The sum of the counters of this name that have all of `labels` (and perhaps others). 0 when there is none.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let count = |value: &Value| {
            if let Value::Counter(count) = value {
                *count
            } else {
                0
            }
        };
        self.values(name, labels)
            .fold(0, |sum, value| sum.wrapping_add(count(value)))
    }

    /// The sum of the gauges of this name that have all of `labels`. 0 when there is none.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let level = |value: &Value| {
            if let Value::Gauge(level) = value {
                *level
            } else {
                0
            }
        };
        self.values(name, labels)
            .fold(0, |sum, value| sum.wrapping_add(level(value)))
    }

    /// The histograms of this name that have all of `labels`, as one. Empty when there is none.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> HistogramSnapshot {
        let mut all = HistogramSnapshot::default();
        for value in self.values(name, labels) {
            if let Value::Histogram(one) = value {
                all.merge(one);
            }
        }
        all
    }

    fn values(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Value> {
        let series = self.family(name).map_or(&[][..], |family| &family.series);
        series
            .iter()
            .filter(|series| series.labels.contains(labels))
            .map(|series| &series.value)
    }
}

/// How recorded values are spread, to within a sixteenth of each value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: BTreeMap<usize, u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl HistogramSnapshot {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, exact. Wraps at 2^64.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest of them, exact. 0 when there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value below or at which a share `q` (0 to 1) of the recorded values lies: the middle of the bucket of that value, so at most
    /// 1/32 away from it. 0 when nothing was recorded.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.count as f64 * q).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (&bucket, &count) in &self.counts {
            seen += count;
            if seen >= rank {
                return middle(bucket).min(self.max);
            }
        }
        self.max
    }

    /// How many values are at most `bound`. Whole buckets: values up to a sixteenth above `bound` may be counted with it.
    pub fn count_up_to(&self, bound: u64) -> u64 {
        self.counts
            .iter()
            .take_while(|(bucket, _)| lowest(**bucket) <= bound)
            .map(|(_, count)| count)
            .sum()
    }

    /// Adds what `other` has recorded.
    pub fn merge(&mut self, other: &Self) {
        other
            .counts
            .iter()
            .for_each(|(bucket, count)| self.add(*bucket, *count));
        self.add_totals(other.sum, other.max);
    }

    pub(crate) fn add(&mut self, bucket: usize, count: u64) {
        if count > 0 {
            *self.counts.entry(bucket).or_default() += count;
            self.count += count;
        }
    }

    pub(crate) fn add_totals(&mut self, sum: u64, max: u64) {
        self.sum = self.sum.wrapping_add(sum);
        self.max = self.max.max(max);
    }
}
