//! Addresses to listen on and to connect to.
//!
//! They are only read and compared here: nothing is bound and no name resolved. Start with [`ListenAddress`] and
//! [`TargetAddress`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::text::{TextValue, ValueError, quote, text_value};

/// Where a listener accepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::1]:8080`, `:8080`.
    Tcp(ListenSocket),
    /// `udp://` in front of the same.
    Udp(ListenSocket),
    /// `unix:/path`.
    Unix(PathBuf),
}

/// An address and port to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenSocket {
    /// The address to bind; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Written `:port`: the address is `[::]` and IPv4 is accepted too. `[::]:port` is IPv6 only.
    pub dual_stack: bool,
}

/// What an endpoint is reached at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetAddress {
    /// `10.0.0.1:8080`, `[::1]:8080`, `api.example.com:8080`; the port is never 0.
    Tcp {
        /// Address or name.
        host: Host,
        /// 1 to 65535.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// The host of a [`TargetAddress`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name to resolve, in lower case.
    Name(String),
}

/// `sun_path` holds 108 bytes with the final zero.
const MAX_UNIX_PATH: usize = 107;

impl ListenAddress {
    /// Whether two listeners cannot have these at the same time. Port 0 never clashes.
    pub fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) | (Self::Udp(a), Self::Udp(b)) => a.clashes_with(*b),
            (Self::Unix(a), Self::Unix(b)) => a == b,
            _ => false,
        }
    }
}

impl ListenSocket {
    fn clashes_with(self, other: Self) -> bool {
        let port = self.address.port();
        if port == 0 || port != other.address.port() {
            return false;
        }
        self.covers(other) || other.covers(self)
    }

    fn covers(self, other: Self) -> bool {
        let (ours, theirs) = (self.address.ip(), other.address.ip());
        let same_family = ours.is_ipv4() == theirs.is_ipv4();
        ours == theirs || (ours.is_unspecified() && (same_family || self.dual_stack))
    }
}

impl TargetAddress {
    /// An address that needs no name resolved.
    pub fn as_socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp {
                host: Host::Address(address),
                port,
            } => Some(SocketAddr::new(*address, *port)),
            _ => None,
        }
    }
}

impl From<SocketAddr> for TargetAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp {
            host: Host::Address(address.ip()),
            port: address.port(),
        }
    }
}

impl TextValue for ListenAddress {
    const EXPECTED: &'static str =
        "an address such as 0.0.0.0:8080, [::1]:8080, :8080 or unix:/run/web.sock";

    fn from_number(number: u64) -> Option<Result<Self, ValueError>> {
        Some(Err(Self::refuse(format!(
            "a port alone is no address: write ':{number}' for all addresses"
        ))))
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path::<Self>(path).map(Self::Unix);
        }
        match text.split_once("://") {
            None => listen_socket(text).map(Self::Tcp),
            Some(("tcp", rest)) => listen_socket(rest).map(Self::Tcp),
            Some(("udp", rest)) => listen_socket(rest).map(Self::Udp),
            Some((scheme, _)) => Err(Self::refuse(format!("unknown scheme {}", quote(scheme)))),
        }
    }
}

fn listen_socket(text: &str) -> Result<ListenSocket, ValueError> {
    let (host, port) = split_port::<ListenAddress>(text)?;
    let (address, dual_stack) = match host {
        "" => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), true),
        "localhost" => {
            let reason = format!(
                "a name may mean several addresses: write 127.0.0.1:{port} or [::1]:{port}"
            );
            return Err(ListenAddress::refuse(reason));
        }
        host => match bare_address(host) {
            Some(address) => (bindable(address, port)?, false),
            None => {
                return Err(ListenAddress::refuse(format!(
                    "{} is not an address",
                    quote(host)
                )));
            }
        },
    };
    Ok(ListenSocket {
        address: SocketAddr::new(address, port),
        dual_stack,
    })
}

/// Sockets of IPv6 are for IPv6 alone, so that none can have an IPv4 address in the form of IPv6 (RFC 4291 section 2.5.5.2).
fn bindable(address: IpAddr, port: u16) -> Result<IpAddr, ValueError> {
    match address.to_canonical() {
        IpAddr::V4(four) if address.is_ipv6() => Err(ListenAddress::refuse(format!(
            "{address} is an IPv4 address in the form of IPv6: write {four}:{port}"
        ))),
        _ => Ok(address),
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => socket.fmt(formatter),
            Self::Udp(socket) => write!(formatter, "udp://{socket}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for ListenSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dual_stack {
            return write!(formatter, ":{}", self.address.port());
        }
        self.address.fmt(formatter)
    }
}

impl TextValue for TargetAddress {
    const EXPECTED: &'static str =
        "an address such as 10.0.0.1:8080, api.example.com:8080 or unix:/run/api.sock";
}

impl FromStr for TargetAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path::<Self>(path).map(Self::Unix);
        }
        let text = match text.split_once("://") {
            None => text,
            Some(("tcp", rest)) => rest,
            Some((scheme, _)) => {
                return Err(Self::refuse(format!("unknown scheme {}", quote(scheme))));
            }
        };
        let (host, port) = split_port::<Self>(text)?;
        if port == 0 {
            return Err(Self::refuse("port 0 cannot be connected to"));
        }
        let host = match bare_address(host) {
            Some(address) => Host::Address(address),
            None => Host::Name(host_name(host)?),
        };
        Ok(Self::Tcp { host, port })
    }
}

/// A DNS name as RFC 1123 §2.1 has it, with `_` as used in practice. A last label of digits is an address gone wrong.
fn host_name(text: &str) -> Result<String, ValueError> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if labels.len() > 253 || !labels.split('.').all(is_label) {
        return Err(TargetAddress::refuse(format!(
            "{} is not an address or host name",
            quote(text)
        )));
    }
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TargetAddress::refuse(format!(
            "{} is not an IPv4 address",
            quote(text)
        )));
    }
    Ok(text.to_ascii_lowercase())
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                host: Host::Address(address),
                port,
            } => SocketAddr::new(*address, *port).fmt(formatter),
            Self::Tcp {
                host: Host::Name(name),
                port,
            } => write!(formatter, "{name}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// Takes `host:port` apart; the host keeps its brackets.
fn split_port<T: TextValue>(text: &str) -> Result<(&str, u16), ValueError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(T::refuse(format!(
            "{} needs brackets and a port: [{text}]:8080",
            quote(text)
        )));
    }
    let Some((host, port)) = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.ends_with(':'))
    else {
        return Err(T::refuse(format!("{} has no port", quote(text))));
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits => Ok((host, number)),
        _ => Err(T::refuse(format!(
            "{} is not a port from 0 to 65535",
            quote(port)
        ))),
    }
}

/// An IPv4 address as it is, or an IPv6 address in brackets (RFC 3986 §3.2.2).
fn bare_address(host: &str) -> Option<IpAddr> {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn unix_path<T: TextValue>(path: &str) -> Result<PathBuf, ValueError> {
    let reason = match path.len() {
        0 => "the path of the socket is missing".to_owned(),
        1..=MAX_UNIX_PATH if path.contains('\0') => "the path contains a zero byte".to_owned(),
        1..=MAX_UNIX_PATH => return Ok(Path::new(path).to_owned()),
        length => format!("the path has {length} bytes, sockets take {MAX_UNIX_PATH}"),
    };
    Err(T::refuse(reason))
}

text_value!(ListenAddress, number: false,
    pattern: r"^(unix:.+|((tcp|udp)://)?([0-9.]+|\[[0-9A-Fa-f:.]+\])?:[0-9]{1,5})$",
    examples: ["0.0.0.0:8080", "[::1]:8080", ":8080", "unix:/run/web.sock"],
    about: "Where to accept: host:port, :port for all addresses of both families, udp://host:port, or unix:/path.");
text_value!(TargetAddress, number: false,
    pattern: r"^(unix:.+|(tcp://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})$",
    examples: ["10.0.0.1:8080", "api.example.com:8080", "unix:/run/api.sock"],
    about: "What to connect to: host:port, where the host may be a name, or unix:/path.");
