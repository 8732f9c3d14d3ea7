//! Between HTTP/1 and HTTP/2 or HTTP/3, so that a test written for one version can run over the other.
//!
//! Deliberately lax, and not the gateway's code. Start at [`to_http1`] for what stands behind the gateway and at
//! [`to_http2`] for what stands in front of it.

mod http3;
mod to_http1;
mod to_http2;

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

use crate::http::RawHead;
use crate::matrix;

pub(crate) use http3::http3_to_http1;
pub(crate) use to_http1::to_http1;
pub(crate) use to_http2::to_http2;

/// Carries bytes both ways, unchanged, resets included.
pub(crate) async fn pass(stream: TcpStream, origin: SocketAddr) {
    match TcpStream::connect(origin).await {
        Ok(other) => {
            let _ = other.set_nodelay(true);
            relay(stream, other, |other| other).await;
        }
        Err(_) => drop(stream.set_zero_linger()),
    }
}

/// As [`pass`], encrypted towards `server`.
pub(crate) async fn to_tls(client: TcpStream, server: SocketAddr) {
    let _ = client.set_nodelay(true);
    let connect = async {
        let stream = TcpStream::connect(server).await?;
        let _ = stream.set_nodelay(true);
        matrix::encrypt(stream, false).await
    };
    match connect.await {
        Ok(other) => relay(client, other, |other| other.get_ref().0).await,
        Err(_) => drop(client.set_zero_linger()),
    }
}

async fn relay<T>(mut stream: TcpStream, mut other: T, socket: impl Fn(&T) -> &TcpStream)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let copied = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
    if copied.is_err() {
        let _ = stream.set_zero_linger();
        let _ = socket(&other).set_zero_linger();
    }
}

/// HTTP/1 on its way in.
struct Input<R> {
    read: R,
    buffer: BytesMut,
    /// Bytes of the current chunk that are still to come.
    chunk: usize,
}

impl<R: AsyncRead + Unpin> Input<R> {
    fn new(read: R) -> Self {
        Self {
            read,
            buffer: BytesMut::new(),
            chunk: 0,
        }
    }

    /// Lines up to the blank one.
    async fn head(&mut self) -> io::Result<RawHead> {
        loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(at) = end {
                return Ok(RawHead::parse(self.buffer.split_to(at + 4).to_vec()));
            }
            self.fill().await?;
        }
    }

    /// What there is, at least a byte and at most so many.
    async fn at_most(&mut self, most: usize) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let count = self.buffer.len().min(most);
        Ok(self.buffer.split_to(count).freeze())
    }

    /// The next piece of a chunked body; `None` behind the last.
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.chunk == 0 {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            self.chunk = usize::from_str_radix(size, 16).map_err(|_| reset())?;
            if self.chunk == 0 {
                return Ok(None);
            }
        }
        let piece = self.at_most(self.chunk).await?;
        self.chunk -= piece.len();
        if self.chunk == 0 {
            self.line().await?;
        }
        Ok(Some(piece))
    }

    /// Lines behind the last chunk.
    async fn trailers(&mut self) -> io::Result<HeaderMap> {
        let mut trailers = HeaderMap::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(trailers);
            };
            append(&mut trailers, name, value.trim())?;
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(16 << 10);
        if self.read.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn append(map: &mut HeaderMap, name: &str, value: &str) -> io::Result<()> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| reset())?;
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| reset())?;
    map.append(name, value);
    Ok(())
}

/// Sends data as the peer's window allows.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> io::Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|task| {
            if stream.capacity() > 0 {
                return std::task::Poll::Ready(Some(Ok(stream.capacity())));
            }
            stream.poll_capacity(task)
        });
        let Some(Ok(room)) = room.await else {
            return Err(reset());
        };
        let piece = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(piece, last).map_err(|_| reset())?;
        if last {
            return Ok(());
        }
    }
    if end {
        stream.send_data(Bytes::new(), true).map_err(|_| reset())?;
    }
    Ok(())
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
