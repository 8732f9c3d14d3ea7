//! One HTTP/2 stream as one HTTP/1 connection.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Input, append, reset, send};
use crate::http::{BodyEnd, RawHead};

/// Carries out one request by HTTP/1.
pub(crate) async fn to_http1(
    origin: SocketAddr,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let Ok(stream) = TcpStream::connect(origin).await else {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    };
    let _ = stream.set_nodelay(true);
    let (parts, body) = request.into_parts();
    let is_head = parts.method == http::Method::HEAD;
    let is_tunnel = parts.method == http::Method::CONNECT;
    let (read, mut write) = stream.into_split();
    let chunked =
        !is_tunnel && !parts.headers.contains_key("content-length") && !body.is_end_stream();
    let head = head(&parts, chunked);
    if write.write_all(head.as_bytes()).await.is_err() {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return;
    }
    let upload = async {
        let _ = upload(body, &mut write, chunked).await;
        if is_tunnel {
            let _ = write.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let download = Download {
        input: Input::new(read),
    };
    tokio::select! {
        () = upload => {}
        result = download.run(&mut respond, is_head) => {
            if result.is_err() {
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }
    drop(write);
}

fn head(parts: &http::request::Parts, chunked: bool) -> String {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    let method = if protocol.is_some() {
        "GET"
    } else {
        parts.method.as_str()
    };
    let path = parts.uri.path_and_query().map_or("*", |path| path.as_str());
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if let Some(authority) = parts.uri.authority() {
        let _ = write!(head, "host: {authority}\r\n");
    }
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if let Some(protocol) = protocol {
        let _ = write!(
            head,
            "connection: upgrade\r\nupgrade: {}\r\n",
            protocol.as_str()
        );
    }
    if chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    }
    head.push_str("\r\n");
    head
}

async fn upload(mut body: RecvStream, write: &mut OwnedWriteHalf, chunked: bool) -> io::Result<()> {
    let broken = |_| io::Error::from(io::ErrorKind::ConnectionReset);
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        let _ = body.flow_control().release_capacity(data.len());
        if data.is_empty() {
            continue;
        }
        if chunked {
            write
                .write_all(format!("{:x}\r\n", data.len()).as_bytes())
                .await?;
        }
        write.write_all(&data).await?;
        if chunked {
            write.write_all(b"\r\n").await?;
        }
    }
    let trailers = body.trailers().await.map_err(broken)?;
    if chunked {
        let mut end = String::from("0\r\n");
        for (name, value) in trailers.iter().flatten() {
            let _ = write!(
                end,
                "{name}: {}\r\n",
                String::from_utf8_lossy(value.as_bytes())
            );
        }
        end.push_str("\r\n");
        write.write_all(end.as_bytes()).await?;
    }
    Ok(())
}

/// The response on its way back.
struct Download {
    input: Input<OwnedReadHalf>,
}

impl Download {
    async fn run(mut self, respond: &mut SendResponse<Bytes>, is_head: bool) -> io::Result<()> {
        loop {
            let head = tokio::select! {
                head = self.input.head() => head?,
                // The gateway gave it up.
                _ = std::future::poll_fn(|task| respond.poll_reset(task)) => return Err(reset()),
            };
            let status: u16 = head.start[1].parse().map_err(|_| reset())?;
            let response = response(&head, status)?;
            if status < 200 && status != 101 {
                respond.send_informational(response).map_err(|_| reset())?;
                continue;
            }
            let end = if status == 101 {
                BodyEnd::Close
            } else if is_head || matches!(status, 204 | 304) {
                BodyEnd::Length(0)
            } else {
                head.body_end(BodyEnd::Close)
            };
            let ended = end == BodyEnd::Length(0);
            let stream = respond
                .send_response(response, ended)
                .map_err(|_| reset())?;
            return if ended {
                Ok(())
            } else {
                self.body(stream, end).await
            };
        }
    }

    async fn body(&mut self, mut stream: SendStream<Bytes>, end: BodyEnd) -> io::Result<()> {
        match end {
            BodyEnd::Length(mut left) => {
                while left > 0 {
                    let piece = self.input.at_most(left).await?;
                    left -= piece.len();
                    send(&mut stream, piece, left == 0).await?;
                }
                Ok(())
            }
            BodyEnd::Chunked => self.chunks(&mut stream).await,
            BodyEnd::Close => loop {
                match self.input.at_most(usize::MAX).await {
                    Ok(piece) => send(&mut stream, piece, false).await?,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return send(&mut stream, Bytes::new(), true).await;
                    }
                    Err(error) => return Err(error),
                }
            },
        }
    }

    async fn chunks(&mut self, stream: &mut SendStream<Bytes>) -> io::Result<()> {
        while let Some(piece) = self.input.chunk().await? {
            send(stream, piece, false).await?;
        }
        let trailers = self.input.trailers().await?;
        if trailers.is_empty() {
            return send(stream, Bytes::new(), true).await;
        }
        stream.send_trailers(trailers).map_err(|_| reset())
    }
}

pub(super) fn response(head: &RawHead, status: u16) -> io::Result<Response<()>> {
    // RFC 8441 section 5: success is 200.
    let status = if status == 101 { 200 } else { status };
    let mut response = Response::builder()
        .status(status)
        .body(())
        .map_err(|_| reset())?;
    for (name, value) in &head.headers {
        let hop = ["connection", "transfer-encoding", "upgrade", "keep-alive"];
        if !hop.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
            append(response.headers_mut(), name, value)?;
        }
    }
    Ok(response)
}
