//! HTTP/1 messages as the harness sees them: parsed just enough to assert on, raw bytes kept.
//!
//! Deliberately lax and deliberately not the gateway's codec.

/// The lines in front of a body.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawHead {
    pub(crate) bytes: Vec<u8>,
    pub(crate) start: [String; 3],
    pub(crate) headers: Vec<(String, String)>,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    Length(usize),
    Chunked,
    Close,
}

/// Field lines in order, names as they came.
pub(crate) type Fields = Vec<(String, String)>;

/// A request as an upstream received it.
#[derive(Debug, Clone, Default)]
pub struct RawRequest {
    /// The head as it came, blank line included.
    pub head: Vec<u8>,
    /// The method.
    pub method: String,
    /// The request target, untouched.
    pub target: String,
    /// `HTTP/1.1` or whatever else came.
    pub version: String,
    /// Field lines in order, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body with chunked coding taken off.
    pub body: Vec<u8>,
    /// The trailer section of a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Which connection of this upstream it came on, counted from 0.
    pub connection: usize,
}

/// A response as a client received it.
#[derive(Debug, Clone, Default)]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// `HTTP/1.1` or whatever else came.
    pub version: String,
    /// The reason phrase.
    pub reason: String,
    /// The head as it came, blank line included.
    pub head: Vec<u8>,
    /// Field lines in order, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body with chunked coding taken off.
    pub body: Vec<u8>,
    /// The trailer section of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl RawRequest {
    /// The first field of that name, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// Every field of that name, in order.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    pub(crate) fn from_head(head: RawHead) -> Self {
        let [method, target, version] = head.start;
        Self {
            head: head.bytes,
            method,
            target,
            version,
            headers: head.headers,
            ..Self::default()
        }
    }
}

impl RawResponse {
    /// The first field of that name, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// Every field of that name, in order.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    /// The body as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn from_head(head: RawHead) -> Self {
        let [version, status, reason] = head.start;
        Self {
            status: status.parse().unwrap_or(0),
            version,
            reason,
            head: head.bytes,
            headers: head.headers,
            ..Self::default()
        }
    }
}

impl RawHead {
    /// Reads a head that ends with its blank line.
    pub(crate) fn parse(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
        let start = std::array::from_fn(|_| words.next().unwrap_or_default().to_owned());
        let headers = lines.filter_map(field).collect();
        Self {
            bytes,
            start,
            headers,
        }
    }

    /// How the body behind this head ends; `unframed` is what holds when no field says.
    pub(crate) fn body_end(&self, unframed: BodyEnd) -> BodyEnd {
        if let Some(coding) = first(&self.headers, "transfer-encoding") {
            if coding.to_ascii_lowercase().ends_with("chunked") {
                return BodyEnd::Chunked;
            }
            return BodyEnd::Close;
        }
        let length = first(&self.headers, "content-length").and_then(|value| value.parse().ok());
        length.map_or(unframed, BodyEnd::Length)
    }
}

/// Splits one field line; `None` for the blank line.
pub(crate) fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

fn first<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    all(headers, name).first().copied()
}

fn all<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let same = headers
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value.as_str()).collect()
}
