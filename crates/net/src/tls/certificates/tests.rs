//! Which files can be used, and which certificate a name gets.

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// A folder with `NAME.pem` and `NAME.key` files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Located<PathBuf> {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.into()
    }

    fn pair(&self, file: &str, names: &[&str]) -> CertificateConfig {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        CertificateConfig {
            cert: self.write(&format!("{file}.pem"), certificate.pem()),
            key: self.write(&format!("{file}.key"), key.serialize_pem()),
        }
    }
}

fn load(config: &CertificateConfig) -> Result<Certificate, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Certificate::load(config, &provider).map_err(|error| error.reason)
}

#[test]
fn a_pair_says_what_it_serves() {
    let folder = Folder::new();
    let certificate = load(&folder.pair("a", &["A.example", "*.b.example", "10.0.0.1"])).unwrap();
    let names: Vec<&str> = certificate.names().collect();
    assert_eq!(names, ["a.example", "*.b.example"]);
    let expiry =
        SystemTime::UNIX_EPOCH + Duration::from_secs(certificate.not_after().try_into().unwrap());
    assert!(!certificate.is_expired(expiry));
    assert!(certificate.is_expired(expiry + Duration::from_secs(1)));
}

#[test]
fn what_cannot_be_used() {
    let folder = Folder::new();
    let [good, other] = [folder.pair("good", &["a"]), folder.pair("other", &["b"])];
    let broken = folder.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let torn = folder.write("torn.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
    let rows = [
        (
            "missing",
            folder.0.path().join("none").into(),
            good.key.clone(),
            "cannot read",
        ),
        (
            "a folder",
            folder.0.path().to_owned().into(),
            good.key.clone(),
            "not a file",
        ),
        (
            "empty",
            folder.write("empty.pem", ""),
            good.key.clone(),
            "holds no certificate",
        ),
        (
            "a key",
            good.key.clone(),
            good.key.clone(),
            "holds no certificate",
        ),
        ("garbage", broken, good.key.clone(), "not a certificate"),
        ("torn", torn, good.key.clone(), "PEM"),
        (
            "no key",
            good.cert.clone(),
            good.cert.clone(),
            "no private key",
        ),
        (
            "another's key",
            good.cert.clone(),
            other.key.clone(),
            "does not belong",
        ),
        (
            "too large",
            folder.write("large.pem", vec![b' '; LARGEST as usize + 1]),
            good.key.clone(),
            "larger than",
        ),
    ];
    for (row, cert, key, expected) in rows {
        let error = load(&CertificateConfig { cert, key }).unwrap_err();
        assert!(error.contains(expected), "{row}: {error}");
    }
}

#[test]
fn a_name_gets_its_certificate() {
    let folder = Folder::new();
    let sets: [&[&str]; 5] = [
        &["default.example"],
        &["a.example", "b.example"],
        &["*.example"],
        &["c.d.example"],
        &["a.example", "default.example"],
    ];
    let certificates: Vec<Certificate> = sets
        .iter()
        .enumerate()
        .map(|(index, names)| load(&folder.pair(&index.to_string(), names)).unwrap())
        .collect();
    let choice = CertificateChoice::new(&certificates);
    for (name, expected) in [
        (None, &[0, 4][..]),
        (Some("default.example"), &[0, 4]),
        (Some("a.example"), &[1, 4]),
        (Some("b.example"), &[1]),
        (Some("x.example"), &[2]),
        (Some("c.d.example"), &[3]),
        (Some("x.d.example"), &[0, 4]),
        (Some("example"), &[0, 4]),
        (Some("elsewhere"), &[0, 4]),
        (Some(".example"), &[2]),
    ] {
        let chosen = choice.candidates(name).iter().map(|chosen| {
            let is_chosen = |one: &Certificate| Arc::ptr_eq(&one.key, chosen);
            certificates.iter().position(is_chosen).unwrap()
        });
        assert_eq!(chosen.collect::<Vec<_>>(), expected, "{name:?}");
    }
}

#[test]
fn roots_are_authorities() {
    let folder = Folder::new();
    let pair = folder.pair("a", &["a"]);
    let roots = |file| parse_roots(file, &read(file).unwrap());
    assert_eq!(roots(&pair.cert).unwrap().len(), 1);
    assert!(
        roots(&pair.key)
            .unwrap_err()
            .reason
            .contains("no certificate")
    );
}
