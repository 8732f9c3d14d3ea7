//! Which calls a rule means: `package.Service/Method`, `package.Service/*` or `package.Service`.
//!
//! Not a path pattern: a request must also be a call, or a browser's question whether it may make one. Start at
//! [`GrpcMatch`].

use std::borrow::Cow;
use std::fmt;

use portcullis_route::{AnyOf, Covers, Match};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::{kind, split_path};
use crate::head::Method;
use crate::message::Request;
use crate::name::KnownField;

/// One service, or one method of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcPattern {
    service: Box<str>,
    /// `None` for every method.
    method: Option<Box<str>>,
}

impl GrpcPattern {
    /// Parses `package.Service/Method`, `package.Service/*` or `package.Service`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (service, method) = match text.split_once('/') {
            None | Some((_, "*")) => (text.trim_end_matches("/*"), None),
            Some((service, method)) => (service, Some(method)),
        };
        let is_name = |name: &str| {
            let is_word = |word: &str| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            name.split('.').all(is_word)
        };
        if !is_name(service)
            || method.is_some_and(|method| method.contains('.') || !is_name(method))
        {
            return Err(format!(
                "'{text}' names no gRPC method: write package.Service/Method, or package.Service/* for all"
            ));
        }
        Ok(Self {
            service: service.into(),
            method: method.map(Into::into),
        })
    }

    fn matches_path(&self, path: &[u8]) -> bool {
        split_path(path).is_some_and(|(service, method)| {
            service == self.service.as_bytes()
                && self
                    .method
                    .as_ref()
                    .is_none_or(|wanted| method == wanted.as_bytes())
        })
    }
}

impl Covers for GrpcPattern {
    fn covers(&self, other: &Self) -> bool {
        self.service == other.service && (self.method.is_none() || self.method == other.method)
    }
}

impl fmt::Display for GrpcPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().unwrap_or("*");
        write!(formatter, "{}/{method}", self.service)
    }
}

impl<'de> Deserialize<'de> for GrpcPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for GrpcPattern {
    fn schema_name() -> Cow<'static, str> {
        "GrpcPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A gRPC method, or all methods of a service",
            "examples": ["shop.Cart/Add", "shop.Cart/*", "shop.Cart"]
        })
    }
}

/// The calls that a rule means. A request is one of them if its path names it, its method is POST and its content
/// type is one of gRPC's, gRPC-Web's included; so is the preflight that a browser sends before such a call, so that
/// the route's own `cors` can answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcMatch(pub AnyOf<GrpcPattern>);

/// How much of a call's name a rule spells out: labels may only have what a configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Named {
    /// Nothing.
    #[default]
    No,
    /// The service.
    Service,
    /// The service and the method.
    Method,
}

impl GrpcMatch {
    /// How much of the name of a call the rule spells out.
    #[must_use]
    pub fn named(&self, path: &[u8]) -> Named {
        self.0
            .0
            .iter()
            .filter(|pattern| pattern.matches_path(path))
            .map(|pattern| match pattern.method {
                Some(_) => Named::Method,
                None => Named::Service,
            })
            .max()
            .unwrap_or_default()
    }
}

impl Match<Request> for GrpcMatch {
    fn matches(&self, request: &Request) -> bool {
        let path = request.head.target.path();
        (is_call(request) || is_preflight(request))
            && self.0.0.iter().any(|pattern| pattern.matches_path(path))
    }
}

impl Covers for GrpcMatch {
    fn covers(&self, other: &Self) -> bool {
        self.0.covers(&other.0)
    }
}

/// Whether a request is a gRPC or gRPC-Web call.
#[must_use]
pub(crate) fn is_call(request: &Request) -> bool {
    request.head.method == Method::Post && kind(&request.head.fields).is_some()
}

/// The Fetch standard, "CORS-preflight request", for a POST.
fn is_preflight(request: &Request) -> bool {
    let fields = &request.head.fields;
    request.head.method == Method::Options
        && fields.contains(KnownField::Origin)
        && fields.get(KnownField::AccessControlRequestMethod) == Some(b"POST")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;

    fn patterns(texts: &[&str]) -> GrpcMatch {
        GrpcMatch(AnyOf(
            texts
                .iter()
                .map(|text| GrpcPattern::parse(text).unwrap())
                .collect(),
        ))
    }

    #[test]
    fn names_are_checked() {
        for (text, expected) in [
            ("shop.Cart/Add", Some("shop.Cart/Add")),
            ("shop.Cart/*", Some("shop.Cart/*")),
            ("shop.Cart", Some("shop.Cart/*")),
            ("Cart", Some("Cart/*")),
            ("/shop.Cart/Add", None),
            ("shop.Cart/", None),
            ("shop.Cart/A/B", None),
            ("shop.Cart/Add.It", None),
            ("shop..Cart", None),
            ("shop.Cart/**", None),
            ("shop.*/Add", None),
            ("/*", None),
            ("", None),
        ] {
            let found = GrpcPattern::parse(text)
                .ok()
                .map(|pattern| pattern.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_call_is_a_post_with_the_content_type() {
        let grpc = &[("content-type", "application/grpc")][..];
        let web = &[("content-type", "application/grpc-web-text+proto")][..];
        let ask = &[
            ("origin", "https://a"),
            ("access-control-request-method", "POST"),
        ][..];
        let method = &["shop.Cart/Add"][..];
        let service = &["x.Y", "shop.Cart"][..];
        type Row<'a> = (
            &'a str,
            &'a [&'a str],
            &'a str,
            &'a str,
            &'a [(&'a str, &'a str)],
            bool,
        );
        let rows: &[Row<'_>] = &[
            ("method", method, "POST", "/shop.Cart/Add", grpc, true),
            (
                "another method",
                method,
                "POST",
                "/shop.Cart/Remove",
                grpc,
                false,
            ),
            (
                "any method",
                service,
                "POST",
                "/shop.Cart/Remove",
                grpc,
                true,
            ),
            (
                "another service",
                service,
                "POST",
                "/shop.Carts/Add",
                grpc,
                false,
            ),
            ("no method", service, "POST", "/shop.Cart", grpc, false),
            (
                "deeper",
                service,
                "POST",
                "/shop.Cart/Add/More",
                grpc,
                false,
            ),
            ("query", method, "POST", "/shop.Cart/Add?x", grpc, true),
            ("web", method, "POST", "/shop.Cart/Add", web, true),
            ("get", method, "GET", "/shop.Cart/Add", grpc, false),
            (
                "another type",
                method,
                "POST",
                "/shop.Cart/Add",
                &[("content-type", "application/json")],
                false,
            ),
            ("no type", method, "POST", "/shop.Cart/Add", &[], false),
            ("preflight", method, "OPTIONS", "/shop.Cart/Add", ask, true),
            (
                "plain options",
                method,
                "OPTIONS",
                "/shop.Cart/Add",
                &[("origin", "https://a")],
                false,
            ),
        ];
        for (name, wanted, verb, path, fields, expected) in rows {
            let request = request(verb, "a", path, fields);
            assert_eq!(patterns(wanted).matches(&request), *expected, "{name}");
        }
    }

    #[test]
    fn covering_and_naming_follow_the_method() {
        let (all, one) = (patterns(&["shop.Cart"]), patterns(&["shop.Cart/Add"]));
        assert!(all.covers(&one) && !one.covers(&all));
        let both = patterns(&["shop.Cart", "shop.Cart/Add"]);
        for (path, expected) in [
            ("/shop.Cart/Add", Named::Method),
            ("/shop.Cart/Peer-made", Named::Service),
            ("/other.Cart/Add", Named::No),
        ] {
            assert_eq!(both.named(path.as_bytes()), expected, "{path}");
        }
    }
}
