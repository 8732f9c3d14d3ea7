//! Which rule takes a connection: by the server name and the protocols that its client asks for.
//!
//! Rules are ordered and the first that fits decides. Nothing is read here: what a client said comes as an
//! [`Opening`], whoever made it. Start at [`Condition`].

use std::borrow::Cow;
use std::fmt;

use portcullis_filter::TlsInfo;
use portcullis_route::{AnyOf, Covers, Match};
use portcullis_tls::ClientHello;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// What a client said when its connection began.
#[derive(Debug, Clone, Copy)]
pub enum Opening<'a> {
    /// Nothing that rules could ask for: it speaks no TLS, or nobody looked.
    Plain,
    /// It began a handshake, which is for the endpoint to answer.
    Hello(&'a ClientHello),
    /// Its handshake was answered by this process.
    Ended(&'a TlsInfo),
}

impl<'a> Opening<'a> {
    /// The server name that it asked for, in lower case.
    #[must_use]
    pub fn server_name(self) -> Option<&'a str> {
        match self {
            Self::Plain => None,
            Self::Hello(hello) => hello.server_name(),
            Self::Ended(tls) => tls.server_name.as_deref(),
        }
    }

    /// Whether it would speak this protocol; once its handshake was answered, whether it does.
    #[must_use]
    pub fn speaks(self, protocol: &[u8]) -> bool {
        match self {
            Self::Plain => false,
            Self::Hello(hello) => hello.alpn().any(|offered| offered == protocol),
            Self::Ended(tls) => tls.alpn.as_deref() == Some(protocol),
        }
    }
}

/// What a connection must be for a rule to take it, its server name apart: the table indexes those.
///
/// A rule without any condition takes connections without TLS too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// Whether the client must name a server, whichever the table allows.
    pub named: bool,
    /// Protocols of which the client must speak one; `None` for any, or none at all.
    pub protocols: Option<AnyOf<ProtocolName>>,
}

impl Condition {
    /// Whether a client must have said something before the rule can be judged.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.named || self.protocols.is_some()
    }
}

impl Match<Opening<'_>> for Condition {
    fn matches(&self, opening: &Opening<'_>) -> bool {
        (!self.named || opening.server_name().is_some()) && self.protocols.matches(opening)
    }
}

impl Covers for Condition {
    fn covers(&self, other: &Self) -> bool {
        (!self.named || other.named) && self.protocols.covers(&other.protocols)
    }
}

/// The name of an application protocol (RFC 7301), such as `h2` or `postgresql`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProtocolName(Box<str>);

impl Match<Opening<'_>> for ProtocolName {
    fn matches(&self, opening: &Opening<'_>) -> bool {
        opening.speaks(self.0.as_bytes())
    }
}

impl Covers for ProtocolName {
    fn covers(&self, other: &Self) -> bool {
        self == other
    }
}

impl fmt::Debug for ProtocolName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

/// RFC 7301 section 3.1: a name has a length of one byte, and is not empty.
const PROTOCOL_BYTES: std::ops::RangeInclusive<usize> = 1..=255;

impl<'de> Deserialize<'de> for ProtocolName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if PROTOCOL_BYTES.contains(&name.len()) {
            Ok(Self(name.into()))
        } else {
            let reason = "the name of a protocol has 1 to 255 bytes";
            Err(serde::de::Error::custom(reason))
        }
    }
}

impl JsonSchema for ProtocolName {
    fn schema_name() -> Cow<'static, str> {
        "ProtocolName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "The name of an application protocol in TLS (ALPN)",
            "examples": ["h2", "http/1.1"],
        })
    }
}

#[cfg(test)]
mod tests {
    use portcullis_route::{HostPattern, HostRouteTable};

    use super::*;

    fn protocols(names: &[&str]) -> Option<AnyOf<ProtocolName>> {
        let name = |name: &&str| ProtocolName((*name).into());
        (!names.is_empty()).then(|| AnyOf(names.iter().map(name).collect()))
    }

    fn condition(named: bool, names: &[&str]) -> Condition {
        Condition {
            named,
            protocols: protocols(names),
        }
    }

    fn ended(name: Option<&str>, protocol: Option<&str>) -> TlsInfo {
        TlsInfo {
            server_name: name.map(Into::into),
            alpn: protocol.map(|name| name.as_bytes().into()),
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            resumed: false,
            client: None,
            local_certificate: None,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |sni: &[&str], alpn: &[&str], action: char| {
            let names: Vec<HostPattern> = sni.iter().map(|name| name.parse().unwrap()).collect();
            let condition = condition(!names.is_empty(), alpn);
            (names, condition, action)
        };
        let narrow = [
            rule(&["a.example"], &["h2"], 'h'),
            rule(&["a.example", "b.example"], &[], 'a'),
            rule(&["*.example"], &[], 'w'),
            rule(&[], &["h2", "imap"], 'p'),
            rule(&["*"], &[], 'n'),
        ];
        let with_default = narrow.iter().cloned().chain([rule(&[], &[], 'd')]);
        let narrow = HostRouteTable::new(narrow.clone());
        let whole = HostRouteTable::new(with_default);
        let rows = [
            ("both", Some("a.example"), Some("h2"), 'h'),
            ("name alone", Some("a.example"), None, 'a'),
            ("another protocol", Some("a.example"), Some("imap"), 'a'),
            ("second name", Some("b.example"), Some("h2"), 'a'),
            ("wildcard", Some("c.b.example"), Some("h2"), 'w'),
            ("not below", Some("example"), None, 'n'),
            ("protocol before any name", Some("c"), Some("imap"), 'p'),
            ("protocol, no name", None, Some("imap"), 'p'),
            ("neither", None, None, 'd'),
            ("unknown protocol, no name", None, Some("x"), 'd'),
        ];
        for (row, name, protocol, action) in rows {
            let tls = ended(name, protocol);
            let opening = Opening::Ended(&tls);
            let host = opening.server_name().unwrap_or_default().as_bytes();
            let found = whole.find(host, &opening).map(|(_, action)| *action);
            assert_eq!(found, Some(action), "{row}");
            let found = narrow.find(host, &opening).map(|(_, action)| *action);
            assert_eq!(found.unwrap_or('d'), action, "{row}, without a default");
        }
        let plain = whole.find(b"", &Opening::Plain);
        assert_eq!(plain.map(|(_, action)| *action), Some('d'));
        assert!(narrow.find(b"", &Opening::Plain).is_none());
    }

    #[test]
    fn narrower_conditions_are_covered() {
        let any = condition(false, &[]);
        let named = condition(true, &[]);
        let both = condition(true, &["h2", "imap"]);
        let one = condition(true, &["h2"]);
        let rows = [
            ("itself", &any, &any, true),
            ("any and named", &any, &named, true),
            ("named and any", &named, &any, false),
            ("named and a protocol", &named, &one, true),
            ("a protocol and named", &one, &named, false),
            ("two and one of them", &both, &one, true),
            ("one and two", &one, &both, false),
            (
                "a protocol, named or not",
                &condition(false, &["h2"]),
                &one,
                true,
            ),
            (
                "named or not, a protocol",
                &one,
                &condition(false, &["h2"]),
                false,
            ),
        ];
        for (row, this, other, covers) in rows {
            assert_eq!(this.covers(other), covers, "{row}");
        }
        assert!(!any.asks() && named.asks() && condition(false, &["h2"]).asks());
    }
}
