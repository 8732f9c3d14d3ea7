//! Whether a call has as many arguments as its command takes, and what a server says of one that has not, or of none.
//!
//! The words are those of Redis 7.0, byte for byte, without `-` and line end; the end-to-end tests compare them with a
//! server's. What comes from the client is cut to 128 bytes and made harmless, as a server does.

use super::{Arguments, CommandId, Unknown};

/// How much of a client's words a refusal repeats.
const REPEATED: usize = 128;

/// Whether so many arguments (names among them) are what the command takes.
#[must_use]
#[inline]
pub fn fits(command: CommandId, count: usize) -> bool {
    let arity = command.arity();
    let wanted = usize::from(arity.unsigned_abs());
    if arity < 0 {
        count >= wanted
    } else {
        count == wanted
    }
}

/// Appends what a server says of a wrong number of arguments: `ERR wrong number of arguments for 'get' command`.
pub fn wrong_number(command: CommandId, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERR wrong number of arguments for '");
    out.extend_from_slice(command.name().as_bytes());
    out.extend_from_slice(b"' command");
}

/// Appends what a server says of a command that it does not know.
pub fn unknown<A: Arguments + ?Sized>(unknown: Unknown, args: &A, out: &mut Vec<u8>) {
    match unknown {
        Unknown::Subcommand(parent) => unknown_subcommand(parent, args, out),
        Unknown::Empty | Unknown::Command => unknown_command(args, out),
    }
}

/// `ERR unknown command 'x', with args beginning with: 'a' 'b' `, with the space at its end.
fn unknown_command<A: Arguments + ?Sized>(args: &A, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERR unknown command '");
    repeat(args.at(0).unwrap_or_default(), REPEATED, out);
    out.extend_from_slice(b"', with args beginning with: ");
    let begin = out.len();
    let mut index = 1;
    while let Some(argument) = args.at(index) {
        let written = out.len() - begin;
        if written >= REPEATED {
            break;
        }
        out.push(b'\'');
        repeat(argument, REPEATED - written, out);
        out.extend_from_slice(b"' ");
        index += 1;
    }
}

/// `ERR unknown subcommand 'x'. Try CONFIG HELP.`
fn unknown_subcommand<A: Arguments + ?Sized>(parent: CommandId, args: &A, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERR unknown subcommand '");
    repeat(args.at(1).unwrap_or_default(), REPEATED, out);
    out.extend_from_slice(b"'. Try ");
    out.extend(parent.name().bytes().map(|byte| byte.to_ascii_uppercase()));
    out.extend_from_slice(b" HELP.");
}

/// What a client said, up to the first NUL and up to a length, with line ends made spaces: the answer is one line.
fn repeat(words: &[u8], most: usize, out: &mut Vec<u8>) {
    let words = words.iter().take(most).take_while(|byte| **byte != 0);
    out.extend(words.map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        byte => *byte,
    }));
}
