//! Which alternative names of a certificate are meant by a configuration.
//!
//! Only names that are already known to be a verified certificate's come here. Start at [`SanPattern`].

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::AlternativeName;

/// A pattern for alternative names: a whole name, `*.corp` for every DNS name below `corp`, or `spiffe://corp/*` for
/// every URI that begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanPattern {
    text: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// The name itself, of any kind.
    Whole(Box<str>),
    /// What a DNS name must end in, with the dot.
    Below(Box<str>),
    /// What a URI must begin with.
    Beginning(Box<str>),
}

impl SanPattern {
    /// Whether this name is meant.
    #[must_use]
    pub fn matches(&self, name: &AlternativeName) -> bool {
        match (&self.form, name) {
            (Form::Whole(wanted), AlternativeName::Dns(name)) => wanted.eq_ignore_ascii_case(name),
            (Form::Whole(wanted), name) => **wanted == *name.as_str(),
            (Form::Below(suffix), AlternativeName::Dns(name)) => {
                let split = name.len().checked_sub(suffix.len());
                split.is_some_and(|split| {
                    split > 0
                        && name
                            .get(split..)
                            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                })
            }
            (Form::Beginning(prefix), AlternativeName::Uri(name)) => {
                name.len() > prefix.len() && name.starts_with(&**prefix)
            }
            (Form::Below(_) | Form::Beginning(_), _) => false,
        }
    }
}

impl fmt::Display for SanPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A text that is no pattern for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a name, '*.' and a domain, or a URI with a path that may end in '/*'; '*' stands nowhere else"
)]
pub struct SanPatternError;

impl FromStr for SanPattern {
    type Err = SanPatternError;

    fn from_str(text: &str) -> Result<Self, SanPatternError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SanPatternError);
        }
        let form = if let Some(start) = text.strip_suffix('*').filter(|_| text.contains("://")) {
            // `spiffe://corp*` would also mean `spiffe://corp.evil`.
            let after = start.split_once("://").map_or("", |(_, after)| after);
            if !start.ends_with('/') || after.len() < 2 {
                return Err(SanPatternError);
            }
            Form::Beginning(start.into())
        } else if let Some(domain) = text.strip_prefix("*.") {
            if domain.is_empty() {
                return Err(SanPatternError);
            }
            Form::Below(text.get(1..).unwrap_or_default().into())
        } else {
            Form::Whole(text.into())
        };
        let (Form::Whole(rest) | Form::Below(rest) | Form::Beginning(rest)) = &form;
        if rest.contains('*') {
            return Err(SanPatternError);
        }
        Ok(Self {
            text: text.into(),
            form,
        })
    }
}

impl<'de> Deserialize<'de> for SanPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SanPattern {
    fn schema_name() -> Cow<'static, str> {
        "SanPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A name of a certificate, '*.' and a domain, or a URI that may end in '/*'.",
            "examples": ["billing.corp", "*.corp", "spiffe://corp/ns/*"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_means() {
        use AlternativeName as N;
        for (pattern, name, expected) in [
            ("a.corp", N::Dns("a.corp".into()), true),
            ("A.corp", N::Dns("a.corp".into()), true),
            ("a.corp", N::Dns("b.a.corp".into()), false),
            ("a.corp", N::Uri("a.corp".into()), true),
            ("*.corp", N::Dns("a.corp".into()), true),
            ("*.corp", N::Dns("b.a.corp".into()), true),
            ("*.corp", N::Dns("*.corp".into()), true),
            ("*.corp", N::Dns("corp".into()), false),
            ("*.corp", N::Dns(".corp".into()), false),
            ("*.corp", N::Dns("evilcorp".into()), false),
            ("*.corp", N::Uri("https://a.corp".into()), false),
            ("*.corp", N::Email("x@a.corp".into()), false),
            ("spiffe://corp/*", N::Uri("spiffe://corp/a/b".into()), true),
            ("spiffe://corp/*", N::Uri("spiffe://corp/".into()), false),
            (
                "spiffe://corp/*",
                N::Uri("spiffe://corp.evil/a".into()),
                false,
            ),
            ("spiffe://corp/*", N::Dns("spiffe://corp/a".into()), false),
            ("spiffe://corp/a", N::Uri("spiffe://corp/a".into()), true),
            ("spiffe://corp/a", N::Uri("spiffe://corp/A".into()), false),
            ("10.0.0.1", N::Ip("10.0.0.1".into()), true),
        ] {
            let parsed: SanPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&name), expected, "{pattern} {name:?}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "",
            "*",
            "*.",
            "a*",
            "a.*.b",
            "*.*.a",
            "**.a",
            "a b",
            "spiffe://corp*",
            "spiffe://*",
            "spiffe://corp/*/a",
            "\u{e9}.corp",
            "spiffe:///*",
        ] {
            assert_eq!(text.parse::<SanPattern>(), Err(SanPatternError), "{text}");
        }
    }
}
