//! The upstream side of a test: a tiny server, one thread per connection, that does what it is told.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Socket, Type};

use crate::connection::Connection;
use crate::http::RawRequest;
use crate::script::{Reply, Step};
use crate::watched::Watched;

/// Serves one connection; the number says which one it is, counted from 0.
type Serve = dyn Fn(usize, &mut Connection, &Record) -> io::Result<()> + Send + Sync;

/// An upstream on a port of its own. Dropping it resets what is open and fails the test if a script was not met.
pub struct Origin {
    address: SocketAddr,
    serve: Arc<Serve>,
    state: Arc<Watched<State>>,
    acceptor: Option<JoinHandle<()>>,
    /// Keeps the port ours while nobody listens on it.
    reserved: Socket,
}

/// Where the serving threads write down what happened.
struct Record {
    state: Arc<Watched<State>>,
}

#[derive(Default)]
struct State {
    stopping: bool,
    connections: usize,
    requests: usize,
    open: HashMap<usize, TcpStream>,
    received: VecDeque<RawRequest>,
    failures: Vec<String>,
}

impl Origin {
    /// An HTTP/1 server that answers every request as `reply` says and keeps the connection for the next one.
    pub fn http<R: Into<Reply>>(reply: impl Fn(&RawRequest) -> R + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(move |number, connection, record| {
            serve_http(number, connection, record, &reply)
        }))
    }

    /// As [`http`](Self::http), over TLS.
    pub fn https<R: Into<Reply>>(
        config: impl Into<Arc<ServerConfig>>,
        reply: impl Fn(&RawRequest) -> R + Send + Sync + 'static,
    ) -> Self {
        let config = config.into();
        Self::start(Arc::new(move |number, connection, record| {
            encrypted(connection, &config, |connection| {
                serve_http(number, connection, record, &reply)
            })
        }))
    }

    /// As [`raw`](Self::raw), over TLS.
    pub fn tls(
        config: impl Into<Arc<ServerConfig>>,
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let config = config.into();
        Self::start(Arc::new(move |_, connection, _| {
            encrypted(connection, &config, &serve)
        }))
    }

    /// A server that plays these steps on every connection, then closes it.
    #[must_use]
    pub fn script(steps: Vec<Step>) -> Self {
        Self::scripts(vec![steps])
    }

    /// A server that plays the first list on its first connection and so on; the last one repeats.
    #[must_use]
    pub fn scripts(scripts: Vec<Vec<Step>>) -> Self {
        Self::start(Arc::new(move |number, connection, _| {
            let last = scripts.len().saturating_sub(1);
            let steps = scripts.get(number.min(last)).map_or(&[][..], Vec::as_slice);
            play(steps, connection).map(drop)
        }))
    }

    /// A server that sends back whatever it receives, and closes when the peer does.
    #[must_use]
    pub fn echo() -> Self {
        Self::raw(|connection| {
            while connection.fill()? > 0 {
                let bytes = connection.read_exact(connection.buffered().len())?;
                connection.send(bytes)?;
            }
            Ok(())
        })
    }

    /// A server that does anything at all with a connection, and closes it afterwards.
    pub fn raw(serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(move |_, connection, _| serve(connection)))
    }

    fn start(serve: Arc<Serve>) -> Self {
        let (reserved, address) = reserve();
        crate::matrix::on_new_origin(address);
        let mut origin = Self {
            address,
            serve,
            state: Arc::default(),
            acceptor: None,
            reserved,
        };
        origin.restart();
        origin
    }

    /// Where it listens: `127.0.0.1` and a port of its own.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        crate::matrix::origin(self.address)
    }

    /// How many connections it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        crate::matrix::connections(self.address)
            .unwrap_or_else(|| self.state.update(|state| state.connections))
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.state.update(|state| state.open.len())
    }

    /// How many requests an [`Origin::http`] has read so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.update(|state| state.requests)
    }

    /// The oldest request not yet taken; waits for it.
    #[track_caller]
    #[must_use]
    pub fn next_request(&self) -> RawRequest {
        let next = self.state.wait_for(|state| state.received.pop_front());
        next.expect("a request at the upstream")
    }

    /// Every request not yet taken, without waiting.
    #[must_use]
    pub fn take_requests(&self) -> Vec<RawRequest> {
        self.state
            .update(|state| state.received.drain(..).collect())
    }

    /// Waits until it has accepted at least `count` connections in all.
    #[track_caller]
    pub fn wait_connections(&self, count: usize) {
        let enough = |state: &mut State| (state.connections >= count).then_some(());
        self.state
            .wait_for(enough)
            .expect("connections at the upstream");
    }

    /// Waits until exactly `count` connections are open.
    #[track_caller]
    pub fn wait_open(&self, count: usize) {
        let same = |state: &mut State| (state.open.len() == count).then_some(());
        let open = self.state.wait_for(same);
        open.unwrap_or_else(|| {
            panic!(
                "{count} open at the upstream, not {}",
                self.open_connections()
            )
        });
    }

    /// Stops accepting and resets every open connection. The port stays ours and refuses connections.
    pub fn kill(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.state.update(|state| state.stopping = true);
        // Wakes the acceptor, which closes its listener on the way out.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join();
        self.reset_open();
    }

    /// Resets every open connection and goes on accepting.
    pub fn reset_open(&self) {
        self.state.update(|state| {
            for stream in state.open.values() {
                let _ = rustix::net::connect_unspec(stream);
            }
        });
    }

    /// Accepts again, on the same port, after [`Origin::kill`].
    pub fn restart(&mut self) {
        if self.acceptor.is_some() {
            return;
        }
        self.state.update(|state| state.stopping = false);
        let listener = TcpListener::bind(self.address).expect("listen on a reserved port");
        let record = Record {
            state: Arc::clone(&self.state),
        };
        let serve = Arc::clone(&self.serve);
        self.acceptor = Some(thread::spawn(move || accept(&listener, &record, &serve)));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.kill();
        let _ = self.reserved.set_reuse_address(false);
        let failures = self.state.update(|state| state.failures.join("; "));
        // A second panic would hide the first.
        assert!(
            failures.is_empty() || thread::panicking(),
            "a scripted upstream met something else: {failures}"
        );
    }
}

impl Record {
    fn on_request(&self, request: &RawRequest) {
        self.state.update(|state| {
            state.requests += 1;
            state.received.push_back(request.clone());
        });
    }

    /// Writes a new connection down; `None` when the server is being killed.
    fn on_connection(&self, stream: &TcpStream) -> Option<usize> {
        let copy = stream.try_clone().ok()?;
        self.state.update(|state| {
            let number = state.connections;
            if state.stopping {
                return None;
            }
            state.connections += 1;
            state.open.insert(number, copy);
            Some(number)
        })
    }

    fn on_end(&self, number: usize, result: io::Result<()>) {
        self.state.update(|state| {
            state.open.remove(&number);
            // A peer that leaves is the peer's right; bytes that break the script are not.
            if let Err(error) = result
                && error.kind() == ErrorKind::InvalidData
            {
                state.failures.push(error.to_string());
            }
        });
    }
}

fn accept(listener: &TcpListener, record: &Record, serve: &Arc<Serve>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let Some(number) = record.on_connection(&stream) else {
            return;
        };
        let record = Record {
            state: Arc::clone(&record.state),
        };
        let serve = Arc::clone(serve);
        thread::spawn(move || {
            let connection = Connection::accepted(stream);
            let result = connection.and_then(|mut connection| {
                let is_encrypted = crate::matrix::accept_blocking(&mut connection)?;
                let result = serve(number, &mut connection, &record);
                if is_encrypted {
                    connection.close_notify();
                }
                // Before the registry forgets it, so that its copy is the last one to close.
                drop(connection);
                result
            });
            record.on_end(number, result);
        });
    }
}

fn serve_http<R: Into<Reply>>(
    number: usize,
    connection: &mut Connection,
    record: &Record,
    reply: &impl Fn(&RawRequest) -> R,
) -> io::Result<()> {
    while let Some(mut request) = connection.read_request()? {
        request.connection = number;
        record.on_request(&request);
        if !play(&reply(&request).into().steps, connection)? {
            break;
        }
    }
    Ok(())
}

/// Serves a connection after a handshake. A peer that does not like what it sees is no failure of the script.
fn encrypted(
    connection: &mut Connection,
    config: &Arc<ServerConfig>,
    serve: impl FnOnce(&mut Connection) -> io::Result<()>,
) -> io::Result<()> {
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let refused = |error: io::Error| {
        let is_tls = matches!(error.get_ref(), Some(inner) if inner.is::<rustls::Error>());
        if is_tls {
            io::Error::other(error)
        } else {
            error
        }
    };
    connection.start_tls(session).map_err(refused)?;
    serve(connection).map_err(refused)
}

/// Plays steps; `Ok(false)` when one of them ended the connection.
fn play(steps: &[Step], connection: &mut Connection) -> io::Result<bool> {
    for step in steps {
        if !step.play(connection)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A port that is ours and on which nobody listens: connecting to it is refused.
#[derive(Debug)]
pub struct ClosedPort {
    address: SocketAddr,
    _reserved: Socket,
}

impl ClosedPort {
    /// Reserves one.
    #[must_use]
    pub fn new() -> Self {
        let (reserved, address) = reserve();
        Self {
            address,
            _reserved: reserved,
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for ClosedPort {
    fn default() -> Self {
        Self::new()
    }
}

/// Binds a free loopback port without listening on it.
fn reserve() -> (Socket, SocketAddr) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&any.into())?;
        let address = socket.local_addr()?.as_socket();
        Ok((socket, address.unwrap_or(any)))
    });
    bound.expect("reserve a loopback port")
}
