//! Encrypted streams over real sockets on loopback, with a certificate made for the test.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

struct Peers {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Peers {
    fn new(version: &'static rustls::SupportedProtocolVersion) -> Self {
        let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    }

    fn connection(&self, name: &str) -> ClientConnection {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        ClientConnection::new(Arc::clone(&self.client), name).unwrap()
    }

    /// A client and a server, after their handshake.
    async fn pair(&self) -> (Stream, Stream) {
        let (near, far) = UnixStream::pair().unwrap();
        let mut near = TlsStream::new(near.into(), self.connection("origin.test"), b"").unwrap();
        let server = ServerConnection::new(Arc::clone(&self.server)).unwrap();
        let mut far = TlsStream::new(far.into(), server, b"").unwrap();
        let (client, server) = tokio::join!(near.handshake(), far.handshake());
        client.unwrap();
        server.unwrap();
        // Tickets are there already: whoever closes a socket over unread bytes resets it.
        assert!(near.is_alive());
        (near.into(), far.into())
    }
}

fn versions() -> [(&'static str, Peers); 2] {
    [
        ("1.2", Peers::new(&rustls::version::TLS12)),
        ("1.3", Peers::new(&rustls::version::TLS13)),
    ]
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

/// The plain socket under a stream, for what an attacker on the way would do.
fn cut(stream: Stream) -> UnixStream {
    let Stream::Tls(tls) = stream else {
        unreachable!()
    };
    let fd = tls.socket().as_fd().try_clone_to_owned().unwrap();
    tls.aborted.set(true);
    drop(tls);
    let socket = std::os::unix::net::UnixStream::from(fd);
    UnixStream::from_std(socket).unwrap()
}

#[test]
fn both_ends_agree_and_talk() {
    run(async {
        for (version, peers) in versions() {
            let (mut near, mut far) = peers.pair().await;
            assert_eq!(near.alpn(), Some(&b"http/1.1"[..]), "{version}");
            assert_eq!(far.alpn(), near.alpn(), "{version}");
            assert!(near.is_encrypted(), "{version}");
            Stream::write_all(&mut near, b"hello").await.unwrap();
            let mut input = BytesMut::new();
            assert_eq!(Stream::read(&mut far, &mut input).await.unwrap(), 5);
            assert_eq!(&input[..], b"hello", "{version}");
        }
    });
}

#[test]
fn an_orderly_end_is_one_and_another_is_not() {
    run(async {
        for (version, peers) in versions() {
            for row in ["shutdown", "drop", "cut", "behind data"] {
                let (mut near, mut far) = peers.pair().await;
                let mut input = BytesMut::new();
                match row {
                    "shutdown" => poll_fn(|cx| near.poll_shutdown(cx)).await.unwrap(),
                    "drop" => drop(near),
                    "cut" => drop(cut(near)),
                    _ => {
                        Stream::write_all(&mut near, b"half").await.unwrap();
                        drop(cut(near));
                        assert_eq!(Stream::read(&mut far, &mut input).await.unwrap(), 4);
                    }
                }
                let end = Stream::read(&mut far, &mut input).await;
                let end = end.map_err(|error| error.kind());
                let expected = match row {
                    "shutdown" | "drop" => Ok(0),
                    _ => Err(io::ErrorKind::UnexpectedEof),
                };
                assert_eq!(end, expected, "{version} {row}");
                let again = Stream::read(&mut far, &mut input).await;
                assert_eq!(again.map_err(|e| e.kind()), expected, "{version} {row}");
            }
        }
    });
}

#[test]
fn the_other_direction_goes_on_after_an_end() {
    run(async {
        for (version, peers) in versions() {
            let (mut near, mut far) = peers.pair().await;
            poll_fn(|cx| near.poll_shutdown(cx)).await.unwrap();
            let mut input = BytesMut::new();
            assert_eq!(Stream::read(&mut far, &mut input).await.unwrap(), 0);
            Stream::write_all(&mut far, b"still here").await.unwrap();
            Stream::read(&mut near, &mut input).await.unwrap();
            assert_eq!(&input[..], b"still here", "{version}");
        }
    });
}

#[test]
fn what_is_not_asked_for_waits_and_is_no_idle_connection() {
    run(async {
        for (version, peers) in versions() {
            let (mut near, mut far) = peers.pair().await;
            assert!(near.is_alive(), "{version}: tickets are no data");
            Stream::write_all(&mut far, &[7; 10_000]).await.unwrap();
            let mut input = BytesMut::new();
            let read = poll_fn(|cx| near.poll_read_at_most(cx, &mut input, 100)).await;
            assert_eq!(read.unwrap(), 100, "{version}");
            poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
            assert!(!near.is_alive(), "{version}: decrypted data waits");
            while input.len() < 10_000 {
                let read = poll_fn(|cx| near.poll_read_at_most(cx, &mut input, 999)).await;
                assert!(read.unwrap() <= 999, "{version}");
            }
            assert!(near.is_alive(), "{version}");
            drop(far);
            assert!(!near.is_alive(), "{version}: ended");
        }
    });
}

#[test]
fn much_data_with_a_slow_reader_arrives_whole() {
    run(async {
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        for (version, peers) in versions() {
            let (mut near, mut far) = peers.pair().await;
            let write = async {
                let mut left = &data[..];
                while !left.is_empty() {
                    let (one, two) = left.split_at(left.len() / 3);
                    let slices = [IoSlice::new(one), IoSlice::new(b""), IoSlice::new(two)];
                    let count = poll_fn(|cx| near.poll_write_vectored(cx, &slices)).await;
                    left = &left[count.unwrap()..];
                }
                poll_fn(|cx| near.poll_shutdown(cx)).await.unwrap();
            };
            let read = async {
                let mut input = BytesMut::new();
                let mut limits = [1_000, 80_000, 17].into_iter().cycle();
                loop {
                    let limit = limits.next().unwrap();
                    let read = poll_fn(|cx| far.poll_read_at_most(cx, &mut input, limit)).await;
                    if read.unwrap() == 0 {
                        return input;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let ((), input) = tokio::join!(write, read);
            assert!(input == data, "{version}");
        }
    });
}

#[test]
fn nothing_written_is_forgotten_when_the_kernel_is_full() {
    run(async {
        for (version, peers) in versions() {
            let (mut near, mut far) = peers.pair().await;
            let piece = vec![9; 30_000];
            let mut sent = 0;
            while let Ok(count) = near.try_write(&piece) {
                sent += count;
            }
            // Without another write or read, no byte that was counted may stay behind: one that was not may.
            let mut received = BytesMut::new();
            while received.len() < sent {
                let read = poll_fn(|cx| far.poll_read(cx, &mut received));
                let write = poll_fn(|cx| near.poll_write_ready(cx));
                tokio::select! {
                    read = read => assert!(read.unwrap() > 0, "{version}"),
                    ready = write => {
                        ready.unwrap();
                        sent += near.try_write(&piece).unwrap_or(0);
                    }
                }
                if sent > 2_000_000 {
                    break;
                }
            }
            assert!(received.iter().all(|&byte| byte == 9), "{version}");
        }
    });
}

#[test]
fn garbage_is_refused_and_explained() {
    run(async {
        let peers = Peers::new(&rustls::version::TLS13);
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = TlsStream::new(near.into(), peers.connection("origin.test"), b"").unwrap();
        far.write_all(b"220 smtp.example.com ready\r\n")
            .await
            .unwrap();
        let refused = near.handshake().await.unwrap_err();
        assert!(matches!(refused, HandshakeError::Tls(_)), "{refused:?}");
        // The alert stands behind the hello.
        drop(near);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent[0], 22);
        assert_eq!(sent[sent.len() - 7], 21, "an alert is the last record");
    });
}

#[test]
fn a_wrong_name_is_refused_and_the_peer_hears_of_it() {
    run(async {
        for (version, peers) in versions() {
            let (near, far) = UnixStream::pair().unwrap();
            let mut near =
                TlsStream::new(near.into(), peers.connection("other.test"), b"").unwrap();
            let server = ServerConnection::new(Arc::clone(&peers.server)).unwrap();
            let mut far = TlsStream::new(far.into(), server, b"").unwrap();
            let (client, server) = tokio::join!(near.handshake(), async {
                let done = far.handshake().await;
                match done {
                    Ok(()) => far.receive_until_error().await,
                    Err(HandshakeError::Tls(error)) => error,
                    Err(HandshakeError::Io(error)) => panic!("{version}: {error}"),
                }
            });
            let client = client.unwrap_err();
            assert!(
                matches!(
                    client,
                    HandshakeError::Tls(rustls::Error::InvalidCertificate(_))
                ),
                "{version}: {client:?}"
            );
            assert!(
                matches!(server, rustls::Error::AlertReceived(_)),
                "{version}: {server:?}"
            );
        }
    });
}

impl TlsStream {
    async fn receive_until_error(&mut self) -> rustls::Error {
        let mut input = BytesMut::new();
        let read = poll_fn(|cx| polled(self.receive(Some(cx), &mut input, 100))).await;
        read.unwrap_err();
        self.fault.clone().unwrap()
    }
}

#[test]
fn bytes_read_before_belong_to_the_handshake() {
    run(async {
        let peers = Peers::new(&rustls::version::TLS13);
        let (near, far) = UnixStream::pair().unwrap();
        let mut near = TlsStream::new(near.into(), peers.connection("origin.test"), b"").unwrap();
        poll_fn(|cx| {
            assert!(near.poll_handshake(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let mut far = Stream::from(far);
        let mut hello = BytesMut::new();
        poll_fn(|cx| far.poll_read_at_most(cx, &mut hello, 100))
            .await
            .unwrap();
        let server = ServerConnection::new(Arc::clone(&peers.server)).unwrap();
        let mut far = TlsStream::new(far, server, &hello).unwrap();
        let (client, server) = tokio::join!(near.handshake(), far.handshake());
        client.unwrap();
        server.unwrap();
        let server = ServerConnection::new(Arc::clone(&peers.server)).unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let refused = TlsStream::new(socket.into(), server, b"GET / HTTP/1.1\r\n\r\n");
        assert!(matches!(refused, Err(HandshakeError::Tls(_))));
    });
}

#[test]
fn the_traits_of_tokio_do_the_same() {
    run(async {
        for (version, peers) in versions() {
            let (mut near, mut far) = peers.pair().await;
            let write = async {
                AsyncWriteExt::write_all(&mut near, &vec![5; 100_000])
                    .await
                    .unwrap();
                AsyncWriteExt::flush(&mut near).await.unwrap();
                AsyncWriteExt::shutdown(&mut near).await.unwrap();
            };
            let mut input = Vec::new();
            let ((), read) = tokio::join!(write, far.read_to_end(&mut input));
            assert_eq!(read.unwrap(), 100_000, "{version}");
            assert!(input.iter().all(|&byte| byte == 5), "{version}");
        }
    });
}
