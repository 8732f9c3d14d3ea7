//! Messages of clients, and the packets before them.

use bytes::{BufMut as _, BytesMut};

use super::{
    empty, message, put_formats, put_numbers, put_string, put_value, put_values, with_length,
};
use crate::frame::frontend;
use crate::message::Format;
use crate::message::frontend::Target;
use crate::startup::{CANCEL, GSS_ENCRYPTION, ProtocolVersion, SSL};

/// SSLRequest.
pub fn ssl_request(dst: &mut BytesMut) {
    with_length(dst, |dst| dst.put_u32(SSL));
}

/// GSSENCRequest.
pub fn gss_encryption_request(dst: &mut BytesMut) {
    with_length(dst, |dst| dst.put_u32(GSS_ENCRYPTION));
}

/// CancelRequest.
pub fn cancel_request(process: i32, key: &[u8], dst: &mut BytesMut) {
    with_length(dst, |dst| {
        dst.put_u32(CANCEL);
        dst.put_i32(process);
        dst.put_slice(key);
    });
}

/// StartupMessage. A parameter without a name would end the list, and is left out.
pub fn startup<'a>(
    version: ProtocolVersion,
    parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    dst: &mut BytesMut,
) {
    with_length(dst, |dst| {
        dst.put_u32(version.code());
        for (name, value) in parameters {
            if !matches!(name, [] | [0, ..]) {
                put_string(name, dst);
                put_string(value, dst);
            }
        }
        dst.put_u8(0);
    });
}

/// What a Bind says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Of the parameters.
    pub formats: &'a [Format],
    /// The parameters.
    pub parameters: &'a [Option<&'a [u8]>],
    /// Of the columns of the result.
    pub result_formats: &'a [Format],
}

/// Bind.
pub fn bind(bind: &Bind<'_>, dst: &mut BytesMut) {
    message(frontend::BIND, dst, |dst| {
        put_string(bind.portal, dst);
        put_string(bind.statement, dst);
        put_formats(bind.formats, dst);
        put_values(bind.parameters, dst);
        put_formats(bind.result_formats, dst);
    });
}

/// Close of a prepared statement.
pub fn close_statement(name: &[u8], dst: &mut BytesMut) {
    message(frontend::CLOSE, dst, |dst| {
        put_target(Target::Statement, name, dst);
    });
}

/// Close of a portal.
pub fn close_portal(name: &[u8], dst: &mut BytesMut) {
    message(frontend::CLOSE, dst, |dst| {
        put_target(Target::Portal, name, dst);
    });
}

/// Describe of a prepared statement.
pub fn describe_statement(name: &[u8], dst: &mut BytesMut) {
    message(frontend::DESCRIBE, dst, |dst| {
        put_target(Target::Statement, name, dst);
    });
}

/// Describe of a portal.
pub fn describe_portal(name: &[u8], dst: &mut BytesMut) {
    message(frontend::DESCRIBE, dst, |dst| {
        put_target(Target::Portal, name, dst);
    });
}

fn put_target(target: Target, name: &[u8], dst: &mut BytesMut) {
    dst.put_u8(target.byte());
    put_string(name, dst);
}

/// CopyFail.
pub fn copy_fail(reason: &[u8], dst: &mut BytesMut) {
    message(frontend::COPY_FAIL, dst, |dst| put_string(reason, dst));
}

/// Execute; `max_rows` of 0 is all.
pub fn execute(portal: &[u8], max_rows: i32, dst: &mut BytesMut) {
    message(frontend::EXECUTE, dst, |dst| {
        put_string(portal, dst);
        dst.put_i32(max_rows);
    });
}

/// Flush.
pub fn flush(dst: &mut BytesMut) {
    empty(frontend::FLUSH, dst);
}

/// What a FunctionCall says.
#[derive(Debug, Clone, Copy)]
pub struct FunctionCall<'a> {
    /// The function's object id.
    pub function: u32,
    /// Of the arguments.
    pub formats: &'a [Format],
    /// The arguments.
    pub arguments: &'a [Option<&'a [u8]>],
    /// Of the result.
    pub result_format: Format,
}

/// FunctionCall.
pub fn function_call(call: &FunctionCall<'_>, dst: &mut BytesMut) {
    message(frontend::FUNCTION_CALL, dst, |dst| {
        dst.put_u32(call.function);
        put_formats(call.formats, dst);
        put_values(call.arguments, dst);
        dst.put_i16(call.result_format.0);
    });
}

/// Parse.
pub fn parse(statement: &[u8], query: &[u8], parameter_types: &[u32], dst: &mut BytesMut) {
    message(frontend::PARSE, dst, |dst| {
        put_string(statement, dst);
        put_string(query, dst);
        put_numbers(parameter_types, dst);
    });
}

/// PasswordMessage.
pub fn password(password: &[u8], dst: &mut BytesMut) {
    message(frontend::PASSWORD, dst, |dst| put_string(password, dst));
}

/// Query.
pub fn query(query: &[u8], dst: &mut BytesMut) {
    message(frontend::QUERY, dst, |dst| put_string(query, dst));
}

/// SASLInitialResponse.
pub fn sasl_initial_response(mechanism: &[u8], data: Option<&[u8]>, dst: &mut BytesMut) {
    message(frontend::PASSWORD, dst, |dst| {
        put_string(mechanism, dst);
        put_value(data, dst);
    });
}

/// SASLResponse, or GSSResponse.
pub fn sasl_response(data: &[u8], dst: &mut BytesMut) {
    message(frontend::PASSWORD, dst, |dst| dst.put_slice(data));
}

/// Sync.
pub fn sync(dst: &mut BytesMut) {
    empty(frontend::SYNC, dst);
}

/// Terminate.
pub fn terminate(dst: &mut BytesMut) {
    empty(frontend::TERMINATE, dst);
}
