//! Load over UDP, for which there is no tool that everybody has: datagrams that come back.
//!
//! Start at [`echo`] and [`exchange`].

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Sockets, of which each is a flow.
const FLOWS: usize = 16;

/// How often each of them sends and receives.
const ROUNDS: usize = 3_000;

/// Sends back whatever comes, for as long as the process lives. The answer is where.
pub(super) fn echo() -> Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no socket")?;
    let address = socket.local_addr()?.to_string();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // Lost, as any datagram may be.
            let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
        }
    });
    Ok(address)
}

/// Sends datagrams of 200 bytes to an address and waits for what comes back, many times.
pub(super) fn exchange(address: &str) -> Result<()> {
    let mut sockets = Vec::new();
    for _ in 0..FLOWS {
        let socket = UdpSocket::bind("127.0.0.1:0").context("no socket")?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        sockets.push(socket);
    }
    let mut buffer = [0; 2048];
    for _ in 0..ROUNDS {
        for socket in &sockets {
            socket.send(&[7; 200])?;
        }
        for socket in &sockets {
            // Whatever was lost is not missed.
            let _ = socket.recv(&mut buffer);
        }
    }
    Ok(())
}
