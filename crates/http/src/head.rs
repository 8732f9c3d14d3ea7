//! Request and response heads, whatever the wire format they came in.
//!
//! Not a parser: each HTTP version's decoder fills these in. Nothing here decides how long a body is; see
//! [`crate::framing`]. Start at [`RequestHead`] and [`ResponseHead`].

use bytes::Bytes;

use crate::fields::Fields;

/// A request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// What is asked for.
    pub target: Target,
    /// The version that the peer spoke.
    pub version: Version,
    /// The fields in order. Host stays among them until the exchange settles the authority.
    pub fields: Fields,
}

impl RequestHead {
    /// A head to be filled in: GET, no target, HTTP/1.1, no fields.
    #[must_use]
    pub const fn blank() -> Self {
        Self {
            method: Method::Get,
            target: Target::origin(Bytes::new()),
            version: Version::Http11,
            fields: Fields::new(),
        }
    }

    /// Blank again. The list of fields keeps its memory.
    pub fn clear(&mut self) {
        let Self {
            method,
            target,
            version,
            fields,
        } = self;
        *method = Method::Get;
        *target = Target::origin(Bytes::new());
        *version = Version::Http11;
        fields.clear();
    }
}

/// A response's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: Status,
    /// HTTP/1's reason phrase as sent; empty where the version has none.
    pub reason: Bytes,
    /// The version that the peer spoke.
    pub version: Version,
    /// The fields in order.
    pub fields: Fields,
}

impl ResponseHead {
    /// A response made here: HTTP/1.1, no fields.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            reason: Bytes::new(),
            version: Version::Http11,
            fields: Fields::new(),
        }
    }

    /// As [`ResponseHead::new`] with 200. The list of fields keeps its memory.
    pub fn clear(&mut self) {
        let Self {
            status,
            reason,
            version,
            fields,
        } = self;
        *status = Status::OK;
        *reason = Bytes::new();
        *version = Version::Http11;
        fields.clear();
    }
}

/// The version of HTTP that a message was sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945): no chunked coding, close by default.
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
}

impl Version {
    /// As access logs and `via` spell it: `HTTP/1.1`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// A request method (RFC 9110 section 9): case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant is the method of its name
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other(Bytes),
}

impl Method {
    /// The well-known method that `name` spells, if it is one; else `None`.
    #[must_use]
    pub const fn known(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => return None,
        })
    }

    /// The method as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Get => b"GET",
            Self::Head => b"HEAD",
            Self::Post => b"POST",
            Self::Put => b"PUT",
            Self::Delete => b"DELETE",
            Self::Connect => b"CONNECT",
            Self::Options => b"OPTIONS",
            Self::Trace => b"TRACE",
            Self::Patch => b"PATCH",
            Self::Other(name) => name,
        }
    }

    /// The method as text. Method bytes are tokens, hence ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("?")
    }

    /// RFC 9110 section 9.2.1: sending it asks for no change.
    #[must_use]
    pub const fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// RFC 9110 section 9.2.2: sending it twice is as sending it once.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// What a request asks for (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The form it was written in.
    pub form: TargetForm,
    /// `http` or `https` where the target names one (absolute-form, HTTP/2); else `None`.
    pub scheme: Option<Scheme>,
    /// `host[:port]` from the target itself (absolute-form, authority-form, `:authority`), not from Host.
    pub authority: Option<Bytes>,
    /// Path with query: begins with `/`, or is `*` in asterisk-form; empty in authority-form.
    pub path_and_query: Bytes,
}

impl Target {
    /// A target in origin-form.
    #[must_use]
    pub const fn origin(path_and_query: Bytes) -> Self {
        Self {
            form: TargetForm::Origin,
            scheme: None,
            authority: None,
            path_and_query,
        }
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.split().0
    }

    /// The query, without the question mark; `None` where there is none.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.split().1
    }

    fn split(&self) -> (&[u8], Option<&[u8]>) {
        match memchr::memchr(b'?', &self.path_and_query) {
            Some(at) => {
                let (path, query) = self.path_and_query.split_at(at);
                (path, query.get(1..))
            }
            None => (&self.path_and_query, None),
        }
    }
}

/// The four forms of a request target (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, CONNECT only
    Authority,
    /// `*`, OPTIONS only
    Asterisk,
}

/// The scheme of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// Over TLS or QUIC.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A status code: three digits, 100 to 999 (RFC 9110 section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

#[allow(missing_docs)] // each constant is the status of its name
impl Status {
    pub const CONTINUE: Self = Self(100);
    pub const SWITCHING_PROTOCOLS: Self = Self(101);
    pub const OK: Self = Self(200);
    pub const NO_CONTENT: Self = Self(204);
    pub const MOVED_PERMANENTLY: Self = Self(301);
    pub const FOUND: Self = Self(302);
    pub const NOT_MODIFIED: Self = Self(304);
    pub const BAD_REQUEST: Self = Self(400);
    pub const FORBIDDEN: Self = Self(403);
    pub const NOT_FOUND: Self = Self(404);
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    pub const REQUEST_TIMEOUT: Self = Self(408);
    pub const CONTENT_TOO_LARGE: Self = Self(413);
    pub const URI_TOO_LONG: Self = Self(414);
    pub const EXPECTATION_FAILED: Self = Self(417);
    pub const MISDIRECTED_REQUEST: Self = Self(421);
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    /// 425
    pub const TOO_EARLY: Self = Self(425);
    pub const HEADER_FIELDS_TOO_LARGE: Self = Self(431);
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    pub const NOT_IMPLEMENTED: Self = Self(501);
    pub const BAD_GATEWAY: Self = Self(502);
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    pub const GATEWAY_TIMEOUT: Self = Self(504);
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);
}

impl Status {
    /// The status with this code, if it is 100 to 999.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        if code >= 100 && code <= 999 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The code as a number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether it is 1xx: another response follows.
    #[must_use]
    pub const fn is_interim(self) -> bool {
        self.0 < 200
    }

    /// Whether a response with this status never has a body (RFC 9110 section 6.4.1).
    #[must_use]
    pub const fn is_bodiless(self) -> bool {
        self.0 < 200 || self.0 == 204 || self.0 == 304
    }

    /// The label of its class: `1xx` to `5xx`, `other` above.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self.0 / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        }
    }

    /// The registered reason phrase, empty for codes that have none here.
    #[must_use]
    pub const fn canonical_reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            102 => "Processing",
            103 => "Early Hints",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            203 => "Non-Authoritative Information",
            204 => "No Content",
            205 => "Reset Content",
            206 => "Partial Content",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            425 => "Too Early",
            426 => "Upgrade Required",
            428 => "Precondition Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            451 => "Unavailable For Legal Reasons",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            511 => "Network Authentication Required",
            _ => "",
        }
    }
}
