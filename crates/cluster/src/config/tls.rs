//! TLS towards a cluster's endpoints.
//!
//! Typed and pure: files and names are only named here; whoever connects reads the ones and parses the others. Start at
//! [`UpstreamTls`].

use std::borrow::Cow;
use std::path::PathBuf;

use portcullis_config::{Diagnostics, Host, Located, TargetAddress};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::EndpointConfig;

/// TLS towards the endpoints. `tls: {}` verifies by the system's authorities and each endpoint's own name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// Which authorities are trusted: `system`, or the file with their certificates in PEM form. Default `system`.
    pub roots: Located<TrustedRoots>,
    /// The name that endpoints are asked for (SNI) and that their certificates must carry. Default: the host of each
    /// endpoint's address; an IP address is not sent, and its certificate must name that address. A Unix socket has no
    /// name of its own.
    pub sni: Option<Located<String>>,
    /// The application protocols to offer (ALPN), best first. Default: what goes through the cluster; `h2`, `http/1.1`
    /// and `h3` as `http.version` says, and none for TCP.
    pub alpn: Option<Located<Vec<Located<String>>>>,
    /// What the gateway proves itself with to endpoints that ask. Default: nothing.
    pub client_certificate: Option<ClientCertificate>,
    /// What one of a certificate's alternative names must match, in place of the name: a name, `*.corp` for all names below
    /// `corp`, or `spiffe://corp/*` for all URIs that begin so. Default: the name it is asked for decides.
    pub san: Located<Vec<Located<String>>>,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: UpstreamTlsVersion,
    /// Accepts every certificate: anybody on the way can read and change what is sent. For trying things out only; with
    /// a certificate of one's own, name it in `roots`. Default false.
    pub danger_accept_invalid_certificates: Located<bool>,
}

/// The authorities that may vouch for an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TrustedRoots {
    /// Those that the operating system trusts.
    #[default]
    System,
    /// Those in a file.
    File(PathBuf),
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The file with the certificate and those of its issuers, the root left out, in PEM form.
    pub cert: Located<PathBuf>,
    /// The file with the private key in PEM form: PKCS#8, SEC1 or PKCS#1. May be the same file.
    pub key: Located<PathBuf>,
}

/// The oldest version of TLS towards endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum UpstreamTlsVersion {
    /// TLS 1.2 (RFC 5246), with forward secrecy and authenticated encryption only.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

impl UpstreamTls {
    /// The name or address that an endpoint must prove to be; `None` for a Unix socket without `sni`.
    pub fn name_of<'a>(&'a self, address: &'a TargetAddress) -> Option<Cow<'a, str>> {
        if let Some(sni) = &self.sni {
            return Some(Cow::Borrowed(sni.as_str()));
        }
        match address {
            TargetAddress::Tcp { host, .. } => Some(match host {
                Host::Name(name) => Cow::Borrowed(name),
                Host::Address(address) => Cow::Owned(address.to_string()),
            }),
            TargetAddress::Unix(_) => None,
        }
    }
}

/// Reports what is wrong although it is well-formed. Files and names are looked at by whoever reads them.
pub(super) fn check(
    tls: &UpstreamTls,
    endpoints: &[Located<EndpointConfig>],
    diagnostics: &mut Diagnostics,
) {
    check_alpn(tls, diagnostics);
    for endpoint in endpoints {
        if tls.name_of(&endpoint.address).is_none() {
            diagnostics
                .error(
                    endpoint.span,
                    "TLS to a Unix socket needs a name to ask for",
                )
                .help("add `sni: NAME` to the tls block");
        }
    }
    let accepts_all = tls.danger_accept_invalid_certificates;
    if !accepts_all.value {
        return;
    }
    let unused = [
        (
            "roots",
            tls.roots.span,
            tls.roots.value != TrustedRoots::System,
        ),
        ("san", tls.san.span, !tls.san.is_empty()),
    ];
    for (key, span, is_set) in unused {
        if is_set {
            diagnostics
                .error(
                    span,
                    format!("{key} means nothing when every certificate is accepted"),
                )
                .also(accepts_all.span, "switched off here");
        }
    }
}

fn check_alpn(tls: &UpstreamTls, diagnostics: &mut Diagnostics) {
    let Some(alpn) = &tls.alpn else { return };
    if alpn.is_empty() {
        diagnostics
            .error(alpn.span, "an empty list agrees on nothing")
            .help("leave `alpn` out");
    }
    for name in alpn.iter() {
        let fits = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            diagnostics
                .error(name.span, "this cannot be an application protocol")
                .expected("a name such as h2 or http/1.1");
        }
    }
}

impl<'de> Deserialize<'de> for TrustedRoots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "system" => Self::System,
            _ => Self::File(text.into()),
        })
    }
}

impl JsonSchema for TrustedRoots {
    fn schema_name() -> Cow<'static, str> {
        "TrustedRoots".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["system", "/etc/ssl/ca.pem"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cluster_json};

    fn read(endpoint: &str, tls: &str) -> Result<UpstreamTls, String> {
        let text = format!(r#"{{"endpoints": ["{endpoint}"], "tls": {tls}}}"#);
        let (config, mut diagnostics) = testing::read(&text);
        if let Some(config) = &config {
            config.check(&mut diagnostics);
        }
        let tls = config.and_then(|config| config.tls);
        tls.filter(|_| diagnostics.is_empty())
            .ok_or_else(|| diagnostics.render(false))
    }

    #[test]
    fn defaults() {
        let tls = read("api.internal:443", "{}").unwrap();
        assert_eq!(tls, UpstreamTls::default());
        assert_eq!(tls.roots.value, TrustedRoots::System);
        assert!(!tls.danger_accept_invalid_certificates.value);
        let none = testing::config(&cluster_json(""));
        assert!(!none.has_tls());
        let tls = testing::config(&cluster_json(r#""tls": {}"#));
        assert!(tls.has_tls());
    }

    #[test]
    fn whom_an_endpoint_must_prove_to_be() {
        for (endpoint, tls, expected) in [
            ("api.internal:443", "{}", Some("api.internal")),
            ("10.0.0.1:443", "{}", Some("10.0.0.1")),
            ("[::1]:443", "{}", Some("::1")),
            (
                "10.0.0.1:443",
                r#"{"sni": "api.internal"}"#,
                Some("api.internal"),
            ),
            (
                "unix:/run/a",
                r#"{"sni": "api.internal"}"#,
                Some("api.internal"),
            ),
        ] {
            let tls = read(endpoint, tls).unwrap();
            let address = endpoint.parse().unwrap();
            assert_eq!(tls.name_of(&address).as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn what_is_accepted() {
        for tls in [
            r#"{"roots": "system"}"#,
            r#"{"roots": "ca.pem", "san": ["spiffe://corp/*", "*.corp"]}"#,
            r#"{"alpn": ["h2"], "min_version": "1.3"}"#,
            r#"{"client_certificate": {"cert": "a.pem", "key": "a.key"}}"#,
            r#"{"danger_accept_invalid_certificates": true}"#,
        ] {
            assert!(read("a:1", tls).is_ok(), "{tls}: {:?}", read("a:1", tls));
        }
    }

    #[test]
    fn what_is_refused() {
        for (endpoint, tls, expected) in [
            ("unix:/run/a", "{}", "needs a name"),
            ("a:1", r#"{"alpn": []}"#, "agrees on nothing"),
            ("a:1", r#"{"alpn": ["http 1"]}"#, "application protocol"),
            ("a:1", r#"{"min_version": "1.1"}"#, "1.2"),
            ("a:1", r#"{"client_certificate": {"cert": "a.pem"}}"#, "key"),
            ("a:1", r#"{"verify": false}"#, "verify"),
            (
                "a:1",
                r#"{"danger_accept_invalid_certificates": true, "roots": "ca.pem"}"#,
                "means nothing",
            ),
            (
                "a:1",
                r#"{"danger_accept_invalid_certificates": true, "san": ["a"]}"#,
                "means nothing",
            ),
        ] {
            let error = read(endpoint, tls).unwrap_err();
            assert!(error.contains(expected), "{tls}: {error}");
        }
    }
}
