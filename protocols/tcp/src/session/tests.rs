//! One relay over loopback sockets, and the choice of an endpoint; whole connections are tested end to end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use portcullis_cluster::{Cluster, ClusterShared, ResolvedAddress, ResolvedEndpoint};
use portcullis_config::{Diagnostics, Source, Timeout};
use portcullis_filter::{
    Connection, Context, Filter, FilterChain, FilterList, Interest, Random, Stop, Verdict,
};
use portcullis_net::{DrainSignal, Stream, clock};
use portcullis_route::{HostRouteTable, Weighted};
use portcullis_stats::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::connect::{Upstream, connect};
use super::ledger::Ledger;
use super::opening::{Route, Routes};
use super::relay::{Connections, Session};
use super::server::TcpServer;
use super::stats::TcpStats;
use crate::config::{ConnectConfig, TcpConfig};
use crate::machine::{End, Relay, Side};
use crate::message::{Record, TcpMessages};
use crate::route::{Condition, Opening};

type Filters = Vec<Box<dyn Filter<TcpMessages>>>;

const CEILING: Duration = Duration::from_secs(30);

fn on_worker<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(CEILING, test).await.expect("hangs") })
}

fn cluster(registry: &Registry, settings: &str, endpoints: &[SocketAddr]) -> Rc<Cluster> {
    let source = Source::new(
        "test.yaml",
        format!("{{endpoints: ['127.0.0.1:1'], {settings}}}"),
    );
    let mut diagnostics = Diagnostics::new(&source);
    let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
    let config = Arc::new(node.read(&mut diagnostics).unwrap());
    let endpoints = endpoints.iter().map(|address| ResolvedEndpoint {
        name: address.to_string().into(),
        address: ResolvedAddress::Socket(*address),
        weight: 1,
        role: None,
    });
    let now = clock::now();
    let shared = ClusterShared::new("origin", config, endpoints, now);
    Rc::new(Cluster::new(shared, &registry.shard(0), now))
}

fn server(filters: Filters, settings: &str, endpoints: &[SocketAddr]) -> Rc<TcpServer> {
    let registry = Registry::new(1);
    let config = TcpConfig {
        routes: Vec::new(),
        sniff_timeout: portcullis_config::Duration::from_secs(5),
        idle_timeout: Timeout::Off,
        max_duration: Timeout::Off,
        connect: ConnectConfig::default(),
        filters: FilterList::default(),
    };
    let route = Route {
        name: None,
        clusters: Weighted::new([(cluster(&registry, settings, endpoints), 1)]).unwrap(),
    };
    let rules = vec![(Vec::new(), Condition::default(), route)];
    Rc::new(TcpServer {
        listener: "test".into(),
        routes: Routes::of(HostRouteTable::new(rules), &config),
        chain: FilterChain::new(filters),
        stats: TcpStats::new(&registry.shard(0)),
        config,
        drain: DrainSignal::new(),
        random: Rc::new(Random::new(1)),
    })
}

fn ledger(server: &Rc<TcpServer>) -> Ledger {
    let now = clock::now();
    let connection = Connection {
        listener: "test".into(),
        peer: None,
        local: None,
        client: None,
        secure: false,
        tls: None,
        accepted_at: now,
        id: 1,
    };
    server.stats.on_start();
    Ledger {
        server: Rc::clone(server),
        record: Record::new(UNIX_EPOCH, now),
        cx: Context::new(Rc::new(connection), now),
    }
}

/// A connection: the gateway's end, and the peer's.
async fn connection() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (listener.accept().await.unwrap().0.into(), peer)
}

/// A relay between a client and an origin that the test plays.
struct Rig {
    session: Session<()>,
    client: TcpStream,
    origin: TcpStream,
}

impl Rig {
    async fn new(server: &Rc<TcpServer>, idle: Duration, prefix: &str) -> Self {
        let (downstream, client) = connection().await;
        let (upstream, origin) = connection().await;
        let connections = Connections {
            downstream,
            prefix: BytesMut::from(prefix),
            upstream,
            held: (),
        };
        let machine = Relay::new(clock::now(), idle, None);
        Self {
            session: Session::new(ledger(server), machine, connections),
            client,
            origin,
        }
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

/// Sees every piece and may stop one.
struct Inspect {
    stop_at: Option<u8>,
    seen: Rc<Cell<usize>>,
}

impl Filter<TcpMessages> for Inspect {
    fn name(&self) -> &'static str {
        "inspect"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST_DATA
    }

    fn on_request_data<'a>(
        &'a self,
        data: &'a mut Bytes,
        _: bool,
        _: &'a mut Context,
    ) -> Verdict<'a, TcpMessages> {
        self.seen.set(self.seen.get() + data.len());
        if self.stop_at.is_some_and(|byte| data.contains(&byte)) {
            return Verdict::Stop(Stop::Close("inspected"));
        }
        Verdict::Continue
    }
}

fn inspect(stop_at: Option<u8>) -> (Filters, Rc<Cell<usize>>) {
    let seen = Rc::new(Cell::new(0));
    let filter = Inspect {
        stop_at,
        seen: Rc::clone(&seen),
    };
    (vec![Box::new(filter)], seen)
}

#[test]
fn bulk_is_spliced_unless_a_filter_looks() {
    const BYTES: usize = 4 * 1024 * 1024;
    for inspected in [false, true] {
        on_worker(async {
            let (filters, seen) = inspect(None);
            let filters = if inspected { filters } else { Vec::new() };
            let server = server(filters, "", &[]);
            let mut rig = Rig::new(&server, CEILING, "read before").await;
            let mut session = rig.session;
            let sent = pattern(BYTES);
            let mut received = vec![0; 11 + BYTES];
            tokio::select! {
                end = &mut session => panic!("over: {end:?}"),
                done = async { tokio::try_join!(rig.client.write_all(&sent), rig.origin.read_exact(&mut received)) } => {
                    done.unwrap();
                }
            }
            assert!(received.starts_with(b"read before") && received.ends_with(&sent));
            assert_eq!(session.is_spliced(Side::Downstream), !inspected);
            assert!(!session.is_spliced(Side::Upstream), "nothing moved there");
            drop((rig.client, rig.origin));
            assert_eq!((&mut session).await, End::Complete);
            assert_eq!(session.machine.bytes(Side::Downstream), 11 + BYTES as u64);
            assert_eq!(seen.get(), if inspected { 11 + BYTES } else { 0 });
        });
    }
}

/// F2: one byte at a time, both ways, before and after the switch to splicing.
#[test]
fn f2_single_bytes_pass_both_ways() {
    on_worker(async {
        let server = server(Vec::new(), "", &[]);
        let rig = Rig::new(&server, CEILING, "").await;
        let session = rig.session;
        let (mut client, mut origin) = (rig.client, rig.origin);
        let script = async {
            for round in 0..2 {
                for byte in 0..100_u8 {
                    client.write_u8(byte).await.unwrap();
                    assert_eq!(origin.read_u8().await.unwrap(), byte, "round {round}");
                    origin.write_u8(byte ^ 0xff).await.unwrap();
                    assert_eq!(
                        client.read_u8().await.unwrap(),
                        byte ^ 0xff,
                        "round {round}"
                    );
                }
                let mut bulk = vec![0; 256 * 1024];
                let sent = pattern(bulk.len());
                let (wrote, read) =
                    tokio::join!(client.write_all(&sent), origin.read_exact(&mut bulk));
                wrote.and(read).unwrap();
                assert_eq!(bulk, sent);
            }
            drop(client);
            assert_eq!(origin.read(&mut [0]).await.unwrap(), 0);
            drop(origin);
        };
        let (end, ()) = tokio::join!(session, script);
        assert_eq!(end, End::Complete);
    });
}

#[test]
fn a_reader_that_stands_still_holds_the_writer_back() {
    for inspected in [false, true] {
        on_worker(async {
            let (filters, _) = inspect(None);
            let filters = if inspected { filters } else { Vec::new() };
            let server = server(filters, "", &[]);
            let rig = Rig::new(&server, CEILING, "").await;
            let mut session = rig.session;
            let piece = pattern(64 * 1024);
            let mut accepted = 0;
            // The writer is blocked when the kernel takes nothing though the relay was asked many times.
            for _ in 0..200 {
                while let Ok(count) = rig.client.try_write(&piece) {
                    accepted += count;
                    assert!(accepted < 64 << 20, "nothing holds the writer back");
                }
                tokio::select! {
                    biased;
                    end = &mut session => panic!("over: {end:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
            assert!(rig.client.try_write(&piece).is_err());
            drop(rig.origin);
            assert!(matches!(session.await, End::Reset(Side::Upstream)));
        });
    }
}

#[test]
fn a_filter_stops_the_bytes() {
    on_worker(async {
        let server = server(inspect(Some(b'!')).0, "", &[]);
        let mut rig = Rig::new(&server, CEILING, "").await;
        let session = rig.session;
        rig.client.write_all(b"stop!").await.unwrap();
        assert_eq!(session.await, End::Stopped("inspected"));
        let mut received = Vec::new();
        rig.origin.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"", "what was stopped is not passed on");
    });
}

#[test]
fn silence_ends_it_in_time_and_in_a_drain() {
    let rows = [
        (Duration::from_millis(30), false, End::Idle),
        (CEILING, true, End::Drained),
    ];
    for (idle, drains, end) in rows {
        on_worker(async {
            let server = server(Vec::new(), "", &[]);
            let mut rig = Rig::new(&server, idle, "").await;
            let session = rig.session;
            if drains {
                server.drain.drain(clock::now(), Duration::ZERO);
            }
            assert_eq!(session.await, end);
            assert_eq!(
                rig.client.read(&mut [0]).await.unwrap(),
                0,
                "an orderly close"
            );
        });
    }
}

/// Connects to the cluster of the one rule.
async fn connect_any(server: &TcpServer, ledger: &mut Ledger) -> Result<Upstream, &'static str> {
    let found = server
        .routes
        .choose(Opening::Plain, "no_route")
        .ok()
        .unwrap();
    connect(
        server,
        &found.route.clusters,
        &mut ledger.record,
        &ledger.cx,
    )
    .await
}

async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn endpoints_are_tried_one_after_another() {
    on_worker(async {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = open.local_addr().map(|address| (open, address)).unwrap();
        let closed = [
            closed_port().await,
            closed_port().await,
            closed_port().await,
        ];
        let one_up = [closed[0], closed[1], open.1];
        let all_down = [closed[0], closed[1], closed[2]];
        type Row<'r> = (
            &'r str,
            &'r [SocketAddr],
            &'r str,
            Result<(), &'r str>,
            Option<u32>,
        );
        let rows: [Row<'_>; 5] = [
            ("one is up", &one_up, "", Ok(()), None),
            (
                "all are down",
                &all_down,
                "",
                Err("upstream_connect"),
                Some(3),
            ),
            (
                "fewer than attempts",
                &closed[..1],
                "",
                Err("upstream_connect"),
                Some(1),
            ),
            ("none", &[], "", Err("no_endpoints"), Some(0)),
            (
                "pending limit",
                &one_up,
                "limits: {pending: 1}, connect_timeout: 1s",
                Ok(()),
                None,
            ),
        ];
        for (name, endpoints, settings, wanted, attempts) in rows {
            let server = server(Vec::new(), settings, endpoints);
            let mut ledger = ledger(&server);
            let connected = connect_any(&server, &mut ledger).await;
            assert_eq!(connected.map(drop), wanted, "{name}");
            assert_eq!(ledger.record.established, wanted.is_ok(), "{name}");
            if let Some(attempts) = attempts {
                assert_eq!(ledger.record.attempts, attempts, "{name}");
            }
        }
        drop(open);
    });
}

#[test]
fn the_limit_on_connections_holds_while_they_last() {
    on_worker(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = server(Vec::new(), "limits: {connections: 1}", &[address]);
        let [mut first, mut second] = [ledger(&server), ledger(&server)];
        let held = connect_any(&server, &mut first).await.ok();
        let refused = connect_any(&server, &mut second).await;
        assert_eq!(refused.map(drop), Err("upstream_connection_limit"));
        drop(held);
        assert!(connect_any(&server, &mut second).await.is_ok());
    });
}
