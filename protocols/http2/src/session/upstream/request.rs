//! What a stream is opened with.
//!
//! An upgrade becomes extended CONNECT here (RFC 8441 section 4). Start at [`Opening`].

use bytes::Bytes;
use http::header::HeaderName;
use http::uri::Authority;
use portcullis_http::head::{Method, RequestHead, Scheme, Status, Version};
use portcullis_http::stream::StreamError;
use portcullis_http::{Framing, KnownField};

use super::super::link::Terms;
use super::super::websocket;
use super::{CONNECT, bad_gateway};
use portcullis_http::types::{self as fields, FieldError};

/// A request in the form that `h2` sends.
pub(super) struct Opening {
    pub(super) request: http::Request<()>,
    pub(super) method: Method,
    /// Nothing follows.
    pub(super) ended: bool,
    pub(super) upgrade: Option<Upgrade>,
}

/// A change of protocol that was asked for in HTTP/1's way.
pub(super) struct Upgrade {
    /// What the answer says in `sec-websocket-accept`, if the client sent a key.
    pub(super) accept: Option<String>,
}

impl Opening {
    /// A client's request.
    pub(super) fn new(
        head: &RequestHead,
        framing: Framing,
        terms: &Terms,
    ) -> Result<Self, StreamError> {
        let scheme = if terms.is_secure {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let request = if has_authority(head) {
            fields::request(head, framing, scheme, Version::Http2)
        } else {
            // RFC 9112 section 3.2 lets an old client leave the host out; RFC 9113 section 8.3.1 does not let us.
            let mut named = head.clone();
            named
                .fields
                .set(KnownField::Host, terms.authority.as_bytes());
            fields::request(&named, framing, scheme, Version::Http2)
        };
        let mut opening = Self {
            request: request.map_err(unsendable_for)?,
            method: head.method.clone(),
            ended: framing.is_empty(),
            upgrade: None,
        };
        if let Some(protocol) = head.fields.get_bytes(KnownField::Upgrade) {
            opening.extend(head, &protocol)?;
        } else if head.method == Method::Connect {
            opening.ended = false;
        }
        Ok(opening)
    }

    /// A tunnel to the endpoint itself.
    pub(super) fn connect(terms: &Terms) -> Result<Self, StreamError> {
        let authority =
            Authority::from_maybe_shared(Bytes::copy_from_slice(terms.authority.as_bytes()))
                .map_err(|_| unsendable())?;
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::CONNECT;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = http::Uri::from(authority);
        Ok(Self {
            request,
            method: CONNECT,
            ended: false,
            upgrade: None,
        })
    }

    /// The method becomes CONNECT, the protocol its own field, and the key stays here: HTTP/2 has none.
    fn extend(&mut self, head: &RequestHead, protocol: &[u8]) -> Result<(), StreamError> {
        let protocol = std::str::from_utf8(protocol).map_err(|_| unsendable())?;
        *self.request.method_mut() = http::Method::CONNECT;
        self.request
            .extensions_mut()
            .insert(h2::ext::Protocol::from(protocol));
        self.request
            .headers_mut()
            .remove(HeaderName::from_static("sec-websocket-key"));
        self.method = CONNECT;
        self.ended = false;
        self.upgrade = Some(Upgrade {
            accept: head
                .fields
                .get(KnownField::SecWebSocketKey)
                .map(websocket::accept),
        });
        Ok(())
    }

    /// Whether the peer must have said that it takes such a request.
    pub(super) const fn needs_extended_connect(&self) -> bool {
        self.upgrade.is_some()
    }
}

fn has_authority(head: &RequestHead) -> bool {
    head.target.authority.is_some()
        || head
            .fields
            .get(KnownField::Host)
            .is_some_and(|host| !host.is_empty())
}

/// The endpoint cannot take this request.
pub(super) const fn refusal(label: &'static str) -> StreamError {
    bad_gateway(label)
}

/// A head without a form in HTTP/2.
pub(super) const fn unsendable() -> StreamError {
    unsendable_for(FieldError::Unsendable)
}

const fn unsendable_for(error: FieldError) -> StreamError {
    StreamError::Protocol {
        label: error.label(),
        status: Status::BAD_REQUEST,
    }
}
