//! What a change of files does, and who may begin a handshake.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_config::{Diagnostics, Source};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::tls::TlsRefusal;
use crate::tls::config::TlsConfig;

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: TempDir::new().unwrap(),
        };
        files.put_pair("a", "a.example");
        files.put_roots();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put_pair(&self, file: &str, name: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn put_roots(&self) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let roots = parameters.self_signed(&key).unwrap();
        std::fs::write(self.path("roots.pem"), roots.pem()).unwrap();
    }

    fn config(&self, extra: &str) -> TlsConfig {
        let folder = self.folder.path().display();
        let text = format!(
            "{{ certificates: [{{ cert: {folder}/a.pem, key: {folder}/a.key }}], {extra} }}"
        )
        .replace("ROOTS", &format!("{folder}/roots.pem"));
        let source = Source::new("tls.yaml", text);
        let mut diagnostics = Diagnostics::new(&source);
        let node = portcullis_config::load(&source, &|_| None, &mut diagnostics).unwrap();
        let config = node.read(&mut diagnostics);
        config.unwrap_or_else(|| panic!("{diagnostics}"))
    }

    fn load(&self, extra: &str) -> TlsFiles {
        let config = self.config(extra);
        TlsFiles::load(&config, Vec::new(), clock::now(), None).unwrap()
    }
}

fn names(files: &TlsFiles) -> Vec<String> {
    let certificates = files.certificates();
    let names = certificates.flat_map(|one| one.certificate.names().map(str::to_owned));
    names.collect()
}

/// Which configuration a handshake would get now.
fn current(files: &TlsFiles) -> Arc<rustls::ServerConfig> {
    files.shared().begin(None, clock::now()).unwrap().config
}

#[test]
fn f4_an_unusable_pair_keeps_the_old_one() {
    let folder = Files::new();
    let mut files = folder.load("");
    let now = clock::wall();
    let before = current(&files);
    assert!(files.refresh(now).is_empty(), "nothing has changed");
    assert!(Arc::ptr_eq(&before, &current(&files)));

    std::fs::write(folder.path("a.pem"), "half a certif").unwrap();
    let news = files.refresh(now);
    assert_eq!(news.len(), 1);
    assert!(news[0].result.is_err());
    assert_eq!(names(&files), ["a.example"]);
    assert!(Arc::ptr_eq(&before, &current(&files)));
    assert!(files.refresh(now).is_empty(), "said once");

    std::fs::remove_file(folder.path("a.key")).unwrap();
    assert_eq!(files.refresh(now).len(), 1, "gone is news");
    assert!(files.refresh(now).is_empty(), "said once");

    folder.put_pair("a", "b.example");
    let news = files.refresh(now);
    assert!(news[0].result.is_ok(), "{:?}", news[0].result);
    assert_eq!(names(&files), ["b.example"]);
    assert!(!Arc::ptr_eq(&before, &current(&files)));
}

#[test]
fn an_expired_certificate_takes_nobody_s_place() {
    let folder = Files::new();
    let mut files = folder.load("");
    folder.put_pair("a", "b.example");
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    let news = files.refresh(far);
    let error = news[0].result.as_ref().unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    assert_eq!(names(&files), ["a.example"]);
}

#[test]
fn s3_tickets_last_as_long_as_the_rules_for_clients() {
    let folder = Files::new();
    let rules = "client_certificates: { mode: required, roots: ROOTS }";
    let mut files = folder.load(rules);
    let ticketer = |files: &TlsFiles| Arc::as_ptr(&current(files).ticketer).cast::<u8>();
    let first = ticketer(&files);

    folder.put_pair("a", "b.example");
    assert!(files.refresh(clock::wall())[0].result.is_ok());
    assert_eq!(
        ticketer(&files),
        first,
        "another certificate, the same rules"
    );

    let config = folder.config(&format!("{rules}, handshake_timeout: 3s"));
    let again = TlsFiles::load(&config, Vec::new(), clock::now(), Some(&files)).unwrap();
    assert_eq!(ticketer(&again), first, "another timeout, the same rules");

    for other in [
        "client_certificates: { mode: optional, roots: ROOTS }",
        "client_certificates: { mode: required, roots: ROOTS, san: [a] }",
        "session_tickets: true",
    ] {
        let config = folder.config(other);
        let other_files = TlsFiles::load(&config, Vec::new(), clock::now(), Some(&files)).unwrap();
        assert_ne!(ticketer(&other_files), first, "{other}");
    }

    folder.put_roots();
    let news = files.refresh(clock::wall());
    assert!(news.iter().all(|news| news.result.is_ok()), "{news:?}");
    assert_ne!(ticketer(&files), first, "other roots");

    let none = folder.load("session_tickets: false");
    assert!(!current(&none).ticketer.enabled());
    assert_eq!(current(&none).send_tls13_tickets, 0);
}

#[test]
fn s2_handshakes_are_bounded() {
    let folder = Files::new();
    let files = folder.load("limits: { handshakes: 2, per_client: 3/h }");
    let tls = files.shared();
    let now = clock::now();
    let client = |text: &str| Some(text.parse::<IpAddr>().unwrap());

    let first = tls.begin(client("192.0.2.1"), now).unwrap();
    let _second = tls.begin(client("192.0.2.1"), now).unwrap();
    let refused = tls.begin(client("192.0.2.2"), now).unwrap_err();
    assert_eq!(refused, TlsRefusal::InFlight);
    drop(first);
    assert_eq!(tls.in_flight(), 1);
    drop(tls.begin(client("192.0.2.1"), now).unwrap());
    let refused = tls.begin(client("192.0.2.1"), now).unwrap_err();
    assert_eq!(refused, TlsRefusal::Rate);

    for (row, address, allowed) in [
        ("a neighbour", "192.0.2.3", true),
        ("the same in IPv6", "::ffff:192.0.2.1", false),
        ("one of a /64", "2001:db8::1", true),
        ("the second", "2001:db8::2", true),
        ("the third", "2001:db8::3", true),
        ("too many of a /64", "2001:db8::4", false),
        ("another /64", "2001:db8:0:1::1", true),
    ] {
        let began = tls.begin(client(address), now);
        assert_eq!(began.is_ok(), allowed, "{row}");
    }
    drop(tls.begin(None, now).unwrap());
}
