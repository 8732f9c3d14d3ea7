//! Which arguments of a call are channels, and how long a call may wait.
//!
//! Neither is in a server's `COMMAND`, so both are rules written down here. Sharded channels go to the slot of their name
//! as if they were keys.

use std::time::Duration;

use super::{Arguments, CommandId};

/// The channels of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// The first argument that is one.
    pub first: usize,
    /// The argument behind the last.
    pub end: usize,
    /// What is done with them.
    pub use_of: ChannelUse,
    /// They are patterns.
    pub patterns: bool,
    /// They belong to the shard that has the slot of their name.
    pub sharded: bool,
}

/// What is done with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelUse {
    /// A message is sent to it.
    Publish,
    /// Its messages are wanted.
    Subscribe,
    /// Its messages are wanted no more.
    Unsubscribe,
}

/// The channels of this call. `None` for a command that knows no channels.
#[must_use]
pub fn channels<A: Arguments + ?Sized>(command: CommandId, args: &A) -> Option<Channels> {
    use ChannelUse::{Publish, Subscribe, Unsubscribe};
    let (use_of, patterns, sharded) = match command {
        CommandId::PUBLISH => (Publish, false, false),
        CommandId::SPUBLISH => (Publish, false, true),
        CommandId::SUBSCRIBE => (Subscribe, false, false),
        CommandId::PSUBSCRIBE => (Subscribe, true, false),
        CommandId::SSUBSCRIBE => (Subscribe, false, true),
        CommandId::UNSUBSCRIBE => (Unsubscribe, false, false),
        CommandId::PUNSUBSCRIBE => (Unsubscribe, true, false),
        CommandId::SUNSUBSCRIBE => (Unsubscribe, false, true),
        _ => return None,
    };
    let end = if use_of == Publish {
        args.len().min(2)
    } else {
        args.len()
    };
    Some(Channels {
        first: end.min(1),
        end,
        use_of,
        patterns,
        sharded,
    })
}

/// How long a call may wait for what others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until it happens.
    Forever,
    /// At most this long.
    AtMost(Duration),
}

/// How long this call may wait. `None` if it does not: no blocking command, or `XREAD` without `BLOCK`.
///
/// A time that is no plain number counts as for ever: a server reads `0x10`, and rounds `-0.0001` up to 0. One that it
/// refuses it refuses at once, whatever is said here.
#[must_use]
pub fn wait<A: Arguments + ?Sized>(command: CommandId, args: &A) -> Option<Wait> {
    let last = args.len().checked_sub(1)?;
    let text = |index| std::str::from_utf8(args.at(index)?).ok();
    let seconds =
        |index| text(index).and_then(|text| Duration::try_from_secs_f64(text.parse().ok()?).ok());
    let milliseconds =
        |index| text(index).and_then(|text| text.parse().ok().map(Duration::from_millis));
    let time = match command {
        CommandId::BLPOP
        | CommandId::BRPOP
        | CommandId::BLMOVE
        | CommandId::BRPOPLPUSH
        | CommandId::BZPOPMIN
        | CommandId::BZPOPMAX => seconds(last),
        CommandId::BLMPOP | CommandId::BZMPOP => seconds(1),
        CommandId::WAIT => milliseconds(2),
        CommandId::XREAD | CommandId::XREADGROUP => milliseconds(block_option(args)?),
        _ => return None,
    };
    Some(match time {
        Some(time) if !time.is_zero() => Wait::AtMost(time),
        _ => Wait::Forever,
    })
}

/// Where the time of `BLOCK` is. An option that is not known here does not hide it.
fn block_option<A: Arguments + ?Sized>(args: &A) -> Option<usize> {
    let mut index = 1;
    let mut found = None;
    while let Some(option) = args.at(index) {
        let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
        index += if is(b"BLOCK") {
            found = Some(index + 1); // The last one counts.
            2
        } else if is(b"COUNT") {
            2
        } else if is(b"GROUP") {
            3
        } else if is(b"STREAMS") {
            break;
        } else {
            1
        };
    }
    found
}

#[cfg(test)]
mod tests;
