//! Light traffic against the demo's own listeners, for as long as it runs.
//!
//! Blocking sockets on two threads: a few requests a second need no more. Start at [`start`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Requests that the traffic makes, in turn. `/nothing` shows a rejection.
const PATHS: [&str; 5] = ["/", "/flaky", "/api/items", "/flaky", "/nothing/here"];

/// Between two requests, and between two echoes.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts both kinds of traffic.
pub(super) fn start(web: SocketAddr, echo: SocketAddr) -> io::Result<()> {
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

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}
