//! Operators: what can be said about an exchange, by the names that Envoy gave them.
//!
//! Not how lines are put together ([`super::format`]) or escaped. Start at [`Operator::parse`]; the table of
//! names without parameter is [`SIMPLE`].

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use portcullis_config::suggest;
use portcullis_filter::Context;
use smallvec::SmallVec;

use super::time::{DEFAULT, TimeFormat};
use crate::edit::FieldName;
use crate::fields::Fields;
use crate::message::Record;

/// One operator, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Simple(Simple),
    StartTime(TimeFormat),
    /// The first of two that is there, cut to a length.
    Request(Source, Option<Source>, usize),
    Response(FieldName, Option<FieldName>, usize),
}

/// Something of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Method,
    Path,
    OriginalPath,
    Authority,
    Scheme,
    Field(FieldName),
}

/// Operators without a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the table says what each is
pub enum Simple {
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    BytesReceived,
    BytesSent,
    Duration,
    ResponseDuration,
    Attempts,
    UpstreamHost,
    UpstreamCluster,
    RouteName,
    ListenerName,
    Protocol,
    Remote,
    RemoteWithoutPort,
    DirectRemote,
    DirectRemoteWithoutPort,
    Local,
    LocalWithoutPort,
    LocalPort,
    ConnectionId,
}

/// Every operator without a parameter.
pub const SIMPLE: &[(&str, Simple)] = &[
    ("RESPONSE_CODE", Simple::ResponseCode),
    ("RESPONSE_CODE_DETAILS", Simple::ResponseCodeDetails),
    ("RESPONSE_FLAGS", Simple::ResponseFlags),
    ("BYTES_RECEIVED", Simple::BytesReceived),
    ("BYTES_SENT", Simple::BytesSent),
    ("DURATION", Simple::Duration),
    ("RESPONSE_DURATION", Simple::ResponseDuration),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Simple::Attempts),
    ("UPSTREAM_HOST", Simple::UpstreamHost),
    ("UPSTREAM_CLUSTER", Simple::UpstreamCluster),
    ("ROUTE_NAME", Simple::RouteName),
    ("LISTENER_NAME", Simple::ListenerName),
    ("PROTOCOL", Simple::Protocol),
    ("DOWNSTREAM_REMOTE_ADDRESS", Simple::Remote),
    (
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Simple::RemoteWithoutPort,
    ),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Simple::DirectRemote),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        Simple::DirectRemoteWithoutPort,
    ),
    ("DOWNSTREAM_LOCAL_ADDRESS", Simple::Local),
    (
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Simple::LocalWithoutPort,
    ),
    ("DOWNSTREAM_LOCAL_PORT", Simple::LocalPort),
    ("CONNECTION_ID", Simple::ConnectionId),
];

/// How a value is written where it stands.
pub(super) trait Output {
    /// A value that a peer chose.
    fn peer(&self, value: &[u8], line: &mut Vec<u8>);
    /// A value from this program or its configuration.
    fn own(&self, value: &[u8], line: &mut Vec<u8>);
    /// A number.
    fn number(&self, digits: &[u8], line: &mut Vec<u8>);
}

impl Operator {
    /// Compiles `%NAME(parameter):length%`.
    ///
    /// # Errors
    /// There is no such operator, or not with such a parameter; in words.
    pub fn parse(
        name: &str,
        parameter: Option<&str>,
        length: Option<usize>,
    ) -> Result<Self, String> {
        let kind = match (name, parameter) {
            ("START_TIME", format) => {
                Kind::StartTime(TimeFormat::parse(format.unwrap_or(DEFAULT))?)
            }
            ("REQ", Some(parameter)) => {
                let (first, second) = alternatives(parameter);
                let second = second.map(Source::parse).transpose()?;
                Kind::Request(Source::parse(first)?, second, length.unwrap_or(usize::MAX))
            }
            ("RESP", Some(parameter)) => {
                let (first, second) = alternatives(parameter);
                let second = second.map(FieldName::any).transpose()?;
                Kind::Response(FieldName::any(first)?, second, length.unwrap_or(usize::MAX))
            }
            ("REQ" | "RESP", None) => {
                return Err(format!("%{name}% needs a field: %{name}(X-FIELD)%"));
            }
            (_, None) => Kind::Simple(simple(name)?),
            (_, Some(_)) => {
                simple(name)?;
                return Err(format!("%{name}% takes no parameter"));
            }
        };
        if length.is_some() && !matches!(kind, Kind::Request(..) | Kind::Response(..)) {
            return Err(format!("%{name}% takes no length"));
        }
        Ok(Self(kind))
    }

    /// Writes the value, or nothing where there is none.
    pub(super) fn write(
        &self,
        record: &Record,
        cx: &Context,
        line: &mut Vec<u8>,
        output: &dyn Output,
    ) {
        match &self.0 {
            Kind::Simple(simple) => simple.write(record, cx, line, output),
            Kind::StartTime(format) => {
                let mut time = Vec::with_capacity(32);
                format.write(record.started_at, &mut time);
                output.own(&time, line);
            }
            Kind::Request(first, second, length) => {
                let value = first
                    .of(record)
                    .or_else(|| second.as_ref().and_then(|second| second.of(record)));
                if let Some(value) = value {
                    output.peer(value.get(..*length).unwrap_or(value), line);
                }
            }
            Kind::Response(first, second, length) => {
                let fields: &Fields = &record.response_fields;
                let value = first.values(fields).next().or_else(|| {
                    second
                        .as_ref()
                        .and_then(|second| second.values(fields).next())
                });
                if let Some(value) = value {
                    output.peer(value.get(..*length).unwrap_or(value), line);
                }
            }
        }
    }
}

fn alternatives(parameter: &str) -> (&str, Option<&str>) {
    match parameter.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (parameter, None),
    }
}

fn simple(name: &str) -> Result<Simple, String> {
    if let Some((_, simple)) = SIMPLE.iter().find(|(known, _)| *known == name) {
        return Ok(*simple);
    }
    let known = SIMPLE
        .iter()
        .map(|(known, _)| *known)
        .chain(["START_TIME", "REQ", "RESP"]);
    Err(match suggest(name, known) {
        Some(near) => format!("unknown operator %{name}%, did you mean %{near}%?"),
        None => format!("unknown operator %{name}%"),
    })
}

impl Source {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            // Envoy notes a rewritten path in this field; formats written for it mean the path as it came.
            "x-envoy-original-path" => Self::OriginalPath,
            field => Self::Field(FieldName::any(field)?),
        })
    }

    fn of<'r>(&'r self, record: &'r Record) -> Option<&'r [u8]> {
        let request = &record.request;
        let value: &[u8] = match self {
            Self::Method => request.head.method.as_bytes(),
            Self::Path => &request.head.target.path_and_query,
            Self::OriginalPath => &record.original_path,
            Self::Authority => &request.authority,
            Self::Scheme => request.scheme.as_str().as_bytes(),
            Self::Field(name) => return name.values(&request.head.fields).next(),
        };
        (!value.is_empty()).then_some(value)
    }
}

impl Simple {
    fn write(self, record: &Record, cx: &Context, line: &mut Vec<u8>, output: &dyn Output) {
        match self {
            Self::ResponseCode => {
                let code = record.status.map_or(0, |status| u64::from(status.code()));
                number(code, line, output);
            }
            Self::ResponseCodeDetails => {
                let upstream = record.status.map(|_| "via_upstream");
                own(record.reason.or(upstream), line, output);
            }
            Self::ResponseFlags => own(record.reason.map(flag), line, output),
            Self::BytesReceived => number(record.request_bytes, line, output),
            Self::BytesSent => number(record.response_bytes, line, output),
            Self::Duration => number(millis(record.duration), line, output),
            Self::ResponseDuration => {
                if let Some(first) = record.first_byte {
                    number(millis(first), line, output);
                }
            }
            Self::Attempts => number(u64::from(record.attempts), line, output),
            Self::UpstreamHost => own(record.endpoint.as_deref(), line, output),
            Self::UpstreamCluster => own(record.cluster.as_deref(), line, output),
            Self::RouteName => own(record.route.as_deref(), line, output),
            Self::ListenerName => own(Some(&cx.connection.listener), line, output),
            Self::Protocol => own(Some(record.request.head.version.as_str()), line, output),
            Self::ConnectionId => number(cx.connection.id, line, output),
            _ => self.write_address(cx, line, output),
        }
    }

    fn write_address(self, cx: &Context, line: &mut Vec<u8>, output: &dyn Output) {
        let connection = &cx.connection;
        match self {
            Self::Remote => {
                // Proxies tell no ports.
                let port = connection
                    .client
                    .filter(|client| client.ip().to_canonical() == cx.client_ip)
                    .map_or(0, |client| client.port());
                address(SocketAddr::new(cx.client_ip, port), line, output);
            }
            Self::RemoteWithoutPort => ip(cx.client_ip, line, output),
            Self::DirectRemote => {
                if let Some(peer) = connection.peer {
                    address(peer, line, output);
                }
            }
            Self::DirectRemoteWithoutPort => {
                if let Some(peer) = connection.peer {
                    ip(peer.ip(), line, output);
                }
            }
            Self::Local => {
                if let Some(local) = connection.local {
                    address(local, line, output);
                }
            }
            Self::LocalWithoutPort => {
                if let Some(local) = connection.local {
                    ip(local.ip(), line, output);
                }
            }
            Self::LocalPort => {
                if let Some(local) = connection.local {
                    number(u64::from(local.port()), line, output);
                }
            }
            _ => {}
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn own(value: Option<&str>, line: &mut Vec<u8>, output: &dyn Output) {
    if let Some(value) = value {
        output.own(value.as_bytes(), line);
    }
}

type Digits = SmallVec<[u8; 64]>;

fn number(value: u64, line: &mut Vec<u8>, output: &dyn Output) {
    let mut digits = Digits::new();
    // Writing to memory cannot fail.
    let _ = write!(digits, "{value}");
    output.number(&digits, line);
}

fn address(address: SocketAddr, line: &mut Vec<u8>, output: &dyn Output) {
    let mut text = Digits::new();
    let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
    let _ = write!(text, "{canonical}");
    output.own(&text, line);
}

fn ip(ip: IpAddr, line: &mut Vec<u8>, output: &dyn Output) {
    let mut text = Digits::new();
    let _ = write!(text, "{}", ip.to_canonical());
    output.own(&text, line);
}

/// Envoy's flag for a reason; `-` for those that it has none for.
fn flag(reason: &'static str) -> &'static str {
    const FLAGS: &[(&str, &str)] = &[
        ("no_route", "NR"),
        ("no_cluster", "NC"),
        ("rate_limited", "RL"),
        ("concurrency", "RL"),
        ("fault_abort", "FI"),
        ("denied", "UAEX"),
        ("upstream_timeout", "UT"),
        ("request_timeout", "UT"),
        ("upstream_stalled", "UT"),
        ("upstream_reset", "UR"),
        ("upstream_closed", "UC"),
        ("upstream_io", "UC"),
        ("upstream_truncated", "UC"),
        ("connect_refused", "UF"),
        ("connect_timeout", "UF"),
        ("connect_unreachable", "UF"),
        ("upstream_request_limit", "UO"),
        ("upstream_pending_limit", "UO"),
        ("upstream_connection_limit", "UO"),
        ("no_endpoints", "UH"),
        ("all_tried", "UH"),
        ("downstream_closed", "DC"),
        ("downstream_reset", "DR"),
        ("downstream_io", "DC"),
        ("downstream_stalled", "SI"),
        ("body_timeout", "SI"),
        ("tunnel_idle", "SI"),
    ];
    FLAGS
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or("-", |(_, flag)| flag)
}
