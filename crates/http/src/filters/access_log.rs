//! `access_log` for HTTP: what the record of an exchange has to say in Envoy's words.
//!
//! How lines are made and where they go is `portcullis_filter::log`'s. Routes put it at the front of their chains, so
//! that requests which other filters refuse are logged too. Start at the table of operators in
//! [`LogRecords::operator`].

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use portcullis_filter::Context;
use portcullis_filter::log::{
    LogRecords, Operator, OperatorError, Preset, TimeFormat, ValueWriter,
};

use crate::edit::FieldName;
use crate::message::{Http, Record, Side};

/// `access_log`, one line for each exchange when it is over.
pub type AccessLog = portcullis_filter::log::AccessLog<Http>;

impl LogRecords for Http {
    const OPERATORS: &'static [&'static str] = &[
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DURATION",
        "PROTOCOL",
        "REQ",
        "RESP",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_DURATION",
        "RESPONSE_FLAGS",
        "ROUTE_NAME",
        "START_TIME",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_HOST",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    ];

    const PRESETS: &'static [Preset] = &[
        Preset::Json {
            name: "json",
            keys: &[
                ("start_time", "%START_TIME%"),
                ("listener", "%LISTENER_NAME%"),
                ("connection_id", "%CONNECTION_ID%"),
                ("client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
                ("method", "%REQ(:METHOD)%"),
                ("host", "%REQ(:AUTHORITY)%"),
                ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
                ("protocol", "%PROTOCOL%"),
                ("status", "%RESPONSE_CODE%"),
                ("details", "%RESPONSE_CODE_DETAILS%"),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration_ms", "%DURATION%"),
                ("route", "%ROUTE_NAME%"),
                ("cluster", "%UPSTREAM_CLUSTER%"),
                ("endpoint", "%UPSTREAM_HOST%"),
                ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
                ("user_agent", "%REQ(USER-AGENT)%"),
                ("request_id", "%REQ(X-REQUEST-ID)%"),
            ],
        },
        // Envoy's default, with the time to the response's head where Envoy has it from a field of its own.
        Preset::Text {
            name: "envoy",
            line: "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
                   %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
                   %RESPONSE_DURATION% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
                   \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"",
        },
        // Apache's and nginx's.
        Preset::Text {
            name: "combined",
            line: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% - - \
                   [%START_TIME(%d/%b/%Y:%H:%M:%S %z)%] \
                   \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
                   %RESPONSE_CODE% %BYTES_SENT% \"%REQ(REFERER)%\" \"%REQ(USER-AGENT)%\"",
        },
    ];

    fn operator(name: &str, argument: Option<&str>) -> Result<Operator<Self>, OperatorError> {
        match (name, argument) {
            ("START_TIME", format) => {
                let format = format.map_or_else(|| Ok(TimeFormat::default()), TimeFormat::new)?;
                Ok(Box::new(move |record: &Record, _, value| {
                    value.time(&format, record.started_at);
                }))
            }
            ("REQ", argument) => request(argument.unwrap_or_default()),
            ("RESP", argument) => response(argument.unwrap_or_default()),
            (name, None) => {
                let write = writer(name).ok_or(OperatorError::Unknown)?;
                Ok(Box::new(write))
            }
            (name, Some(_)) if writer(name).is_some() => {
                Err(OperatorError::Argument("no argument"))
            }
            _ => Err(OperatorError::Unknown),
        }
    }
}

fn writer(name: &str) -> Option<fn(&Record, &Context, ValueWriter<'_>)> {
    Some(match name {
        // As Envoy counts: bodies, received from downstream and sent to it.
        "BYTES_RECEIVED" => |record, _, value| value.number(record.request_bytes),
        "BYTES_SENT" => |record, _, value| value.number(record.response_bytes),
        "DOWNSTREAM_REMOTE_ADDRESS" => |_, cx, value| write_client(cx, value),
        "DURATION" => |record, _, value| value.number(millis(record.duration)),
        "PROTOCOL" => |record, _, value| value.text(record.request.head.version.as_str()),
        "RESPONSE_CODE" => |record, _, value| {
            value.number(record.status.map_or(0, |status| status.code().into()));
        },
        "RESPONSE_CODE_DETAILS" => |record, _, value| {
            let upstream = record.status.map(|_| "via_upstream");
            value.optional(record.reason.or(upstream));
        },
        "RESPONSE_DURATION" => |record, _, value| match record.first_byte {
            Some(at) => value.number(millis(at.saturating_duration_since(record.started))),
            None => value.absent(),
        },
        "RESPONSE_FLAGS" => |record, _, value| value.optional(flags(record)),
        "ROUTE_NAME" => |record, _, value| value.optional(record.route.as_deref()),
        "UPSTREAM_CLUSTER" => |record, _, value| value.optional(record.cluster.as_deref()),
        "UPSTREAM_HOST" => |record, _, value| value.optional(record.endpoint.as_deref()),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => |record, _, value| value.number(record.attempts.into()),
        _ => return None,
    })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A client behind trusted proxies has no port: they do not tell it. One of a Unix socket has neither.
fn write_client(cx: &Context, value: ValueWriter<'_>) {
    let Some(ip) = cx.known_client_ip() else {
        return value.absent();
    };
    let port = cx
        .connection
        .client
        .filter(|client| client.ip().to_canonical() == ip)
        .map_or(0, |client| client.port());
    value.display(SocketAddr::new(ip, port));
}

/// Something of a request, named as `REQ` names it.
enum Source {
    Method,
    Path,
    OriginalPath,
    Authority,
    Scheme,
    Field(FieldName),
}

impl Source {
    fn parse(name: &str) -> Result<Self, OperatorError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            // Envoy notes a rewritten path in this field; formats written for it mean the path as it came.
            "x-envoy-original-path" => Self::OriginalPath,
            name => Self::Field(field(name)?),
        })
    }

    fn of<'r>(&'r self, record: &'r Record) -> Option<&'r [u8]> {
        let request = &record.request;
        let value: &[u8] = match self {
            Self::Method => request.head.method.as_bytes(),
            Self::Path => &request.head.target.path_and_query,
            Self::OriginalPath => request
                .original_path
                .as_ref()
                .unwrap_or(&request.head.target.path_and_query),
            Self::Authority => &request.authority,
            Self::Scheme => request.scheme.as_str().as_bytes(),
            Self::Field(name) => return name.values(&request.head.fields).next(),
        };
        (!value.is_empty()).then_some(value)
    }
}

fn field(name: &str) -> Result<FieldName, OperatorError> {
    FieldName::any(name)
        .map_err(|_| OperatorError::Argument("a field, or two with a ? between them"))
}

/// `REQ(X?Y)`: the first of the two that there is.
fn request(argument: &str) -> Result<Operator<Http>, OperatorError> {
    let sources = argument
        .split('?')
        .map(Source::parse)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |record: &Record, _, value| {
        value.optional(sources.iter().find_map(|source| source.of(record)));
    }))
}

/// `RESP(X?Y)`: the first of the two that there is, as it was sent downstream.
fn response(argument: &str) -> Result<Operator<Http>, OperatorError> {
    let names = argument
        .split('?')
        .map(field)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |record: &Record, _, value| {
        let fields = &record.response_fields;
        value.optional(names.iter().find_map(|name| name.values(fields).next()));
    }))
}

fn flags(record: &Record) -> Option<&'static str> {
    let malformed = || {
        Some(match record.malformed? {
            Side::Downstream => "DPE",
            Side::Upstream => "UPE",
        })
    };
    record.reason.and_then(flag).or_else(malformed)
}

/// Envoy's flag for a reason, where it has one.
fn flag(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "no_route" => "NR",
        "no_cluster" => "NC",
        "rate_limited" => "RL",
        "fault_abort" => "FI",
        "denied" => "UAEX",
        "concurrency" => "OM",
        "upstream_timeout" | "request_timeout" | "upstream_stalled" => "UT",
        "upstream_reset" => "UR",
        "upstream_closed" | "upstream_io" | "upstream_truncated" => "UC",
        "connect_refused" | "connect_timeout" | "connect_unreachable" => "UF",
        "upstream_request_limit" | "upstream_pending_limit" | "upstream_connection_limit" => "UO",
        "too_many_interim" | "unexpected_upgrade" => "UPE",
        "no_endpoints" | "none_available" | "all_tried" => "UH",
        "downstream_closed" | "downstream_io" => "DC",
        "downstream_reset" => "DR",
        "downstream_stalled" | "body_timeout" | "head_timeout" | "tunnel_idle" => "SI",
        _ => return None,
    })
}
