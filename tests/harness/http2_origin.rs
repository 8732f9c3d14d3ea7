//! An HTTP/2 upstream by the `h2` crate: for what a real server does with streams, trailers and windows.
//!
//! A thread with a runtime of its own. Start at [`Http2Origin::start`]; [`Http2Origin::in_front_of`] makes an HTTP/2 server
//! of an HTTP/1 one.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use crate::matrix::{self, HANDSHAKE_RECORD, Versions};
use crate::translate;
use crate::watched::Watched;

/// A request and where its answer goes.
pub type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// An HTTP/2 upstream on a port of its own. It ends with the process: tests are short.
#[derive(Debug)]
pub struct Http2Origin {
    address: SocketAddr,
    connections: Arc<Watched<usize>>,
}

impl Http2Origin {
    /// A server that does `serve` with every stream.
    pub fn start<S, F>(serve: S) -> Self
    where
        S: Fn(Exchange) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        Self::run(h2::server::Builder::new(), None, serve)
    }

    /// A server that takes extended CONNECT (RFC 8441).
    pub fn start_extended<S, F>(serve: S) -> Self
    where
        S: Fn(Exchange) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        Self::run(builder, None, serve)
    }

    /// Speaks HTTP/2 in front of an HTTP/1 upstream. What is not HTTP/2 passes as it is.
    #[must_use]
    pub fn in_front_of(origin: SocketAddr) -> Self {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        Self::run(builder, Some(origin), move |(request, respond)| {
            translate::to_http1(origin, request, respond)
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.update(|connections| *connections)
    }

    fn run<S, F>(builder: h2::server::Builder, otherwise: Option<SocketAddr>, serve: S) -> Self
    where
        S: Fn(Exchange) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let address = listener.local_addr().expect("a bound address");
        let connections = Arc::<Watched<usize>>::default();
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let accept = async {
                listener.set_nonblocking(true).expect("non-blocking");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let serve = Rc::new(serve);
                while let Ok((stream, _)) = listener.accept().await {
                    counter.update(|connections| *connections += 1);
                    let (builder, serve) = (builder.clone(), Rc::clone(&serve));
                    spawn_local(connection(stream, builder, otherwise, serve));
                }
            };
            LocalSet::new().block_on(&runtime, accept);
        });
        Self {
            address,
            connections,
        }
    }
}

async fn connection<S, F>(
    stream: TcpStream,
    builder: h2::server::Builder,
    otherwise: Option<SocketAddr>,
    serve: Rc<S>,
) where
    S: Fn(Exchange) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let _ = stream.set_nodelay(true);
    let Some(origin) = otherwise else {
        return http2(stream, builder, serve).await;
    };
    let mut first = [0; 3];
    let peeked = stream.peek(&mut first).await;
    if Versions::chosen().tls && first[0] == HANDSHAKE_RECORD {
        if let Ok(stream) = matrix::accept_http2(stream).await {
            http2(stream, builder, serve).await;
        }
    } else if matches!(peeked, Ok(3)) && first == *b"PRI" {
        http2(stream, builder, serve).await;
    } else {
        translate::pass(stream, origin).await;
    }
}

async fn http2<T, S, F>(stream: T, builder: h2::server::Builder, serve: Rc<S>)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Exchange) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    while let Some(Ok(exchange)) = connection.accept().await {
        spawn_local(serve(exchange));
    }
}
