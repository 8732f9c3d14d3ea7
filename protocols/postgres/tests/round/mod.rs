//! Whatever can be read can be written again, byte for byte: messages have one form only.
//!
//! With one exception, named where it is. Laws and fuzz targets share this. Start at [`frontend`], [`backend`] and
//! [`startup`], which say whether there was anything to read.

#![allow(unreachable_pub)] // fuzz targets take it too

use bytes::BytesMut;
use portcullis_codec::Decoder as _;
use portcullis_postgres::encoder;
use portcullis_postgres::frame::{HEADER, Tag};
use portcullis_postgres::limits::StartupLimits;
use portcullis_postgres::message::backend::{self, Authentication, AuthenticationKind};
use portcullis_postgres::message::frontend::{self, Target};
use portcullis_postgres::startup::{Startup, StartupDecoder};

/// A message of a client.
pub fn frontend(tag: u8, body: &[u8]) -> bool {
    let Ok(message) = frontend::Message::parse(Tag(tag), body) else {
        return false;
    };
    let mut dst = BytesMut::new();
    write_frontend(message, &mut dst);
    assert_same(tag, body, &dst);
    if let frontend::Message::Authentication(response) = message {
        round_response(response);
    }
    true
}

/// A message of a server.
pub fn backend(tag: u8, body: &[u8]) -> bool {
    let Ok(message) = backend::Message::parse(Tag(tag), body) else {
        return false;
    };
    let mut dst = BytesMut::new();
    write_backend(message, &mut dst);
    if let backend::Message::NegotiateProtocolVersion(_) = message {
        // A minor version alone is written whole.
        let again = backend::Message::parse(Tag(tag), &dst[HEADER..]);
        assert_eq!(again, Ok(message));
    } else {
        assert_same(tag, body, &dst);
    }
    true
}

/// A packet of a client.
pub fn startup(packet: &[u8]) -> bool {
    let mut src = BytesMut::from(packet);
    let mut decoder = StartupDecoder::new(StartupLimits::default());
    let Ok(Some(startup)) = decoder.decode(&mut src) else {
        return false;
    };
    let mut dst = BytesMut::new();
    match &startup {
        Startup::SslRequest => encoder::ssl_request(&mut dst),
        Startup::GssEncRequest => encoder::gss_encryption_request(&mut dst),
        Startup::Cancel { process, key } => encoder::cancel_request(*process, key, &mut dst),
        Startup::Start {
            version,
            parameters,
        } => encoder::startup(*version, parameters.iter(), &mut dst),
    }
    assert_eq!(dst.as_ref(), &packet[..packet.len() - src.len()]);
    true
}

fn assert_same(tag: u8, body: &[u8], written: &[u8]) {
    let name = char::from(tag);
    assert_eq!(written[0], tag, "{name}: type");
    let length = (body.len() as u32 + 4).to_be_bytes();
    assert_eq!(&written[1..HEADER], &length, "{name}: length");
    assert_eq!(&written[HEADER..], body, "{name}: body");
}

fn write_frontend(message: frontend::Message<'_>, dst: &mut BytesMut) {
    use frontend::Message as M;
    match message {
        M::Bind(bind) => {
            let formats: Vec<_> = bind.formats.iter().collect();
            let parameters: Vec<_> = bind.parameters.iter().collect();
            let result_formats: Vec<_> = bind.result_formats.iter().collect();
            let bind = encoder::Bind {
                portal: bind.portal,
                statement: bind.statement,
                formats: &formats,
                parameters: &parameters,
                result_formats: &result_formats,
            };
            encoder::bind(&bind, dst);
        }
        M::Close(close) => match close.target {
            Target::Statement => encoder::close_statement(close.name, dst),
            Target::Portal => encoder::close_portal(close.name, dst),
        },
        M::CopyData(copy) => encoder::copy_data(copy.data, dst),
        M::CopyDone => encoder::copy_done(dst),
        M::CopyFail(fail) => encoder::copy_fail(fail.message, dst),
        M::Describe(describe) => match describe.target {
            Target::Statement => encoder::describe_statement(describe.name, dst),
            Target::Portal => encoder::describe_portal(describe.name, dst),
        },
        M::Execute(execute) => encoder::execute(execute.portal, execute.max_rows, dst),
        M::Flush => encoder::flush(dst),
        M::FunctionCall(call) => {
            let formats: Vec<_> = call.formats.iter().collect();
            let arguments: Vec<_> = call.arguments.iter().collect();
            let call = encoder::FunctionCall {
                function: call.function,
                formats: &formats,
                arguments: &arguments,
                result_format: call.result_format,
            };
            encoder::function_call(&call, dst);
        }
        M::Parse(parse) => {
            let types: Vec<_> = parse.parameter_types.iter().collect();
            encoder::parse(parse.statement, parse.query, &types, dst);
        }
        M::Authentication(response) => encoder::sasl_response(response.body, dst),
        M::Query(query) => encoder::query(query.query, dst),
        M::Sync => encoder::sync(dst),
        M::Terminate => encoder::terminate(dst),
    }
}

/// The same bytes, read as each of what they may be.
fn round_response(response: frontend::Response<'_>) {
    if let Ok(password) = response.password() {
        let mut dst = BytesMut::new();
        encoder::password(password, &mut dst);
        assert_same(b'p', response.body, &dst);
    }
    if let Ok(initial) = response.sasl_initial() {
        let mut dst = BytesMut::new();
        encoder::sasl_initial_response(initial.mechanism, initial.data, &mut dst);
        assert_same(b'p', response.body, &dst);
    }
}

fn write_backend(message: backend::Message<'_>, dst: &mut BytesMut) {
    use backend::Message as M;
    match message {
        M::Authentication(request) => write_authentication(request, dst),
        M::BackendKeyData(data) => encoder::backend_key_data(data.process, data.key, dst),
        M::BindComplete => encoder::bind_complete(dst),
        M::CloseComplete => encoder::close_complete(dst),
        M::CommandComplete(done) => encoder::command_complete(done.tag, dst),
        M::CopyBothResponse(copy) => {
            encoder::copy_both_response(copy.format, &copy.columns.iter().collect::<Vec<_>>(), dst);
        }
        M::CopyData(copy) => encoder::copy_data(copy.data, dst),
        M::CopyDone => encoder::copy_done(dst),
        M::CopyInResponse(copy) => {
            encoder::copy_in_response(copy.format, &copy.columns.iter().collect::<Vec<_>>(), dst);
        }
        M::CopyOutResponse(copy) => {
            encoder::copy_out_response(copy.format, &copy.columns.iter().collect::<Vec<_>>(), dst);
        }
        M::DataRow(row) => encoder::data_row(&row.values.iter().collect::<Vec<_>>(), dst),
        M::EmptyQueryResponse => encoder::empty_query_response(dst),
        M::ErrorResponse(fields) => encoder::error_response(fields.iter(), dst),
        M::FunctionCallResponse(response) => encoder::function_call_response(response.value, dst),
        M::NegotiateProtocolVersion(negotiate) => {
            let options: Vec<_> = negotiate.options.iter().collect();
            encoder::negotiate_protocol_version(negotiate.newest, &options, dst);
        }
        M::NoData => encoder::no_data(dst),
        M::NoticeResponse(fields) => encoder::notice_response(fields.iter(), dst),
        M::NotificationResponse(note) => {
            encoder::notification_response(note.process, note.channel, note.payload, dst);
        }
        M::ParameterDescription(parameters) => {
            encoder::parameter_description(&parameters.types.iter().collect::<Vec<_>>(), dst);
        }
        M::ParameterStatus(status) => encoder::parameter_status(status.name, status.value, dst),
        M::ParseComplete => encoder::parse_complete(dst),
        M::PortalSuspended => encoder::portal_suspended(dst),
        M::ReadyForQuery(ready) => encoder::ready_for_query(ready.status, dst),
        M::RowDescription(row) => {
            encoder::row_description(&row.fields.iter().collect::<Vec<_>>(), dst);
        }
    }
}

fn write_authentication(request: Authentication<'_>, dst: &mut BytesMut) {
    use Authentication as A;
    let mut plain = |kind, data: &[u8]| encoder::authentication(kind, data, dst);
    match request {
        A::Ok => encoder::authentication_ok(dst),
        A::KerberosV5 => plain(AuthenticationKind::KERBEROS_V5, &[]),
        A::CleartextPassword => encoder::authentication_cleartext(dst),
        A::Md5Password { salt } => encoder::authentication_md5(salt, dst),
        A::Gss => plain(AuthenticationKind::GSS, &[]),
        A::GssContinue { data } => plain(AuthenticationKind::GSS_CONTINUE, data),
        A::Sspi => plain(AuthenticationKind::SSPI, &[]),
        A::Sasl { mechanisms } => encoder::authentication_sasl(mechanisms.iter(), dst),
        A::SaslContinue { data } => encoder::authentication_sasl_continue(data, dst),
        A::SaslFinal { data } => encoder::authentication_sasl_final(data, dst),
        A::Other { kind, data } => plain(kind, data),
    }
}
