//! The socket of one connection: connected, so that it hears nobody but the endpoint, and what ICMP says about it.
//!
//! `quinn` passes ICMP errors over, since anybody may forge them; here they are kept for whoever weighs them: a dial that has
//! heard nothing yet takes them at their word, a connection asks again first. Start at [`Socket::new`].

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use portcullis_net::ConnectError;
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;

/// Errors in a row after which the socket is given up; each of ICMP's is told once.
const MOST_ERRORS: usize = 32;

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    heard: Arc<Heard>,
}

/// What came out of a socket, for those who do not read it.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Times that datagrams came.
    received: AtomicU64,
    /// Whether the endpoint was said to be out of reach, and nothing has come from it since.
    doubted: AtomicBool,
    /// Whether that was because nobody listens there.
    refused: AtomicBool,
}

impl Heard {
    /// Times that datagrams came.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the endpoint was said to be out of reach, and nothing has come from it since.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Whether it was because nobody listens there.
    pub(super) fn is_refused(&self) -> bool {
        self.is_doubted() && self.refused.load(Ordering::Relaxed)
    }

    fn on_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.doubted.store(false, Ordering::Relaxed);
    }

    fn on_error(&self, error: &io::Error) {
        let refused = match ConnectError::from(error) {
            ConnectError::Refused => true,
            ConnectError::Unreachable | ConnectError::Denied => false,
            _ => return,
        };
        self.refused.store(refused, Ordering::Relaxed);
        self.doubted.store(true, Ordering::Relaxed);
    }
}

impl Socket {
    /// Takes over a socket that is connected and non-blocking.
    ///
    /// # Errors
    /// It cannot be used here.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: tokio::net::UdpSocket::from_std(socket)?,
            heard: Arc::default(),
        }))
    }

    /// What comes out of it.
    pub(super) fn heard(&self) -> &Arc<Heard> {
        &self.heard
    }

    /// Answers when the endpoint is said to be out of reach, before anything else has happened: whether because nobody
    /// listens there. Reading and writing would show it only with the next datagram.
    pub(super) async fn doubted(&self) -> bool {
        loop {
            if self.io.ready(Interest::ERROR).await.is_err() {
                return false;
            }
            let error = self.io.try_io(Interest::ERROR, || {
                let error = self.io.take_error()?;
                error.ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            if let Ok(error) = error {
                self.heard.on_error(&error);
            }
            if self.heard.is_doubted() {
                return self.heard.is_refused();
            }
        }
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_quiet(&self) -> bool {
        self.io.try_peek_sender().is_err()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.io).into(), transmit)
        });
        match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // Lost, as any datagram may be. Too large ones are probes of the path.
                self.heard.on_error(&error);
                Ok(())
            }
            sent => sent,
        }
    }

    fn poll_recv(
        &self,
        task: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut errors = 0;
        loop {
            ready!(self.io.poll_recv_ready(task))?;
            let received = self.io.try_io(Interest::READABLE, || {
                self.state.recv((&self.io).into(), buffers, meta)
            });
            match received {
                Ok(count) => {
                    self.heard.on_received();
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.heard.on_error(&error);
                    errors += 1;
                    if errors == MOST_ERRORS {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits until the socket takes more. One connection has it, so there is one to be woken.
struct Writable(Arc<Socket>);

impl fmt::Debug for Writable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Writable")
    }
}

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.poll_send_ready(task)
    }
}
