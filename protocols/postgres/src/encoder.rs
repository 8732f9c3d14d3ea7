//! Writes messages, each appended to a buffer.
//!
//! Nothing is judged: a caller writes what it means. But whatever it passes, a message has the length that it says: strings
//! end at their first NUL, and lists at the 65,535th item, which is all that the format can express. Start at
//! [`error_message`] for what the gateway says itself, at [`message`] for a type of message without a function here.

mod backend;
mod frontend;

pub use backend::{
    authentication, authentication_cleartext, authentication_md5, authentication_ok,
    authentication_sasl, authentication_sasl_continue, authentication_sasl_final, backend_key_data,
    bind_complete, close_complete, command_complete, copy_both_response, copy_in_response,
    copy_out_response, data_row, empty_query_response, error_message, error_response,
    fatal_message, function_call_response, negotiate_protocol_version, no_data, notice_message,
    notice_response, notification_response, parameter_description, parameter_status,
    parse_complete, portal_suspended, ready_for_query, row_description,
};
pub use frontend::{
    Bind, FunctionCall, bind, cancel_request, close_portal, close_statement, copy_fail,
    describe_portal, describe_statement, execute, flush, function_call, gss_encryption_request,
    parse, password, query, sasl_initial_response, sasl_response, ssl_request, startup, sync,
    terminate,
};

use bytes::{BufMut as _, BytesMut};
use memchr::memchr;

use crate::frame::{Tag, frontend as tag};
use crate::message::Format;

/// Appends a message of this type, with the body that `body` appends.
pub fn message(tag: Tag, dst: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    dst.put_u8(tag.0);
    with_length(dst, body);
}

/// CopyData, either way.
pub fn copy_data(data: &[u8], dst: &mut BytesMut) {
    message(tag::COPY_DATA, dst, |dst| dst.put_slice(data));
}

/// CopyDone, either way.
pub fn copy_done(dst: &mut BytesMut) {
    empty(tag::COPY_DONE, dst);
}

/// A message that says nothing but its type.
fn empty(tag: Tag, dst: &mut BytesMut) {
    dst.put_slice(&[tag.0, 0, 0, 0, 4]);
}

/// A length that counts itself and the body.
fn with_length(dst: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = dst.len();
    dst.put_u32(0);
    body(dst);
    patch_length(start, 0, dst);
}

/// Writes the length of a message that ends here into its place at `start`; so many bytes of it are still to come.
pub(crate) fn patch_length(start: usize, rest: u64, dst: &mut BytesMut) {
    // What does not fit is no length at all, and refused by whoever reads it.
    let length = (dst.len() - start) as u64 + rest;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(place) = dst.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *place = length.to_be_bytes();
    }
}

fn put_string(text: &[u8], dst: &mut BytesMut) {
    let end = memchr(0, text).unwrap_or(text.len());
    dst.put_slice(text.get(..end).unwrap_or_default());
    dst.put_u8(0);
}

/// The items that are written, behind their number.
fn counted<'a, T>(items: &'a [T], dst: &mut BytesMut) -> impl Iterator<Item = &'a T> + use<'a, T> {
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    dst.put_u16(count);
    items.iter().take(usize::from(count))
}

fn put_formats(formats: &[Format], dst: &mut BytesMut) {
    for format in counted(formats, dst) {
        dst.put_i16(format.0);
    }
}

fn put_numbers(numbers: &[u32], dst: &mut BytesMut) {
    for number in counted(numbers, dst) {
        dst.put_u32(*number);
    }
}

fn put_value(value: Option<&[u8]>, dst: &mut BytesMut) {
    match value {
        Some(value) => {
            // As with_length: too large to be a length.
            dst.put_i32(i32::try_from(value.len()).unwrap_or(i32::MIN));
            dst.put_slice(value);
        }
        None => dst.put_i32(-1),
    }
}

fn put_values(values: &[Option<&[u8]>], dst: &mut BytesMut) {
    for value in counted(values, dst) {
        put_value(*value, dst);
    }
}

#[cfg(test)]
mod tests;
