//! Why a user may not do what was asked, in the words of Redis 7.0.
//!
//! The words name no key and no channel, as a server's do not.

use crate::command::{Arguments, CommandId};

/// Why a call is refused. Later ones got further: of several reasons a server tells the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The user may not run this command.
    Command(CommandId),
    /// The user may not run commands that are not in the table.
    UnknownCommand,
    /// The argument with this index is a key that the user may not use so, or the keys cannot be told.
    Key(u32),
    /// The argument with this index is a channel that the user may not use.
    Channel(u32),
    /// `SORT` with `BY` reads keys of any name, and the user may not.
    SortBy,
    /// `SORT` with `GET` reads keys of any name, and the user may not.
    SortGet,
}

impl Denied {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Command(_) | Self::UnknownCommand => "acl_command",
            Self::Key(_) | Self::SortBy | Self::SortGet => "acl_key",
            Self::Channel(_) => "acl_channel",
        }
    }

    /// Appends what a server says to the call, without `-` and line end.
    pub fn write<A: Arguments + ?Sized>(self, args: &A, out: &mut Vec<u8>) {
        let text: &[u8] = match self {
            Self::Command(command) => return may_not_run(command.name().as_bytes(), out),
            Self::UnknownCommand => return may_not_run(args.at(0).unwrap_or_default(), out),
            Self::Key(_) => {
                b"NOPERM this user has no permissions to access one of the keys used as arguments"
            }
            Self::Channel(_) => {
                b"NOPERM this user has no permissions to access one of the channels used as arguments"
            }
            Self::SortBy => b"ERR BY option of SORT denied due to insufficient ACL permissions.",
            Self::SortGet => b"ERR GET option of SORT denied due to insufficient ACL permissions.",
        };
        out.extend_from_slice(text);
    }
}

/// What names a command comes from the client: its start, with nothing that would end the line.
fn may_not_run(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"NOPERM this user has no permissions to run the '");
    let name = name.iter().take(128).map(|byte| match byte {
        b'\r' | b'\n' | 0 => b' ',
        byte => *byte,
    });
    out.extend(name);
    out.extend_from_slice(b"' command");
}
