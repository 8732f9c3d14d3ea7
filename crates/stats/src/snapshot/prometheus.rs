//! The Prometheus text format, version 0.0.4.
//!
//! Times are written in seconds by moving the decimal point, not by floating point. Histogram bounds are fixed and round, so that
//! dashboards can add series of different processes; each is exact to the width of one log-linear bucket (a sixteenth). Start at
//! [`Snapshot::prometheus`].

use std::fmt::Write as _;

use super::{Family, HistogramSnapshot, Kind, Series, Snapshot, Value};
use crate::histogram::Unit;

impl Snapshot {
    /// The families in the Prometheus text format 0.0.4 (`text/plain; version=0.0.4`).
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        for family in &self.families {
            write_family(family, &mut out);
        }
        out
    }
}

fn write_family(family: &Family, out: &mut String) {
    let (kind, suffix) = match family.kind {
        Kind::Counter if family.name.ends_with("_total") => ("counter", ""),
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Histogram(_) => ("histogram", ""),
    };
    let name = format!("{}{suffix}", family.name);
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for series in &family.series {
        match (&series.value, family.kind) {
            (Value::Counter(count), _) => write_sample(&name, series, None, count, out),
            (Value::Gauge(level), _) => write_sample(&name, series, None, level, out),
            (Value::Histogram(values), Kind::Histogram(unit)) => {
                write_histogram(&name, series, values, unit, out);
            }
            (Value::Histogram(_), _) => {
                debug_assert!(false, "a histogram in a family of another kind");
            }
        }
    }
}

fn write_histogram(
    name: &str,
    series: &Series,
    values: &HistogramSnapshot,
    unit: Unit,
    out: &mut String,
) {
    let bucket = format!("{name}_bucket");
    for &(bound, text) in bounds(unit) {
        write_sample(
            &bucket,
            series,
            Some(("le", text)),
            values.count_up_to(bound),
            out,
        );
    }
    write_sample(&bucket, series, Some(("le", "+Inf")), values.count(), out);
    let sum = if unit == Unit::Microseconds {
        seconds(values.sum())
    } else {
        values.sum().to_string()
    };
    write_sample(&format!("{name}_sum"), series, None, sum, out);
    write_sample(&format!("{name}_count"), series, None, values.count(), out);
}

fn write_sample(
    name: &str,
    series: &Series,
    extra: Option<(&'static str, &str)>,
    value: impl std::fmt::Display,
    out: &mut String,
) {
    out.push_str(name);
    series.labels.write(extra, out);
    let _ = writeln!(out, " {value}");
}

/// Microseconds as seconds, with no more digits than needed.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The bounds of the buckets shown: each as recorded and as written.
const fn bounds(unit: Unit) -> &'static [(u64, &'static str)] {
    match unit {
        Unit::Microseconds => SECONDS,
        Unit::Bytes => BYTES,
        Unit::Count => COUNTS,
    }
}

/// From a proxy on the same machine (100 µs) to a long poll (5 min), two to three per decade.
const SECONDS: &[(u64, &str)] = &[
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (300_000_000, "300"),
];

/// Powers of four from 64 bytes to 1 GiB.
const BYTES: &[(u64, &str)] = &[
    (64, "64"),
    (256, "256"),
    (1_024, "1024"),
    (4_096, "4096"),
    (16_384, "16384"),
    (65_536, "65536"),
    (262_144, "262144"),
    (1_048_576, "1048576"),
    (4_194_304, "4194304"),
    (16_777_216, "16777216"),
    (67_108_864, "67108864"),
    (268_435_456, "268435456"),
    (1_073_741_824, "1073741824"),
];

/// 1, 2, 5 per decade to a million.
const COUNTS: &[(u64, &str)] = &[
    (0, "0"),
    (1, "1"),
    (2, "2"),
    (5, "5"),
    (10, "10"),
    (20, "20"),
    (50, "50"),
    (100, "100"),
    (200, "200"),
    (500, "500"),
    (1_000, "1000"),
    (2_000, "2000"),
    (5_000, "5000"),
    (10_000, "10000"),
    (100_000, "100000"),
    (1_000_000, "1000000"),
];
