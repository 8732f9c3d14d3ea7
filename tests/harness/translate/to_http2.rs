//! One HTTP/1 client connection as one HTTP/2 connection, a request at a time.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::spawn_local;

use super::{Input, append, reset, send};
use crate::http::{BodyEnd, RawHead};
use crate::matrix;

/// Serves an HTTP/1 client by asking an HTTP/2 server. What the server does to a stream happens to the client's connection.
pub(crate) async fn to_http2(client: TcpStream, server: SocketAddr, encrypted: bool) {
    let _ = client.set_nodelay(true);
    let Ok(stream) = TcpStream::connect(server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = stream.set_nodelay(true);
    if !encrypted {
        return serve(client, stream, "http").await;
    }
    match matrix::encrypt(stream, true).await {
        Ok(stream) => serve(client, stream, "https").await,
        Err(_) => drop(client.set_zero_linger()),
    }
}

async fn serve<T>(client: TcpStream, server: T, scheme: &'static str)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Ok((sender, connection)) = h2::client::handshake(server).await else {
        return;
    };
    let driver = spawn_local(async move {
        let _ = connection.await;
    });
    let (read, write) = client.into_split();
    let mut front = Front {
        input: Input::new(read),
        output: write,
        sender,
        scheme,
    };
    while let Ok(true) = front.exchange().await {}
    drop(front);
    driver.abort();
}

struct Front {
    input: Input<OwnedReadHalf>,
    output: OwnedWriteHalf,
    sender: SendRequest<Bytes>,
    scheme: &'static str,
}

impl Front {
    /// One request and its response. Whether the connection goes on.
    async fn exchange(&mut self) -> io::Result<bool> {
        let head = self.input.head().await?;
        let last = says_close(&head);
        let request = request(&head, self.scheme)?;
        let is_tunnel = request.method() == http::Method::CONNECT;
        let is_head = request.method() == http::Method::HEAD;
        let end = if is_tunnel {
            BodyEnd::Close
        } else {
            head.body_end(BodyEnd::Length(0))
        };
        let protocol = request.extensions().get::<h2::ext::Protocol>().cloned();
        let mut sender = self.sender.clone().ready().await.map_err(|_| reset())?;
        let ended = end == BodyEnd::Length(0);
        let (response, stream) = sender.send_request(request, ended).map_err(|_| reset())?;
        let finished = Cell::new(None);
        let upload = async {
            let whole = upload(&mut self.input, stream, end).await?;
            finished.set(Some(whole));
            // A client that resets is gone; one that ends its direction may still wait.
            while self.input.read.peek(&mut [0]).await? > 0 && self.input.buffer.is_empty() {
                self.input.fill().await?;
            }
            std::future::pending::<io::Result<()>>().await
        };
        let download = download(
            &mut self.output,
            response,
            is_head,
            protocol.is_some(),
            is_tunnel,
        );
        tokio::select! {
            biased;
            result = download => result?,
            result = upload => result?,
        }
        Ok(finished.get() == Some(true) && !last && !is_tunnel)
    }
}

fn says_close(head: &RawHead) -> bool {
    head.start[2] == "HTTP/1.0"
        || head.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection") && value.to_ascii_lowercase().contains("close")
        })
}

fn request(head: &RawHead, scheme: &str) -> io::Result<Request<()>> {
    let [method, target, _] = &head.start;
    let of = |wanted: &str| {
        let mut same = head
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        same.next().map(|(_, value)| value.as_str())
    };
    let host = of("host").unwrap_or_default();
    let uri = if method == "CONNECT" {
        target.parse::<Uri>()
    } else if target.starts_with('/') || target == "*" {
        Uri::builder()
            .scheme(scheme)
            .authority(host)
            .path_and_query(target.as_str())
            .build()
            .map_err(|_| reset())?
            .to_string()
            .parse::<Uri>()
    } else {
        target.parse::<Uri>()
    };
    let mut request = Request::builder()
        .method(method.as_str())
        .uri(uri.map_err(|_| reset())?)
        .body(())
        .map_err(|_| reset())?;
    if let Some(protocol) = of("upgrade") {
        *request.method_mut() = http::Method::CONNECT;
        request
            .extensions_mut()
            .insert(h2::ext::Protocol::from(protocol));
    }
    let hop = [
        "connection",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "host",
    ];
    for (name, value) in &head.headers {
        if !hop.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
            append(request.headers_mut(), name, value)?;
        }
    }
    Ok(request)
}

/// The request's body. `false` where it ended with the connection.
async fn upload(
    input: &mut Input<OwnedReadHalf>,
    mut stream: SendStream<Bytes>,
    end: BodyEnd,
) -> io::Result<bool> {
    match end {
        BodyEnd::Length(mut left) => {
            while left > 0 {
                let piece = input.at_most(left).await?;
                left -= piece.len();
                if send(&mut stream, piece, left == 0).await.is_err() {
                    // Answered early: what is left of the body is nobody's.
                    return Ok(false);
                }
            }
        }
        BodyEnd::Chunked => {
            while let Some(piece) = input.chunk().await? {
                if send(&mut stream, piece, false).await.is_err() {
                    return Ok(false);
                }
            }
            let trailers = input.trailers().await?;
            let _ = if trailers.is_empty() {
                stream.send_data(Bytes::new(), true)
            } else {
                stream.send_trailers(trailers)
            };
        }
        BodyEnd::Close => {
            while let Ok(piece) = input.at_most(usize::MAX).await {
                if send(&mut stream, piece, false).await.is_err() {
                    return Ok(false);
                }
            }
            let _ = stream.send_data(Bytes::new(), true);
        }
    }
    Ok(true)
}

async fn download(
    output: &mut OwnedWriteHalf,
    mut response: ResponseFuture,
    is_head: bool,
    is_upgrade: bool,
    is_tunnel: bool,
) -> io::Result<()> {
    while let Some(interim) = std::future::poll_fn(|task| response.poll_informational(task)).await {
        let interim = interim.map_err(|_| reset())?;
        let head = head_text(&interim, interim.status().as_u16(), "");
        output.write_all(head.as_bytes()).await?;
    }
    let (parts, body) = response.await.map_err(|_| reset())?.into_parts();
    let status = parts.status.as_u16();
    let response = Response::from_parts(parts, ());
    let opened = is_tunnel && (200..300).contains(&status);
    if opened {
        let (status, extra) = if is_upgrade {
            (101, "connection: upgrade\r\nupgrade: websocket\r\n")
        } else {
            (status, "")
        };
        let head = head_text(&response, status, extra);
        output.write_all(head.as_bytes()).await?;
        return copy(output, body).await;
    }
    let stated = response.headers().contains_key("content-length");
    let silent = is_head || matches!(status, 204 | 304);
    let chunked = !silent && !stated && !body.is_end_stream();
    let extra = if chunked {
        "transfer-encoding: chunked\r\n"
    } else if silent || stated {
        ""
    } else {
        "content-length: 0\r\n"
    };
    let head = head_text(&response, status, extra);
    output.write_all(head.as_bytes()).await?;
    if chunked {
        chunks(output, body).await
    } else {
        copy(output, body).await
    }
}

fn head_text(response: &Response<()>, status: u16, extra: &str) -> String {
    let reason = response.status().canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n{extra}");
    write_fields(&mut head, response.headers());
    head.push_str("\r\n");
    head
}

fn write_fields(text: &mut String, fields: &HeaderMap) {
    for (name, value) in fields {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(text, "{name}: {value}\r\n");
    }
}

async fn copy(output: &mut OwnedWriteHalf, mut body: RecvStream) -> io::Result<()> {
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| reset())?;
        output.write_all(&data).await?;
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(())
}

async fn chunks(output: &mut OwnedWriteHalf, mut body: RecvStream) -> io::Result<()> {
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| reset())?;
        if !data.is_empty() {
            let size = format!("{:x}\r\n", data.len());
            output.write_all(size.as_bytes()).await?;
            output.write_all(&data).await?;
            output.write_all(b"\r\n").await?;
            let _ = body.flow_control().release_capacity(data.len());
        }
    }
    let mut end = String::from("0\r\n");
    if let Some(trailers) = body.trailers().await.map_err(|_| reset())? {
        write_fields(&mut end, &trailers);
    }
    end.push_str("\r\n");
    output.write_all(end.as_bytes()).await
}
