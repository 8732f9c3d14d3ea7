//! Sockets on loopback and in a folder of their own.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use socket2::SockRef;

use super::*;

fn bind(address: &str, sockets: usize) -> Result<ListenerSockets, BindError> {
    bind_with(address, sockets, &SocketOptions::default())
}

fn bind_with(
    address: &str,
    sockets: usize,
    socket: &SocketOptions,
) -> Result<ListenerSockets, BindError> {
    let options = BindOptions {
        socket,
        sockets,
        exclusive: true,
        datagrams: false,
    };
    ListenerSockets::bind(&address.parse().unwrap(), options)
}

fn port(sockets: &ListenerSockets) -> u16 {
    match sockets.address() {
        BoundAddress::Tcp(address) => address.port(),
        BoundAddress::Udp(_) | BoundAddress::Unix(_) => unreachable!(),
    }
}

fn tcp(socket: &ListenerSocket) -> &TcpListener {
    match socket {
        ListenerSocket::Tcp(socket) => socket,
        ListenerSocket::Unix(_) => unreachable!(),
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn each_worker_gets_a_socket_on_the_port_that_the_system_chose() {
    let mut sockets = bind("127.0.0.1:0", 3).unwrap();
    let chosen = port(&sockets);
    assert_ne!(chosen, 0);
    assert_eq!(sockets.address().to_string(), format!("127.0.0.1:{chosen}"));
    assert_eq!(sockets.left(), 3);
    while let Some(socket) = sockets.take() {
        assert_eq!(tcp(&socket).local_addr().unwrap().port(), chosen);
    }
}

#[test]
fn all_addresses_are_those_of_both_families() {
    let sockets = bind(":0", 2).unwrap();
    TcpStream::connect(("127.0.0.1", port(&sockets))).unwrap();
    if matches!(sockets.address(), BoundAddress::Tcp(address) if address.is_ipv6()) {
        TcpStream::connect(("::1", port(&sockets))).unwrap();
        let ipv6 = bind("[::]:0", 1).unwrap();
        TcpStream::connect(("127.0.0.1", port(&ipv6))).unwrap_err();
    }
}

#[test]
fn refusals_name_the_address_and_the_reason() {
    let first = bind("127.0.0.1:0", 2).unwrap();
    let taken = format!("127.0.0.1:{}", port(&first));
    let folder = Folder::new("refusals");
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    let file = format!("unix:{}", file.display());
    let rows = [
        (
            taken.as_str(),
            "another process, or another listener, uses it",
        ),
        ("192.0.2.1:80", "this machine has no such address"),
        ("udp://192.0.2.1:80", "this machine has no such address"),
        (&file, "the path exists and is not a socket"),
        (
            "unix:/nowhere/at/all",
            "No such file or directory (os error 2)",
        ),
    ];
    for (address, reason) in rows {
        let error = bind(address, 1).unwrap_err().to_string();
        assert_eq!(error, format!("cannot listen on {address}: {reason}"));
    }
}

#[test]
fn datagrams_have_a_socket_for_each_worker() {
    let mut alone = bind("udp://127.0.0.1:0", 3).unwrap();
    assert!(alone.take().is_none());
    let address = alone.address().ip().unwrap();
    assert_eq!(alone.address().to_string(), format!("udp://{address}"));
    let sockets: Vec<_> = std::iter::from_fn(|| alone.take_datagrams()).collect();
    assert_eq!(sockets.len(), 3);
    for socket in &sockets {
        assert_eq!(socket.local_addr().unwrap(), address);
    }
    let error = bind(&alone.address().to_string(), 1).unwrap_err();
    assert!(matches!(error.reason, BindReason::InUse), "{error}");
}

#[test]
fn datagrams_beside_connections_have_their_port() {
    let options = BindOptions {
        socket: &SocketOptions::default(),
        sockets: 2,
        exclusive: true,
        datagrams: true,
    };
    let mut both = ListenerSockets::bind(&"127.0.0.1:0".parse().unwrap(), options).unwrap();
    assert_eq!(both.left(), 2);
    let socket = both.take_datagrams().unwrap();
    assert_eq!(Some(socket.local_addr().unwrap()), both.address().ip());
    let error = ListenerSockets::bind(&"unix:/nowhere".parse().unwrap(), options).unwrap_err();
    assert!(matches!(error.reason, BindReason::NoDatagrams), "{error}");
}

#[test]
fn a_successor_may_share() {
    let first = bind("127.0.0.1:0", 2).unwrap();
    let address = format!("127.0.0.1:{}", port(&first)).parse().unwrap();
    let options = BindOptions {
        socket: &SocketOptions::default(),
        sockets: 2,
        exclusive: false,
        datagrams: false,
    };
    let second = ListenerSockets::bind(&address, options).unwrap();
    assert_eq!(port(&second), port(&first));
}

#[test]
fn accepted_connections_inherit_the_options() {
    let options = SocketOptions {
        user_timeout: portcullis_config::Timeout::from_secs(7),
        ..SocketOptions::default()
    };
    let mut sockets = bind_with("127.0.0.1:0", 1, &options).unwrap();
    let socket = sockets.take().unwrap();
    let _client = TcpStream::connect(("127.0.0.1", port(&sockets))).unwrap();
    tcp(&socket).set_nonblocking(false).unwrap();
    let (accepted, _) = tcp(&socket).accept().unwrap();
    let accepted = SockRef::from(&accepted);
    assert!(accepted.tcp_nodelay().unwrap());
    assert!(accepted.keepalive().unwrap());
    assert_eq!(accepted.tcp_keepalive_time().unwrap().as_secs(), 60);
    assert_eq!(accepted.tcp_user_timeout().unwrap().unwrap().as_secs(), 7);
}

#[test]
fn a_unix_socket_replaces_a_stale_one_but_not_a_live_one() {
    let folder = Folder::new("stale");
    let path = folder.0.join("web.sock");
    let address = format!("unix:{}", path.display());
    let sockets = bind(&address, 3).unwrap();
    assert_eq!(sockets.left(), 1);
    assert_eq!(sockets.address().to_string(), address);
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let error = bind(&address, 1).unwrap_err();
    assert!(matches!(error.reason, BindReason::InUse), "{error}");
    UnixStream::connect(&path).unwrap();
    drop(sockets);
    assert!(!path.exists());

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let sockets = bind(&address, 1).unwrap();
    UnixStream::connect(&path).unwrap();

    // Somebody else's by now.
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(sockets);
    assert!(path.exists());
    drop(other);
}
