//! `access_log` for Postgres: one line for each request when it is over.
//!
//! Statements are written without their values and comments. How lines are made and where they go is
//! `portcullis_filter::log`'s. Start at the table of operators in [`LogRecords::operator`].

use std::time::Duration;

use portcullis_filter::log::{
    LogRecords, Operator, OperatorError, Preset, TimeFormat, ValueWriter,
};

use crate::request::{PostgresMessages, Record};
use crate::sqlstate::SqlState;

/// `access_log`, one line for each request when it is over.
pub type AccessLog = portcullis_filter::log::AccessLog<PostgresMessages>;

/// Bytes of a statement in a line, unless the format says less: `%STATEMENT:200%`.
const LONGEST: usize = 4096;

impl LogRecords for PostgresMessages {
    const OPERATORS: &'static [&'static str] = &[
        "APPLICATION_NAME",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "DATABASE",
        "DURATION",
        "DURATION_MICROS",
        "FINGERPRINT",
        "IN_TRANSACTION",
        "PREPARED",
        "PROTOCOL",
        "ROWS",
        "SERVER_MICROS",
        "SQLSTATE",
        "START_TIME",
        "STATEMENT",
        "STATEMENT_CLASS",
        "TERMINATION_REASON",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_HOST",
        "USER",
        "VERB",
        "WAIT_MICROS",
    ];

    const PRESETS: &'static [Preset] = &[
        Preset::Json {
            name: "json",
            keys: &[
                ("start_time", "%START_TIME%"),
                ("listener", "%LISTENER_NAME%"),
                ("connection_id", "%CONNECTION_ID%"),
                ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
                ("user", "%USER%"),
                ("database", "%DATABASE%"),
                ("application", "%APPLICATION_NAME%"),
                ("route", "%ROUTE_NAME%"),
                ("cluster", "%UPSTREAM_CLUSTER%"),
                ("endpoint", "%UPSTREAM_HOST%"),
                ("verb", "%VERB%"),
                ("class", "%STATEMENT_CLASS%"),
                ("fingerprint", "%FINGERPRINT%"),
                ("statement", "%STATEMENT%"),
                ("rows", "%ROWS%"),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration_us", "%DURATION_MICROS%"),
                ("wait_us", "%WAIT_MICROS%"),
                ("server_us", "%SERVER_MICROS%"),
                ("sqlstate", "%SQLSTATE%"),
                ("reason", "%TERMINATION_REASON%"),
            ],
        },
        Preset::Text {
            name: "text",
            line: "[%START_TIME%] %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %USER%@%DATABASE% \
                   \"%UPSTREAM_CLUSTER%\" %UPSTREAM_HOST% %VERB% %ROWS% %BYTES_SENT% %DURATION_MICROS% %SQLSTATE% \
                   %TERMINATION_REASON% \"%STATEMENT%\"",
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
        "APPLICATION_NAME" => |record, value| value.optional(present(&record.request.application)),
        // As Envoy counts: received from downstream, sent to it.
        "BYTES_RECEIVED" => |record, value| value.number(record.bytes_up),
        "BYTES_SENT" => |record, value| value.number(record.bytes_down),
        "DATABASE" => |record, value| value.optional(present(&record.request.database)),
        "DURATION" => |record, value| {
            let millis = record.duration.as_millis();
            value.number(u64::try_from(millis).unwrap_or(u64::MAX));
        },
        "DURATION_MICROS" => |record, value| value.number(micros(record.duration)),
        "FINGERPRINT" => |record, value| value.display(record.request.fingerprint()),
        "IN_TRANSACTION" => |record, value| value.text(yes(record.request.in_transaction)),
        "PREPARED" => |record, value| value.text(yes(record.request.prepared)),
        "PROTOCOL" => |_, value| value.text("Postgres"),
        "ROWS" => |record, value| value.number(record.rows),
        "SERVER_MICROS" => |record, value| value.number(micros(record.server)),
        "SQLSTATE" => |record, value| {
            value.optional(record.sqlstate.as_ref().map(SqlState::as_bytes));
        },
        "STATEMENT" => |record, value| {
            let mut text = Vec::new();
            record.request.write_sanitised(&mut text, LONGEST);
            value.optional((!text.is_empty()).then_some(text));
        },
        "STATEMENT_CLASS" => |record, value| value.text(record.request.class().label()),
        "TERMINATION_REASON" => |record, value| value.text(record.reason),
        "UPSTREAM_CLUSTER" => |record, value| value.optional(record.cluster.as_deref()),
        "UPSTREAM_HOST" => |record, value| value.optional(record.endpoint.as_deref()),
        "USER" => |record, value| value.optional(present(&record.request.user)),
        "VERB" => |record, value| value.text(record.request.verb().label()),
        "WAIT_MICROS" => |record, value| value.number(micros(record.waited)),
        _ => return None,
    })
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
