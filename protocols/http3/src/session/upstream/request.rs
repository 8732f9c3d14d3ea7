//! What a stream is opened with.
//!
//! `h3` can neither ask for a tunnel nor for another protocol: it would name a path where there must be none (RFC 9114 section
//! 4.4), and knows no WebSocket (RFC 9220). Both are refused here. Start at [`Opening`].

use portcullis_http::head::{Method, RequestHead, Scheme, Status, Version};
use portcullis_http::stream::StreamError;
use portcullis_http::types::{self, FieldError};
use portcullis_http::{Framing, KnownField};

use super::bad_gateway;

/// The endpoint cannot be asked to change the protocol.
pub(super) const NO_EXTENDED_CONNECT: StreamError = bad_gateway("extended_connect_unsupported");

/// The endpoint cannot be asked for a tunnel.
pub(super) const NO_CONNECT: StreamError = bad_gateway("connect_unsupported");

/// A request in the form that `h3` sends.
pub(super) struct Opening {
    pub(super) request: http::Request<()>,
    pub(super) method: Method,
    /// Nothing follows.
    pub(super) ended: bool,
}

impl Opening {
    /// A client's request; `authority` is the endpoint's, for an old client that named none.
    ///
    /// # Errors
    /// It has no form in HTTP/3.
    pub(super) fn new(
        head: &RequestHead,
        framing: Framing,
        authority: &str,
    ) -> Result<Self, StreamError> {
        let request = if has_authority(head) {
            types::request(head, framing, Scheme::Https, Version::Http3)
        } else {
            // RFC 9112 section 3.2 lets an old client leave the host out; RFC 9114 section 4.3.1 does not let us.
            let mut named = head.clone();
            named.fields.set(KnownField::Host, authority.as_bytes());
            types::request(&named, framing, Scheme::Https, Version::Http3)
        };
        Ok(Self {
            request: request.map_err(unsendable)?,
            method: head.method.clone(),
            ended: framing.is_empty(),
        })
    }
}

/// Whether a head cannot be asked in HTTP/3, and why.
pub(super) fn refusal(head: &RequestHead) -> Option<StreamError> {
    if head.fields.get(KnownField::Upgrade).is_some() {
        Some(NO_EXTENDED_CONNECT)
    } else if head.method == Method::Connect {
        Some(NO_CONNECT)
    } else {
        None
    }
}

fn has_authority(head: &RequestHead) -> bool {
    head.target.authority.is_some()
        || head
            .fields
            .get(KnownField::Host)
            .is_some_and(|host| !host.is_empty())
}

const fn unsendable(error: FieldError) -> StreamError {
    StreamError::Protocol {
        label: error.label(),
        status: Status::BAD_REQUEST,
    }
}
