//! `access_log` for UDP: what a flow's record has to say in Envoy's words.
//!
//! How lines are made and where they go is `portcullis_filter::log`'s. Start at [`Preset`]s, or the table of
//! operators in `writer`.

use portcullis_filter::log::{
    LogRecords, Operator, OperatorError, Preset, TimeFormat, ValueWriter,
};

use crate::message::{Record, UdpMessages};

/// `access_log`, one line for each flow when it is over.
pub type AccessLog = portcullis_filter::log::AccessLog<UdpMessages>;

impl LogRecords for UdpMessages {
    const OPERATORS: &'static [&'static str] = &[
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "DATAGRAMS_RECEIVED",
        "DATAGRAMS_SENT",
        "DURATION",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "START_TIME",
        "TERMINATION_REASON",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_HOST",
    ];

    const PRESETS: &'static [Preset] = &[
        Preset::Json {
            name: "json",
            keys: &[
                ("start_time", "%START_TIME%"),
                ("listener", "%LISTENER_NAME%"),
                ("flow_id", "%CONNECTION_ID%"),
                ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
                ("cluster", "%UPSTREAM_CLUSTER%"),
                ("endpoint", "%UPSTREAM_HOST%"),
                ("datagrams_received", "%DATAGRAMS_RECEIVED%"),
                ("datagrams_sent", "%DATAGRAMS_SENT%"),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration_ms", "%DURATION%"),
                ("reason", "%TERMINATION_REASON%"),
            ],
        },
        Preset::Text {
            name: "text",
            line: "[%START_TIME%] %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% \"%UPSTREAM_CLUSTER%\" \
                   %UPSTREAM_HOST% %DATAGRAMS_RECEIVED% %DATAGRAMS_SENT% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
                   %TERMINATION_REASON%",
        },
    ];

    fn operator(name: &str, argument: Option<&str>) -> Result<Operator<Self>, OperatorError> {
        if name == "START_TIME" {
            let format = argument.map_or_else(|| Ok(TimeFormat::default()), TimeFormat::new)?;
            return Ok(Box::new(move |record: &Record, _, value| {
                value.time(&format, record.started_at);
            }));
        }
        let write = writer(name).ok_or(OperatorError::Unknown)?;
        match argument {
            Some(_) => Err(OperatorError::Argument("no argument")),
            None => Ok(Box::new(move |record, _, value| write(record, value))),
        }
    }
}

fn writer(name: &str) -> Option<fn(&Record, ValueWriter<'_>)> {
    Some(match name {
        // As Envoy counts: received from downstream, sent to it.
        "BYTES_RECEIVED" => |record, value| value.number(record.up.bytes),
        "BYTES_SENT" => |record, value| value.number(record.down.bytes),
        "DATAGRAMS_RECEIVED" => |record, value| value.number(record.up.datagrams),
        "DATAGRAMS_SENT" => |record, value| value.number(record.down.datagrams),
        "DURATION" => |record, value| {
            let millis = record.duration.as_millis();
            value.number(u64::try_from(millis).unwrap_or(u64::MAX));
        },
        "PROTOCOL" => |_, value| value.text("UDP"),
        "REQUESTED_SERVER_NAME" => |record, value| value.optional(record.server_name.as_deref()),
        "TERMINATION_REASON" => |record, value| value.text(record.reason),
        "UPSTREAM_CLUSTER" => |record, value| value.optional(record.cluster.as_deref()),
        "UPSTREAM_HOST" => |record, value| value.optional(record.endpoint.as_deref()),
        _ => return None,
    })
}
