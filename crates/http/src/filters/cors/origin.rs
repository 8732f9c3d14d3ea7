//! Patterns for origins: `scheme://host[:port]` as browsers send it.
//!
//! Every form matches a whole origin; there is no way to write one that matches a part. Start at
//! [`OriginPattern::parse`].

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A pattern for origins.
#[derive(Debug, Clone)]
pub struct OriginPattern(Form);

#[derive(Debug, Clone)]
enum Form {
    Any,
    Exact(Box<[u8]>),
    /// `https://` and `.example.com:8443`: something must be between.
    Below(Box<[u8]>, Box<[u8]>),
    Regex(regex::bytes::Regex),
}

impl OriginPattern {
    /// Parses `*`, `https://a.example`, `https://*.a.example`, `null`, or `~` and a regular expression.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(Form::Any));
        }
        if let Some(pattern) = text.strip_prefix('~') {
            return Self::regex(pattern);
        }
        if text == "null" {
            return Ok(Self(Form::Exact(b"null"[..].into())));
        }
        let Some((scheme, host)) = text.split_once("://") else {
            return Err(format!("'{text}' is not an origin: write scheme://host"));
        };
        let rest = host.strip_prefix("*.").unwrap_or(host);
        let is_host_byte = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        };
        if scheme.is_empty() || rest.is_empty() || !rest.bytes().all(is_host_byte) {
            return Err(format!(
                "'{text}' is not an origin: scheme://host[:port], without a path; a `*` only as the first label"
            ));
        }
        Ok(Self(if rest.len() == host.len() {
            Form::Exact(text.as_bytes().into())
        } else {
            Form::Below(
                format!("{scheme}://").into_bytes().into(),
                format!(".{rest}").into_bytes().into(),
            )
        }))
    }

    fn regex(pattern: &str) -> Result<Self, String> {
        regex::bytes::RegexBuilder::new(&format!("^(?:{pattern})$"))
            .unicode(false)
            .size_limit(portcullis_route::MAX_REGEX_SIZE)
            .dfa_size_limit(portcullis_route::MAX_REGEX_SIZE)
            .nest_limit(64)
            .build()
            .map(|regex| Self(Form::Regex(regex)))
            .map_err(|error| {
                let text = error.to_string();
                format!(
                    "not a regular expression: {}",
                    text.lines().last().unwrap_or_default()
                )
            })
    }

    /// Whether every origin matches.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        matches!(self.0, Form::Any)
    }

    /// Whether the whole origin matches.
    #[must_use]
    pub fn matches(&self, origin: &[u8]) -> bool {
        match &self.0 {
            Form::Any => true,
            Form::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Form::Below(scheme, suffix) => is_below(origin, scheme, suffix),
            Form::Regex(regex) => regex.is_match(origin),
        }
    }
}

fn is_below(origin: &[u8], scheme: &[u8], suffix: &[u8]) -> bool {
    let Some((front, rest)) = origin.split_at_checked(scheme.len()) else {
        return false;
    };
    let Some(middle) = rest.len().checked_sub(suffix.len()) else {
        return false;
    };
    let (middle, tail) = rest.split_at(middle);
    front.eq_ignore_ascii_case(scheme)
        && tail.eq_ignore_ascii_case(suffix)
        && !middle.is_empty()
        && middle
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

impl<'de> Deserialize<'de> for OriginPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for OriginPattern {
    fn schema_name() -> Cow<'static, str> {
        "OriginPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An origin, `https://*.example.com` for all below, `~` and a regular expression, or `*`",
            "examples": ["https://app.example.com", "https://*.example.com", "*"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::OriginPattern;

    #[test]
    fn origins_match_as_a_whole() {
        let rows = [
            ("*", "https://a", true),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.Example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://evil/.example.com", false),
            ("https://*.example.com", "https://a@b.example.com", false),
            (
                "https://*.example.com:8443",
                "https://a.example.com:8443",
                true,
            ),
            ("https://*.example.com:8443", "https://a.example.com", false),
            ("~https://[a-z]+\\.example", "https://a.example", true),
            ("~https://[a-z]+\\.example", "https://a.example.evil", false),
            ("~a|https://b", "https://b.evil", false),
            ("null", "null", true),
        ];
        for (pattern, origin, expected) in rows {
            let found = OriginPattern::parse(pattern)
                .unwrap()
                .matches(origin.as_bytes());
            assert_eq!(found, expected, "{pattern} {origin}");
        }
        for text in [
            "",
            "a.example",
            "https://",
            "https://a/b",
            "https://a.*.b",
            "~(",
        ] {
            assert!(OriginPattern::parse(text).is_err(), "{text}");
        }
    }
}
