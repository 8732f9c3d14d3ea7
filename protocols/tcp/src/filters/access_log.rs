//! `access_log` for TCP: what a connection's record has to say in Envoy's words.
//!
//! How lines are made and where they go is `portcullis_filter::log`'s. Start at [`Preset`]s, or the table of
//! operators in [`LogRecords::operator`].

use portcullis_filter::log::{
    LogRecords, Operator, OperatorError, Preset, TimeFormat, ValueWriter,
};

use crate::message::{Record, TcpMessages, asked_for};

/// `access_log`, one line for each connection when it is over.
pub type AccessLog = portcullis_filter::log::AccessLog<TcpMessages>;

impl LogRecords for TcpMessages {
    const OPERATORS: &'static [&'static str] = &[
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "DURATION",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "RESPONSE_FLAGS",
        "START_TIME",
        "TERMINATION_REASON",
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
                ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
                ("cluster", "%UPSTREAM_CLUSTER%"),
                ("endpoint", "%UPSTREAM_HOST%"),
                ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
                ("bytes_received", "%BYTES_RECEIVED%"),
                ("bytes_sent", "%BYTES_SENT%"),
                ("duration_ms", "%DURATION%"),
                ("reason", "%TERMINATION_REASON%"),
            ],
        },
        Preset::Text {
            name: "text",
            line: "[%START_TIME%] %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% \"%UPSTREAM_CLUSTER%\" \
                   %UPSTREAM_HOST% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %TERMINATION_REASON%",
        },
    ];

    fn operator(name: &str, argument: Option<&str>) -> Result<Operator<Self>, OperatorError> {
        if name == "START_TIME" {
            let format = argument.map_or_else(|| Ok(TimeFormat::default()), TimeFormat::new)?;
            return Ok(Box::new(move |record: &Record, _, value| {
                value.time(&format, record.started_at);
            }));
        }
        let operator: Operator<Self> = match (name, writer(name)) {
            ("REQUESTED_SERVER_NAME", _) => Box::new(|record: &Record, cx, value| {
                value.optional(asked_for(record.server_name.as_ref(), cx));
            }),
            (_, Some(write)) => Box::new(move |record, _, value| write(record, value)),
            (_, None) => return Err(OperatorError::Unknown),
        };
        match argument {
            Some(_) => Err(OperatorError::Argument("no argument")),
            None => Ok(operator),
        }
    }
}

fn writer(name: &str) -> Option<fn(&Record, ValueWriter<'_>)> {
    Some(match name {
        // As Envoy counts: received from downstream, sent to it.
        "BYTES_RECEIVED" => |record, value| value.number(record.bytes_up),
        "BYTES_SENT" => |record, value| value.number(record.bytes_down),
        "DURATION" => |record, value| {
            let millis = record.duration.as_millis();
            value.number(u64::try_from(millis).unwrap_or(u64::MAX));
        },
        "PROTOCOL" => |_, value| value.text("TCP"),
        "RESPONSE_FLAGS" => |record, value| value.optional(flag(record.reason)),
        "TERMINATION_REASON" => |record, value| value.text(record.reason),
        "UPSTREAM_CLUSTER" => |record, value| value.optional(record.cluster.as_deref()),
        "UPSTREAM_HOST" => |record, value| value.optional(record.endpoint.as_deref()),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => |record, value| value.number(record.attempts.into()),
        _ => return None,
    })
}

/// Envoy's flag for a reason, where it has one.
fn flag(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "upstream_connect" => "UF",
        "upstream_connection_limit" | "upstream_pending_limit" => "UO",
        "no_endpoints" | "none_available" | "all_tried" => "UH",
        "upstream_reset" | "upstream_io" => "UC",
        "downstream_reset" | "downstream_io" => "DC",
        "no_route" => "NR",
        "idle_timeout" => "SI",
        "max_duration" => "DT",
        "rate_limited" => "RL",
        "denied" => "UAEX",
        "concurrency" => "OM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use portcullis_filter::log::Format;
    use portcullis_filter::{Connection, Context};

    use super::*;

    #[allow(clippy::disallowed_methods)]
    fn context() -> Context {
        let now = Instant::now();
        let connection = Connection {
            listener: "ssh".into(),
            peer: None,
            local: None,
            client: "192.0.2.7:4321".parse().ok(),
            secure: false,
            tls: None,
            accepted_at: now,
            id: 42,
        };
        Context::new(Rc::new(connection), now)
    }

    fn line(format: &Format<TcpMessages>, change: impl FnOnce(&mut Record)) -> String {
        let cx = context();
        let mut record = Record::new(UNIX_EPOCH, cx.now);
        change(&mut record);
        let mut line = Vec::new();
        format.write(&record, &cx, &mut line);
        String::from_utf8(line).unwrap()
    }

    fn whole(record: &mut Record) {
        record.duration = Duration::from_micros(1_234_567);
        record.bytes_up = 10;
        record.bytes_down = 20;
        record.cluster = Some("bastion".into());
        record.endpoint = Some("10.0.0.1:22".into());
        record.attempts = 2;
        record.server_name = Some("shop.example".into());
        record.reason = "closed";
    }

    #[test]
    fn presets_write_a_line() {
        let [json, text] = TcpMessages::PRESETS else {
            panic!("two presets");
        };
        assert_eq!(
            line(&Format::preset(text).unwrap(), whole),
            "[1970-01-01T00:00:00.000Z] ssh 192.0.2.7:4321 \"bastion\" 10.0.0.1:22 10 20 1234 closed\n"
        );
        assert_eq!(
            line(&Format::preset(json).unwrap(), |_| {}),
            concat!(
                r#"{"start_time":"1970-01-01T00:00:00.000Z","listener":"ssh","connection_id":42,"#,
                r#""client":"192.0.2.7:4321","cluster":null,"endpoint":null,"attempts":0,"#,
                r#""bytes_received":0,"bytes_sent":0,"duration_ms":0,"reason":"stopped"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn every_operator_is_there_and_takes_what_it_should() {
        for name in TcpMessages::OPERATORS {
            let format = Format::text(&format!("%{name}%")).unwrap();
            assert_ne!(line(&format, whole), "\n", "{name}");
            let with_argument = Format::<TcpMessages>::text(&format!("%{name}(x)%"));
            assert_eq!(with_argument.is_ok(), *name == "START_TIME", "{name}");
        }
        let format = Format::text("%RESPONSE_FLAGS% %PROTOCOL%").unwrap();
        assert_eq!(
            line(&format, |record| record.reason = "idle_timeout"),
            "SI TCP\n"
        );
        assert_eq!(line(&format, |_| {}), "- TCP\n");
    }
}
