//! Connects on loopback.

mod encrypt;

use std::net::TcpListener as StdListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use portcullis_cluster::ResolvedEndpoint;
use tokio::net::TcpListener;

use super::*;

const LONG: Duration = Duration::from_mins(1);

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

fn free_address() -> SocketAddr {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn bytes_may_go_first() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ResolvedAddress::Socket(listener.local_addr().unwrap());
        let options = SocketOptions::default();
        let (ours, theirs) = tokio::join!(
            connect_with(&address, LONG, &options, b"first"),
            listener.accept()
        );
        let ours = ours.unwrap();
        let mut theirs = Stream::from(theirs.unwrap().0);
        let mut input = BytesMut::new();
        theirs.read(&mut input).await.unwrap();
        assert_eq!(&input[..], b"first");
        let Stream::Tcp(socket) = &ours else {
            unreachable!()
        };
        assert!(socket.nodelay().unwrap());
    });
}

#[test]
fn failures_have_their_reason() {
    let folder = std::env::temp_dir();
    let stale = folder.join(format!("portcullis-connect-{}.sock", std::process::id()));
    drop(UnixListener::bind(&stale).unwrap());
    let rows = [
        ("refused", ResolvedAddress::Socket(free_address()), LONG),
        ("refused", ResolvedAddress::Unix(stale.clone()), LONG),
        (
            "not_found",
            ResolvedAddress::Unix(PathBuf::from("/nowhere/at/all")),
            LONG,
        ),
        (
            "unreachable",
            ResolvedAddress::Socket("255.255.255.255:1".parse().unwrap()),
            LONG,
        ),
    ];
    for (expected, address, timeout) in rows {
        let result = run(connect(&address, timeout, &SocketOptions::default()));
        assert_eq!(result.unwrap_err().label(), expected, "{address}");
    }
    std::fs::remove_file(stale).unwrap();
}

#[test]
fn a_full_queue_times_out() {
    run(async {
        // A queue of one that nobody empties: further connects get no answer.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let address = ResolvedAddress::Socket(address);
        let options = SocketOptions::default();
        let mut open = Vec::new();
        let error = loop {
            match connect(&address, Duration::from_millis(20), &options).await {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ConnectError::TimedOut);
    });
}

#[test]
fn system_errors() {
    let rows = [
        (Errno::CONNREFUSED, ConnectError::Refused),
        (Errno::AGAIN, ConnectError::Refused),
        (Errno::HOSTUNREACH, ConnectError::Unreachable),
        (Errno::MFILE, ConnectError::DescriptorLimit),
        (Errno::ADDRNOTAVAIL, ConnectError::NoLocalPort),
        (Errno::ACCESS, ConnectError::Denied),
        (Errno::CONNRESET, ConnectError::Reset),
        (Errno::IO, ConnectError::Other),
    ];
    for (errno, expected) in rows {
        assert_eq!(ConnectError::from(&io::Error::from(errno)), expected);
    }
    assert!(ConnectError::DescriptorLimit.is_local());
    assert!(!ConnectError::Refused.is_local());
}
