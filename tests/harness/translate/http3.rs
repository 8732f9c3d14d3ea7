//! One HTTP/3 stream as one HTTP/1 connection.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, Bytes};
use h3::error::Code;
use h3::server::RequestStream;
use http::{Request, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::to_http1::response;
use super::{Input, reset};
use crate::http::BodyEnd;
use crate::http3_origin::Http3Stream;
use crate::http3_quic::{Receiving, Sending, Stopped};

type Respond = RequestStream<Sending, Bytes>;

/// Carries out one request by HTTP/1.
pub(crate) async fn http3_to_http1(
    origin: SocketAddr,
    request: Request<()>,
    stream: Http3Stream,
    stopped: Stopped,
) {
    let (mut respond, body) = stream.split();
    let Ok(stream) = TcpStream::connect(origin).await else {
        respond.stop_stream(Code::H3_REQUEST_REJECTED);
        return;
    };
    let _ = stream.set_nodelay(true);
    let is_head = request.method() == http::Method::HEAD;
    let (read, mut write) = stream.into_split();
    let upload = async {
        let uploaded = upload(&request, body, &mut write).await;
        // The gateway gave it up.
        if uploaded.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let download = Download {
        input: Input::new(read),
    };
    tokio::select! {
        () = upload => respond.stop_stream(Code::H3_REQUEST_CANCELLED),
        () = stopped => {}
        result = download.run(&mut respond, is_head) => match result {
            Ok(()) => drop(respond.finish().await),
            Err(_) => respond.stop_stream(Code::H3_INTERNAL_ERROR),
        }
    }
    drop(write);
}

/// Sends the request. Whether one without a length has a body shows when it comes, and by its method.
async fn upload(
    request: &Request<()>,
    mut body: RequestStream<Receiving, Bytes>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut head = head(request);
    let stated = request.headers().contains_key("content-length");
    let mut begun = false;
    let method = request.method();
    if stated || method == http::Method::POST || method == http::Method::PUT {
        begun = true;
        if !stated {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        head.push_str("\r\n");
        write.write_all(head.as_bytes()).await?;
    }
    while let Some(mut data) = body.recv_data().await.map_err(|_| reset())? {
        if !begun {
            begun = true;
            head.push_str("transfer-encoding: chunked\r\n\r\n");
            write.write_all(head.as_bytes()).await?;
        }
        let data = data.copy_to_bytes(data.remaining());
        if !stated {
            write
                .write_all(format!("{:x}\r\n", data.len()).as_bytes())
                .await?;
        }
        write.write_all(&data).await?;
        if !stated {
            write.write_all(b"\r\n").await?;
        }
    }
    let trailers = body.recv_trailers().await.map_err(|_| reset())?;
    if !begun {
        if trailers.is_some() {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        head.push_str("\r\n");
        write.write_all(head.as_bytes()).await?;
    }
    if !stated && (begun || trailers.is_some()) {
        let mut end = String::from("0\r\n");
        for (name, value) in trailers.iter().flatten() {
            let value = String::from_utf8_lossy(value.as_bytes());
            let _ = write!(end, "{name}: {value}\r\n");
        }
        end.push_str("\r\n");
        write.write_all(end.as_bytes()).await?;
    }
    Ok(())
}

fn head(request: &Request<()>) -> String {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("*", |path| path.as_str());
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method());
    if let Some(authority) = uri.authority() {
        let _ = write!(head, "host: {authority}\r\n");
    }
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head
}

/// The response on its way back.
struct Download {
    input: Input<OwnedReadHalf>,
}

impl Download {
    async fn run(mut self, respond: &mut Respond, is_head: bool) -> io::Result<()> {
        loop {
            let head = self.input.head().await?;
            let status: u16 = head.start[1].parse().map_err(|_| reset())?;
            let response: Response<()> = response(&head, status)?;
            respond.send_response(response).await.map_err(|_| reset())?;
            if status < 200 && status != 101 {
                continue;
            }
            let end = if is_head || matches!(status, 204 | 304) {
                BodyEnd::Length(0)
            } else {
                head.body_end(BodyEnd::Close)
            };
            return self.body(respond, end).await;
        }
    }

    async fn body(&mut self, respond: &mut Respond, end: BodyEnd) -> io::Result<()> {
        match end {
            BodyEnd::Length(mut left) => {
                while left > 0 {
                    let piece = self.input.at_most(left).await?;
                    left -= piece.len();
                    send(respond, piece).await?;
                }
                Ok(())
            }
            BodyEnd::Chunked => {
                while let Some(piece) = self.input.chunk().await? {
                    send(respond, piece).await?;
                }
                let trailers = self.input.trailers().await?;
                if trailers.is_empty() {
                    return Ok(());
                }
                respond.send_trailers(trailers).await.map_err(|_| reset())
            }
            BodyEnd::Close => loop {
                match self.input.at_most(usize::MAX).await {
                    Ok(piece) => send(respond, piece).await?,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error),
                }
            },
        }
    }
}

async fn send(respond: &mut Respond, piece: Bytes) -> io::Result<()> {
    respond.send_data(piece).await.map_err(|_| reset())
}
