//! Answers that a route gives itself: redirects and fixed responses.
//!
//! Not errors: those are [`crate::local_reply`]. Start at [`ReplyAction::reply`].

use bytes::Bytes;

use super::rewrite::PathRewrite;
use crate::edit::{FieldName, FieldValue};
use crate::head::{Scheme, Status};
use crate::message::{Request, Response};
use crate::name::KnownField;
use crate::normalize::split_port;

/// An answer that a route gives itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyAction {
    /// Somewhere else.
    Redirect(Redirect),
    /// A fixed response.
    Respond(Respond),
    /// No rule took the request.
    NoRoute,
}

impl ReplyAction {
    /// The answer to `request`. [`ReplyAction::NoRoute`] has an empty 404, for the exchange to fill.
    #[must_use]
    pub fn reply(&self, request: &Request) -> Response {
        match self {
            Self::Redirect(redirect) => redirect.reply(request),
            Self::Respond(respond) => respond.reply(),
            Self::NoRoute => Response::local(Status::NOT_FOUND, "no_route", Bytes::new()),
        }
    }
}

/// A fixed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Its status.
    pub status: Status,
    /// Its body.
    pub body: Bytes,
    /// Its `content-type`, if it has a body.
    pub content_type: Option<FieldValue>,
    /// Its other fields.
    pub fields: Vec<(FieldName, FieldValue)>,
}

impl Respond {
    fn reply(&self) -> Response {
        let mut response = Response::local(self.status, "direct_response", self.body.clone());
        let fields = &mut response.head.fields;
        if let Some(content_type) = &self.content_type {
            fields.append(KnownField::ContentType, content_type.as_bytes());
        }
        for (name, value) in &self.fields {
            fields.append(name.name(), value.as_bytes());
        }
        response
    }
}

/// A redirect: a fixed place, or the request's own target with parts replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: Status,
    /// A whole URL or path; the parts below are then not used.
    pub to: Option<FieldValue>,
    /// The scheme; `None` keeps the request's.
    pub scheme: Option<Scheme>,
    /// The host without port; `None` keeps the request's.
    pub host: Option<Box<str>>,
    /// The port. `None` keeps the request's, unless the scheme changes.
    pub port: Option<u16>,
    /// The path.
    pub path: PathRewrite,
    /// Whether the query is left out.
    pub strip_query: bool,
}

impl Redirect {
    fn reply(&self, request: &Request) -> Response {
        let mut response = Response::local(self.status, "redirect", Bytes::new());
        let fields = &mut response.head.fields;
        match &self.to {
            Some(to) => fields.append(KnownField::Location, to.as_bytes()),
            None => fields.append(KnownField::Location, &self.location(request)),
        }
        response
    }

    /// Everything from the request is settled: its authority is a host and its path printable.
    fn location(&self, request: &Request) -> Vec<u8> {
        let mut location = Vec::with_capacity(128);
        self.write_origin(request, &mut location);
        let target = &request.head.target;
        let path = match self.path.apply(target.path()) {
            Ok(Some(path)) => path,
            Ok(None) | Err(_) => target.path().to_vec(),
        };
        // Without a host in front, `//x` would name one.
        let path = if location.is_empty() {
            let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
            path.get(slashes.saturating_sub(1)..).unwrap_or_default()
        } else {
            &path
        };
        location.extend_from_slice(path);
        if let Some(query) = target.query()
            && !self.strip_query
        {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        location
    }

    /// `scheme://host[:port]`; nothing if no host is known.
    fn write_origin(&self, request: &Request, location: &mut Vec<u8>) {
        let (own_host, own_port) = split_port(&request.authority);
        let host = self.host.as_deref().map_or(own_host, str::as_bytes);
        if host.is_empty() {
            return;
        }
        let scheme = self.scheme.unwrap_or(request.scheme);
        location.extend_from_slice(scheme.as_str().as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(host);
        let is_default = |port: u16| {
            port == match scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            }
        };
        match (self.port, own_port) {
            (Some(port), _) if !is_default(port) => {
                location.push(b':');
                location.extend_from_slice(port.to_string().as_bytes());
            }
            (None, Some(port)) if scheme == request.scheme && self.host.is_none() => {
                location.push(b':');
                location.extend_from_slice(port);
            }
            _ => {}
        }
    }
}
