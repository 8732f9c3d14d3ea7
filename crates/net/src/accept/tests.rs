//! Acceptors over real sockets, and over a script of faults.

mod tls;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;

use bytes::BytesMut;
use portcullis_stats::Registry;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, yield_now};

use super::*;
use crate::limits::ConnectionLimit;
use crate::listen::{BindOptions, BoundAddress, ListenerSockets};
use crate::preface::ProxyPolicy;
use crate::sessions::{Sessions, spawn_local, spawn_session};
use crate::worker::WorkerId;
use crate::{Downstream, ProxyProtocolConfig, SocketOptions, Stream};

/// A listener on one worker, and what a test wants to know of it.
struct Listener {
    address: SocketAddr,
    handle: AcceptHandle,
    gate: Rc<Gate>,
    registry: Registry,
    limits: ConnectionLimits,
}

impl Listener {
    fn new(
        limits: ConnectionLimits,
        proxy: Option<ProxyPolicy>,
        server: impl Fn(Downstream) + 'static,
    ) -> Self {
        let registry = Registry::new(1);
        let stats = Rc::new(ListenerStats::new(&registry.shard(0)));
        let options = BindOptions {
            socket: &SocketOptions::default(),
            sockets: 1,
            exclusive: true,
            datagrams: false,
        };
        let mut sockets = ListenerSockets::bind(&"127.0.0.1:0".parse().unwrap(), options).unwrap();
        let BoundAddress::Tcp(address) = *sockets.address() else {
            unreachable!()
        };
        let gate = Gate::new(
            GateOptions {
                stats: Rc::clone(&stats),
                sessions: Sessions::new(),
                address: sockets.address().clone(),
                proxy,
            },
            server,
        );
        let deliver = {
            let gate = Rc::clone(&gate);
            move |accepted| gate.admit(accepted)
        };
        let socket = sockets.take().unwrap();
        let acceptor = Acceptor::new(socket, limits.clone(), stats, deliver).unwrap();
        let handle = acceptor.handle();
        spawn_local(acceptor.run());
        Self {
            address,
            handle,
            gate,
            registry,
            limits,
        }
    }

    async fn connect(&self) -> Stream {
        TcpStream::connect(self.address).await.unwrap().into()
    }

    fn count(&self, series: &str) -> u64 {
        count(&self.registry, series)
    }
}

/// The value of a series in the text format, 0 if there is none.
fn count(registry: &Registry, series: &str) -> u64 {
    let text = registry.snapshot().prometheus();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

fn on_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Answers with its greeting and echoes one read.
fn echo(mut downstream: Downstream) {
    spawn_session(async move {
        let greeting = format!("{} ", downstream.client().unwrap().ip());
        downstream
            .stream
            .write_all(greeting.as_bytes())
            .await
            .unwrap();
        let mut input = downstream.prefix;
        if input.is_empty() {
            downstream.stream.read(&mut input).await.unwrap();
        }
        downstream.stream.write_all(&input).await.unwrap();
        drop(downstream.guard);
    });
}

async fn read_all(stream: &mut Stream) -> Vec<u8> {
    let mut input = BytesMut::new();
    while stream.read(&mut input).await.unwrap() > 0 {}
    input.to_vec()
}

#[test]
fn connections_become_sessions() {
    on_worker(async {
        let listener = Listener::new(ConnectionLimits::unlimited(), None, echo);
        for _ in 0..3 {
            let mut client = listener.connect().await;
            client.write_all(b"hello").await.unwrap();
            assert_eq!(read_all(&mut client).await, b"127.0.0.1 hello");
        }
        listener.gate.sessions().empty().await;
        assert_eq!(listener.count("portcullis_listener_connections_total"), 3);
        assert_eq!(listener.count("portcullis_listener_connections_active"), 0);
        assert_eq!(listener.limits.listener.open(), 0);
    });
}

#[test]
fn connections_beyond_a_limit_are_closed_and_counted() {
    let rows = [
        (Some(2), None, "listener_limit"),
        (None, Some(2), "global_limit"),
    ];
    for (listener, global, reason) in rows {
        on_worker(async {
            let limits = ConnectionLimits {
                listener: ConnectionLimit::new(listener),
                global: ConnectionLimit::new(global),
            };
            let listener = Listener::new(limits, None, echo);
            let mut served = [listener.connect().await, listener.connect().await];
            listener.handle.pause();
            let mut refused = listener.connect().await;
            refused
                .write_all(b"sent before it was accepted")
                .await
                .unwrap();
            listener.handle.resume();
            assert_eq!(read_all(&mut refused).await, b"", "an orderly end");
            let series = format!("portcullis_listener_refused_total{{reason=\"{reason}\"}}");
            assert_eq!(listener.count(&series), 1);
            for client in &mut served {
                client.write_all(b"!").await.unwrap();
                assert_eq!(read_all(client).await, b"127.0.0.1 !", "neighbours");
            }
            listener.gate.sessions().empty().await;
            let mut again = listener.connect().await;
            again.write_all(b"again").await.unwrap();
            assert_eq!(read_all(&mut again).await, b"127.0.0.1 again");
        });
    }
}

#[test]
fn proxy_headers_name_the_client() {
    let policy = |trusted: &str| {
        ProxyPolicy::from(&ProxyProtocolConfig {
            trusted: vec![trusted.parse().unwrap()],
            required: true,
            deadline: portcullis_config::Duration::from_secs(3600),
        })
    };
    on_worker(async {
        let listener = Listener::new(
            ConnectionLimits::unlimited(),
            Some(policy("127.0.0.0/8")),
            echo,
        );
        let mut client = listener.connect().await;
        client
            .write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello")
            .await
            .unwrap();
        assert_eq!(read_all(&mut client).await, b"192.0.2.1 hello");

        listener.gate.set_proxy(Some(policy("10.0.0.0/8")));
        let mut client = listener.connect().await;
        assert_eq!(read_all(&mut client).await, b"");
        let refused = "portcullis_listener_refused_total{reason=\"proxy_untrusted\"}";
        assert_eq!(listener.count(refused), 1);

        listener.gate.set_proxy(None);
        let mut client = listener.connect().await;
        client.write_all(b"plain").await.unwrap();
        assert_eq!(read_all(&mut client).await, b"127.0.0.1 plain");
        assert_eq!(listener.count("portcullis_listener_connections_total"), 2);
    });
}

#[test]
fn a_paused_listener_leaves_connections_waiting() {
    on_worker(async {
        let listener = Listener::new(ConnectionLimits::unlimited(), None, echo);
        yield_now().await;
        listener.handle.pause();
        let mut client = listener.connect().await;
        client.write_all(b"hello").await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(listener.gate.sessions().count(), 0);
        listener.handle.resume();
        assert_eq!(read_all(&mut client).await, b"127.0.0.1 hello");
    });
}

#[test]
fn a_stopped_listener_serves_who_is_connected_and_nobody_else() {
    on_worker(async {
        let listener = Listener::new(ConnectionLimits::unlimited(), None, echo);
        listener.handle.pause();
        let mut waiting = listener.connect().await;
        listener.handle.stop();
        listener.handle.resume();
        waiting.write_all(b"hello").await.unwrap();
        assert_eq!(read_all(&mut waiting).await, b"127.0.0.1 hello");
        let error = TcpStream::connect(listener.address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn another_server_may_take_over() {
    on_worker(async {
        let listener = Listener::new(ConnectionLimits::unlimited(), None, echo);
        let mut old = listener.connect().await;
        let mut greeting = BytesMut::new();
        old.read(&mut greeting).await.unwrap();
        listener.gate.set_server(|mut downstream| {
            spawn_session(async move { downstream.stream.write_all(b"new").await.unwrap() });
        });
        let mut new = listener.connect().await;
        assert_eq!(read_all(&mut new).await, b"new");
        old.write_all(b"still here").await.unwrap();
        assert_eq!(read_all(&mut old).await, b"still here");
    });
}

#[test]
fn connections_count_in_the_load_of_their_worker() {
    on_worker(async {
        let loads = WorkerLoads::new(2);
        let registry = Registry::new(1);
        let stats = Rc::new(ListenerStats::new(&registry.shard(0)));
        let script = Script::new((0..5).map(|_| Ok(())));
        let handed: Rc<RefCell<Vec<(WorkerId, Accepted)>>> = Rc::default();
        let deliver = {
            let (loads, handed) = (loads.clone(), Rc::clone(&handed));
            let turn = Cell::new(0);
            move |mut accepted: Accepted| {
                let (worker, load) = loads.choose(turn.replace(turn.get() + 1));
                accepted.set_load(load);
                handed.borrow_mut().push((worker, accepted));
            }
        };
        let limits = ConnectionLimits::unlimited();
        let acceptor = Acceptor::with_source(Box::new(script), limits, stats, Box::new(deliver));
        spawn_local(acceptor.run());
        yield_now().await;
        assert_eq!([0, 1].map(|worker| loads.load(WorkerId(worker))), [3, 2]);
        handed.borrow_mut().retain(|(worker, _)| worker.0 == 1);
        assert_eq!([0, 1].map(|worker| loads.load(WorkerId(worker))), [0, 2]);
    });
}

/// Gives what it is told to, then nothing more.
struct Script {
    steps: RefCell<VecDeque<Result<(), Errno>>>,
    asked: Rc<Cell<usize>>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Result<(), Errno>>) -> Self {
        Self {
            steps: RefCell::new(steps.into_iter().collect()),
            asked: Rc::default(),
        }
    }
}

impl AcceptSource for Script {
    fn poll_accept(
        &self,
        _: &mut Context<'_>,
    ) -> Poll<io::Result<(AcceptedSocket, SocketAddress)>> {
        self.asked.set(self.asked.get() + 1);
        match self.steps.borrow_mut().pop_front() {
            Some(Ok(())) => {
                let (socket, _) = StdUnixStream::pair().unwrap();
                Poll::Ready(Ok((AcceptedSocket::Unix(socket), SocketAddress::Unix)))
            }
            Some(Err(error)) => Poll::Ready(Err(error.into())),
            None => Poll::Pending,
        }
    }
}

/// Runs a script; the answer is how many connections were delivered, and the counters.
fn run_script(steps: Vec<Result<(), Errno>>) -> (usize, Registry, usize) {
    let registry = Registry::new(1);
    let delivered = Rc::new(Cell::new(0));
    let script = Script::new(steps);
    let asked = Rc::clone(&script.asked);
    let (shown, counted) = (registry.clone(), Rc::clone(&delivered));
    on_worker(async move {
        let stats = Rc::new(ListenerStats::new(&shown.shard(0)));
        let deliver = move |_| counted.set(counted.get() + 1);
        let limits = ConnectionLimits::unlimited();
        let acceptor = Acceptor::with_source(Box::new(script), limits, stats, Box::new(deliver));
        spawn_local(acceptor.run());
        for _ in 0..20 {
            yield_now().await;
        }
    });
    (delivered.get(), registry, asked.get())
}

#[test]
fn broken_connections_do_not_stop_the_loop() {
    let steps = vec![Ok(()), Err(Errno::CONNABORTED), Err(Errno::PROTO), Ok(())];
    let (delivered, registry, _) = run_script(steps);
    assert_eq!(delivered, 2);
    let errors = "portcullis_listener_accept_errors_total{reason=\"connection\"}";
    assert_eq!(count(&registry, errors), 2);
}

#[test]
fn f1_without_descriptors_clients_are_turned_away_and_the_loop_rests() {
    let mut steps = vec![Ok(()), Err(Errno::MFILE)];
    // What the spare descriptor lets in, to be closed.
    steps.extend([Ok(()), Ok(()), Ok(())]);
    steps.push(Err(Errno::MFILE));
    // Not asked for while it rests.
    steps.extend((0..100).map(|_| Ok(())));
    let (delivered, registry, asked) = run_script(steps);
    assert_eq!(delivered, 1);
    assert_eq!(asked, 6, "the loop does not spin");
    let refused = "portcullis_listener_refused_total{reason=\"fd_limit\"}";
    assert_eq!(count(&registry, refused), 3);
    let errors = "portcullis_listener_accept_errors_total{reason=\"fd_limit\"}";
    assert_eq!(count(&registry, errors), 1);
}

#[test]
fn f1_the_loop_goes_on_after_its_rest() {
    on_worker(async {
        let registry = Registry::new(1);
        let stats = Rc::new(ListenerStats::new(&registry.shard(0)));
        let script = Script::new([
            Err(Errno::NOBUFS),
            Err(Errno::NFILE),
            Err(Errno::MFILE),
            Ok(()),
        ]);
        let (sender, delivered) = tokio::sync::oneshot::channel();
        let sender = Cell::new(Some(sender));
        let deliver = move |accepted: Accepted| {
            sender.take().unwrap().send(accepted.peer).unwrap();
        };
        let limits = ConnectionLimits::unlimited();
        let acceptor = Acceptor::with_source(Box::new(script), limits, stats, Box::new(deliver));
        spawn_local(acceptor.run());
        assert_eq!(delivered.await.unwrap(), SocketAddress::Unix);
    });
}

#[test]
fn many_waiting_connections_let_sessions_have_their_turn() {
    let (delivered, _, asked) = run_script((0..100).map(|_| Ok(())).collect());
    assert_eq!(delivered, 100);
    assert_eq!(asked, 101);
}
