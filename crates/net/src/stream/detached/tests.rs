//! Streams that change their thread, and what is seen of idle ones.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::stream::Idle;
use crate::tls::TlsStream;

const KINDS: [&str; 3] = ["tcp", "unix", "tls"];

const fn can_move<T: Send>() {}
const _: () = can_move::<Stream>();
const _: () = can_move::<Detached>();

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

fn plain(kind: &str) -> (Stream, Stream) {
    if kind == "unix" {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        return (near.into(), far.into());
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let stream = |socket: TcpStream| {
        socket.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(socket).unwrap().into()
    };
    (stream(near), stream(far))
}

/// A connection of each kind: `tls` is after its handshake.
async fn pair(kind: &str) -> (Stream, Stream) {
    if kind != "tls" {
        return plain(kind);
    }
    let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("origin.test").unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    let (near, far) = plain("tcp");
    let mut near = TlsStream::new(near, client, b"").unwrap();
    let mut far = TlsStream::new(far, server, b"").unwrap();
    let (near_done, far_done) = tokio::join!(near.handshake(), far.handshake());
    near_done.unwrap();
    far_done.unwrap();
    let (near, far) = (Stream::from(near), Stream::from(far));
    assert_eq!(near.peer_certificate(), Some(&**made.cert.der()));
    assert_eq!(far.peer_certificate(), None);
    (near, far)
}

/// Waits until an idle stream is quiet no more. A runtime may have heard of what was read meanwhile.
async fn news(stream: &mut Stream) -> Idle {
    loop {
        std::future::poll_fn(|cx| stream.poll_read_ready(cx))
            .await
            .unwrap();
        match stream.idle_state() {
            Idle::Quiet => tokio::task::yield_now().await,
            seen => return seen,
        }
    }
}

/// Attaches the stream on a thread of its own, answers `heard` with `answer` there, and gives it back.
fn elsewhere(detached: Detached, heard: &'static [u8], answer: &'static [u8]) -> Detached {
    let other = std::thread::spawn(move || {
        run(async {
            let mut stream = detached.attach().unwrap();
            let mut input = BytesMut::new();
            while input.len() < heard.len() {
                stream.read(&mut input).await.unwrap();
            }
            assert_eq!(&input[..], heard);
            stream.write_all(answer).await.unwrap();
            stream.detach().unwrap()
        })
    });
    other.join().unwrap()
}

#[test]
fn a_stream_goes_on_where_it_is_attached() {
    for kind in KINDS {
        run(async {
            let (mut near, mut far) = pair(kind).await;
            far.write_all(b"question").await.unwrap();
            // An encrypted stream takes along what is decrypted already.
            let mut input = BytesMut::new();
            let read = std::future::poll_fn(|cx| near.poll_read_at_most(cx, &mut input, 1));
            assert_eq!(read.await.unwrap(), 1, "{kind}");
            let detached = elsewhere(near.detach().unwrap(), b"uestion", b"answer");
            input.clear();
            far.read(&mut input).await.unwrap();
            assert_eq!(&input[..], b"answer", "{kind}");

            far.write_all(b"while it was on no runtime").await.unwrap();
            let mut near = detached.attach().unwrap();
            input.clear();
            near.read(&mut input).await.unwrap();
            assert_eq!(&input[..], b"while it was on no runtime", "{kind}");
            drop(near);
            input.clear();
            assert_eq!(
                far.read(&mut input).await.unwrap(),
                0,
                "{kind}: an orderly end"
            );
        });
    }
}

#[test]
fn a_stream_that_stays_detached_is_closed() {
    for kind in KINDS {
        run(async {
            let (near, mut far) = pair(kind).await;
            drop(near.detach().unwrap());
            let mut input = BytesMut::new();
            let end = far.read(&mut input).await;
            // TLS says the difference between an end and a cut.
            assert_eq!(end.is_err(), kind == "tls", "{kind}: {end:?}");
        });
    }
}

#[test]
fn what_is_seen_of_an_idle_stream() {
    for kind in KINDS {
        run(async {
            let (mut near, mut far) = pair(kind).await;
            assert_eq!(near.idle_state(), Idle::Quiet, "{kind}");
            far.write_all(b"!").await.unwrap();
            assert_eq!(news(&mut near).await, Idle::Bytes, "{kind}");
            assert_eq!(near.idle_state(), Idle::Bytes, "{kind}: they stay");
            let mut input = BytesMut::new();
            near.read(&mut input).await.unwrap();
            assert_eq!(&input[..], b"!", "{kind}");
            assert_eq!(near.idle_state(), Idle::Quiet, "{kind}");

            let mut near = near.detach().unwrap().attach().unwrap();
            assert_eq!(near.idle_state(), Idle::Quiet, "{kind}: on another runtime");
            drop(far);
            assert_eq!(news(&mut near).await, Idle::Ended, "{kind}");
            assert!(!near.is_alive(), "{kind}");
        });
    }
}

#[test]
fn nothing_is_asked_of_the_system_before_the_runtime_has_heard() {
    for kind in ["tcp", "unix"] {
        run(async {
            let (mut near, mut far) = pair(kind).await;
            far.write_all(b"!").await.unwrap();
            while near.peek().is_err() {
                std::thread::yield_now();
            }
            // The kernel knows, but this thread has not waited for events.
            assert_eq!(near.idle_state(), Idle::Quiet, "{kind}");
            assert!(!near.is_alive(), "{kind}");
            assert_eq!(news(&mut near).await, Idle::Bytes, "{kind}");
        });
    }
}
