//! Agreement with postgres-protocol on messages of servers, minus two written lists of differences.
//!
//! What both take, both must read the same way. What only one takes must be on a list: it reads for a client that trusts
//! its server, we read for one that does not, and pass on what it never asks for. Start at [`diff`], [`REFUSED`] and
//! [`ACCEPTED`].

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use portcullis_codec::WireError;
use portcullis_postgres::frame::{Frame, FrameScanner, HEADER, Side, Tag};
use portcullis_postgres::message::backend::{Authentication, Field, Message, ReadyForQuery};
use postgres_protocol::message::backend as theirs;

/// A message that only one of the two takes.
#[derive(Debug)]
pub struct Difference {
    /// The label of our error, or what we take more of.
    pub label: &'static str,
    /// The heading of a case that shows it, in `protocols/postgres/tests/vectors/backend.md`.
    pub vector: &'static str,
    /// Why.
    pub why: &'static str,
}

const fn difference(label: &'static str, vector: &'static str, why: &'static str) -> Difference {
    Difference { label, vector, why }
}

/// Every reason for which we may refuse what postgres-protocol accepts.
pub const REFUSED: &[Difference] = &[
    difference(
        "message_value_length",
        "row with a length of -2",
        "it takes every negative length for NULL; servers write -1",
    ),
    difference(
        "message_value",
        "status unknown",
        "it leaves the status to its user; the pool decides by it",
    ),
    difference("message_too_large", "tag of 30 kB", "it has no limits"),
];

/// Everything that we accept and postgres-protocol refuses.
pub const ACCEPTED: &[Difference] = &[
    difference(
        "message_type",
        "copy both",
        "CopyBothResponse, FunctionCallResponse and NegotiateProtocolVersion: it never asks for them",
    ),
    difference(
        "cancel_key",
        "a key of protocol 3.2",
        "it speaks 3.0, where keys have four bytes",
    ),
    difference(
        "authentication_number",
        "number of no meaning",
        "unknown numbers stay numbers: refusing them is for who authenticates",
    ),
    difference(
        "not_utf8",
        "values are bytes",
        "it has texts as strings of Rust; the encoding is the client's choice",
    ),
];

/// What one of the two says about the front of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Refuse(&'static str),
    /// So many bytes, and what they mean.
    Accept(usize, String),
}

/// A stream of a server's messages, read by us and by postgres-protocol.
pub fn diff(data: &[u8]) {
    let mut rest = data;
    let mut scanner = FrameScanner::new(Side::Backend, super::whole());
    loop {
        let (ours, wider) = ours(&mut scanner, rest);
        match (ours, theirs(rest)) {
            (Verdict::Accept(length, meaning), Verdict::Accept(their_length, their_meaning)) => {
                assert_eq!(length, their_length, "the message ends elsewhere");
                assert_eq!(meaning, their_meaning);
                rest = &rest[length..];
            }
            (Verdict::Accept(length, meaning), Verdict::Refuse(_)) => {
                let label = wider.unwrap_or_else(|| panic!("only we take {meaning}"));
                assert!(is_listed(ACCEPTED, label), "{label} is on no list");
                rest = &rest[length..];
            }
            (Verdict::Refuse(label), Verdict::Accept(_, meaning)) => {
                assert!(is_listed(REFUSED, label), "{label} for {meaning}");
                return;
            }
            (Verdict::Refuse(_), Verdict::Refuse(_)) => return,
            // We judge by the header alone.
            (Verdict::Refuse(_), Verdict::Wait) => return,
            (Verdict::Wait, Verdict::Wait) => return,
            (ours, theirs) => panic!("we say {ours:?}, postgres-protocol {theirs:?}"),
        }
    }
}

fn is_listed(list: &[Difference], label: &str) -> bool {
    list.iter().any(|difference| difference.label == label)
}

/// Our verdict, and in which way the message is one that the other may refuse.
fn ours(scanner: &mut FrameScanner, rest: &[u8]) -> (Verdict, Option<&'static str>) {
    let (tag, len) = match scanner.next(rest) {
        Ok(Some(Frame::Whole { tag, len })) => (tag, len),
        Ok(Some(frame)) => panic!("{frame:?} was not asked for"),
        Ok(None) => return (Verdict::Wait, None),
        Err(error) => return (Verdict::Refuse(error.label()), None),
    };
    let body = &rest[HEADER..len];
    match Message::parse(tag, body) {
        Ok(message) => {
            let meaning = our_meaning(message);
            (Verdict::Accept(len, meaning), wider(message))
        }
        Err(error) => (Verdict::Refuse(error.label()), None),
    }
}

fn wider(message: Message<'_>) -> Option<&'static str> {
    use Message as M;
    match message {
        M::CopyBothResponse(_) | M::FunctionCallResponse(_) | M::NegotiateProtocolVersion(_) => {
            Some("message_type")
        }
        M::BackendKeyData(data) if data.key.len() != 4 => Some("cancel_key"),
        M::Authentication(Authentication::Other { .. }) => Some("authentication_number"),
        message if !is_utf8(message) => Some("not_utf8"),
        _ => None,
    }
}

/// Whether all texts of a message are UTF-8, each by itself. Values are no texts.
fn is_utf8(message: Message<'_>) -> bool {
    use Message as M;
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    match message {
        M::Authentication(Authentication::Sasl { mechanisms }) => mechanisms.iter().all(is_text),
        M::CommandComplete(done) => is_text(done.tag),
        M::NotificationResponse(note) => is_text(note.channel) && is_text(note.payload),
        M::ParameterStatus(status) => is_text(status.name) && is_text(status.value),
        M::RowDescription(row) => row.fields.iter().all(|field| is_text(field.name)),
        _ => true,
    }
}

fn our_meaning(message: Message<'_>) -> String {
    use Message as M;
    match message {
        M::Authentication(request) => our_authentication(request),
        M::BackendKeyData(data) => {
            let key = data.key.first_chunk().map(|key| i32::from_be_bytes(*key));
            format!("key {} {key:?}", data.process)
        }
        M::CommandComplete(done) => format!("complete {:?}", done.tag),
        M::CopyData(copy) => format!("data {:?}", copy.data),
        M::CopyInResponse(copy) | M::CopyOutResponse(copy) => {
            let columns: Vec<_> = copy.columns.iter().map(|format| format.0 as u16).collect();
            let is_in = matches!(message, M::CopyInResponse(_));
            format!("copy {is_in} {} {columns:?}", copy.format as u8)
        }
        M::DataRow(row) => format!("row {:?}", row.values.iter().collect::<Vec<_>>()),
        M::ErrorResponse(fields) => format!("error {:?}", fields.iter().collect::<Vec<_>>()),
        M::NoticeResponse(fields) => format!("notice {:?}", fields.iter().collect::<Vec<_>>()),
        M::NotificationResponse(note) => {
            format!(
                "notification {} {:?} {:?}",
                note.process, note.channel, note.payload
            )
        }
        M::ParameterDescription(parameters) => {
            format!(
                "parameters {:?}",
                parameters.types.iter().collect::<Vec<_>>()
            )
        }
        M::ParameterStatus(status) => format!("status {:?} {:?}", status.name, status.value),
        M::ReadyForQuery(ReadyForQuery { status }) => format!("ready {}", status.byte()),
        M::RowDescription(row) => {
            let column = |field: Field<'_>| {
                let Field {
                    name,
                    table,
                    column,
                    type_id,
                    type_size,
                    type_modifier,
                    format,
                } = field;
                format!(
                    "{name:?} {table} {column} {type_id} {type_size} {type_modifier} {}",
                    format.0
                )
            };
            format!(
                "columns {:?}",
                row.fields.iter().map(column).collect::<Vec<_>>()
            )
        }
        plain => format!("{plain:?}"),
    }
}

fn our_authentication(request: Authentication<'_>) -> String {
    use Authentication as A;
    match request {
        A::Md5Password { salt } => format!("md5 {salt:?}"),
        A::GssContinue { data } => format!("gss continue {data:?}"),
        A::Sasl { mechanisms } => format!("sasl {:?}", mechanisms.iter().collect::<Vec<_>>()),
        A::SaslContinue { data } => format!("sasl continue {data:?}"),
        A::SaslFinal { data } => format!("sasl final {data:?}"),
        A::Other { kind, data } => format!("authentication {} {data:?}", kind.0),
        plain => format!("Authentication{plain:?}"),
    }
}

fn theirs(rest: &[u8]) -> Verdict {
    if rest.len() < HEADER {
        return Verdict::Wait;
    }
    let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
    if length >= 4 && length + 1 > rest.len() {
        // It would reserve what the length declares, which is no work for a fuzzer.
        return Verdict::Wait;
    }
    let mut buffer = BytesMut::from(rest);
    match theirs::Message::parse(&mut buffer) {
        Ok(None) => Verdict::Wait,
        Err(_) => Verdict::Refuse("theirs"),
        // Lists are judged when they are walked, texts when they are asked for.
        Ok(Some(message)) => match their_meaning(Tag(rest[0]), &message) {
            Ok(meaning) => Verdict::Accept(rest.len() - buffer.len(), meaning),
            Err(_) => Verdict::Refuse("theirs"),
        },
    }
}

fn their_meaning(tag: Tag, message: &theirs::Message) -> std::io::Result<String> {
    use theirs::Message as M;
    Ok(match message {
        M::BackendKeyData(body) => {
            format!("key {} {:?}", body.process_id(), Some(body.secret_key()))
        }
        M::CommandComplete(body) => format!("complete {:?}", body.tag()?.as_bytes()),
        M::CopyData(body) => format!("data {:?}", body.data()),
        M::CopyInResponse(body) => {
            let columns: Vec<_> = body.column_formats().collect()?;
            format!("copy true {} {columns:?}", body.format())
        }
        M::CopyOutResponse(body) => {
            let columns: Vec<_> = body.column_formats().collect()?;
            format!("copy false {} {columns:?}", body.format())
        }
        M::DataRow(body) => {
            let value =
                |range: Option<std::ops::Range<usize>>| range.map(|range| &body.buffer()[range]);
            let values: Vec<_> = body.ranges().map(|range| Ok(value(range))).collect()?;
            format!("row {values:?}")
        }
        M::ErrorResponse(body) => format!("error {:?}", their_fields(body.fields())?),
        M::NoticeResponse(body) => format!("notice {:?}", their_fields(body.fields())?),
        M::NotificationResponse(body) => format!(
            "notification {} {:?} {:?}",
            body.process_id(),
            body.channel()?.as_bytes(),
            body.message()?.as_bytes()
        ),
        M::ParameterDescription(body) => {
            format!("parameters {:?}", body.parameters().collect::<Vec<_>>()?)
        }
        M::ParameterStatus(body) => {
            format!(
                "status {:?} {:?}",
                body.name()?.as_bytes(),
                body.value()?.as_bytes()
            )
        }
        M::ReadyForQuery(body) => format!("ready {}", body.status()),
        M::RowDescription(body) => {
            let column = |field: theirs::Field<'_>| {
                Ok(format!(
                    "{:?} {} {} {} {} {} {}",
                    field.name().as_bytes(),
                    field.table_oid(),
                    field.column_id(),
                    field.type_oid(),
                    field.type_size(),
                    field.type_modifier(),
                    field.format()
                ))
            };
            format!(
                "columns {:?}",
                body.fields().map(column).collect::<Vec<_>>()?
            )
        }
        plain => their_plain(tag, plain)?,
    })
}

fn their_fields(fields: theirs::ErrorFields<'_>) -> std::io::Result<Vec<(u8, Vec<u8>)>> {
    let field = |field: theirs::ErrorField<'_>| Ok((field.type_(), field.value_bytes().to_vec()));
    fields.map(field).collect()
}

/// Requests for proof, and what says nothing but its type.
fn their_plain(tag: Tag, message: &theirs::Message) -> std::io::Result<String> {
    use theirs::Message as M;
    Ok(match message {
        M::AuthenticationMd5Password(body) => format!("md5 {:?}", body.salt()),
        M::AuthenticationGssContinue(body) => format!("gss continue {:?}", body.data()),
        M::AuthenticationSasl(body) => {
            let name = |name: &str| Ok(name.as_bytes().to_vec());
            format!(
                "sasl {:?}",
                body.mechanisms().map(name).collect::<Vec<_>>()?
            )
        }
        M::AuthenticationSaslContinue(body) => format!("sasl continue {:?}", body.data()),
        M::AuthenticationSaslFinal(body) => format!("sasl final {:?}", body.data()),
        M::AuthenticationCleartextPassword => "AuthenticationCleartextPassword".into(),
        M::AuthenticationGss => "AuthenticationGss".into(),
        M::AuthenticationKerberosV5 => "AuthenticationKerberosV5".into(),
        M::AuthenticationOk => "AuthenticationOk".into(),
        M::AuthenticationScmCredential => "authentication 6 []".into(),
        M::AuthenticationSspi => "AuthenticationSspi".into(),
        _ => tag.name(Side::Backend).unwrap_or("?").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{ACCEPTED, REFUSED};

    #[test]
    fn every_difference_has_its_vector() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../protocols/postgres/tests/vectors/backend.md"
        );
        let text = std::fs::read_to_string(file).unwrap();
        let case = |vector: &str| {
            text.split("\n### ")
                .find(|case| case.lines().next() == Some(vector))
                .unwrap_or_else(|| panic!("no case {vector:?}"))
        };
        for difference in REFUSED {
            let shown = case(difference.vector);
            let label = format!(": {}\n", difference.label);
            assert!(shown.contains(&label), "{difference:?} is not shown");
        }
        for difference in ACCEPTED {
            let shown = case(difference.vector);
            let is_taken = !shown.contains("error:") && !shown.contains("malformed");
            assert!(is_taken, "{difference:?} is not shown");
        }
    }
}
