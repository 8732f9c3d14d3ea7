//! The part of the registry that one thread writes: it makes the handles of that thread.
//!
//! Asking for a handle takes the registry's lock and builds strings, so it is done when a listener, filter or cluster is built, not
//! per message. It holds no numbers itself: those are in `cell`. Start at [`Shard::counter`] and [`Shard::scoped`].

use std::rc::Rc;

use crate::handle::{Counter, Gauge};
use crate::histogram::{Histogram, Unit};
use crate::labels::Labels;
use crate::registry::Registry;
use crate::snapshot::Kind;

/// Makes handles for one thread, with a set of labels that all of them carry. Not `Send`: make it on the thread that will count.
#[derive(Debug, Clone)]
pub struct Shard {
    registry: Registry,
    index: usize,
    labels: Rc<Labels>,
}

impl Shard {
    pub(crate) fn new(registry: Registry, index: usize) -> Self {
        Self {
            registry,
            index,
            labels: Rc::new(Labels::default()),
        }
    }

    /// The same shard, with `labels` added to everything made from it. An inner label replaces an outer one of the same name.
    pub fn scoped(&self, labels: &[(&'static str, &str)]) -> Self {
        let labels = Rc::new(Labels::merged(&self.labels, labels));
        Self {
            registry: self.registry.clone(),
            index: self.index,
            labels,
        }
    }

    /// The counter with this name and these labels (and those of the scope). The same ones give the same cell.
    ///
    /// Names are `portcullis_<subsystem>_<noun>_total`; `_total` is added in the Prometheus text where it is missing. A name that was
    /// already used for another kind is a mistake in the program: it trips a debug assertion, and in a release build the
    /// handle counts but is not shown.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        Counter::new(self.registry.slot(
            self.index,
            name,
            help,
            Kind::Counter,
            self.labels_with(labels),
        ))
    }

    /// The gauge with this name and these labels. As [`counter`](Self::counter) otherwise.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        Gauge::new(self.registry.slot(
            self.index,
            name,
            help,
            Kind::Gauge,
            self.labels_with(labels),
        ))
    }

    /// The histogram with this name and these labels, of values in `unit`. As [`counter`](Self::counter) otherwise.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        Histogram::new(self.registry.buckets(
            self.index,
            name,
            help,
            unit,
            self.labels_with(labels),
        ))
    }

    /// Which shard this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The registry that the shard belongs to.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn labels_with(&self, labels: &[(&'static str, &str)]) -> Labels {
        Labels::merged(&self.labels, labels)
    }
}
