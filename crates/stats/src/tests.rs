//! The registry as a whole: sums over threads, what a reload drops, and the three renderings.

use std::thread;

use proptest::prelude::*;

use crate::{DROPPED_SERIES, Registry, Shard, SharedGauge, Unit};

const NAME: &str = "portcullis_test_things_total";

fn send<T: Send + Sync>() {}

#[test]
fn the_registry_may_be_shared_and_handles_may_not() {
    send::<Registry>();
    send::<SharedGauge>();
    // That `Counter`, `Gauge`, `Histogram` and `Shard` are not `Send` follows from their `Rc`; they would lose counts.
}

#[test]
fn shards_add_up() {
    const THREADS: usize = 4;
    let registry = Registry::new(THREADS);
    thread::scope(|scope| {
        for index in 0..THREADS {
            let registry = registry.clone();
            scope.spawn(move || {
                let shard = registry.shard(index).scoped(&[("listener", "web")]);
                let (counter, gauge) = (
                    shard.counter(NAME, "", &[]),
                    shard.gauge("portcullis_test_level", "", &[]),
                );
                let histogram = shard.histogram("portcullis_test_bytes", "", Unit::Bytes, &[]);
                for value in 0..10_000 {
                    counter.inc();
                    gauge.add(if index == 0 { -1 } else { 2 });
                    histogram.record(value);
                }
                assert_eq!(counter.value(), 10_000, "a handle sees its own shard");
            });
        }
    });
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.counter(NAME, &[("listener", "web")]), 40_000);
    assert_eq!(snapshot.counter(NAME, &[("listener", "other")]), 0);
    assert_eq!(snapshot.gauge("portcullis_test_level", &[]), 50_000);
    let values = snapshot.histogram("portcullis_test_bytes", &[]);
    assert_eq!(
        (values.count(), values.sum(), values.max()),
        (40_000, 4 * 9_999 * 10_000 / 2, 9_999)
    );
}

#[test]
fn the_same_name_and_labels_are_the_same_cell() {
    let registry = Registry::new(1);
    let shard = registry.shard(0);
    let first = shard.counter(NAME, "", &[("a", "1"), ("b", "2")]);
    let again = shard.scoped(&[("b", "2")]).counter(NAME, "", &[("a", "1")]);
    let other = shard.counter(NAME, "", &[("a", "1")]);
    first.inc();
    again.inc();
    other.add(5);
    assert_eq!((first.value(), other.value()), (2, 5));
    let replaced = shard
        .scoped(&[("a", "9"), ("b", "2")])
        .counter(NAME, "", &[("a", "1")]);
    assert_eq!(replaced.value(), 2, "the inner label wins");
}

#[test]
fn neighbours_keep_their_own_numbers() {
    let shard = Registry::new(1).shard(0);
    let names: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let counters: Vec<_> = names
        .iter()
        .map(|n| shard.counter(NAME, "", &[("n", n)]))
        .collect();
    for (n, counter) in (0..).zip(&counters) {
        counter.add(n);
    }
    for (n, counter) in (0..).zip(&counters) {
        assert_eq!(counter.value(), n);
    }
}

#[test]
fn a_guard_gives_back_what_it_took() {
    let shard = Registry::new(1).shard(0);
    let gauge = shard.gauge("portcullis_test_open", "", &[]);
    let guards = [gauge.guard(), gauge.guard()];
    assert_eq!(gauge.value(), 2);
    drop(guards);
    assert_eq!(gauge.value(), 0);
    gauge.sub(3);
    assert_eq!(
        shard
            .registry()
            .snapshot()
            .gauge("portcullis_test_open", &[]),
        -3
    );
}

#[test]
fn retain_live_forgets_what_nobody_holds() {
    let registry = Registry::new(2);
    let (worker, control) = (registry.shard(0), registry.shard(1));
    let kept = worker.counter(NAME, "", &[("listener", "kept")]);
    kept.add(7);
    control.counter(NAME, "", &[("listener", "kept")]).add(3);
    worker.counter(NAME, "", &[("listener", "gone")]).add(9);
    worker
        .histogram("portcullis_gone_bytes", "", Unit::Bytes, &[])
        .record(1);
    registry.shared_gauge("portcullis_gone", "", &[]).set(1);
    let shared = registry.shared_gauge("portcullis_kept", "", &[]);
    shared.set(4);

    registry.retain_live();

    let snapshot = registry.snapshot();
    let names: Vec<_> = snapshot.families.iter().map(|family| family.name).collect();
    assert_eq!(names, ["portcullis_kept", DROPPED_SERIES, NAME]);
    assert_eq!(
        snapshot.counter(NAME, &[]),
        10,
        "a series held by one shard keeps every shard's share"
    );
    assert_eq!(snapshot.gauge("portcullis_kept", &[]), 4);
    let fresh = worker.counter(NAME, "", &[("listener", "gone")]);
    assert_eq!(fresh.value(), 0, "a cell used again starts from nothing");
    drop((kept, shared, fresh));
    registry.retain_live();
    assert_eq!(registry.snapshot().families.len(), 1);
}

#[test]
fn too_many_series_are_counted_and_not_kept() {
    let registry = Registry::with_series_limit(1, 2);
    let shard = registry.shard(0);
    let kept: Vec<_> = ["a", "b"]
        .map(|n| shard.counter(NAME, "", &[("n", n)]))
        .into();
    shard.counter(NAME, "", &[("n", "c")]).add(5);
    shard.counter(NAME, "", &[("n", "d")]).add(5);
    shard.gauge("portcullis_test_level", "", &[]).set(5);
    shard
        .histogram("portcullis_test_bytes", "", Unit::Bytes, &[])
        .record(5);
    registry
        .shared_gauge("portcullis_test_shared", "", &[])
        .set(5);
    kept.iter().for_each(crate::Counter::inc);
    shard.counter(NAME, "", &[("n", "a")]).inc();
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.counter(DROPPED_SERIES, &[]), 5);
    assert_eq!(snapshot.counter(NAME, &[]), 3);
    assert_eq!(snapshot.families.len(), 2);
    drop(kept);
    registry.retain_live();
    let room = shard.counter(NAME, "", &[("n", "c")]);
    room.inc();
    assert_eq!(
        registry.snapshot().counter(NAME, &[]),
        1,
        "dropped series make room"
    );
}

#[test]
fn one_name_has_one_kind() {
    let use_twice = || {
        let shard = Registry::new(1).shard(0);
        let _counter = shard.counter("portcullis_test_twice", "", &[]);
        shard.gauge("portcullis_test_twice", "", &[]).inc();
        shard
            .registry()
            .snapshot()
            .counter("portcullis_test_twice", &[])
    };
    if cfg!(debug_assertions) {
        assert!(thread::spawn(use_twice).join().is_err());
    } else {
        assert_eq!(
            thread::spawn(use_twice)
                .join()
                .expect("no panic in a release build"),
            0
        );
    }
}

fn example() -> (Registry, Shard) {
    let registry = Registry::new(2);
    (registry.clone(), registry.shard(0))
}

#[test]
fn prometheus_text_is_as_written() {
    let (registry, shard) = example();
    let b = shard.counter(
        "portcullis_http_requests_total",
        "Requests.\nAll \\ of them.",
        &[("route", "b")],
    );
    let a = shard.counter(
        "portcullis_http_requests_total",
        "Requests.\nAll \\ of them.",
        &[("route", "a \"q\" \\ \n \u{7}"), ("code_class", "2xx")],
    );
    let level = shard.gauge("portcullis_connections", "Open connections.", &[]);
    let bare = shard.counter("portcullis_bare", "No suffix.", &[]);
    let sizes = shard.histogram(
        "portcullis_body_bytes",
        "Sizes.",
        Unit::Bytes,
        &[("side", "up")],
    );
    let times = shard.histogram("portcullis_time_seconds", "Times.", Unit::Microseconds, &[]);
    a.add(2);
    b.add(1);
    bare.inc();
    level.set(-4);
    for size in [0, 64, 1_024, 5_000_000_000] {
        sizes.record(size);
    }
    for time in [100, 1_000, 1_001, 2_500_000, 400_000_000] {
        times.record(time);
    }
    let text = registry.snapshot().prometheus();
    assert_eq!(
        text,
        include_str!("tests/prometheus.txt"),
        "the whole text was:\n{text}"
    );
}

#[test]
fn bounds_grow_and_counts_with_them() {
    let (registry, shard) = example();
    for (name, unit) in [
        ("a_seconds", Unit::Microseconds),
        ("b_bytes", Unit::Bytes),
        ("c_items", Unit::Count),
    ] {
        let histogram = shard.histogram(name, "", unit, &[]);
        (0..40).for_each(|shift| histogram.record(1 << shift));
        let text = registry.snapshot().matching(name).prometheus();
        let buckets: Vec<(f64, u64)> = text.lines().filter_map(bucket_line).collect();
        assert!(buckets.len() > 10, "{name}");
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "{name}: {buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 40)), "{name}");
    }
}

fn bucket_line(line: &str) -> Option<(f64, u64)> {
    let (bound, count) = line.split_once("le=\"")?.1.split_once("\"} ")?;
    Some((bound.parse().ok()?, count.parse().ok()?))
}

#[test]
fn text_and_json_show_the_same() {
    let (registry, shard) = example();
    shard
        .counter("portcullis_a_total", "A.", &[("listener", "web")])
        .add(3);
    shard.gauge("portcullis_b", "B.", &[]).set(-1);
    let times = shard.histogram("portcullis_c_seconds", "C.", Unit::Microseconds, &[]);
    for time in [8, 9, 1_250, 3_500_000] {
        times.record(time);
    }
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.text(),
        "portcullis_a_total{listener=\"web\"}: 3\n\
         portcullis_b: -1\n\
         portcullis_c_seconds: p50=9us p90=3.47s p99=3.47s max=3.5s count=4\n\
         portcullis_stats_dropped_series_total: 0\n"
    );
    let json = snapshot.json();
    assert_eq!(
        json["families"][0]["series"][0]["labels"]["listener"],
        "web"
    );
    assert_eq!(json["families"][0]["series"][0]["value"], 3);
    assert_eq!(json["families"][1]["series"][0]["value"], -1);
    assert_eq!(json["families"][2]["unit"], "microseconds");
    assert_eq!(json["families"][2]["series"][0]["value"]["max"], 3_500_000);
    assert_eq!(snapshot.matching("_b").text(), "portcullis_b: -1\n");
}

#[test]
fn an_empty_histogram_has_zero_everywhere() {
    let (registry, shard) = example();
    let histogram = shard.histogram("portcullis_c_seconds", "C.", Unit::Microseconds, &[]);
    let values = registry.snapshot().histogram("portcullis_c_seconds", &[]);
    assert_eq!(
        (histogram.count(), values.quantile(0.5), values.max()),
        (0, 0, 0)
    );
}

proptest! {
    /// Law: a quantile is within a sixteenth of the exact one, for any values and any split over shards.
    #[test]
    fn quantiles_are_near_the_exact_ones(
        values in prop::collection::vec((any::<u64>(), 0u32..64), 1..200),
        share in 0.0f64..=1.0,
    ) {
        // Shifting spreads the values over all magnitudes.
        let mut values: Vec<u64> = values.into_iter().map(|(value, shift)| value >> shift).collect();
        let (registry, shard) = example();
        let other = registry.shard(1);
        for (index, value) in values.iter().enumerate() {
            let shard = if index % 3 == 0 { &other } else { &shard };
            shard.histogram("portcullis_test_items", "", Unit::Count, &[]).record(*value);
        }
        values.sort_unstable();
        let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
        let exact = values[rank - 1];
        let near = registry.snapshot().histogram("portcullis_test_items", &[]).quantile(share);
        prop_assert!(near.abs_diff(exact) <= exact / 16, "{near} is not near {exact}");
    }
}
