//! How clients prove who they are.
//!
//! What the methods do on the wire is [`crate::auth`]'s; here is who is known and what may be asked. Start at
//! [`AuthConfig`].

use std::collections::BTreeMap;

use portcullis_config::{Diagnostics, Duration, Located, Node, Span};
use portcullis_filter::ReadContext;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{CertificateConfig, Password, Secret, seconds};

/// What PgBouncer asks by default, with the expiry that it once forgot (CVE-2025-2291): as it is, so that an answer that was kept
/// for a while expires when it should. Names are qualified, so that no `search_path` can put others in their place.
pub const DEFAULT_AUTH_QUERY: &str =
    "SELECT usename, passwd, valuntil FROM pg_catalog.pg_shadow WHERE usename=$1";

/// How clients prove who they are, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfig {
    /// How they prove it.
    pub method: AuthMethod,
    /// Whether a client must use TLS. `None`: where the listener has `tls`.
    pub require_tls: Option<bool>,
    /// The users that are known, by name.
    pub users: BTreeMap<String, UserConfig>,
    /// A file in the form of PgBouncer's `userlist.txt`, for users that are not in `users`.
    pub userlist: Option<Located<String>>,
    /// A server that is asked for users who are in neither.
    pub auth_query: Option<AuthQueryConfig>,
    /// How a client's certificate names a user.
    pub certificate: CertificateConfig,
}

impl AuthConfig {
    /// Whether any name is let in: nobody is listed, and the method asks no password.
    #[must_use]
    pub fn admits_anybody(&self) -> bool {
        matches!(self.method, AuthMethod::Trust | AuthMethod::Certificate)
            && self.users.is_empty()
            && self.userlist.is_none()
            && self.auth_query.is_none()
    }
}

/// How clients prove who they are, as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct AuthKeys {
    /// How they prove it. Default `scram-sha-256`: nothing that is heard on the way lets anybody in.
    method: Located<AuthMethod>,
    /// Whether a client must use TLS. Default: where the listener has `tls`, so that no password is sent past it.
    require_tls: Option<bool>,
    /// The users that are known, by name.
    users: BTreeMap<String, Located<UserConfig>>,
    /// A file in the form of PgBouncer's `userlist.txt`, lines of `"user" "password"`, for users that are not in `users`.
    userlist: Option<Located<String>>,
    /// A server that is asked for users who are in neither.
    auth_query: Option<Located<AuthQueryKeys>>,
    /// How a client's certificate names a user. For the method `certificate`.
    certificate: Option<Located<CertificateConfig>>,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AuthMethod {
    /// Not at all.
    #[serde(rename = "trust")]
    Trust,
    /// MD5 of the password: for old clients. A user with a SCRAM verifier is asked for SCRAM, as PostgreSQL does.
    #[serde(rename = "md5")]
    Md5,
    /// SCRAM-SHA-256, and with channel binding where there is TLS.
    #[default]
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The password itself. Only over TLS.
    #[serde(rename = "cleartext")]
    Cleartext,
    /// The client's certificate names its user. Needs `tls: { client_certificates: … }`.
    #[serde(rename = "certificate")]
    Certificate,
}

impl AuthMethod {
    /// The word in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
            Self::Cleartext => "cleartext",
            Self::Certificate => "certificate",
        }
    }

    /// Whether a user without a password cannot come in.
    #[must_use]
    pub const fn asks_password(self) -> bool {
        matches!(self, Self::Md5 | Self::ScramSha256 | Self::Cleartext)
    }

    /// Whether clients without TLS are refused whatever `require_tls` says.
    #[must_use]
    pub const fn needs_tls(self) -> bool {
        matches!(self, Self::Cleartext | Self::Certificate)
    }
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserConfig {
    /// What it proves to know: the password itself, `md5…`, or a verifier `SCRAM-SHA-256$…`.
    pub password: Option<Located<Password>>,
    /// The databases that it may open. Default: all.
    pub databases: Option<Vec<String>>,
    /// Server connections for each of its pools instead of the listener's `pool.size`.
    pub pool_size: Option<Located<u32>>,
    /// Who it is to servers. Default: what `upstream` says.
    pub upstream_user: Option<Located<String>>,
    /// The password of that user. Default: what `upstream` says.
    pub upstream_password: Option<Password>,
}

impl UserConfig {
    /// Whether the user may open this database.
    #[must_use]
    pub fn may_open(&self, database: &str) -> bool {
        let listed = |names: &Vec<String>| names.iter().any(|name| name == database);
        self.databases.as_ref().is_none_or(listed)
    }
}

/// A server that is asked for users. The connection is the gateway's own: no client's parameters reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthQueryConfig {
    /// The query, with `$1` for the user's name.
    pub query: String,
    /// Who asks.
    pub user: String,
    /// That user's password, where the server wants one.
    pub password: Option<Secret>,
    /// The database that is asked. `None`: the client's.
    pub database: Option<String>,
    /// The cluster that is asked. `None`: the one that the client's first rule names.
    pub cluster: Option<String>,
    /// How long an answer is used again.
    pub ttl: Duration,
}

/// A server that is asked for users, as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuthQueryKeys {
    /// The query, with `$1` for the user's name. It answers with the name, the password as in `pg_shadow`, and optionally
    /// until when that is valid. Default: asks `pg_shadow`, which superusers may.
    query: Option<Located<String>>,
    /// Who asks.
    user: Located<String>,
    /// That user's password, where the server wants one.
    password: Option<Secret>,
    /// The database that is asked. Default: the client's.
    database: Option<Located<String>>,
    /// The cluster that is asked. Default: the one that the client's first rule names.
    cluster: Option<Located<String>>,
    /// How long an answer is used again. Default 60s: a new password works within a minute.
    #[serde(default = "minute")]
    ttl: Duration,
}

const fn minute() -> Duration {
    seconds(60)
}

/// Checks who may come in. `None` if nothing says so.
pub(super) fn read_auth(
    keys: Option<Located<AuthKeys>>,
    raw: &Node,
    cx: &mut ReadContext<'_>,
) -> Option<AuthConfig> {
    let Some(Located { value: keys, span }) = keys else {
        cx.diagnostics
            .error(raw.label_span(), "the listener does not say how clients prove who they are")
            .expected("`auth`")
            .help(
                "`auth: { users: { app: { password: \"${APP_PASSWORD}\" } } }` asks for a password (scram-sha-256); \
                 `auth: { method: trust }` lets everybody in",
            );
        return None;
    };
    check_sources(&keys, span, cx.diagnostics);
    let method = keys.method.value;
    for (name, user) in &keys.users {
        check_user(name, user, method, cx.diagnostics);
    }
    let auth_query = keys.auth_query.map(|query| read_query(query.value, cx));
    if let Some(certificate) = &keys.certificate {
        certificate.value.check(certificate.span, cx.diagnostics);
    }
    let users = keys.users.into_iter();
    Some(AuthConfig {
        method,
        require_tls: keys.require_tls,
        users: users
            .map(|(name, user)| (name, user.into_inner()))
            .collect(),
        userlist: keys.userlist,
        auth_query,
        certificate: keys
            .certificate
            .map(Located::into_inner)
            .unwrap_or_default(),
    })
}

fn check_sources(keys: &AuthKeys, span: Span, diagnostics: &mut Diagnostics) {
    let method = keys.method.value;
    let place = if keys.method.span == Span::NONE {
        span
    } else {
        keys.method.span
    };
    let knows_nobody =
        keys.users.is_empty() && keys.userlist.is_none() && keys.auth_query.is_none();
    if method.asks_password() && knows_nobody {
        diagnostics
            .error(
                place,
                format!(
                    "`{}` asks for passwords, and there are none",
                    method.label()
                ),
            )
            .expected("`users`, `userlist` or `auth_query`")
            .help("`auth: { method: trust }` lets everybody in");
    }
    if method.needs_tls() && keys.require_tls == Some(false) {
        diagnostics
            .error(place, format!("`{}` needs TLS", method.label()))
            .help("leave `require_tls` out");
    }
    if let Some(certificate) = &keys.certificate
        && method != AuthMethod::Certificate
    {
        diagnostics
            .error(certificate.span, "no certificate is asked for a name")
            .help("`certificate` goes with `method: certificate`");
    }
    if let Some(userlist) = &keys.userlist
        && userlist.is_empty()
    {
        diagnostics
            .error(userlist.span, "the file has no name")
            .expected("a path");
    }
}

fn check_user(
    name: &str,
    user: &Located<UserConfig>,
    method: AuthMethod,
    diagnostics: &mut Diagnostics,
) {
    if name.is_empty() || name.contains('\0') {
        diagnostics
            .error(user.span, "a user has no name")
            .expected("the name that clients start with");
    }
    let hash = user.password.as_deref();
    match (method, hash) {
        (_, None) if method.asks_password() => {
            diagnostics
                .error(user.span, format!("user '{name}' has no password to prove"))
                .expected(format!(
                    "`password`, since the method is {}",
                    method.label()
                ));
        }
        (AuthMethod::ScramSha256, Some(Password::Md5(_))) => {
            let span = user
                .password
                .as_ref()
                .map_or(user.span, |password| password.span);
            diagnostics
                .error(
                    span,
                    format!("user '{name}' cannot use scram-sha-256 with an md5 hash"),
                )
                .expected("the password itself or a verifier `SCRAM-SHA-256$…`; or `method: md5`");
        }
        _ => {}
    }
    if let Some(size) = &user.pool_size
        && size.value == 0
    {
        diagnostics
            .error(
                size.span,
                format!("with a `pool_size` of 0 '{name}' is never served"),
            )
            .expected("at least 1");
    }
    let scram = matches!(user.upstream_password, Some(Password::Scram(_)));
    if scram {
        diagnostics
            .error(
                user.span,
                "a SCRAM verifier cannot prove anything to a server",
            )
            .expected("the password itself as `upstream_password`");
    }
    if let Some(upstream) = &user.upstream_user
        && user.upstream_password.is_none()
        && method == AuthMethod::ScramSha256
        && upstream.value != name
        && hash.is_some_and(|password| password.plain().is_none())
    {
        diagnostics
            .error(
                upstream.span,
                format!("nothing proves that the gateway is '{upstream}'"),
            )
            .expected("`upstream_password`: a verifier passes on only to the same user");
    }
}

fn read_query(keys: AuthQueryKeys, cx: &mut ReadContext<'_>) -> AuthQueryConfig {
    if let Some(query) = &keys.query
        && !query.contains("$1")
    {
        cx.diagnostics
            .error(query.span, "the query does not ask for a user")
            .expected("`$1` where the name goes");
    }
    if keys.user.is_empty() {
        cx.diagnostics
            .error(keys.user.span, "nobody asks")
            .expected("the user who may read `pg_shadow`, or call your function");
    }
    if let Some(cluster) = &keys.cluster {
        cx.check_cluster(cluster);
    }
    AuthQueryConfig {
        query: keys
            .query
            .map_or_else(|| DEFAULT_AUTH_QUERY.to_owned(), Located::into_inner),
        user: keys.user.into_inner(),
        password: keys.password,
        database: keys.database.map(Located::into_inner),
        cluster: keys.cluster.map(Located::into_inner),
        ttl: keys.ttl,
    }
}
