//! Sockets that listen: bound before any worker starts, so that what cannot be had stops the start.
//!
//! Accepting is in [`crate::accept`]. Start at [`ListenerSockets::bind`].

mod options;
mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use portcullis_config::{ListenAddress, ListenSocket};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::SocketOptions;
use crate::listen::unix::SocketFile;

pub(crate) use options::apply;

/// The sockets of one listener.
///
/// Workers [`take`](Self::take) them; what stays is the address and, for a Unix socket, the file, which is removed when this is
/// dropped. A socket that nobody took still accepts into its backlog, so drop what is left over.
#[derive(Debug)]
pub struct ListenerSockets {
    address: BoundAddress,
    sockets: Vec<ListenerSocket>,
    _file: Option<SocketFile>,
}

/// Where a listener really listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BoundAddress {
    /// With the port that the system chose, if it was asked to.
    Tcp(SocketAddr),
    /// The path.
    Unix(PathBuf),
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One socket that listens, not yet part of any runtime.
#[derive(Debug)]
pub enum ListenerSocket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl ListenerSocket {
    /// Another handle on the same socket: both accept from one queue.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

impl AsFd for ListenerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for ListenerSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    /// The address as configured.
    pub address: ListenAddress,
    /// Why, in words.
    pub reason: BindReason,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindReason {
    /// Somebody has it.
    #[error("another process, or another listener, uses it")]
    InUse,
    /// The process lacks the right; ports below 1024 need one.
    #[error("permission denied")]
    Denied,
    /// The machine does not have the address.
    #[error("this machine has no such address")]
    NoSuchAddress,
    /// The path exists and is something else.
    #[error("the path exists and is not a socket")]
    NotASocket,
    /// Not an address of connections.
    #[error("UDP is not supported by this build")]
    Udp,
    /// Something else.
    #[error("{0}")]
    Other(io::Error),
}

impl From<io::Error> for BindReason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress,
            _ => Self::Other(error),
        }
    }
}

/// How a listener's sockets are made.
#[derive(Debug, Clone, Copy)]
pub struct BindOptions<'o> {
    /// Their options. Accepted connections inherit them from the listening socket, which saves system calls for each.
    pub socket: &'o SocketOptions,
    /// How many sockets share the address (`SO_REUSEPORT`): one for each worker that accepts. A Unix path has one
    /// socket in any case.
    pub sockets: usize,
    /// Whether to refuse an address that other sockets of this user listen on. Sharing would let two gateways that were
    /// started by mistake divide the connections between them. False while one takes over from another.
    pub exclusive: bool,
}

impl ListenerSockets {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address cannot be had, and why.
    pub fn bind(address: &ListenAddress, options: BindOptions<'_>) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(socket) => bind_tcp(*socket, options),
            ListenAddress::Unix(path) => bind_unix(path, options.socket),
            ListenAddress::Udp(_) => Err(BindReason::Udp),
        };
        bound.map_err(|reason| BindError {
            address: address.clone(),
            reason,
        })
    }

    /// Where it really listens.
    #[must_use]
    pub const fn address(&self) -> &BoundAddress {
        &self.address
    }

    /// A socket for a worker; `None` when all are taken.
    pub fn take(&mut self) -> Option<ListenerSocket> {
        self.sockets.pop()
    }

    /// Sockets that are not taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.sockets.len()
    }
}

fn bind_tcp(
    address: ListenSocket,
    options: BindOptions<'_>,
) -> Result<ListenerSockets, BindReason> {
    let address = with_family(address);
    if options.exclusive && address.address.port() != 0 {
        // Bound without sharing, which fails if anybody is there, and closed again.
        bind_socket(address, false)?;
    }
    let first = listen_tcp(address, options)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![ListenerSocket::Tcp(first)];
    let again = ListenSocket {
        address: bound,
        ..address
    };
    while sockets.len() < options.sockets {
        sockets.push(ListenerSocket::Tcp(listen_tcp(again, options)?));
    }
    Ok(ListenerSockets {
        address: BoundAddress::Tcp(bound),
        sockets,
        _file: None,
    })
}

/// All addresses means those of IPv4 on a machine without IPv6.
fn with_family(address: ListenSocket) -> ListenSocket {
    let has_ipv6 = || Socket::new(Domain::IPV6, Type::STREAM, None).is_ok();
    if address.dual_stack && !has_ipv6() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        return ListenSocket {
            address: SocketAddr::new(any, address.address.port()),
            dual_stack: false,
        };
    }
    address
}

fn listen_tcp(address: ListenSocket, options: BindOptions<'_>) -> io::Result<TcpListener> {
    let socket = bind_socket(address, true)?;
    apply(&socket, options.socket)?;
    socket.listen(backlog(options.socket))?;
    Ok(socket.into())
}

fn bind_socket(address: ListenSocket, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address.address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for connections of the process before it to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.address.is_ipv6() {
        socket.set_only_v6(!address.dual_stack)?;
    }
    socket.bind(&address.address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path, options: &SocketOptions) -> Result<ListenerSockets, BindReason> {
    unix::remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = socket2::SockAddr::unix(path)?;
    socket.bind(&address)?;
    let file = SocketFile::new(path)?;
    socket.listen(backlog(options))?;
    Ok(ListenerSockets {
        address: BoundAddress::Unix(path.to_owned()),
        sockets: vec![ListenerSocket::Unix(socket.into())],
        _file: Some(file),
    })
}

fn backlog(options: &SocketOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

impl From<Errno> for BindReason {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests;
