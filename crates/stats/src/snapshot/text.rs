//! The renderings for people and for scripts: a line per series, and JSON.
//!
//! Histograms are shown as a few quantiles, not as buckets: whoever wants buckets reads the Prometheus text. Start at
//! [`Snapshot::text`] and [`Snapshot::json`].

use std::fmt::Write as _;

use serde_json::{Map, json};

use super::{HistogramSnapshot, Kind, Series, Snapshot, Value};
use crate::histogram::Unit;

impl Snapshot {
    /// One line per series: `name{labels}: value`. A histogram is `p50=… p90=… p99=… max=… count=…`, with the unit where it has one.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for family in &self.families {
            for series in &family.series {
                out.push_str(family.name);
                series.labels.write(None, &mut out);
                out.push_str(": ");
                write_value(&series.value, family.kind, &mut out);
                out.push('\n');
            }
        }
        out
    }

    /// The families as JSON: `{"families": [{"name", "kind", "help", "unit"?, "series": [{"labels": {…}, "value": …}]}]}`.
    ///
    /// The value of a histogram is an object of `count`, `sum`, `max`, `p50`, `p90`, `p99`, as recorded: times in microseconds.
    pub fn json(&self) -> serde_json::Value {
        let families: Vec<_> = self.families.iter().map(family_json).collect();
        json!({ "families": families })
    }
}

fn write_value(value: &Value, kind: Kind, out: &mut String) {
    let _ = match value {
        Value::Counter(count) => write!(out, "{count}"),
        Value::Gauge(level) => write!(out, "{level}"),
        Value::Histogram(values) => {
            let show = |value| in_unit(value, kind);
            let [p50, p90, p99] = quantiles(values).map(show);
            write!(
                out,
                "p50={p50} p90={p90} p99={p99} max={} count={}",
                show(values.max()),
                values.count()
            )
        }
    };
}

fn family_json(family: &super::Family) -> serde_json::Value {
    let (kind, unit) = match family.kind {
        Kind::Counter => ("counter", None),
        Kind::Gauge => ("gauge", None),
        Kind::Histogram(Unit::Microseconds) => ("histogram", Some("microseconds")),
        Kind::Histogram(Unit::Bytes) => ("histogram", Some("bytes")),
        Kind::Histogram(Unit::Count) => ("histogram", Some("count")),
    };
    let mut object = Map::new();
    object.insert("name".into(), family.name.into());
    object.insert("kind".into(), kind.into());
    object.insert("help".into(), family.help.into());
    if let Some(unit) = unit {
        object.insert("unit".into(), unit.into());
    }
    object.insert(
        "series".into(),
        family.series.iter().map(series_json).collect(),
    );
    object.into()
}

fn series_json(series: &Series) -> serde_json::Value {
    let labels: Map<_, _> = series
        .labels
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let value = match &series.value {
        Value::Counter(count) => json!(count),
        Value::Gauge(level) => json!(level),
        Value::Histogram(values) => {
            let [p50, p90, p99] = quantiles(values);
            json!({ "count": values.count(), "sum": values.sum(), "max": values.max(), "p50": p50, "p90": p90, "p99": p99 })
        }
    };
    json!({ "labels": labels, "value": value })
}

fn quantiles(values: &HistogramSnapshot) -> [u64; 3] {
    [0.5, 0.9, 0.99].map(|q| values.quantile(q))
}

/// A value as a person reads it: `850us`, `1.25ms`, `3.5s`. Bytes and counts stay numbers, so that scripts need no parser for them.
fn in_unit(value: u64, kind: Kind) -> String {
    match kind {
        Kind::Histogram(Unit::Microseconds) if value < 1_000 => format!("{value}us"),
        Kind::Histogram(Unit::Microseconds) if value < 1_000_000 => with_point(value / 10, "ms"),
        Kind::Histogram(Unit::Microseconds) => with_point(value / 10_000, "s"),
        _ => value.to_string(),
    }
}

/// Hundredths, without trailing zeros.
fn with_point(hundredths: u64, unit: &str) -> String {
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}
