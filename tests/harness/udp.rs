//! Datagrams from both sides of the gateway: a scripted endpoint and a plain client.
//!
//! Start at [`UdpOrigin::echo`] and [`UdpClient::connect`].

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::CEILING;
use crate::watched::Watched;

/// The largest datagram, and more.
const LARGEST: usize = 66_000;

/// An endpoint that answers datagrams by a function.
pub struct UdpOrigin {
    address: SocketAddr,
    seen: Arc<Watched<Seen>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    peers: BTreeSet<SocketAddr>,
}

impl UdpOrigin {
    /// Sends every datagram back.
    #[must_use]
    pub fn echo() -> Self {
        Self::answering(|socket, from, datagram| {
            let _ = socket.send_to(datagram, from);
        })
    }

    /// Answers every datagram with its name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.to_owned();
        Self::answering(move |socket, from, _| {
            let _ = socket.send_to(name.as_bytes(), from);
        })
    }

    /// Calls `answer` with every datagram.
    #[must_use]
    pub fn answering(answer: impl FnMut(&UdpSocket, SocketAddr, &[u8]) + Send + 'static) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), answer)
    }

    /// As [`answering`](Self::answering), at this address.
    #[must_use]
    pub fn at(
        address: SocketAddr,
        mut answer: impl FnMut(&UdpSocket, SocketAddr, &[u8]) + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(address).expect("bind a socket for datagrams");
        let address = socket.local_addr().expect("the address of a socket");
        let seen: Arc<Watched<Seen>> = Arc::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let (noted, stop) = (Arc::clone(&seen), Arc::clone(&stopping));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; LARGEST];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let datagram = &buffer[..length];
                noted.update(|seen| {
                    seen.datagrams.push((from, datagram.to_vec()));
                    seen.peers.insert(from);
                });
                answer(&socket, from, datagram);
            }
        });
        Self {
            address,
            seen,
            stopping,
            thread: Some(thread),
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams have come.
    #[must_use]
    pub fn received(&self) -> usize {
        self.seen.update(|seen| seen.datagrams.len())
    }

    /// All that has come.
    #[must_use]
    pub fn datagrams(&self) -> Vec<Vec<u8>> {
        self.seen.update(|seen| {
            let datagrams = seen.datagrams.iter();
            datagrams.map(|(_, datagram)| datagram.clone()).collect()
        })
    }

    /// The addresses that datagrams came from: one for each flow of the gateway.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<SocketAddr> {
        self.seen.update(|seen| seen.peers.clone())
    }

    /// Waits until so many datagrams have come.
    #[track_caller]
    pub fn wait_received(&self, count: usize) {
        let waited = self
            .seen
            .wait_for(|seen| (seen.datagrams.len() >= count).then_some(()));
        assert!(waited.is_some(), "only {} of {count}", self.received());
    }
}

impl Drop for UdpOrigin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread.
        let any: SocketAddr = match self.address.ip() {
            IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
            IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, 0).into(),
        };
        let _ = UdpSocket::bind(any).and_then(|socket| socket.send_to(&[], self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for UdpOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UdpOrigin({})", self.address)
    }
}

/// A client of datagrams.
#[derive(Debug)]
pub struct UdpClient(UdpSocket);

impl UdpClient {
    /// A client that speaks with this address only.
    #[track_caller]
    #[must_use]
    pub fn connect(to: SocketAddr) -> Self {
        let from = match to {
            SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, 0).into(),
        };
        Self::connect_from(from, to)
    }

    /// As [`connect`](Self::connect), from this address.
    #[track_caller]
    #[must_use]
    pub fn connect_from(from: SocketAddr, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind(from).expect("bind a client's socket");
        socket.connect(to).expect("connect a client's socket");
        socket
            .set_read_timeout(Some(CEILING))
            .expect("set a timeout");
        Self(socket)
    }

    /// A client at `127.0.0.<last>`.
    #[track_caller]
    #[must_use]
    pub fn at(last: u8, to: SocketAddr) -> Self {
        Self::connect_from((Ipv4Addr::new(127, 0, 0, last), 0).into(), to)
    }

    /// Its own address.
    #[track_caller]
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a client's address")
    }

    /// Sends a datagram.
    #[track_caller]
    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        self.0.send(datagram.as_ref()).expect("send a datagram");
    }

    /// Waits for a datagram.
    #[track_caller]
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; LARGEST];
        let length = self.0.recv(&mut buffer).expect("a datagram");
        buffer.truncate(length);
        buffer
    }

    /// Sends a datagram and waits for one.
    #[track_caller]
    #[must_use]
    pub fn ask(&self, datagram: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(datagram);
        self.receive()
    }

    /// Whether nothing has come so far.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).expect("do not wait");
        let read = self.0.recv(&mut [0; 1]);
        self.0.set_nonblocking(false).expect("wait again");
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}
