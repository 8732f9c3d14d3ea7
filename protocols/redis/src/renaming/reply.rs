//! Keys in replies: given back their clients' names.
//!
//! Only whole replies, and only of commands whose replies have keys in them. Start at [`Names::of`] and [`Names::restore`].

use bytes::BytesMut;

use super::Renaming;
use crate::acl::Glob;
use crate::command::CommandId;
use crate::encoder;
use crate::machine::elements::{elements, text};

/// Where keys are in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// `KEYS`: all of it are keys. With a pattern, those that it matches, by their clients' names.
    List(Option<Glob>),
    /// `SCAN`: the second element is a list of keys, as above.
    Scan(Option<Glob>),
    /// `BLPOP`, `LMPOP` and the like: the first element is a key.
    First,
    /// `XREAD`: each element is a key and what it has, in an array of two; in RESP3 it is a map.
    Streams,
    /// `EXEC`: so in the reply to each command, by its place.
    Each(Box<[(u32, Self)]>),
}

impl Names {
    /// Where keys are in the reply to this command, but for `KEYS`, `SCAN` and `EXEC`, where that depends on more.
    #[must_use]
    pub const fn of(id: CommandId) -> Option<Self> {
        match id {
            CommandId::BLPOP | CommandId::BRPOP | CommandId::BZPOPMIN | CommandId::BZPOPMAX => {
                Some(Self::First)
            }
            CommandId::LMPOP | CommandId::BLMPOP | CommandId::ZMPOP | CommandId::BZMPOP => {
                Some(Self::First)
            }
            CommandId::XREAD | CommandId::XREADGROUP => Some(Self::Streams),
            _ => None,
        }
    }

    /// Appends a whole reply with its keys as the client knows them. Nil and errors stay as they are.
    ///
    /// `None`: the reply is not what the command is answered with, or names a key that is none of the client's; what was
    /// appended is of no use.
    #[must_use]
    pub fn restore(&self, reply: &[u8], renaming: &Renaming, out: &mut BytesMut) -> Option<()> {
        if matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n") || matches!(reply, [b'-' | b'!', ..])
        {
            out.extend_from_slice(reply);
            return Some(());
        }
        match self {
            Self::List(pattern) => list(reply, pattern.as_ref(), renaming, out),
            Self::Scan(pattern) => {
                let mut all = elements(reply)?;
                out.extend_from_slice(header(reply)?);
                out.extend_from_slice(all.next()?);
                list(all.next()?, pattern.as_ref(), renaming, out)
            }
            Self::First => {
                let mut all = elements(reply)?;
                out.extend_from_slice(header(reply)?);
                name(all.next()?, renaming, out)?;
                all.for_each(|element| out.extend_from_slice(element));
                Some(())
            }
            Self::Streams => streams(reply, renaming, out),
            Self::Each(places) => each(reply, places, renaming, out),
        }
    }
}

/// The first line of an aggregate.
fn header(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', reply)?;
    reply.get(..=end)
}

/// One key.
fn name(element: &[u8], renaming: &Renaming, out: &mut BytesMut) -> Option<()> {
    encoder::bulk(&renaming.downstream(text(element)?)?, out);
    Some(())
}

fn list(
    reply: &[u8],
    pattern: Option<&Glob>,
    renaming: &Renaming,
    out: &mut BytesMut,
) -> Option<()> {
    let mut names = Vec::new();
    for element in elements(reply)? {
        let name = renaming.downstream(text(element)?)?;
        if pattern.is_none_or(|pattern| pattern.matches(&name)) {
            names.push(name);
        }
    }
    encoder::array(names.len(), out);
    for name in &names {
        encoder::bulk(name, out);
    }
    Some(())
}

fn streams(reply: &[u8], renaming: &Renaming, out: &mut BytesMut) -> Option<()> {
    let all = elements(reply)?;
    out.extend_from_slice(header(reply)?);
    let is_map = reply.starts_with(b"%");
    for (index, element) in all.enumerate() {
        if is_map && index % 2 == 1 {
            out.extend_from_slice(element);
        } else if is_map {
            name(element, renaming, out)?;
        } else {
            Names::First.restore(element, renaming, out)?;
        }
    }
    Some(())
}

fn each(
    reply: &[u8],
    places: &[(u32, Names)],
    renaming: &Renaming,
    out: &mut BytesMut,
) -> Option<()> {
    let all = elements(reply)?;
    out.extend_from_slice(header(reply)?);
    let mut places = places.iter().peekable();
    for (index, element) in (0..).zip(all) {
        match places.next_if(|(place, _)| *place == index) {
            Some((_, names)) => names.restore(element, renaming, out)?,
            None => out.extend_from_slice(element),
        }
    }
    Some(())
}
