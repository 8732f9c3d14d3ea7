//! What a listener's configuration says about TLS.
//!
//! Typed and pure: files are named here and read in `certificates`. Start at [`TlsConfig`].

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;

use portcullis_config::{Diagnostics, Duration, Located, Rate};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::SanPattern;

/// TLS, ended here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificates, at least one. Each serves the names that it carries (its DNS alternative names; one label may be
    /// `*`); a client that asks for another name, or for none, gets the first. Several for the same name, such as one
    /// with an ECDSA and one with an RSA key, are chosen by what the client can verify.
    pub certificates: Located<Vec<CertificateConfig>>,
    /// The oldest version that is spoken. Default 1.2, which all clients of the last decade have; older ones are not
    /// supported at all.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Whether clients show certificates. Default: they are not asked.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificatesConfig>,
    /// The application protocols to agree on (ALPN), best first. Default: those of the listener's protocol. A client that
    /// offers some, and none of these, is refused; one that offers none is served.
    #[serde(default)]
    pub alpn: Option<Located<Vec<Located<AlpnName>>>>,
    /// How long a handshake may take. Default 10s: several round trips with lost packets on a bad mobile line, and short
    /// enough that clients who say nothing do not pile up.
    #[serde(default = "default_handshake_timeout")]
    pub handshake_timeout: Duration,
    /// Let clients take up earlier sessions by tickets, without a whole handshake. Default true. Keys are made at random,
    /// common to all workers, replaced every six hours and kept for another six; they belong to this listener and its
    /// rules for client certificates. There is no early data (0-RTT), which could be replayed.
    #[serde(default = "default_session_tickets")]
    pub session_tickets: bool,
    /// Bounds on handshakes.
    #[serde(default)]
    pub limits: HandshakeLimits,
}

/// One certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The file with the certificate and those of its issuers, the root left out, in PEM form.
    pub cert: Located<PathBuf>,
    /// The file with the private key in PEM form: PKCS#8, SEC1 or PKCS#1. May be the same file.
    pub key: Located<PathBuf>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with forward secrecy and authenticated encryption only.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// What clients must prove.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificatesConfig {
    /// Whether they are asked for a certificate.
    pub mode: Located<ClientMode>,
    /// The file with the authorities that may have issued it, in PEM form. Needed unless `mode` is `off`; the system's
    /// are never used, since a public authority says nothing about who may connect here.
    #[serde(default)]
    pub roots: Option<Located<PathBuf>>,
    /// What one of its alternative names must match: a name such as `billing.corp` or `spiffe://corp/ns/billing`, `*.corp`
    /// for all names below `corp`, or `spiffe://corp/*` for all that begin so. Default: any certificate of `roots` will do.
    #[serde(default)]
    pub san: Located<Vec<SanPattern>>,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientMode {
    /// They are not.
    Off,
    /// They are, and may have none; one that they show must be right.
    Optional,
    /// They are, and must have one.
    Required,
}

/// Bounds on handshakes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HandshakeLimits {
    /// How many may be in progress at a time on this listener, over all workers. Default 4096: at some 20 KiB each they
    /// hold 80 MiB, and clients that answer need far fewer.
    pub handshakes: NonZeroU64,
    /// How many one client may begin per time, counted by address (IPv6: by /64); `off` for no bound. Default 1000/s, less
    /// than what one core can do, so that one address cannot occupy a machine; behind a PROXY header the client is whom it
    /// names.
    pub per_client: ClientRate,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            handshakes: const { NonZeroU64::new(4096).unwrap() },
            per_client: ClientRate::AtMost(Rate::per_second(1000)),
        }
    }
}

/// A rate, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientRate {
    /// No bound.
    Off,
    /// So many per time.
    AtMost(Rate),
}

impl<'de> Deserialize<'de> for ClientRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::AtMost)
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ClientRate {
    fn schema_name() -> Cow<'static, str> {
        "ClientRate".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rate = generator.subschema_for::<Rate>();
        json_schema!({ "anyOf": [rate, { "const": "off" }] })
    }
}

/// The name of an application protocol (RFC 7301 section 3.1): 1 to 255 bytes, here of visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlpnName(Box<str>);

impl AlpnName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlpnName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AlpnName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits =
            (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            return Ok(Self(text.into()));
        }
        Err(serde::de::Error::custom(
            "expected the name of an application protocol such as h2 or http/1.1",
        ))
    }
}

impl JsonSchema for AlpnName {
    fn schema_name() -> Cow<'static, str> {
        "AlpnName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["h2", "http/1.1"] })
    }
}

impl TlsConfig {
    /// Reports what is wrong although it is well-formed. `spoken` are the application protocols of the listener's protocol;
    /// none if it leaves that to the configuration. Files are not looked at.
    pub fn check(&self, spoken: &[&str], diagnostics: &mut Diagnostics) {
        if self.certificates.is_empty() {
            diagnostics
                .error(self.certificates.span, "TLS needs a certificate")
                .expected("a list such as [{ cert: web.pem, key: web.key }]");
        }
        if let Some(alpn) = &self.alpn {
            check_alpn(alpn, spoken, diagnostics);
        }
        if let Some(client) = &self.client_certificates {
            client.check(diagnostics);
        }
    }

    /// The application protocols to agree on, as they go over the wire. `spoken` as for [`check`](Self::check).
    #[must_use]
    pub fn alpn_names(&self, spoken: &[&str]) -> Vec<Vec<u8>> {
        match &self.alpn {
            Some(names) => names.iter().map(|name| name.as_str().into()).collect(),
            None => spoken.iter().map(|name| name.as_bytes().to_vec()).collect(),
        }
    }
}

fn check_alpn(
    alpn: &Located<Vec<Located<AlpnName>>>,
    spoken: &[&str],
    diagnostics: &mut Diagnostics,
) {
    if alpn.is_empty() {
        diagnostics
            .error(alpn.span, "an empty list agrees on nothing")
            .help("leave `alpn` out");
    }
    for name in alpn.iter() {
        if !spoken.is_empty() && !spoken.contains(&name.as_str()) {
            diagnostics
                .error(
                    name.span,
                    format!("the listener's protocol does not speak '{}'", name.value),
                )
                .expected(format!("one of {}", spoken.join(", ")));
        }
    }
}

impl ClientCertificatesConfig {
    fn check(&self, diagnostics: &mut Diagnostics) {
        match (self.mode.value, &self.roots) {
            (ClientMode::Off, Some(roots)) => {
                diagnostics
                    .error(
                        roots.span,
                        "client certificates are off, so these roots would verify nothing",
                    )
                    .also(self.mode.span, "switched off here");
            }
            (ClientMode::Optional | ClientMode::Required, None) => {
                diagnostics
                    .error(
                        self.mode.span,
                        "there is nothing to verify client certificates by",
                    )
                    .expected("roots: a file with the authorities that issue them");
            }
            _ => {}
        }
        if self.mode.value == ClientMode::Off && !self.san.is_empty() {
            diagnostics
                .error(
                    self.san.span,
                    "client certificates are off, so these names would match nothing",
                )
                .also(self.mode.span, "switched off here");
        }
    }
}

const fn default_handshake_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn default_session_tickets() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use portcullis_config::{Source, load};

    use super::*;

    fn read(text: &str) -> Result<TlsConfig, String> {
        let source = Source::new("tls.yaml", text);
        let mut diagnostics = Diagnostics::new(&source);
        let node = load(&source, &|_| None, &mut diagnostics);
        let config = node.and_then(|node| node.read::<TlsConfig>(&mut diagnostics));
        if let Some(config) = &config {
            config.check(&["h2", "http/1.1"], &mut diagnostics);
        }
        config
            .filter(|_| diagnostics.is_empty())
            .ok_or_else(|| diagnostics.render(false))
    }

    #[test]
    fn defaults() {
        let config = read("certificates: [{ cert: a.pem, key: a.key }]").unwrap();
        assert_eq!(config.min_version, TlsVersion::V12);
        assert_eq!(config.handshake_timeout, Duration::from_secs(10));
        assert!(config.session_tickets);
        assert_eq!(config.limits.handshakes.get(), 4096);
        assert_eq!(
            config.alpn_names(&["h2", "http/1.1"]),
            [b"h2".to_vec(), b"http/1.1".to_vec()]
        );
    }

    #[test]
    fn what_is_accepted() {
        for row in [
            "min_version: '1.3'",
            "alpn: [http/1.1]",
            "client_certificates: { mode: off }",
            "client_certificates: { mode: optional, roots: ca.pem }",
            "client_certificates: { mode: required, roots: ca.pem, san: ['spiffe://corp/*', '*.corp'] }",
            "limits: { handshakes: 10, per_client: off }",
            "limits: { per_client: 20/s }",
            "session_tickets: false",
        ] {
            let text = format!("certificates: [{{ cert: a.pem, key: a.key }}]\n{row}\n");
            assert!(read(&text).is_ok(), "{row}: {}", read(&text).unwrap_err());
        }
    }

    #[test]
    fn what_is_refused() {
        for (row, expected) in [
            ("certificates: []", "TLS needs a certificate"),
            ("certificates: [{ cert: a.pem }]", "key"),
            ("min_version: '1.1'", "1.2"),
            ("alpn: [h3]", "does not speak 'h3'"),
            ("alpn: []", "agrees on nothing"),
            (
                "client_certificates: { mode: required }",
                "nothing to verify",
            ),
            (
                "client_certificates: { mode: off, roots: ca.pem }",
                "verify nothing",
            ),
            (
                "client_certificates: { mode: off, san: [a] }",
                "match nothing",
            ),
            ("client_certificates: { roots: ca.pem }", "mode"),
            (
                "client_certificates: { mode: required, roots: a, san: ['a*b'] }",
                "'*'",
            ),
            ("limits: { per_client: some }", "rate"),
            ("limits: { handshakes: 0 }", "0 is out of range"),
        ] {
            let mut text = row.to_owned();
            if !row.starts_with("certificates") {
                text = format!("certificates: [{{ cert: a.pem, key: a.key }}]\n{row}\n");
            }
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{row}: {error}");
        }
    }
}
