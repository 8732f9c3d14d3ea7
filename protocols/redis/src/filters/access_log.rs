//! `access_log` for Redis: one line for each command when it is over.
//!
//! Arguments are never written: they are keys and values of people. How lines are made and where they go is
//! `portcullis_filter::log`'s. Start at the table of operators in [`LogRecords::operator`].

use portcullis_filter::log::{
    LogRecords, Operator, OperatorError, Preset, TimeFormat, ValueWriter,
};

use crate::chain::{Record, RedisMessages};
use crate::command::CommandId;

/// `access_log`, one line for each command when it is over.
pub type AccessLog = portcullis_filter::log::AccessLog<RedisMessages>;

impl LogRecords for RedisMessages {
    const OPERATORS: &'static [&'static str] = &[
        "ARGUMENTS",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "COMMAND",
        "DATABASE",
        "DURATION",
        "DURATION_MICROS",
        "ERROR",
        "PROTOCOL",
        "START_TIME",
        "TERMINATION_REASON",
        "USER",
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
                ("command", "%COMMAND%"),
                ("arguments", "%ARGUMENTS%"),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration_us", "%DURATION_MICROS%"),
                ("error", "%ERROR%"),
                ("reason", "%TERMINATION_REASON%"),
            ],
        },
        Preset::Text {
            name: "text",
            line: "[%START_TIME%] %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %USER%/%DATABASE% %COMMAND% \
                   %ARGUMENTS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION_MICROS% %ERROR% %TERMINATION_REASON%",
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
        "ARGUMENTS" => |record, value| value.number(record.arguments as u64),
        // As Envoy counts: received from downstream, sent to it.
        "BYTES_RECEIVED" => |record, value| value.number(record.bytes_up),
        "BYTES_SENT" => |record, value| value.number(record.bytes_down),
        "COMMAND" => |record, value| match &record.foreign {
            Some(foreign) => value.optional(Some(&*foreign.name)),
            None => value.optional(record.command.map(CommandId::name)),
        },
        "DATABASE" => |record, value| value.number(record.database.into()),
        "DURATION" => |record, value| value.number(clamp(record.duration.as_millis())),
        "DURATION_MICROS" => |record, value| value.number(clamp(record.duration.as_micros())),
        "ERROR" => |record, value| value.optional(record.error),
        "PROTOCOL" => |_, value| value.text("Redis"),
        "TERMINATION_REASON" => |record, value| value.optional(record.reason),
        "USER" => |record, value| value.optional(Some(&record.user)),
        _ => return None,
    })
}

fn clamp(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
