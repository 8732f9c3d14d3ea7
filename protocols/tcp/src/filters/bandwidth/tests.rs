//! Whose bytes are counted together, and what becomes of clients that left.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use portcullis_filter::{Connection, FilterChain, Random, SharedStore};
use portcullis_limit::Seed;
use portcullis_stats::Registry;

use super::*;

/// 1000 bytes a second, 100 at once: one byte is one millisecond.
fn config(per: Per, direction: Direction) -> BandwidthConfig {
    BandwidthConfig {
        rate: "1000B/s".parse().unwrap(),
        burst: Some(ByteSize(100)),
        per,
        direction,
    }
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn context(client: u8, now: Instant) -> Context {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, client));
    let connection = Connection {
        listener: "tcp".into(),
        peer: None,
        local: None,
        client: Some(SocketAddr::new(ip, 1)),
        secure: false,
        tls: None,
        accepted_at: now,
        id: 1,
    };
    Context::new(Rc::new(connection), now)
}

struct Worker {
    chain: FilterChain<TcpMessages>,
}

impl Worker {
    fn new(configs: &[BandwidthConfig], shared: &SharedStore, now: Instant) -> Self {
        let build = |(index, config): (usize, &BandwidthConfig)| {
            let cx = FilterContext {
                stats: &Registry::new(1).shard(0),
                shared,
                seed: &Seed::random(),
                random: &Rc::new(Random::new(1)),
                now,
                path: &format!("listeners.tcp.filters[{index}]"),
            };
            Bandwidth::build(config, &cx).unwrap()
        };
        let filters = configs.iter().enumerate().map(build).collect();
        Self {
            chain: FilterChain::new(filters),
        }
    }

    fn accept(&self, client: u8, now: Instant) -> Context {
        struct NoTimer;
        impl portcullis_filter::Timer for NoTimer {
            fn sleep_until(&self, _: Instant) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
                unreachable!("nothing waits")
            }
        }
        let mut cx = context(client, now);
        {
            let mut request = TcpConnection::default();
            let asked = self.chain.on_request(&mut request, &mut cx, &NoTimer);
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(std::pin::pin!(asked).poll(&mut task).is_ready());
        }
        cx
    }

    /// For how many milliseconds bytes are held.
    fn hold(&self, cx: &mut Context, up: bool, bytes: usize) -> u128 {
        let mut data = Bytes::from(vec![0; bytes]);
        let held = if up {
            self.chain.hold_request_data(&mut data, false, cx)
        } else {
            self.chain.hold_response_data(&mut data, false, cx)
        };
        let until = held.unwrap().unwrap_or(cx.now);
        until.duration_since(cx.now).as_millis()
    }
}

#[test]
fn bytes_are_counted_by_connection_client_or_listener() {
    // per, a second connection of the same client, one of another client
    let rows = [
        (Per::Connection, 0, 0),
        (Per::Client, 100, 0),
        (Per::Listener, 100, 200),
    ];
    for (per, same, other) in rows {
        let now = now();
        let shared = SharedStore::new();
        // Limits are exact over workers.
        let workers = [0, 1].map(|_| Worker::new(&[config(per, Direction::Both)], &shared, now));
        let mut first = workers[0].accept(1, now);
        assert_eq!(
            workers[0].hold(&mut first, true, 100),
            0,
            "{per:?}: the burst"
        );
        assert_eq!(
            workers[0].hold(&mut first, false, 100),
            0,
            "{per:?}: the other way"
        );
        let mut second = workers[1].accept(1, now);
        assert_eq!(
            workers[1].hold(&mut second, true, 100),
            same,
            "{per:?}: same client"
        );
        let mut third = workers[1].accept(2, now);
        assert_eq!(
            workers[1].hold(&mut third, true, 100),
            other,
            "{per:?}: other client"
        );
    }
}

#[test]
fn only_the_direction_named_is_limited() {
    for (direction, up, down) in [
        (Direction::Both, 50, 50),
        (Direction::Up, 50, 0),
        (Direction::Down, 0, 50),
    ] {
        let now = now();
        let worker = Worker::new(
            &[config(Per::Connection, direction)],
            &SharedStore::new(),
            now,
        );
        let mut cx = worker.accept(1, now);
        assert_eq!(worker.hold(&mut cx, true, 150), up, "{direction:?} up");
        assert_eq!(worker.hold(&mut cx, false, 150), down, "{direction:?} down");
    }
}

#[test]
fn two_limits_in_one_chain_keep_their_own_counts() {
    let now = now();
    let generous = BandwidthConfig {
        burst: Some(ByteSize(1000)),
        ..config(Per::Connection, Direction::Both)
    };
    let strict = config(Per::Connection, Direction::Both);
    let worker = Worker::new(&[generous, strict], &SharedStore::new(), now);
    let mut cx = worker.accept(1, now);
    assert_eq!(worker.hold(&mut cx, true, 300), 200, "the later of both");
}

#[test]
fn a_client_that_comes_back_earns_no_second_burst_and_is_forgotten_in_time() {
    let start = now();
    let clients = Clients::new(Limit {
        rate: 1000,
        burst: 100,
    });
    let spend = |client: u8| {
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, client));
        clients.of(ip, start).up.borrow_ahead(100, start)
    };
    assert_eq!(spend(1), start);
    assert_eq!(
        spend(1),
        start + Duration::from_millis(100),
        "the same bucket"
    );
    for client in 2..=64 {
        spend(client);
    }
    let kept = clients.of(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), start);
    assert_eq!(clients.count(), 65, "none is full yet");
    let later = start + Duration::from_secs(10);
    for client in 0..200 {
        clients.of(IpAddr::V4(Ipv4Addr::new(10, 2, 0, client)), later);
    }
    assert!(clients.count() < 200 + 65, "those that are full again went");
    let again = clients.of(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), later);
    assert!(Arc::ptr_eq(&kept, &again), "one in use stays");
}
