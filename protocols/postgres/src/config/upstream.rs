//! How the gateway proves who it is to servers.
//!
//! Which server that is, and whether it is asked by TLS, is the cluster's configuration. Start at [`UpstreamConfig`].

use portcullis_config::{Diagnostics, Span};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Password;

/// Credentials towards servers. A user's own (`auth.users`) come first.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// The user that servers see, for every client. Default: the client's own user name, so that the server's privileges hold.
    pub user: Option<String>,
    /// That user's password. Default: the client's, where `auth` knows it.
    pub password: Option<Password>,
    /// Whether the proof of a client with a SCRAM verifier goes on to the server, which must have the same verifier. Default
    /// true: it needs no password anywhere.
    pub passthrough: bool,
    /// The weakest method that a server may ask for. Default `scram-sha-256`, what servers do since PostgreSQL 14: with less
    /// a false server would learn something about the password.
    pub auth_minimum: AuthMinimum,
    /// How TLS begins where the cluster has `tls`. Default `ssl_request`, which every server understands.
    pub tls_start: TlsStart,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            passthrough: true,
            auth_minimum: AuthMinimum::ScramSha256,
            tls_start: TlsStart::SslRequest,
        }
    }
}

impl UpstreamConfig {
    pub(super) fn check(&self, span: Span, diagnostics: &mut Diagnostics) {
        if self.password.is_some() && self.user.is_none() {
            diagnostics
                .error(span, "the password is nobody's")
                .expected("`user` beside `password`");
        }
        let scram = matches!(self.password, Some(Password::Scram(_)));
        let md5 = matches!(self.password, Some(Password::Md5(_)));
        if scram {
            diagnostics
                .error(span, "a SCRAM verifier cannot prove anything to a server")
                .help("it lets clients in; towards servers write the password itself");
        }
        if md5 && self.auth_minimum == AuthMinimum::ScramSha256 {
            diagnostics
                .error(span, "an md5 hash serves only servers that ask for md5")
                .expected("the password itself, or `auth_minimum: md5`");
        }
    }
}

/// The weakest method that a server may ask for, from strong to weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum AuthMinimum {
    /// Nothing at all: anybody could be the server.
    #[serde(rename = "trust")]
    Trust,
    /// The password in the clear.
    #[serde(rename = "cleartext")]
    Cleartext,
    /// MD5 of the password, as old servers do.
    #[serde(rename = "md5")]
    Md5,
    /// SCRAM-SHA-256, with channel binding where there is TLS.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
}

/// How TLS towards a server begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsStart {
    /// The server is asked by SSLRequest.
    SslRequest,
    /// The handshake comes first, with ALPN `postgresql`: one round trip less, PostgreSQL 17 and later.
    Direct,
}
