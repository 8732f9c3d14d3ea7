//! The upstreams of the demo: two HTTP origins, one slow and flaky, a gRPC greeter, a TCP echo and a UDP echo, all in this
//! process.
//!
//! Not for production: they know nothing but how to be looked at. Start at [`Origins::start`].

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::greeter;

/// The running upstreams. They end with the process.
pub(super) struct Origins {
    pub(super) steady: SocketAddr,
    pub(super) flaky: SocketAddr,
    pub(super) greeter: SocketAddr,
    pub(super) echo: SocketAddr,
    pub(super) datagrams: SocketAddr,
}

/// How an origin behaves.
#[derive(Clone, Copy)]
struct Manner {
    name: &'static str,
    delay: Duration,
    /// Every so many requests one fails; 0 for never.
    failing: u64,
}

const STEADY: Manner = Manner {
    name: "steady",
    delay: Duration::ZERO,
    failing: 0,
};

const FLAKY: Manner = Manner {
    name: "flaky",
    delay: Duration::from_millis(30),
    failing: 5,
};

impl Origins {
    /// Starts all of them on free ports of the loopback, on a thread of their own.
    pub(super) fn start() -> io::Result<Self> {
        let bind = || -> io::Result<_> {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (steady, steady_address) = bind()?;
        let (flaky, flaky_address) = bind()?;
        let (greeter, greeter_address) = bind()?;
        let (echo, echo_address) = bind()?;
        let datagrams = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        datagrams.set_nonblocking(true)?;
        let datagrams_address = datagrams.local_addr()?;
        std::thread::Builder::new()
            .name("demo-origins".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                let tasks = tokio::task::LocalSet::new();
                tasks.block_on(&runtime, async move {
                    let http = [(steady, STEADY), (flaky, FLAKY)];
                    for (listener, manner) in http {
                        let listener = TcpListener::from_std(listener)?;
                        tokio::task::spawn_local(serve_http(listener, manner));
                    }
                    tokio::task::spawn_local(greeter::serve(TcpListener::from_std(greeter)?));
                    tokio::task::spawn_local(echo_datagrams(UdpSocket::from_std(datagrams)?));
                    serve_echo(TcpListener::from_std(echo)?).await
                })
            })?;
        Ok(Self {
            steady: steady_address,
            flaky: flaky_address,
            greeter: greeter_address,
            echo: echo_address,
            datagrams: datagrams_address,
        })
    }
}

async fn serve_http(listener: TcpListener, manner: Manner) {
    let count = Arc::new(AtomicU64::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let count = Arc::clone(&count);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(request, manner, Arc::clone(&count)));
            // A client that goes away is nothing to report.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
    count: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !manner.delay.is_zero() {
        tokio::time::sleep(manner.delay).await;
    }
    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
    let fails = manner.failing > 0 && number.is_multiple_of(manner.failing);
    let status = if fails {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = format!(
        "{} {} from the {} origin (its request number {number})\n",
        request.method(),
        request.uri().path(),
        manner.name,
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    Ok(response)
}

async fn serve_echo(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        stream.write_all(bytes).await?;
    }
}

async fn echo_datagrams(socket: UdpSocket) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // What is wrong with one client's datagrams is nothing to the others.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let _ = socket
            .send_to(buffer.get(..length).unwrap_or_default(), from)
            .await;
    }
}
