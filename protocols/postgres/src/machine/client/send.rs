//! How messages get to a server: as they are, under another name, or with one of the gateway's before them.
//!
//! What is sent and when is decided elsewhere. Start at [`forward`] and [`know`].

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};

use crate::encoder;
use crate::error::MessageError;
use crate::frame::{Frame, HEADER};
use crate::machine::error::RelayError;
use crate::machine::link::Link;
use crate::machine::owed::{Owed, Reply};
use crate::machine::relay::Setup;
use crate::machine::statements::{PREFIX, Prepared, Undo};

/// Bytes that are rather copied than taken apart and put together again.
const COPIED: usize = 4 * 1024;

/// Moves bytes on: all there is without a copy, and so where there are many; taking few apart costs more than copying them.
pub(in crate::machine) fn forward(input: &mut BytesMut, len: usize, output: &mut BytesMut) {
    if len == 0 {
        return;
    }
    let is_all = len >= input.len();
    if is_all && output.is_empty() {
        *output = mem::take(input);
        return;
    }
    if len > COPIED {
        let bytes = input.split_to(len.min(input.len()));
        if output.is_empty() {
            *output = bytes;
        } else {
            output.unsplit(bytes);
        }
        return;
    }
    // What stands behind will mostly follow.
    output.reserve(input.len());
    output.extend_from_slice(input.get(..len).unwrap_or(input));
    if is_all {
        input.clear();
    } else {
        input.advance(len);
    }
}

/// What stands behind the header of the message at the front.
pub(super) fn body(input: &[u8], frame: Frame) -> &[u8] {
    input.get(HEADER..frame.len()).unwrap_or_default()
}

/// The text of a Query, as far as it is here.
pub(in crate::machine) fn query_text(input: &[u8], frame: Frame) -> &[u8] {
    let text = body(input, frame);
    match frame {
        Frame::Whole { .. } => text.strip_suffix(&[0]).unwrap_or(text),
        Frame::Begin { .. } => text,
        Frame::More { .. } | Frame::Run { .. } => &[],
    }
}

/// A name and what stands behind its NUL.
pub(super) fn split_name(bytes: &[u8]) -> Result<(&[u8], &[u8]), RelayError> {
    // Names are short, or empty: what searches fast begins slowly.
    const SHORT: usize = 16;
    let near = bytes.iter().take(SHORT).position(|byte| *byte == 0);
    let end = near
        .or_else(|| memchr::memchr(0, bytes))
        .ok_or(RelayError::ClientMessage(MessageError::Unterminated))?;
    let (name, rest) = bytes.split_at(end);
    Ok((name, rest.get(1..).unwrap_or_default()))
}

/// What a Describe or Close is about: whether that is a statement, its name, and where the name stands in the message.
pub(super) fn object(
    input: &[u8],
    frame: Frame,
) -> Result<(bool, &[u8], Range<usize>), RelayError> {
    let (kind, rest) = body(input, frame)
        .split_first()
        .ok_or(RelayError::Unexpected)?;
    let (name, _) = split_name(rest)?;
    let at = HEADER + 1;
    Ok((*kind == b'S', name, at..at + name.len()))
}

/// A name of the gateway's is nobody else's to use: the one that begins here becomes one that nothing has.
pub(super) fn disguise(name: &Range<usize>, setup: &Setup, input: &mut BytesMut) {
    let is_ours = |name: &[u8]| setup.names_are_ours() && name.starts_with(PREFIX);
    if let Some(name) = input.get_mut(name.clone())
        && is_ours(name)
        && let Some(first) = name.first_mut()
    {
        *first = b'?';
    }
}

/// What a Parse is owed.
pub(super) const fn parse_reply(statement: u64, unasked: bool, undo: Undo) -> Reply {
    Reply::Parse {
        statement,
        unasked,
        undo,
    }
}

/// Sees to it that the server connection knows a named statement. Whether it is told.
pub(super) fn know(
    statement: &Arc<Prepared>,
    link: &mut Link,
    setup: &Setup,
    upstream: &mut BytesMut,
    owed: &mut Owed,
) -> bool {
    if link.statements.use_one(statement.id()) {
        return false;
    }
    make_room(statement, link, setup, upstream, owed);
    statement.put_parse(false, upstream);
    owed.push_change(parse_reply(statement.id(), true, Undo::Nothing), false);
    true
}

/// Notes that the connection will know one more, and closes one for it if there are too many.
pub(super) fn make_room(
    statement: &Arc<Prepared>,
    link: &mut Link,
    setup: &Setup,
    upstream: &mut BytesMut,
    owed: &mut Owed,
) {
    let goes = link
        .statements
        .insert(Arc::clone(statement), setup.prepared);
    if let Some(goes) = goes {
        goes.put_close(upstream);
        owed.push_change(Reply::unasked_close(Some(goes)), false);
    }
}

/// Sees to it that the connection's unnamed statement is this one. A driver may prepare it in one round trip and use it in
/// another.
pub(super) fn know_unnamed(
    statement: &Prepared,
    link: &mut Link,
    upstream: &mut BytesMut,
    owed: &mut Owed,
) {
    if link.statements.unnamed == statement.id() {
        return;
    }
    link.statements.unnamed = statement.id();
    statement.put_parse(true, upstream);
    owed.push_change(parse_reply(statement.id(), true, Undo::Nothing), true);
}

/// Sends the message at the front with the statement's own name where `name` is. Of one that comes in parts this is the first:
/// its length is that of all of them.
pub(super) fn rename(
    statement: &Prepared,
    name: Range<usize>,
    frame: Frame,
    input: &mut BytesMut,
    upstream: &mut BytesMut,
) {
    // With what stands behind, which will mostly follow, and a longer name.
    upstream.reserve(input.len() + PREFIX.len() + 20);
    let length = frame.len().min(input.len());
    let message = input.get(..length).unwrap_or_default();
    let before = upstream.len();
    upstream.put_slice(message.get(..name.start).unwrap_or_default());
    statement.put_name(upstream);
    upstream.put_slice(message.get(name.end..).unwrap_or_default());
    input.advance(length);
    let rest = match frame {
        Frame::Begin { total, len, .. } => total - len as u64,
        _ => 0,
    };
    encoder::patch_length(before + 1, rest, upstream);
}
