//! Light traffic against the demo's own listeners, for as long as it runs.
//!
//! Each kind has a thread of its own: a few requests a second need no more. Start at [`start`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

/// Requests that the traffic makes, in turn. `/nothing` shows a rejection.
const PATHS: [&str; 5] = ["/", "/flaky", "/api/items", "/flaky", "/nothing/here"];

/// Between two requests, and between two echoes.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts all kinds of traffic.
pub(super) fn start(web: SocketAddr, echo: SocketAddr, calls: SocketAddr) -> io::Result<()> {
    let spawn = |name: &str, run: fn(SocketAddr) -> io::Result<()>, address| {
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                // The gateway may be draining or out of reach: try again as long as the process lives.
                let _ = run(address);
                thread::sleep(PAUSE * 10);
            }
        })
    };
    spawn("demo-http", send_requests, web)?;
    spawn("demo-echo", send_echoes, echo)?;
    spawn("demo-calls", send_calls, calls)?;
    Ok(())
}

fn send_requests(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address)?;
    for path in PATHS.into_iter().cycle() {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: demo.localhost\r\nuser-agent: portcullis-demo\r\n\r\n"
        )?;
        read_response(&mut stream)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Reads one response whose length is stated, which those of the demo are.
fn read_response(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let stated = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok());
        if body.len() >= stated.unwrap_or(0) {
            return Ok(());
        }
    }
}

fn send_echoes(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address)?;
    let mut buffer = [0; 64];
    loop {
        stream.write_all(b"ping over tcp\n")?;
        if stream.read(&mut buffer)? == 0 {
            return Ok(());
        }
        thread::sleep(PAUSE * 4);
    }
}

/// Calls the greeter, unary and streaming in turn.
fn send_calls(address: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let (client, connection) = h2::client::handshake(stream)
            .await
            .map_err(io::Error::other)?;
        tokio::select! {
            ended = connection => ended.map_err(io::Error::other),
            ended = call(client, address) => ended.map_err(io::Error::other),
        }
    })
}

async fn call(mut client: SendRequest<Bytes>, address: SocketAddr) -> Result<(), h2::Error> {
    for method in ["Greet", "GreetOften"].into_iter().cycle() {
        client = client.ready().await?;
        let request = http::Request::post(format!("http://{address}/demo.Greeter/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let Ok(request) = request.body(()) else {
            return Ok(());
        };
        let (response, mut body) = client.send_request(request, false)?;
        body.send_data(Bytes::from_static(CALL), true)?;
        let mut answer = response.await?.into_body();
        while let Some(piece) = answer.data().await {
            let length = piece?.len();
            answer.flow_control().release_capacity(length)?;
        }
        answer.trailers().await?;
        tokio::time::sleep(PAUSE * 4).await;
    }
    Ok(())
}

/// One message: not compressed, six bytes, field 1 is `demo`.
const CALL: &[u8] = b"\0\0\0\0\x06\n\x04demo";

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}
