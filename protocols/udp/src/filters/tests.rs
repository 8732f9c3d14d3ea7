//! Filters by what they say to datagrams.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use portcullis_config::{Diagnostics, Source, load};
use portcullis_filter::log::{Format, LogRecords as _, Preset};
use portcullis_filter::{
    Connection, Context, FilterChain, FilterContext, Random, ReadContext, SharedStore, Stop,
};
use portcullis_limit::Seed;
use portcullis_stats::Registry;

use super::registry;
use crate::machine::Moved;
use crate::message::{Datagram, FlowOpening, Record, UdpMessages};

#[allow(clippy::disallowed_methods)] // any instant will do
fn now() -> Instant {
    Instant::now()
}

fn read(filters: &str) -> Result<portcullis_filter::FilterList<UdpMessages>, String> {
    let source = Source::new("udp.yaml", filters);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics);
    let mut cx = ReadContext {
        diagnostics: &mut diagnostics,
        clusters: &[],
        path: "listeners.dns",
    };
    let list = registry().read_listener(node.as_ref(), &mut cx);
    if diagnostics.is_empty() {
        Ok(list)
    } else {
        Err(diagnostics.render(false))
    }
}

struct Worker {
    chain: FilterChain<UdpMessages>,
    now: Instant,
}

impl Worker {
    fn new(filters: &str) -> Self {
        let now = now();
        let cx = FilterContext {
            stats: &Registry::new(1).shard(0),
            shared: &SharedStore::new(),
            seed: &Seed::random(),
            random: &Rc::new(Random::new(1)),
            now,
            path: "listeners.dns.filters",
        };
        Self {
            chain: read(filters).unwrap().build(&cx).unwrap(),
            now,
        }
    }

    fn open(&self, client: &str) -> Result<Context, &'static str> {
        let mut cx = context(client, self.now);
        let mut opening = FlowOpening::default();
        match self.chain.on_request_at_once(&mut opening, &mut cx) {
            Ok(()) => Ok(cx),
            Err(Stop::Reject(rejection)) => Err(rejection.reason),
            Err(Stop::Close(reason)) => Err(reason),
            Err(Stop::Reply(_)) => unreachable!(),
        }
    }

    fn up(&self, cx: &mut Context, bytes: usize) -> Option<Duration> {
        let held = self
            .chain
            .hold_request_data(&mut Datagram { bytes }, false, cx);
        held.ok()
            .map(|until| until.map_or(Duration::ZERO, |until| until - cx.now))
    }

    fn down(&self, cx: &mut Context, bytes: usize) -> Option<Duration> {
        let held = self
            .chain
            .hold_response_data(&mut Datagram { bytes }, false, cx);
        held.ok()
            .map(|until| until.map_or(Duration::ZERO, |until| until - cx.now))
    }
}

fn context(client: &str, now: Instant) -> Context {
    let client: SocketAddr = client.parse().unwrap();
    let connection = Connection {
        listener: "dns".into(),
        peer: Some(client),
        local: None,
        client: Some(client),
        secure: false,
        tls: None,
        accepted_at: now,
        id: 42,
    };
    Context::new(Rc::new(connection), now)
}

const PASSES: Option<Duration> = Some(Duration::ZERO);

#[test]
fn datagrams_and_bytes_and_flows_are_limited() {
    let worker = Worker::new("- rate_limit: { rate: 2/s, per: [client.ip] }");
    let mut one = worker.open("192.0.2.1:1").unwrap();
    let mut same = worker.open("192.0.2.1:2").unwrap();
    let mut other = worker.open("192.0.2.2:1").unwrap();
    assert_eq!(worker.up(&mut one, 9), PASSES);
    assert_eq!(worker.up(&mut same, 9), PASSES);
    assert_eq!(worker.up(&mut one, 9), None);
    assert_eq!(worker.up(&mut other, 9), PASSES);
    assert_eq!(worker.down(&mut one, 9), PASSES);
    one.now += Duration::from_secs(1);
    assert_eq!(worker.up(&mut one, 9), PASSES);

    let bytes = "- rate_limit: { rate: 1000/s, burst: 70000, count: bytes, direction: down }";
    let worker = Worker::new(bytes);
    let mut flow = worker.open("192.0.2.1:1").unwrap();
    assert_eq!(worker.up(&mut flow, 70_000), PASSES);
    assert_eq!(worker.down(&mut flow, 60_000), PASSES);
    assert_eq!(worker.down(&mut flow, 20_000), None);
    assert_eq!(worker.down(&mut flow, 10_000), PASSES);

    let worker = Worker::new("- rate_limit: { rate: 1/s, count: flows }");
    let mut flow = worker.open("192.0.2.1:1").unwrap();
    assert_eq!(worker.open("192.0.2.2:1").err(), Some("rate_limited"));
    assert_eq!(worker.up(&mut flow, 9), PASSES);
    assert_eq!(worker.up(&mut flow, 9), PASSES);
}

#[test]
fn two_limits_keep_their_own_keys() {
    let worker =
        Worker::new("- rate_limit: { rate: 1/s, per: [client.ip] }\n- rate_limit: { rate: 3/s }");
    let mut one = worker.open("192.0.2.1:1").unwrap();
    let mut other = worker.open("192.0.2.2:1").unwrap();
    assert_eq!(worker.up(&mut one, 9), PASSES);
    assert_eq!(worker.up(&mut one, 9), None);
    assert_eq!(worker.up(&mut other, 9), PASSES);
}

#[test]
fn a_shadow_counts_only() {
    let worker = Worker::new("- rate_limit: { rate: 1/s, shadow: true }");
    let mut flow = worker.open("192.0.2.1:1").unwrap();
    for _ in 0..3 {
        assert_eq!(worker.up(&mut flow, 9), PASSES);
    }
}

#[test]
fn faults_strike_their_direction() {
    let rows = [
        ("- fault: { loss: 100% }", None, None),
        ("- fault: { loss: 100%, direction: up }", None, PASSES),
        (
            "- fault: { delay: { time: 50ms }, direction: down }",
            PASSES,
            Some(Duration::from_millis(50)),
        ),
        (
            "- fault: { delay: { time: 1s, percent: 0% } }",
            PASSES,
            PASSES,
        ),
    ];
    for (filters, up, down) in rows {
        let worker = Worker::new(filters);
        let mut flow = worker.open("192.0.2.1:1").unwrap();
        assert_eq!(worker.up(&mut flow, 9), up, "{filters}");
        assert_eq!(worker.down(&mut flow, 9), down, "{filters}");
    }
}

#[test]
fn clients_are_allowed_and_denied() {
    let worker = Worker::new("- deny: { client: [192.0.2.0/24] }");
    assert_eq!(worker.open("192.0.2.1:1").err(), Some("denied"));
    assert!(worker.open("198.51.100.1:1").is_ok());
}

#[test]
fn what_is_refused() {
    let rows = [
        ("- fault: {}", "does nothing"),
        (
            "- rate_limit: { rate: 100/s, count: bytes }",
            "large datagrams would never pass",
        ),
        (
            "- rate_limit: { rate: 100/s, count: flows, direction: both }",
            "flows begin at clients",
        ),
        (
            "- rate_limit: { rate: 100/s, per: [http.host] }",
            "unknown fact 'http.host'",
        ),
        ("- bandwidth: { rate: 1MiB/s }", "bandwidth"),
    ];
    for (filters, expected) in rows {
        let error = read(filters).unwrap_err();
        assert!(error.contains(expected), "{filters}: {error}");
    }
}

fn line(format: &Format<UdpMessages>) -> String {
    let cx = context("192.0.2.7:4321", now());
    let mut record = Record::new(UNIX_EPOCH, cx.now);
    record.duration = Duration::from_micros(1_234_567);
    record.up = Moved {
        datagrams: 2,
        bytes: 10,
    };
    record.down = Moved {
        datagrams: 3,
        bytes: 20,
    };
    record.cluster = Some("resolvers".into());
    record.endpoint = Some("10.0.0.1:53".into());
    record.server_name = Some("shop.example".into());
    record.reason = "idle_timeout";
    let mut line = Vec::new();
    format.write(&record, &cx, &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn flows_are_logged() {
    let [json @ Preset::Json { .. }, text @ Preset::Text { .. }] = UdpMessages::PRESETS else {
        panic!("two presets");
    };
    assert_eq!(
        line(&Format::preset(text).unwrap()),
        "[1970-01-01T00:00:00.000Z] dns 192.0.2.7:4321 \"resolvers\" 10.0.0.1:53 2 3 10 20 1234 idle_timeout\n"
    );
    assert_eq!(
        line(&Format::preset(json).unwrap()),
        concat!(
            r#"{"start_time":"1970-01-01T00:00:00.000Z","listener":"dns","flow_id":42,"#,
            r#""client":"192.0.2.7:4321","cluster":"resolvers","endpoint":"10.0.0.1:53","#,
            r#""datagrams_received":2,"datagrams_sent":3,"bytes_received":10,"bytes_sent":20,"#,
            r#""duration_ms":1234,"reason":"idle_timeout"}"#,
            "\n"
        )
    );
    for name in UdpMessages::OPERATORS {
        let format = Format::text(&format!("%{name}%")).unwrap();
        assert_ne!(line(&format), "\n", "{name}");
        let with_argument = Format::<UdpMessages>::text(&format!("%{name}(x)%"));
        assert_eq!(with_argument.is_ok(), *name == "START_TIME", "{name}");
    }
}
