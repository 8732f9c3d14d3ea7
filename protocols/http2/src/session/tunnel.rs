//! Requests that ask for a tunnel: CONNECT, and WebSocket by extended CONNECT (RFC 8441).
//!
//! The exchange knows one form of WebSocket handshake, that of HTTP/1.1: a GET with `upgrade`, answered by 101. An
//! extended CONNECT is put into that form, and a 101 goes back as the 200 that its client waits for. Start at
//! [`Tunnel::of`].

use bytes::Bytes;
use http::header::HeaderName;
use portcullis_filter::Random;
use portcullis_http::head::{Method, RequestHead, ResponseHead, Status};
use portcullis_http::{Framing, KnownField};

use super::websocket;
use portcullis_http::types::FieldError;

/// Whether a stream is to become a tunnel.
pub(crate) enum Tunnel {
    /// No: a request like others.
    No,
    /// If the answer is a success.
    Connect,
    /// If the answer is 101, and proves that the key was read.
    WebSocket {
        /// `sec-websocket-key`, made here: RFC 8441 has none.
        key: Bytes,
    },
    /// It has.
    Open,
}

impl Tunnel {
    /// What a request asks for. An extended CONNECT is put into the exchange's form.
    ///
    /// # Errors
    /// A protocol that is not WebSocket.
    pub(crate) fn of(
        head: &mut RequestHead,
        framing: &mut Framing,
        protocol: Option<&h2::ext::Protocol>,
        random: &Random,
    ) -> Result<Self, FieldError> {
        let Some(protocol) = protocol else {
            return Ok(if head.method == Method::Connect {
                Self::Connect
            } else {
                Self::No
            });
        };
        if protocol.as_str() != "websocket" {
            return Err(FieldError::Protocol);
        }
        let key = websocket::key([random.next(), random.next()]);
        head.method = Method::Get;
        *framing = Framing::None;
        let fields = &mut head.fields;
        fields.set(KnownField::Connection, b"upgrade");
        fields.set(KnownField::Upgrade, b"websocket");
        fields.set(KnownField::SecWebSocketKey, key.as_bytes());
        Ok(Self::WebSocket {
            key: Bytes::from(key),
        })
    }

    /// Whether a final head opens the tunnel.
    ///
    /// # Errors
    /// A head that the client would take for an open tunnel and that is none; the label says why.
    pub(crate) fn answer(&self, head: &ResponseHead) -> Result<bool, &'static str> {
        let is_success = matches!(head.status.code(), 200..=299);
        match self {
            Self::No | Self::Open if head.status == Status::SWITCHING_PROTOCOLS => {
                Err("unexpected_upgrade")
            }
            Self::No | Self::Open => Ok(false),
            Self::Connect => Ok(is_success),
            Self::WebSocket { .. } if is_success => Err("websocket_not_accepted"),
            Self::WebSocket { key } if head.status == Status::SWITCHING_PROTOCOLS => {
                let accept = head.fields.get_named("sec-websocket-accept");
                if accept == Some(websocket::accept(key).as_bytes()) {
                    Ok(true)
                } else {
                    Err("bad_websocket_accept")
                }
            }
            Self::WebSocket { .. } => Ok(false),
        }
    }

    /// Makes the head that opens the tunnel the one that the client waits for.
    pub(crate) fn settle(&self, response: &mut http::Response<()>) {
        if matches!(self, Self::WebSocket { .. }) {
            *response.status_mut() = http::StatusCode::OK;
            response
                .headers_mut()
                .remove(HeaderName::from_static("sec-websocket-accept"));
        }
    }

    /// Notes that bytes flow.
    pub(crate) fn open(&mut self) {
        *self = Self::Open;
    }

    /// Whether bytes flow.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, accept: Option<&[u8]>) -> ResponseHead {
        let mut head = ResponseHead::new(Status::from_code(status).unwrap());
        if let Some(accept) = accept {
            head.fields.append("sec-websocket-accept", accept);
        }
        head
    }

    #[test]
    fn only_a_proven_101_opens_a_websocket() {
        let key = Bytes::from_static(b"dGhlIHNhbXBsZSBub25jZQ==");
        let right = websocket::accept(&key);
        let websocket = Tunnel::WebSocket { key };
        type Row<'a> = (
            &'a str,
            &'a Tunnel,
            ResponseHead,
            Result<bool, &'static str>,
        );
        let rows: [Row<'_>; 9] = [
            (
                "proven",
                &websocket,
                head(101, Some(right.as_bytes())),
                Ok(true),
            ),
            (
                "wrong",
                &websocket,
                head(101, Some(b"x")),
                Err("bad_websocket_accept"),
            ),
            (
                "missing",
                &websocket,
                head(101, None),
                Err("bad_websocket_accept"),
            ),
            (
                "200",
                &websocket,
                head(200, Some(right.as_bytes())),
                Err("websocket_not_accepted"),
            ),
            ("refused", &websocket, head(403, None), Ok(false)),
            ("connected", &Tunnel::Connect, head(200, None), Ok(true)),
            (
                "not connected",
                &Tunnel::Connect,
                head(405, None),
                Ok(false),
            ),
            ("plain", &Tunnel::No, head(200, None), Ok(false)),
            (
                "101 for nothing",
                &Tunnel::No,
                head(101, None),
                Err("unexpected_upgrade"),
            ),
        ];
        for (name, tunnel, head, expected) in rows {
            assert_eq!(tunnel.answer(&head), expected, "{name}");
        }
    }
}
