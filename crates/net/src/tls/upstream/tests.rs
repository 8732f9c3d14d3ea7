//! Files of a cluster's TLS, and handshakes with what is made of them.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use portcullis_cluster::ClusterConfig;
use portcullis_config::{Diagnostics, Source};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::*;
use crate::tls::{HandshakeError, TlsStream};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name: in PEM form, with its key.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn config(text: &str) -> ClusterConfig {
    let source = Source::new("test.yaml", text);
    let mut diagnostics = Diagnostics::new(&source);
    let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
    let config = node.read(&mut diagnostics);
    config.unwrap_or_else(|| panic!("{}", diagnostics.render(false)))
}

fn load(folder: &Path, tls: &str) -> Result<ClientTlsFiles, Vec<String>> {
    let tls = tls.replace("DIR", folder.to_str().unwrap());
    let config = config(&format!("endpoints: ['origin.test:443']\ntls: {tls}\n"));
    match ClientTlsFiles::load(&config) {
        Ok(files) => Ok(files.unwrap()),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

fn server(authority: &Authority, wants_certificate: bool, alpn: &[&str]) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["origin.test".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if wants_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = builder
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What came of a handshake on both sides, and the streams.
type Met = (
    Result<(), HandshakeError>,
    Result<(), HandshakeError>,
    TlsStream,
    TlsStream,
);

fn meet(tls: &ClientTls, offer: AlpnOffer, server: &Arc<ServerConfig>) -> Met {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let (near, far) = UnixStream::pair().unwrap();
            let client = tls.connection("origin.test:443", offer).unwrap();
            let mut near = TlsStream::new(near.into(), client, &[]).unwrap();
            let server = ServerConnection::new(Arc::clone(server)).unwrap();
            let mut far = TlsStream::new(far.into(), server, &[]).unwrap();
            let (client, server) = tokio::join!(near.handshake(), far.handshake());
            (client, server, near, far)
        })
}

#[test]
fn what_cannot_be_used_is_said_all_at_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let authority = authority();
    let (pem, key) = issue(&authority, "client.test");
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    fs::write(folder.join("client.pem"), pem).unwrap();
    fs::write(folder.join("client.key"), &key).unwrap();
    fs::write(folder.join("other.key"), issue(&authority, "x").1).unwrap();
    let good =
        "{ roots: DIR/ca.pem, client_certificate: { cert: DIR/client.pem, key: DIR/client.key } }";
    let files = load(folder, good).unwrap();
    assert_eq!(files.paths().count(), 3);
    assert_eq!(files.certificate().unwrap().0, folder.join("client.pem"));
    for (row, tls, expected) in [
        ("no file", "{ roots: DIR/none.pem }", &["cannot read"][..]),
        ("no roots", "{ roots: DIR/client.key }", &["no certificate"]),
        (
            "a bad name",
            "{ roots: DIR/ca.pem, sni: 'a b' }",
            &["no name for TLS"],
        ),
        (
            "a bad pattern",
            "{ roots: DIR/ca.pem, san: ['a*b'] }",
            &["'*'"],
        ),
        (
            "another's key",
            "{ roots: DIR/ca.pem, client_certificate: { cert: DIR/client.pem, key: DIR/other.key } }",
            &["does not belong"],
        ),
        (
            "two things",
            "{ roots: DIR/none.pem, sni: '' }",
            &["no name for TLS", "cannot read"],
        ),
    ] {
        let errors = load(folder, tls).unwrap_err();
        assert_eq!(errors.len(), expected.len(), "{row}: {errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(expected), "{row}: {error}");
        }
    }
}

#[test]
fn handshakes_as_configured() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (ours, other) = (authority(), authority());
    let (pem, key) = issue(&ours, "client.test");
    fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    fs::write(folder.join("both.pem"), format!("{pem}{key}")).unwrap();
    let plain = server(&ours, false, &["h2", "http/1.1"]);
    let strange = server(&other, false, &[]);
    let asking = server(&ours, true, &[]);
    let trusting = "{ roots: DIR/ca.pem }";
    let proving =
        "{ roots: DIR/ca.pem, client_certificate: { cert: DIR/both.pem, key: DIR/both.pem } }";
    for (row, tls, offer, server, expected) in [
        (
            "HTTP/1",
            trusting,
            AlpnOffer::Http1,
            &plain,
            Ok(Some("http/1.1")),
        ),
        ("HTTP/2", trusting, AlpnOffer::Http2, &plain, Ok(Some("h2"))),
        (
            "any HTTP",
            trusting,
            AlpnOffer::AnyHttp,
            &plain,
            Ok(Some("h2")),
        ),
        ("no ALPN", trusting, AlpnOffer::None, &plain, Ok(None)),
        (
            "another offer",
            "{ roots: DIR/ca.pem, alpn: [http/1.1] }",
            AlpnOffer::AnyHttp,
            &plain,
            Ok(Some("http/1.1")),
        ),
        (
            "nothing in common",
            "{ roots: DIR/ca.pem, alpn: [mqtt] }",
            AlpnOffer::None,
            &plain,
            Err("NoApplicationProtocol"),
        ),
        (
            "a stranger",
            trusting,
            AlpnOffer::None,
            &strange,
            Err("InvalidCertificate"),
        ),
        (
            "a stranger for everybody",
            "{ danger_accept_invalid_certificates: true }",
            AlpnOffer::None,
            &strange,
            Ok(None),
        ),
        (
            "another name",
            "{ roots: DIR/ca.pem, sni: other.test }",
            AlpnOffer::None,
            &plain,
            Err("other.test"),
        ),
        (
            "a pattern",
            "{ roots: DIR/ca.pem, sni: other.test, san: ['*.test'] }",
            AlpnOffer::None,
            &plain,
            Ok(None),
        ),
        ("a certificate", proving, AlpnOffer::None, &asking, Ok(None)),
    ] {
        let files = load(folder, tls).unwrap();
        let (client, _, near, _far) = meet(files.shared(), offer, server);
        match (client, expected) {
            (Ok(()), Ok(agreed)) => {
                let alpn = near.connection().alpn_protocol();
                assert_eq!(alpn, agreed.map(str::as_bytes), "{row}");
            }
            (Err(error), Err(expected)) => {
                let error = format!("{error:?} {error}");
                assert!(error.contains(expected), "{row}: {error}");
            }
            (result, _) => panic!("{row}: {result:?}"),
        }
    }
}

#[test]
fn what_can_be_spoken_after_a_handshake() {
    let (h2, h1, mqtt) = (Some(&b"h2"[..]), Some(&b"http/1.1"[..]), Some(&b"mqtt"[..]));
    for (offer, accepted, refused) in [
        (AlpnOffer::None, &[None, h2, h1, mqtt][..], &[][..]),
        (AlpnOffer::Http1, &[None, h1], &[h2, mqtt]),
        (AlpnOffer::Http2, &[h2], &[None, h1, mqtt]),
        (AlpnOffer::AnyHttp, &[None, h2, h1], &[mqtt]),
        (AlpnOffer::Named(&[b"mqtt"]), &[None, mqtt], &[h2, h1]),
    ] {
        assert!(
            accepted.iter().all(|agreed| offer.accepts(*agreed)),
            "{offer:?}"
        );
        assert!(
            !refused.iter().any(|agreed| offer.accepts(*agreed)),
            "{offer:?}"
        );
    }
}

#[test]
fn changed_files_take_effect_and_bad_ones_do_not() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (old, new) = (authority(), authority());
    let (pem, key) = issue(&new, "client.test");
    let both = format!("{pem}{key}");
    fs::write(folder.join("ca.pem"), old.pem()).unwrap();
    fs::write(
        folder.join("both.pem"),
        issue(&old, "x").0 + &issue(&old, "x").1,
    )
    .unwrap_or_default();
    let tls =
        "{ roots: DIR/ca.pem, client_certificate: { cert: DIR/both.pem, key: DIR/both.pem } }";
    assert!(load(folder, tls).is_err(), "a key of another certificate");
    fs::write(folder.join("both.pem"), &both).unwrap();
    let mut files = load(folder, tls).unwrap();
    let now = SystemTime::UNIX_EPOCH;
    assert!(files.refresh(now).is_empty());

    let server = server(&new, true, &[]);
    let shared = Arc::clone(files.shared());
    assert!(meet(&shared, AlpnOffer::None, &server).0.is_err());
    fs::write(folder.join("ca.pem"), "nonsense").unwrap();
    let news = files.refresh(now);
    assert_eq!(news.len(), 1);
    assert!(news[0].result.is_err());
    assert!(files.refresh(now).is_empty(), "said once");

    fs::write(folder.join("ca.pem"), new.pem()).unwrap();
    let news = files.refresh(now);
    assert!(news[0].result.is_ok());
    let (client, server_side, ..) = meet(&shared, AlpnOffer::None, &server);
    client.unwrap();
    server_side.unwrap();

    fs::remove_file(folder.join("both.pem")).unwrap();
    assert!(files.refresh(now)[0].result.is_err());
    assert!(
        meet(&shared, AlpnOffer::None, &server).1.is_ok(),
        "the old one stays"
    );
}

#[test]
fn sessions_are_taken_up_again_until_trust_changes() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (ours, other) = (authority(), authority());
    fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    let mut files = load(folder, "{ roots: DIR/ca.pem }").unwrap();
    let shared = Arc::clone(files.shared());
    let server = server(&ours, false, &[]);
    let kind = || {
        let (client, _, mut near, mut far) = meet(&shared, AlpnOffer::None, &server);
        client.unwrap();
        // Tickets come after the handshake.
        assert!(near.is_alive());
        far.is_alive();
        near.connection().handshake_kind().unwrap()
    };
    assert_eq!(kind(), rustls::HandshakeKind::Full);
    assert_eq!(kind(), rustls::HandshakeKind::Resumed);
    fs::write(folder.join("ca.pem"), ours.pem() + &other.pem()).unwrap();
    assert!(files.refresh(SystemTime::UNIX_EPOCH)[0].result.is_ok());
    assert_eq!(kind(), rustls::HandshakeKind::Full);
}
