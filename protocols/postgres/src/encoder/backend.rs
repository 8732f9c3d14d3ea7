//! Messages of servers.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{counted, empty, message, put_formats, put_numbers, put_string, put_value, put_values};
use crate::frame::{Tag, backend};
use crate::message::Format;
use crate::message::backend::{AuthenticationKind, Field, TransactionStatus, field};
use crate::sqlstate::SqlState;
use crate::startup::ProtocolVersion;

/// An error of the gateway's own that leaves the connection as it is: a whole ErrorResponse.
#[must_use]
pub fn error_message(state: SqlState, text: &str) -> Bytes {
    own(backend::ERROR_RESPONSE, "ERROR", state, text)
}

/// An error of the gateway's own behind which it closes the connection: a whole ErrorResponse.
#[must_use]
pub fn fatal_message(state: SqlState, text: &str) -> Bytes {
    own(backend::ERROR_RESPONSE, "FATAL", state, text)
}

/// A notice of the gateway's own: a whole NoticeResponse.
#[must_use]
pub fn notice_message(state: SqlState, text: &str) -> Bytes {
    own(backend::NOTICE_RESPONSE, "NOTICE", state, text)
}

fn own(tag: Tag, severity: &str, state: SqlState, text: &str) -> Bytes {
    let mut bytes = BytesMut::with_capacity(32 + text.len());
    let fields = [
        (field::SEVERITY, severity.as_bytes()),
        (field::SEVERITY_NONLOCALIZED, severity.as_bytes()),
        (field::CODE, state.as_bytes()),
        (field::MESSAGE, text.as_bytes()),
    ];
    put_fields(tag, fields, &mut bytes);
    bytes.freeze()
}

/// ErrorResponse with these fields. One of letter NUL would end them, and is left out.
pub fn error_response<'a>(fields: impl IntoIterator<Item = (u8, &'a [u8])>, dst: &mut BytesMut) {
    put_fields(backend::ERROR_RESPONSE, fields, dst);
}

/// NoticeResponse, as [`error_response`].
pub fn notice_response<'a>(fields: impl IntoIterator<Item = (u8, &'a [u8])>, dst: &mut BytesMut) {
    put_fields(backend::NOTICE_RESPONSE, fields, dst);
}

fn put_fields<'a>(tag: Tag, fields: impl IntoIterator<Item = (u8, &'a [u8])>, dst: &mut BytesMut) {
    message(tag, dst, |dst| {
        for (kind, text) in fields {
            if kind != 0 {
                dst.put_u8(kind);
                put_string(text, dst);
            }
        }
        dst.put_u8(0);
    });
}

/// Authentication of any kind.
pub fn authentication(kind: AuthenticationKind, data: &[u8], dst: &mut BytesMut) {
    message(backend::AUTHENTICATION, dst, |dst| {
        dst.put_i32(kind.0);
        dst.put_slice(data);
    });
}

/// AuthenticationOk.
pub fn authentication_ok(dst: &mut BytesMut) {
    authentication(AuthenticationKind::OK, &[], dst);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(dst: &mut BytesMut) {
    authentication(AuthenticationKind::CLEARTEXT_PASSWORD, &[], dst);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(salt: [u8; 4], dst: &mut BytesMut) {
    authentication(AuthenticationKind::MD5_PASSWORD, &salt, dst);
}

/// AuthenticationSASL. An empty name would end the list, and is left out.
pub fn authentication_sasl<'a>(mechanisms: impl IntoIterator<Item = &'a [u8]>, dst: &mut BytesMut) {
    message(backend::AUTHENTICATION, dst, |dst| {
        dst.put_i32(AuthenticationKind::SASL.0);
        for mechanism in mechanisms {
            if !matches!(mechanism, [] | [0, ..]) {
                put_string(mechanism, dst);
            }
        }
        dst.put_u8(0);
    });
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(data: &[u8], dst: &mut BytesMut) {
    authentication(AuthenticationKind::SASL_CONTINUE, data, dst);
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(data: &[u8], dst: &mut BytesMut) {
    authentication(AuthenticationKind::SASL_FINAL, data, dst);
}

/// BackendKeyData; `key` is 4 bytes long before protocol 3.2, and up to 256 from then on.
pub fn backend_key_data(process: i32, key: &[u8], dst: &mut BytesMut) {
    message(backend::BACKEND_KEY_DATA, dst, |dst| {
        dst.put_i32(process);
        dst.put_slice(key);
    });
}

/// BindComplete.
pub fn bind_complete(dst: &mut BytesMut) {
    empty(backend::BIND_COMPLETE, dst);
}

/// CloseComplete.
pub fn close_complete(dst: &mut BytesMut) {
    empty(backend::CLOSE_COMPLETE, dst);
}

/// CommandComplete.
pub fn command_complete(tag: &[u8], dst: &mut BytesMut) {
    message(backend::COMMAND_COMPLETE, dst, |dst| put_string(tag, dst));
}

/// CopyInResponse.
pub fn copy_in_response(format: i8, columns: &[Format], dst: &mut BytesMut) {
    put_copy(backend::COPY_IN_RESPONSE, format, columns, dst);
}

/// CopyOutResponse.
pub fn copy_out_response(format: i8, columns: &[Format], dst: &mut BytesMut) {
    put_copy(backend::COPY_OUT_RESPONSE, format, columns, dst);
}

/// CopyBothResponse.
pub fn copy_both_response(format: i8, columns: &[Format], dst: &mut BytesMut) {
    put_copy(backend::COPY_BOTH_RESPONSE, format, columns, dst);
}

fn put_copy(tag: Tag, format: i8, columns: &[Format], dst: &mut BytesMut) {
    message(tag, dst, |dst| {
        dst.put_i8(format);
        put_formats(columns, dst);
    });
}

/// DataRow.
pub fn data_row(values: &[Option<&[u8]>], dst: &mut BytesMut) {
    message(backend::DATA_ROW, dst, |dst| put_values(values, dst));
}

/// EmptyQueryResponse.
pub fn empty_query_response(dst: &mut BytesMut) {
    empty(backend::EMPTY_QUERY_RESPONSE, dst);
}

/// FunctionCallResponse.
pub fn function_call_response(value: Option<&[u8]>, dst: &mut BytesMut) {
    message(backend::FUNCTION_CALL_RESPONSE, dst, |dst| {
        put_value(value, dst);
    });
}

/// NegotiateProtocolVersion: the newest version that is spoken here, and the names of options that are not known.
pub fn negotiate_protocol_version(newest: ProtocolVersion, options: &[&[u8]], dst: &mut BytesMut) {
    message(backend::NEGOTIATE_PROTOCOL_VERSION, dst, |dst| {
        // The whole version, as every server and client of old has it, whatever the documentation says.
        dst.put_u32(newest.code());
        dst.put_u32(u32::try_from(options.len()).unwrap_or(u32::MAX));
        for option in options {
            put_string(option, dst);
        }
    });
}

/// NoData.
pub fn no_data(dst: &mut BytesMut) {
    empty(backend::NO_DATA, dst);
}

/// NotificationResponse.
pub fn notification_response(process: i32, channel: &[u8], payload: &[u8], dst: &mut BytesMut) {
    message(backend::NOTIFICATION_RESPONSE, dst, |dst| {
        dst.put_i32(process);
        put_string(channel, dst);
        put_string(payload, dst);
    });
}

/// ParameterDescription.
pub fn parameter_description(types: &[u32], dst: &mut BytesMut) {
    message(backend::PARAMETER_DESCRIPTION, dst, |dst| {
        put_numbers(types, dst);
    });
}

/// ParameterStatus.
pub fn parameter_status(name: &[u8], value: &[u8], dst: &mut BytesMut) {
    message(backend::PARAMETER_STATUS, dst, |dst| {
        put_string(name, dst);
        put_string(value, dst);
    });
}

/// ParseComplete.
pub fn parse_complete(dst: &mut BytesMut) {
    empty(backend::PARSE_COMPLETE, dst);
}

/// PortalSuspended.
pub fn portal_suspended(dst: &mut BytesMut) {
    empty(backend::PORTAL_SUSPENDED, dst);
}

/// ReadyForQuery.
pub fn ready_for_query(status: TransactionStatus, dst: &mut BytesMut) {
    dst.put_slice(&[backend::READY_FOR_QUERY.0, 0, 0, 0, 5, status.byte()]);
}

/// RowDescription.
pub fn row_description(fields: &[Field<'_>], dst: &mut BytesMut) {
    message(backend::ROW_DESCRIPTION, dst, |dst| {
        for field in counted(fields, dst) {
            put_string(field.name, dst);
            dst.put_u32(field.table);
            dst.put_i16(field.column);
            dst.put_u32(field.type_id);
            dst.put_i16(field.type_size);
            dst.put_i32(field.type_modifier);
            dst.put_i16(field.format.0);
        }
    });
}
