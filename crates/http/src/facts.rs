//! The facts of HTTP: what limits may be counted by.
//!
//! Values are those that routes match and upstreams see. Start at the table in [`Http`]'s [`Facts`].

use portcullis_filter::{Fact, Facts};

use crate::edit::FieldName;
use crate::grpc;
use crate::head::Scheme;
use crate::message::Http;
use crate::name::KnownField;
use crate::query;

impl Facts for Http {
    const FACTS: &'static [&'static str] = &[
        "http.host",
        "http.path",
        "http.method",
        "http.scheme",
        "http.header.",
        "http.query.",
        "http.cookie.",
        "grpc.service",
        "grpc.method",
    ];

    fn fact(name: &str) -> Option<Fact<Self>> {
        if let Some(name) = name.strip_prefix("grpc.") {
            return call(name);
        }
        let name = name.strip_prefix("http.")?;
        let parameter = |kind: &str| {
            let parameter = name.strip_prefix(kind)?;
            (!parameter.is_empty()).then(|| parameter.to_owned())
        };
        if let Some(name) = parameter("header.") {
            return header(&name);
        }
        if let Some(name) = parameter("query.") {
            return Some(Box::new(move |request, _, key| {
                let query = request.head.target.query();
                match query::values(query, &name).next() {
                    Some(value) => key.write(&value),
                    None => key.absent(),
                }
            }));
        }
        if let Some(name) = parameter("cookie.") {
            return Some(cookie(name));
        }
        Some(match name {
            "host" => Box::new(|request, _, key| key.write(request.host())),
            "path" => Box::new(|request, _, key| key.write(request.head.target.path())),
            "method" => Box::new(|request, _, key| key.write(request.head.method.as_bytes())),
            "scheme" => Box::new(|request, _, key| {
                let scheme: Scheme = request.scheme;
                key.write(scheme.as_str().as_bytes());
            }),
            _ => return None,
        })
    }
}

/// A part of the name of a gRPC or gRPC-Web call; absent for other requests.
fn call(name: &str) -> Option<Fact<Http>> {
    type Part = for<'a> fn((&'a [u8], &'a [u8])) -> &'a [u8];
    let part: Part = match name {
        "service" => |(service, _)| service,
        "method" => |(_, method)| method,
        _ => return None,
    };
    Some(Box::new(move |request, _, key| {
        let name = grpc::kind(&request.head.fields)
            .and_then(|_| grpc::split_path(request.head.target.path()));
        match name {
            Some(name) => key.write(part(name)),
            None => key.absent(),
        }
    }))
}

/// The first value: a client that sends two has sent the first.
fn header(name: &str) -> Option<Fact<Http>> {
    let name = FieldName::any(name).ok()?;
    Some(Box::new(move |request, _, key| {
        match name.values(&request.head.fields).next() {
            Some(value) => key.write(value),
            None => key.absent(),
        }
    }))
}

/// The first cookie of this name (RFC 6265 section 4.2).
fn cookie(name: String) -> Fact<Http> {
    Box::new(move |request, _, key| {
        let value = request
            .head
            .fields
            .get_all(KnownField::Cookie)
            .flat_map(|line| line.split(|&byte| byte == b';'))
            .find_map(|pair| {
                let pair = pair.trim_ascii();
                pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
            });
        match value {
            Some(value) => key.write(value),
            None => key.absent(),
        }
    })
}
