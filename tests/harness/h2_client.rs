//! An HTTP/2 client that keeps to the rules: the `h2` crate, driven from a plain test thread.
//!
//! For what a well-behaved client sees. What a hostile one does is [`crate::RawH2`]'s. Start at [`H2Client::connect`].

use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::CEILING;

/// A connection, and the thread that drives it.
#[derive(Debug)]
pub struct H2Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A whole response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct H2Response {
    /// The final status.
    pub status: u16,
    /// The fields.
    pub headers: HeaderMap,
    /// Status and fields of the interim responses before it.
    pub interim: Vec<(u16, HeaderMap)>,
    /// The content.
    pub body: Vec<u8>,
    /// What came behind it.
    pub trailers: Option<HeaderMap>,
}

impl H2Response {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl H2Client {
    /// Connects by prior knowledge.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &Builder::new())
    }

    /// As [`H2Client::connect`], with these settings.
    #[track_caller]
    #[must_use]
    pub fn connect_with(address: SocketAddr, builder: &Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (sender, driver) = run(&runtime, async {
            let socket = TcpStream::connect(address).await.expect("connect");
            let (sender, connection) = builder.handshake(socket).await.expect("handshake");
            #[allow(clippy::disallowed_methods)] // tests have threads of their own
            let driver = tokio::spawn(connection);
            // So that what the peer allows is known before anything is sent.
            (sender.ready().await.expect("ready"), driver)
        });
        Self {
            runtime,
            sender,
            driver,
        }
    }

    /// Runs something to its end, at most for [`CEILING`].
    #[track_caller]
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        run(&self.runtime, future)
    }

    /// What opens streams, for tests that use `h2` directly.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// A request for a path of a host.
    #[must_use]
    pub fn head(method: &str, path: &str, host: &str) -> Request<()> {
        let uri = format!("http://{host}{path}");
        let request = Request::builder().method(method).uri(uri);
        request.body(()).expect("a request")
    }

    /// Opens a stream. `ended` says that there is no body.
    #[track_caller]
    pub fn open(
        &self,
        request: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.run(async {
            let mut sender = self.sender().ready().await?;
            sender.send_request(request, ended)
        })
    }

    /// A GET.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str, host: &str) -> H2Response {
        self.exchange(Self::head("GET", path, host), None)
            .expect("a response")
    }

    /// A request with its body, and the whole response.
    ///
    /// # Errors
    /// The stream was reset, or the connection ended.
    #[track_caller]
    pub fn exchange(
        &self,
        request: Request<()>,
        body: Option<&[u8]>,
    ) -> Result<H2Response, h2::Error> {
        let (response, mut send) = self.open(request, body.is_none())?;
        self.run(async {
            if let Some(body) = body {
                send.send_data(Bytes::copy_from_slice(body), true)?;
            }
            read_h2_response(response).await
        })
    }

    /// How the connection ends.
    #[track_caller]
    pub fn ended(self) -> Result<(), h2::Error> {
        let Self {
            runtime,
            sender,
            driver,
        } = self;
        let ended = run(&runtime, driver).expect("the driver does not panic");
        drop(sender);
        ended
    }
}

#[track_caller]
fn run<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    let limited = async { tokio::time::timeout(CEILING, future).await };
    runtime
        .block_on(limited)
        .unwrap_or_else(|_| panic!("nothing for {CEILING:?}"))
}

/// Reads a whole response, interim ones included.
///
/// # Errors
/// The stream was reset, or the connection ended.
pub async fn read_h2_response(mut future: ResponseFuture) -> Result<H2Response, h2::Error> {
    let mut interim = Vec::new();
    while let Some(head) = poll_fn(|task| future.poll_informational(task)).await {
        let head = head?;
        interim.push((head.status().as_u16(), head.headers().clone()));
    }
    let (head, body) = future.await?.into_parts();
    let (body, trailers) = read_h2_body(body).await?;
    Ok(H2Response {
        status: head.status.as_u16(),
        headers: head.headers,
        interim,
        body,
        trailers,
    })
}

/// Reads a whole body, opening its window as it comes, and what is behind it.
///
/// # Errors
/// The stream was reset, or the connection ended.
pub async fn read_h2_body(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?;
    Ok((bytes, trailers))
}
