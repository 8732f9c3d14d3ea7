//! When a rule takes a request: path, method, fields, query, and whether it is a CONNECT.
//!
//! Hosts are not here: the table indexes them. Start at [`Condition`]; filters use [`Predicate`].

use std::fmt;

use portcullis_route::{
    AllOf, AnyOf, Covers, HostPattern, Match, MethodSet, NamedValue, PathPattern, ValuePattern,
};

use crate::edit::FieldName;
use crate::grpc::GrpcMatch;
use crate::head::Method;
use crate::message::Request;
use crate::normalize::split_port;
use crate::query;

/// What a request must be for a rule to take it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// What it must be in any case.
    pub predicate: Predicate,
    /// Where a CONNECT may go. A rule without it takes every request but CONNECT; a rule with it takes only CONNECT.
    pub connect: Option<AnyOf<ConnectPattern>>,
}

impl Match<Request> for Condition {
    fn matches(&self, request: &Request) -> bool {
        let is_connect = request.head.method == Method::Connect;
        let fits = match &self.connect {
            Some(places) => is_connect && places.matches(&*request.authority),
            None => !is_connect,
        };
        fits && self.predicate.matches(request)
    }
}

impl Covers for Condition {
    fn covers(&self, other: &Self) -> bool {
        let same_kind = match (&self.connect, &other.connect) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.covers(theirs),
            _ => false,
        };
        same_kind && self.predicate.covers(&other.predicate)
    }
}

/// What a request must be, its host apart. Everything must hold; of a list of paths, one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Predicate {
    /// Paths; `None` for any. The path of a CONNECT is empty.
    pub paths: Option<AnyOf<PathPattern>>,
    /// Methods; `None` for any.
    pub methods: Option<MethodSet>,
    /// Fields.
    pub fields: AllOf<FieldMatch>,
    /// Parameters of the query.
    pub query: AllOf<NamedValue>,
    /// gRPC calls; `None` for any request.
    pub grpc: Option<GrpcMatch>,
}

impl Match<Request> for Predicate {
    fn matches(&self, request: &Request) -> bool {
        let query = &self.query.0;
        self.methods.matches(request.head.method.as_bytes())
            // Most rules ask for no path: then it need not be told from the query.
            && (self.paths.is_none() || self.paths.matches(request.head.target.path()))
            && self.fields.matches(request)
            && self.grpc.matches(request)
            && query.iter().all(|wanted| query_matches(wanted, request))
    }
}

impl Covers for Predicate {
    fn covers(&self, other: &Self) -> bool {
        self.paths.covers(&other.paths)
            && self.methods.covers(&other.methods)
            && self.fields.covers(&other.fields)
            && self.query.covers(&other.query)
            && self.grpc.covers(&other.grpc)
    }
}

fn query_matches(wanted: &NamedValue, request: &Request) -> bool {
    let mut present = false;
    for value in query::values(request.head.target.query(), &wanted.name) {
        present = true;
        if wanted.pattern.matches(Some(&value)) {
            return true;
        }
    }
    !present && wanted.pattern.matches(None)
}

/// A pattern for the values of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMatch {
    /// The field.
    pub name: FieldName,
    /// What one of its values must be.
    pub pattern: ValuePattern,
}

impl Match<Request> for FieldMatch {
    fn matches(&self, request: &Request) -> bool {
        self.pattern
            .matches_any(self.name.values(&request.head.fields))
    }
}

impl Covers for FieldMatch {
    fn covers(&self, other: &Self) -> bool {
        self.name == other.name && self.pattern.covers(&other.pattern)
    }
}

/// Where a CONNECT may go: `host:port`, with a host pattern and a port or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectPattern {
    host: HostPattern,
    port: Option<u16>,
}

impl ConnectPattern {
    /// Parses `example.com:443`, `*.example.com:443`, `[::1]:*`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("'{text}' has no port: write host:port, or host:* for any"))?;
        let port = match port {
            "*" => None,
            number => Some(
                number
                    .parse::<u16>()
                    .ok()
                    .filter(|&port| port != 0)
                    .ok_or_else(|| format!("'{number}' is no port"))?,
            ),
        };
        let host = HostPattern::parse(host).map_err(|error| error.to_string())?;
        Ok(Self { host, port })
    }
}

impl Match<[u8]> for ConnectPattern {
    fn matches(&self, authority: &[u8]) -> bool {
        let (host, port) = split_port(authority);
        let port = port
            .and_then(|port| std::str::from_utf8(port).ok())
            .and_then(|port| port.parse::<u16>().ok());
        port.is_some() && (self.port.is_none() || self.port == port) && self.host.matches(host)
    }
}

impl Covers for ConnectPattern {
    fn covers(&self, other: &Self) -> bool {
        (self.port.is_none() || self.port == other.port) && self.host.covers(&other.host)
    }
}

impl fmt::Display for ConnectPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(formatter, "{}:{port}", self.host),
            None => write!(formatter, "{}:*", self.host),
        }
    }
}
