//! TLS that begins after something was said in the clear.

use portcullis_config::{Diagnostics, Source};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;
use crate::tls::upstream::ClientTlsFiles;

const TALE: AlpnOffer = AlpnOffer::Named(&[b"tale"]);

/// An endpoint that answers one byte with `answer` and then expects TLS.
struct Peer {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    cluster: Arc<ClusterShared>,
    certificate: Vec<u8>,
}

impl Peer {
    async fn new(cluster: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
        let folder = TempDir::new().unwrap();
        let roots = folder.path().join("ca.pem");
        std::fs::write(&roots, made.cert.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = format!("endpoints: ['{address}']\n{cluster}\n");
        let text = text.replace("ROOTS", roots.to_str().unwrap());
        let source = Source::new("test.yaml", text);
        let mut diagnostics = Diagnostics::new(&source);
        let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
        let config: Arc<ClusterConfig> = Arc::new(node.read(&mut diagnostics).unwrap());
        let files = ClientTlsFiles::load(&config).unwrap();
        let transport = files.map(|files| Transport::new(Arc::clone(files.shared())));
        let endpoint = ResolvedEndpoint {
            name: address.to_string().into(),
            address: ResolvedAddress::Socket(address),
            weight: 1,
            role: None,
        };
        let now = crate::clock::now();
        let cluster = ClusterShared::with_transport("db", config, transport, [endpoint], now);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"tale".to_vec()];
        Self {
            listener,
            tls: Arc::new(tls),
            cluster,
            certificate: made.cert.der().to_vec(),
        }
    }

    /// Its side of one connection: what came first, in the clear.
    async fn serve(&self, answer: &[u8]) -> Vec<u8> {
        let mut plain = Stream::from(self.listener.accept().await.unwrap().0);
        let mut first = BytesMut::new();
        while !first.ends_with(b"S") {
            plain.read(&mut first).await.unwrap();
        }
        plain.write_all(answer).await.unwrap();
        let server = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        let mut stream = TlsStream::new(plain, server, &[]).unwrap();
        if stream.handshake().await.is_ok() {
            Stream::from(stream).write_all(b"hello").await.unwrap();
        }
        first.to_vec()
    }

    /// Our side: asks, reads one byte, and begins.
    async fn connect(&self, offer: AlpnOffer) -> Result<Stream, ConnectError> {
        let endpoint = Arc::clone(&self.cluster.set().endpoints()[0]);
        let mut stream = to_endpoint_plain(&*self.cluster, &endpoint, None).await?;
        assert!(!stream.is_encrypted());
        stream.write_all(b"S").await.unwrap();
        let mut answer = BytesMut::new();
        let read = std::future::poll_fn(|cx| stream.poll_read_at_most(cx, &mut answer, 1));
        assert_eq!(read.await.unwrap(), 1);
        encrypt(&*self.cluster, &endpoint, stream, offer).await
    }
}

const TLS: &str = "tls: { roots: ROOTS, sni: origin.test }";

#[test]
fn tls_begins_after_a_word_in_the_clear() {
    run(async {
        for (row, extra, offer, agreed, first) in [
            ("a name", "", TALE, Some(&b"tale"[..]), &b"S"[..]),
            ("no name", "", AlpnOffer::None, None, b"S"),
            (
                "behind a PROXY header",
                "proxy_protocol: v1",
                TALE,
                Some(b"tale"),
                b"PROXY UNKNOWN\r\nS",
            ),
        ] {
            let peer = Peer::new(&format!("{TLS}\n{extra}")).await;
            let (ours, theirs) = tokio::join!(peer.connect(offer), peer.serve(b"S"));
            let mut ours = ours.unwrap();
            assert_eq!(theirs, first, "{row}");
            assert_eq!(ours.alpn(), agreed, "{row}");
            assert_eq!(
                ours.peer_certificate(),
                Some(&peer.certificate[..]),
                "{row}"
            );
            let mut input = BytesMut::new();
            ours.read(&mut input).await.unwrap();
            assert_eq!(&input[..], b"hello", "{row}");
        }
    });
}

#[test]
fn what_comes_in_the_clear_is_never_taken_for_what_is_encrypted() {
    run(async {
        let peer = Peer::new(TLS).await;
        let (ours, _) = tokio::join!(peer.connect(TALE), peer.serve(b"Sinjected on the way"));
        assert_eq!(ours.unwrap_err(), ConnectError::TlsHandshake);
    });
}

#[test]
fn tls_that_there_is_not_or_is_already() {
    run(async {
        let peer = Peer::new("").await;
        let (ours, _) = tokio::join!(peer.connect(TALE), async {
            let mut plain = Stream::from(peer.listener.accept().await.unwrap().0);
            plain.write_all(b"S").await.unwrap();
            plain
        });
        assert_eq!(ours.unwrap_err(), ConnectError::TlsUnavailable);

        let peer = Peer::new(TLS).await;
        let (ours, _) = tokio::join!(peer.connect(TALE), peer.serve(b"S"));
        let endpoint = Arc::clone(&peer.cluster.set().endpoints()[0]);
        let twice = encrypt(&*peer.cluster, &endpoint, ours.unwrap(), TALE).await;
        assert_eq!(twice.unwrap_err(), ConnectError::TlsUnavailable);
    });
}
