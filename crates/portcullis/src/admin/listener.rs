//! The socket behind the admin address, with descriptors in reserve.
//!
//! When the process has no descriptor left, a reserved one is given up for the connection and taken back when it
//! closes: the operator can look when it matters most. Start at [`AdminSocket::bind`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::anyhow;
use axum::serve::Listener;
use portcullis_config::ListenAddress;
use portcullis_net::SocketOptions;
use portcullis_net::listen::{BindOptions, BoundAddress, ListenerSocket, ListenerSockets};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};

use crate::model::AdminConfig;

/// How many admin connections there can be when the rest of the process has taken all descriptors.
const RESERVE: usize = 4;

/// How long to rest when even the reserve is used up.
const REST: Duration = Duration::from_millis(100);

/// Why the admin address in a configuration may not be used, if so.
///
/// An address that other machines reach needs two deliberate steps; F14 in the list of attacks.
#[must_use]
pub(crate) fn check_address(config: &AdminConfig) -> Option<String> {
    let private = match &config.listen.value {
        ListenAddress::Tcp(socket) => socket.address.ip().is_loopback(),
        ListenAddress::Unix(_) => true,
        ListenAddress::Udp(_) => return Some("admin.listen is TCP or unix:/path".to_owned()),
    };
    if private {
        return None;
    }
    if !config.danger_listen_on_network {
        return Some(format!(
            "admin.listen {} can be reached from other machines; anybody there could stop the gateway",
            config.listen
        ));
    }
    config.token.is_none().then(|| {
        "admin.danger_listen_on_network needs admin.token: without it anybody could stop the gateway"
            .to_owned()
    })
}

/// The admin socket.
pub(crate) struct AdminSocket {
    socket: Socket,
    reserve: Arc<Reserve>,
}

enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removes the path in the end.
        _path: ListenerSockets,
    },
}

impl AdminSocket {
    /// Opens the socket that the configuration names. Needs a runtime.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) fn bind(address: &ListenAddress) -> anyhow::Result<Self> {
        let reserve: Arc<Reserve> = Arc::default();
        reserve.fill();
        Ok(Self {
            socket: Socket::bind(address)?,
            reserve,
        })
    }

    /// The address as people write it, with the port that the system chose.
    ///
    /// # Errors
    /// The system has forgotten it.
    pub(crate) fn address(&self) -> io::Result<String> {
        match &self.socket {
            Socket::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Socket::Unix { listener, .. } => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or_else(|| Path::new(""));
                Ok(format!("unix:{}", path.display()))
            }
        }
    }
}

impl Listener for AdminSocket {
    type Io = AdminStream;
    type Addr = String;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Not in the loop: it would take back what was just given up.
        self.reserve.fill();
        loop {
            match self.socket.accept().await {
                Ok(stream) => {
                    let refill = Refill(Arc::clone(&self.reserve));
                    return (AdminStream { stream, refill }, String::new());
                }
                // What is given up is taken back when the connection that gets it closes.
                Err(error) if is_exhausted(&error) && self.reserve.give_up() => {}
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<String> {
        self.address()
    }
}

impl Socket {
    fn bind(address: &ListenAddress) -> anyhow::Result<Self> {
        let options = BindOptions {
            socket: &SocketOptions::default(),
            sockets: 1,
            exclusive: true,
            datagrams: false,
        };
        let mut sockets = ListenerSockets::bind(address, options)?;
        if let BoundAddress::Unix(path) = sockets.address() {
            fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY))?;
        }
        match sockets.take() {
            Some(ListenerSocket::Tcp(socket)) => Ok(Self::Tcp(TcpListener::from_std(socket)?)),
            Some(ListenerSocket::Unix(socket)) => Ok(Self::Unix {
                listener: UnixListener::from_std(socket)?,
                _path: sockets,
            }),
            None => Err(anyhow!("no socket was bound")),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix { listener, .. } => Box::new(listener.accept().await?.0),
        })
    }
}

/// Whoever may connect may stop the gateway.
const OWNER_ONLY: u32 = 0o600;

fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    exhausted
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Descriptors that stand for nothing.
#[derive(Default)]
struct Reserve(Mutex<Vec<File>>);

impl Reserve {
    /// Takes descriptors until there are enough or no more.
    fn fill(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while held.len() < RESERVE
            && let Ok(file) = File::open("/dev/null")
        {
            held.push(file);
        }
    }

    /// Frees one; false if there is none.
    fn give_up(&self) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.pop().is_some()
    }
}

/// An admin connection.
pub(crate) struct AdminStream {
    stream: Box<dyn Duplex>,
    /// Dropped after the stream: what that frees goes back to the reserve first.
    #[expect(dead_code, reason = "it acts when it is dropped")]
    refill: Refill,
}

struct Refill(Arc<Reserve>);

impl Drop for Refill {
    fn drop(&mut self) {
        self.0.fill();
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl AsyncRead for AdminStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AdminStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
