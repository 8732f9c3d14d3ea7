//! Sockets that listen: bound before any worker starts, so that what cannot be had stops the start.
//!
//! Accepting is in [`crate::accept`], what is done with datagrams in [`crate::datagram`]. Start at [`ListenerSockets::bind`].

mod options;
mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
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
    datagrams: Vec<UdpSocket>,
    _file: Option<SocketFile>,
}

/// Where a listener really listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BoundAddress {
    /// With the port that the system chose, if it was asked to.
    Tcp(SocketAddr),
    /// The same, of datagrams.
    Udp(SocketAddr),
    /// The path.
    Unix(PathBuf),
}

impl BoundAddress {
    /// The address and port, if it has one.
    #[must_use]
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Udp(address) => write!(f, "udp://{address}"),
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
    /// A file has no port for datagrams.
    #[error("datagrams need an IP address and a port")]
    NoDatagrams,
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
    /// Whether there are to be sockets for datagrams beside those of a TCP address, on its port. An address of UDP has nothing
    /// else.
    pub datagrams: bool,
}

impl ListenerSockets {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address cannot be had, and why.
    pub fn bind(address: &ListenAddress, options: BindOptions<'_>) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(socket) => bind_tcp(*socket, options),
            ListenAddress::Unix(_) if options.datagrams => Err(BindReason::NoDatagrams),
            ListenAddress::Unix(path) => bind_unix(path, options.socket),
            ListenAddress::Udp(socket) => bind_udp(*socket, options),
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

    /// A socket for a worker's datagrams; `None` when all are taken, or there are none.
    pub fn take_datagrams(&mut self) -> Option<UdpSocket> {
        self.datagrams.pop()
    }

    /// Sockets for connections that are not taken.
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
    let chosen = address.address.port() == 0;
    if options.exclusive && !chosen {
        // Bound without sharing, which fails if anybody is there, and closed again.
        bind_socket(address, Type::STREAM, false)?;
    }
    let mut tries = if chosen && options.datagrams {
        PORTS
    } else {
        1
    };
    let (first, bound, datagrams) = loop {
        let first = listen_tcp(address, options)?;
        let bound = first.local_addr()?;
        if !options.datagrams {
            break (first, bound, Vec::new());
        }
        let beside = ListenSocket {
            address: bound,
            ..address
        };
        tries -= 1;
        match datagram_sockets(beside, options) {
            Ok((_, datagrams)) => break (first, bound, datagrams),
            // The port that the system chose may be somebody's for datagrams.
            Err(BindReason::InUse) if tries > 0 => {}
            Err(reason) => return Err(reason),
        }
    };
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
        datagrams,
        _file: None,
    })
}

/// How many ports the system may choose until one is free for datagrams, too.
const PORTS: usize = 16;

fn bind_udp(
    address: ListenSocket,
    options: BindOptions<'_>,
) -> Result<ListenerSockets, BindReason> {
    let (bound, datagrams) = datagram_sockets(with_family(address), options)?;
    Ok(ListenerSockets {
        address: BoundAddress::Udp(bound),
        sockets: Vec::new(),
        datagrams,
        _file: None,
    })
}

/// Sockets on one port, which the kernel spreads clients over.
fn datagram_sockets(
    address: ListenSocket,
    options: BindOptions<'_>,
) -> Result<(SocketAddr, Vec<UdpSocket>), BindReason> {
    if options.exclusive && address.address.port() != 0 {
        bind_socket(address, Type::DGRAM, false)?;
    }
    let first = bind_datagrams(address, options)?;
    let bound = first.local_addr()?;
    let again = ListenSocket {
        address: bound,
        ..address
    };
    let mut sockets = vec![first];
    while sockets.len() < options.sockets {
        sockets.push(bind_datagrams(again, options)?);
    }
    Ok((bound, sockets))
}

fn bind_datagrams(address: ListenSocket, options: BindOptions<'_>) -> io::Result<UdpSocket> {
    let socket = bind_socket(address, Type::DGRAM, true)?;
    options::apply_datagram(&socket, options.socket)?;
    Ok(socket.into())
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
    let socket = bind_socket(address, Type::STREAM, true)?;
    apply(&socket, options.socket)?;
    socket.listen(backlog(options.socket))?;
    Ok(socket.into())
}

fn bind_socket(address: ListenSocket, kind: Type, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address.address), kind, None)?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        // A restart must not wait for connections of the process before it to be forgotten.
        socket.set_reuse_address(true)?;
    }
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
        datagrams: Vec::new(),
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
