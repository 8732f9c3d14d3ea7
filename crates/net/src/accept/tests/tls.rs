//! TLS that a session begins, on a gate that leaves it to the session.

use std::sync::Arc;

use portcullis_config::{Diagnostics, Source};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::tls::server::TlsFiles;
use crate::tls::{TlsRefusal, TlsStream};
use crate::{TlsOffer, TlsStart};

/// What a session tells: whether there was an offer, what was agreed on, and what the client said then.
type Told = Result<(Option<Box<[u8]>>, Option<Arc<[u8]>>, Vec<u8>), &'static str>;

struct Fixture {
    listener: Listener,
    files: TlsFiles,
    folder: TempDir,
    told: UnboundedReceiver<Told>,
}

impl Fixture {
    fn new(extra: &str) -> Self {
        let folder = TempDir::new().unwrap();
        put_pair(&folder);
        let path = folder.path().display();
        let text =
            format!("{{ certificates: [{{ cert: {path}/a.pem, key: {path}/a.key }}], {extra} }}");
        let source = Source::new("tls.yaml", text);
        let mut diagnostics = Diagnostics::new(&source);
        let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
        let config = node.read(&mut diagnostics).unwrap();
        let files = TlsFiles::load(&config, vec![b"tale".to_vec()], clock::now(), None).unwrap();
        let (tell, told) = unbounded_channel();
        let listener = Listener::new(ConnectionLimits::unlimited(), None, move |downstream| {
            spawn_session(session(downstream, tell.clone()));
        });
        let tls = Some(Arc::clone(files.shared()));
        listener.gate.set_tls(tls, TlsStart::ByProtocol);
        Self {
            listener,
            files,
            folder,
            told,
        }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.folder.path().join("a.pem")).unwrap()
    }

    fn client(&self, alpn: &[&str]) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("origin.test").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }

    /// Says `opening` in the clear, and goes on encrypted.
    async fn encrypted(&self, opening: &[u8], alpn: &[&str]) -> Option<Stream> {
        let mut plain = self.listener.connect().await;
        plain.write_all(opening).await.unwrap();
        let mut stream = TlsStream::new(plain, self.client(alpn), b"").unwrap();
        stream.handshake().await.ok()?;
        Some(stream.into())
    }

    fn refused(&self, reason: &str) -> u64 {
        let series = format!("portcullis_listener_refused_total{{reason=\"{reason}\"}}");
        self.listener.count(&series)
    }
}

fn put_pair(folder: &TempDir) {
    let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("a.pem"), made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_pem();
    std::fs::write(folder.path().join("a.key"), key).unwrap();
}

/// A conversation that begins TLS at `T`, or at a first byte that is TLS, and goes on without it otherwise.
async fn session(mut downstream: Downstream, tell: UnboundedSender<Told>) {
    let mut first = BytesMut::new();
    let read = poll_fn(|cx| downstream.stream.poll_read_at_most(cx, &mut first, 1));
    read.await.unwrap();
    let client = downstream.client_ip();
    let prefix = match &first[..] {
        b"T" => BytesMut::new(),
        b"\x16" => first,
        _ => return tell.send(Err("no TLS")).unwrap(),
    };
    let Some(offer) = downstream.starttls.take() else {
        return tell.send(Err("no offer")).unwrap();
    };
    let told = match offer.accept(downstream.stream, prefix, client).await {
        Ok((mut stream, info)) => {
            let mut input = BytesMut::new();
            stream.read(&mut input).await.unwrap();
            let info = Arc::unwrap_or_clone(info);
            Ok((info.alpn, info.local_certificate, input.to_vec()))
        }
        Err(refusal) => Err(refusal.label()),
    };
    tell.send(told).unwrap();
}

#[test]
fn a_session_begins_tls_where_it_likes() {
    on_worker(async {
        let mut f = Fixture::new("");
        let shown: Arc<[u8]> = Arc::from(&*f.certificate());
        let agreed = || Some(Box::from(&b"tale"[..]));
        for (row, opening, alpn, expected) in [
            ("when told to", &b"T"[..], &[][..], None),
            ("with ALPN", b"T", &["other", "tale"], agreed()),
            ("at once", b"", &["tale"], agreed()),
            ("at once, without ALPN", b"", &[], None),
        ] {
            let mut client = f.encrypted(opening, alpn).await.unwrap();
            client.write_all(b"hello").await.unwrap();
            let (alpn, certificate, input) = f.told.recv().await.unwrap().unwrap();
            assert_eq!(alpn, expected, "{row}");
            assert_eq!(certificate, Some(Arc::clone(&shown)), "{row}");
            assert_eq!(input, b"hello", "{row}");
        }
        let series = "portcullis_tls_handshakes_total{resumed=\"false\",version=\"1.3\"}";
        assert_eq!(f.listener.count(series), 4);

        let mut plain = f.listener.connect().await;
        plain.write_all(b"plain").await.unwrap();
        assert_eq!(f.told.recv().await.unwrap(), Err("no TLS"));

        put_pair(&f.folder);
        assert!(f.files.refresh(clock::wall())[0].result.is_ok());
        let shown: Arc<[u8]> = Arc::from(&*f.certificate());
        let mut client = f.encrypted(b"T", &[]).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let (_, certificate, _) = f.told.recv().await.unwrap().unwrap();
        assert_eq!(certificate, Some(shown), "another file");

        f.listener.gate.set_tls(None, TlsStart::ByProtocol);
        let mut plain = f.listener.connect().await;
        plain.write_all(b"T").await.unwrap();
        assert_eq!(f.told.recv().await.unwrap(), Err("no offer"));
    });
}

#[test]
fn refusals_are_counted_as_those_of_the_gate() {
    on_worker(async {
        let mut f = Fixture::new("limits: { handshakes: 1, per_client: 3/h }");
        assert!(f.encrypted(b"T", &["other"]).await.is_none());
        assert_eq!(f.told.recv().await.unwrap(), Err("tls_no_alpn"));
        assert_eq!(f.refused("tls_no_alpn"), 1);

        let mut client = f.listener.connect().await;
        client
            .write_all(b"Tthis was sent in the clear")
            .await
            .unwrap();
        assert_eq!(f.told.recv().await.unwrap(), Err("tls_bad_client_hello"));
        assert_eq!(f.refused("tls_bad_client_hello"), 1);

        let mut slow = f.listener.connect().await;
        slow.write_all(b"T").await.unwrap();
        while f.files.shared().in_flight() == 0 {
            yield_now().await;
        }
        assert!(f.encrypted(b"T", &[]).await.is_none());
        assert_eq!(f.told.recv().await.unwrap(), Err(TlsRefusal::Rate.label()));
        drop(slow);
        assert_eq!(
            f.told.recv().await.unwrap(),
            Err(TlsRefusal::Closed.label())
        );
        assert_eq!(f.refused("tls_handshake_rate"), 1);
        assert_eq!(f.refused("tls_closed"), 1);
        assert_eq!(f.files.shared().in_flight(), 0);
        let active = "portcullis_tls_handshakes_active";
        assert_eq!(f.listener.count(active), 0);
    });
}

#[test]
fn an_offer_that_nobody_takes_costs_nothing() {
    const fn is_small<T>() -> bool {
        size_of::<T>() <= size_of::<usize>()
    }
    assert!(is_small::<Option<TlsOffer>>());
}
