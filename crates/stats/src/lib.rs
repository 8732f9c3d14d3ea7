//! Counters, gauges and histograms, sharded by worker.
//!
//! Each worker thread writes only its own cells, with a relaxed load and a relaxed store: no read-modify-write, no lock, and no
//! cache line that another worker writes. The control side adds the shards up when somebody asks. This is deliberately
//! not a time-series database and not a tracing facade: there is no history, no push, and no lookup by name per message; a handle is
//! resolved once, when the thing that counts is built. Start at [`Registry`], then [`Shard`], which makes the handles.
//!
//! ```
//! use portcullis_stats::{Registry, Unit};
//!
//! let registry = Registry::new(2); // one worker and the control side
//! let shard = registry.shard(0).scoped(&[("listener", "web")]);
//! let requests = shard.counter("portcullis_http_requests_total", "Requests received.", &[]);
//! let time = shard.histogram("portcullis_http_request_seconds", "Time to answer.", Unit::Microseconds, &[]);
//! requests.inc();
//! time.record(1_500);
//! assert_eq!(registry.snapshot().counter("portcullis_http_requests_total", &[("listener", "web")]), 1);
//! ```

mod buckets;
mod by_label;
mod cell;
mod handle;
mod histogram;
mod labels;
mod registry;
mod shard;
mod snapshot;

pub use by_label::ByLabel;
pub use handle::{Counter, Gauge, GaugeGuard, SharedGauge};
pub use histogram::{Histogram, Unit};
pub use labels::Labels;
pub use registry::{DEFAULT_SERIES_LIMIT, DROPPED_SERIES, Registry};
pub use shard::Shard;
pub use snapshot::{Family, HistogramSnapshot, Kind, Series, Snapshot, Value};

#[cfg(test)]
mod tests;
