//! Messages in the words of the vectors: one line each, strings escaped, values in quotes.
//!
//! Start at [`event`].

use std::fmt::Write as _;

use portcullis_codec::WireError as _;
use portcullis_postgres::frame::{HEADER, Side};
use portcullis_postgres::message::backend::{self, Authentication, CopyResponse, ErrorFields};
use portcullis_postgres::message::replication::{FromServer, FromStandby};
use portcullis_postgres::message::{CopyData, Formats, Numbers, Strings, Values, frontend};
use portcullis_testkit::vectors::Vector;

use crate::support::Event;

pub(crate) fn line(said: &mut String, line: impl AsRef<str>) {
    said.push_str(line.as_ref().trim_end());
    said.push('\n');
}

pub(crate) fn event(event: &Event, side: Side, vector: &Vector) -> String {
    match event {
        Event::Large {
            tag,
            total,
            bytes,
            is_whole,
        } => {
            let name = tag.name(side).unwrap_or("?");
            let end = if *is_whole { "whole" } else { "cut off" };
            format!("{name} in parts: {} of {total} bytes, {end}", bytes.len())
        }
        Event::Message(tag, bytes) => {
            let body = &bytes[HEADER..];
            let said =
                match side {
                    Side::Frontend => frontend::Message::parse(*tag, body)
                        .map(|message| from_client(message, vector)),
                    Side::Backend => backend::Message::parse(*tag, body)
                        .map(|message| from_server(message, vector)),
                };
            said.unwrap_or_else(|error| {
                let name = tag.name(side).unwrap_or("?");
                format!("{name} is malformed: {}", error.label())
            })
        }
    }
}

fn from_client(message: frontend::Message<'_>, vector: &Vector) -> String {
    use frontend::Message as M;
    match message {
        M::Bind(bind) => format!(
            "Bind portal={} statement={} formats={} values={} results={}",
            text(bind.portal),
            text(bind.statement),
            formats(bind.formats),
            values(bind.parameters),
            formats(bind.result_formats)
        ),
        M::Close(close) => format!("Close {:?} {}", close.target, text(close.name)),
        M::CopyData(copy) if vector.has("standby") => match FromStandby::parse(copy.data) {
            Ok(message) => format!("CopyData {message:?}"),
            Err(error) => format!("CopyData is malformed: {}", error.label()),
        },
        M::CopyData(CopyData { data }) => format!("CopyData {}", text(data)),
        M::CopyDone => "CopyDone".into(),
        M::CopyFail(fail) => format!("CopyFail {}", text(fail.message)),
        M::Describe(describe) => format!("Describe {:?} {}", describe.target, text(describe.name)),
        M::Execute(execute) => {
            format!("Execute {} rows={}", text(execute.portal), execute.max_rows)
        }
        M::Flush => "Flush".into(),
        M::FunctionCall(call) => format!(
            "FunctionCall {} formats={} values={} result={}",
            call.function,
            formats(call.formats),
            values(call.arguments),
            call.result_format.0
        ),
        M::Parse(parse) => format!(
            "Parse {} {} types={}",
            text(parse.statement),
            text(parse.query),
            numbers(parse.parameter_types)
        ),
        M::Authentication(response) => format!(
            "Response password={} sasl={}",
            response.password().map_or_else(|_| "no".into(), text),
            response.sasl_initial().map_or_else(
                |_| "no".into(),
                |initial| { format!("{} {}", text(initial.mechanism), value(initial.data)) }
            )
        ),
        M::Query(query) => format!("Query {}", text(query.query)),
        M::Sync => "Sync".into(),
        M::Terminate => "Terminate".into(),
    }
}

fn from_server(message: backend::Message<'_>, vector: &Vector) -> String {
    use backend::Message as M;
    match message {
        M::Authentication(request) => authentication(request),
        M::BackendKeyData(data) => {
            format!(
                "BackendKeyData process={} key={}",
                data.process,
                hex(data.key)
            )
        }
        M::BindComplete
        | M::CloseComplete
        | M::CopyDone
        | M::EmptyQueryResponse
        | M::NoData
        | M::ParseComplete
        | M::PortalSuspended => format!("{message:?}"),
        M::CommandComplete(done) => format!(
            "CommandComplete {} verb={} rows={:?}",
            text(done.tag),
            text(done.verb()),
            done.rows()
        ),
        M::CopyBothResponse(copy) => copy_words("CopyBothResponse", copy),
        M::CopyData(copy) if vector.has("wal") => match FromServer::parse(copy.data) {
            Ok(message) => format!("CopyData {message:?}"),
            Err(error) => format!("CopyData is malformed: {}", error.label()),
        },
        M::CopyData(CopyData { data }) => format!("CopyData {}", text(data)),
        M::CopyInResponse(copy) => copy_words("CopyInResponse", copy),
        M::CopyOutResponse(copy) => copy_words("CopyOutResponse", copy),
        M::DataRow(row) => format!("DataRow {}", values(row.values)),
        M::ErrorResponse(fields) => error_words("ErrorResponse", fields),
        M::FunctionCallResponse(response) => {
            format!("FunctionCallResponse {}", value(response.value))
        }
        M::NegotiateProtocolVersion(negotiate) => format!(
            "NegotiateProtocolVersion {} unknown={}",
            negotiate.newest,
            strings(negotiate.options)
        ),
        M::NoticeResponse(fields) => error_words("NoticeResponse", fields),
        M::NotificationResponse(note) => format!(
            "NotificationResponse {} {} {}",
            note.process,
            text(note.channel),
            text(note.payload)
        ),
        M::ParameterDescription(parameters) => {
            format!("ParameterDescription {}", numbers(parameters.types))
        }
        M::ParameterStatus(status) => {
            format!(
                "ParameterStatus {} {}",
                text(status.name),
                text(status.value)
            )
        }
        M::ReadyForQuery(ready) => format!("ReadyForQuery {:?}", ready.status),
        M::RowDescription(row) => {
            let mut said = "RowDescription".to_owned();
            for field in row.fields.iter() {
                let _ = write!(
                    said,
                    "\n  {} table={} column={} type={} size={} modifier={} format={}",
                    text(field.name),
                    field.table,
                    field.column,
                    field.type_id,
                    field.type_size,
                    field.type_modifier,
                    field.format.0
                );
            }
            said
        }
    }
}

fn authentication(request: Authentication<'_>) -> String {
    use Authentication as A;
    match request {
        A::Sasl { mechanisms } => format!("AuthenticationSASL {}", strings(mechanisms)),
        A::SaslContinue { data } => format!("AuthenticationSASLContinue {}", text(data)),
        A::SaslFinal { data } => format!("AuthenticationSASLFinal {}", text(data)),
        A::GssContinue { data } => format!("AuthenticationGSSContinue {}", text(data)),
        A::Md5Password { salt } => format!("AuthenticationMD5Password {}", hex(&salt)),
        A::Other { kind, data } => format!("Authentication {} {}", kind.0, text(data)),
        plain => format!("Authentication{plain:?}"),
    }
}

fn copy_words(name: &str, copy: CopyResponse<'_>) -> String {
    format!(
        "{name} format={} columns={}",
        copy.format,
        formats(copy.columns)
    )
}

fn error_words(name: &str, fields: ErrorFields<'_>) -> String {
    let state = fields.sqlstate();
    let state = state.as_ref().map_or("no state", |state| state.as_str());
    let fatal = if fields.is_fatal() { " fatal" } else { "" };
    let mut said = format!("{name} {state}{fatal}");
    for (kind, value) in fields.iter() {
        let _ = write!(said, "\n  {} {}", kind.escape_ascii(), text(value));
    }
    said
}

/// Escaped, in quotes, and cut where it would bore.
pub(crate) fn text(bytes: &[u8]) -> String {
    let shown = bytes.escape_ascii().to_string();
    if shown.len() > 80 {
        format!("\"{}...\" ({} bytes)", &shown[..40], bytes.len())
    } else {
        format!("\"{shown}\"")
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(16).map(|byte| format!("{byte:02x}"));
    let shown: String = shown.collect();
    if bytes.len() > 16 {
        format!("{shown}... ({} bytes)", bytes.len())
    } else {
        shown
    }
}

fn value(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "NULL".into(), text)
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.len() > 8 {
        format!("[{}, ... {} in all]", items[..3].join(", "), items.len())
    } else {
        format!("[{}]", items.join(", "))
    }
}

fn values(values: Values<'_>) -> String {
    list(values.iter().map(value))
}

fn formats(formats: Formats<'_>) -> String {
    list(formats.iter().map(|format| format.0.to_string()))
}

fn numbers(numbers: Numbers<'_>) -> String {
    list(numbers.iter().map(|number| number.to_string()))
}

fn strings(strings: Strings<'_>) -> String {
    list(strings.iter().map(text))
}
