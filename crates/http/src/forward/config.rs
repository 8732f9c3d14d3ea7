//! The settings of forwarding.

use std::borrow::Cow;
use std::net::IpAddr;

use portcullis_config::Network;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the next hop is told, and who may tell us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardConfig {
    /// Proxies in front of this gateway that may say who the client is, as networks or addresses. Default none: what
    /// anybody else says in `x-forwarded-*`, `forwarded` and `x-request-id` is removed. A peer on a Unix socket without a PROXY header
    /// counts as `0.0.0.0`; as it has no address, `x-forwarded-for` is passed on as it is, and `forwarded` says `for=unknown`.
    pub trusted_proxies: Vec<Network>,
    /// Whether `x-forwarded-for`, `x-forwarded-proto` and `x-forwarded-host` are written. Default true: applications behind
    /// a gateway cannot know the client otherwise.
    pub x_forwarded: bool,
    /// Whether `forwarded` (RFC 7239) is written. Default false: few applications read it, and it repeats the above.
    pub forwarded: bool,
    /// Whether requests without an `x-request-id` from a trusted proxy get one. Default true: it is what ties the log lines of a
    /// request together.
    pub request_id: bool,
    /// The name for this gateway in `via`, in both directions; `off` writes none. Default `portcullis`: RFC 9110
    /// section 7.6.3 requires it of proxies, and it makes loops visible. Some upstreams compress only without it.
    pub via: ViaName,
    /// What happens to the upstream's `server` field. Default `keep`: it is the origin's to say (RFC 9110 section 10.2.4).
    pub server: ServerField,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            x_forwarded: true,
            forwarded: false,
            request_id: true,
            via: ViaName::new(Token("portcullis".into())),
            server: ServerField::Keep,
        }
    }
}

impl ForwardConfig {
    /// The name in `via`; `None` if there is to be none.
    #[must_use]
    pub fn via_name(&self) -> Option<&ViaName> {
        (self.via.as_str() != "off").then_some(&self.via)
    }

    /// Whether the peer with this address may say who the client is.
    #[must_use]
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(peer))
    }
}

/// What happens to the upstream's `server` field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerField {
    /// It passes as it is.
    #[default]
    Keep,
    /// It is removed.
    Remove,
    /// It says `portcullis`.
    Replace,
}

/// The name for this gateway in `via`, and the line that nearly all messages get.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ViaName {
    name: Token,
    line: Box<[u8]>,
}

impl ViaName {
    /// The name with what is made of it.
    #[must_use]
    pub fn new(name: Token) -> Self {
        let line = format!("via: 1.1 {}\r\n", name.as_str())
            .into_bytes()
            .into();
        Self { name, line }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.name.as_str()
    }

    /// The whole line that says that a message came in HTTP/1.1.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }
}

impl<'de> Deserialize<'de> for ViaName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Token::deserialize(deserializer).map(Self::new)
    }
}

impl Serialize for ViaName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name.serialize(serializer)
    }
}

impl JsonSchema for ViaName {
    fn schema_name() -> Cow<'static, str> {
        Token::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Token::json_schema(generator)
    }
}

/// A token (RFC 9110 section 5.6.2), for names that are written into fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Token(Box<str>);

impl Token {
    /// The text, if it is a token.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_token(text.as_bytes()).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            serde::de::Error::custom("expected a token: letters, digits and !#$%&'*+-.^_`|~")
        })
    }
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
