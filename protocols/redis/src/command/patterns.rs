//! Which arguments of a call are patterns that a server matches against many names.
//!
//! Only patterns that cost a server time for each name: those of `SORT` and of access rules name keys, or are read once.
//! What a pattern may be is [`Glob`](crate::acl::Glob)'s to say. Start at [`each_pattern`].

use super::{Arguments, CommandId};

/// Whether calls of a command may have patterns. None of these is beyond what is held: its patterns could not be seen.
#[must_use]
pub const fn has_patterns(command: CommandId) -> bool {
    matches!(
        command,
        CommandId::KEYS
            | CommandId::PSUBSCRIBE
            | CommandId::CONFIG_GET
            | CommandId::PUBSUB_CHANNELS
            | CommandId::PUBSUB_SHARDCHANNELS
            | CommandId::SCAN
            | CommandId::SSCAN
            | CommandId::HSCAN
            | CommandId::ZSCAN
            | CommandId::FUNCTION_LIST
            | CommandId::COMMAND_LIST
    )
}

/// Calls `each` with every pattern of a call and the index of its argument.
pub fn each_pattern<'a, A: Arguments + ?Sized>(
    command: CommandId,
    args: &'a A,
    mut each: impl FnMut(usize, &'a [u8]),
) {
    let (first, end) = match command {
        CommandId::KEYS => (1, 2),
        CommandId::PSUBSCRIBE => (1, args.len()),
        CommandId::CONFIG_GET => (2, args.len()),
        CommandId::PUBSUB_CHANNELS | CommandId::PUBSUB_SHARDCHANNELS => (2, 3),
        CommandId::SCAN => return options(args, 2, b"MATCH", each),
        CommandId::SSCAN | CommandId::HSCAN | CommandId::ZSCAN => {
            return options(args, 3, b"MATCH", each);
        }
        CommandId::FUNCTION_LIST => return options(args, 2, b"LIBRARYNAME", each),
        CommandId::COMMAND_LIST => return options(args, 3, b"PATTERN", each),
        _ => return,
    };
    for index in first..end {
        if let Some(pattern) = args.at(index) {
            each(index, pattern);
        }
    }
}

/// What is behind every one of this word, from `first` on. Where the word stands for something else, a pattern too many is
/// looked at, and never one too few.
fn options<'a, A: Arguments + ?Sized>(
    args: &'a A,
    first: usize,
    word: &[u8],
    mut each: impl FnMut(usize, &'a [u8]),
) {
    for index in first..args.len() {
        let is_word = args
            .at(index)
            .is_some_and(|option| option.eq_ignore_ascii_case(word));
        if let Some(pattern) = args.at(index + 1).filter(|_| is_word) {
            each(index + 1, pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found() {
        let rows: [(&str, &[&str]); 16] = [
            ("KEYS a*", &["a*"]),
            ("SCAN 0", &[]),
            ("SCAN 0 match a* COUNT 5", &["a*"]),
            ("SCAN 0 COUNT 5 MATCH a* TYPE string", &["a*"]),
            ("SCAN 0 MATCH a MATCH b", &["a", "b"]),
            ("SCAN 0 MATCH match x", &["match", "x"]),
            ("SCAN 0 MATCH", &[]),
            ("HSCAN MATCH 0 MATCH f*", &["f*"]),
            ("SSCAN s 0 MATCH m*", &["m*"]),
            ("ZSCAN z 0 COUNT 1", &[]),
            ("PSUBSCRIBE a* b*", &["a*", "b*"]),
            ("PUBSUB CHANNELS c*", &["c*"]),
            ("PUBSUB CHANNELS", &[]),
            ("CONFIG GET a* b*", &["a*", "b*"]),
            ("FUNCTION LIST LIBRARYNAME l* WITHCODE", &["l*"]),
            ("GET a*", &[]),
        ];
        for (call, expected) in rows {
            let args: Vec<&str> = call.split(' ').collect();
            let command = CommandId::resolve(&args).unwrap();
            let mut found = Vec::new();
            each_pattern(command, &args, |index, pattern| {
                assert_eq!(args[index].as_bytes(), pattern, "{call}");
                found.push(std::str::from_utf8(pattern).unwrap());
            });
            assert_eq!(found, expected, "{call}");
            assert!(found.is_empty() || has_patterns(command), "{call}");
        }
    }
}
