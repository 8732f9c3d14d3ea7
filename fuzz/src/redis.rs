//! Redis: the laws of the codec, and agreement with another implementation.
//!
//! An input is raw wire bytes, of a client or of a server, and where it is cut follows from its own hash, so that a seed is a
//! stream that was written down in a vector. Start at [`decode`]; the comparison with redis-protocol is in [`diff`].

mod diff;
#[path = "../../protocols/redis/tests/round/mod.rs"]
mod round;
#[path = "../../protocols/redis/tests/support/mod.rs"]
mod support;

use portcullis_redis::limits::{LEAST_WHOLE, ReplyLimits, RequestLimits};
use portcullis_redis::request::CommandScanner;
use portcullis_testkit::{Random, laws};
use support::{Asked, Replies, Said, client};

pub use diff::{ACCEPTED, REFUSED, diff};

/// Limits small enough for a fuzzer to find their edges.
const SMALL_REQUESTS: RequestLimits = RequestLimits {
    arguments: 12,
    bulk: 100,
    whole: LEAST_WHOLE,
    inline: true,
    stranger_arguments: 3,
    stranger_bulk: 20,
};
const SMALL_REPLIES: ReplyLimits = ReplyLimits {
    whole: LEAST_WHOLE,
    bulk: 100,
    elements: 12,
    depth: 4,
    line: LEAST_WHOLE,
};

/// Commands and replies: every split agrees, and limits hold.
pub fn decode(data: &[u8]) {
    let mut random = Random::from_seed(hash(data));
    let mut pieces = || {
        let longest = 1 + random.below(64);
        random.pieces(data, longest)
    };
    for limits in [RequestLimits::default(), SMALL_REQUESTS] {
        for is_known in [false, true] {
            let make = || client(limits, is_known);
            let seen = laws::split_agrees(make, pieces(), support::requests);
            for asked in &seen.items {
                check_request(asked, &limits, is_known);
            }
        }
    }
    for limits in [ReplyLimits::default(), SMALL_REPLIES] {
        let seen = laws::split_agrees(|| Replies::new(limits), pieces(), support::replies);
        for said in &seen.items {
            check_reply(said, &limits);
        }
    }
    round::scanner_and_tree_agree(data);
}

fn check_request(asked: &Asked, limits: &RequestLimits, is_known: bool) {
    let (most, longest) = if is_known {
        (limits.arguments, limits.bulk)
    } else {
        (limits.stranger_arguments, limits.stranger_bulk)
    };
    let command = match asked {
        Asked::Command(command) => {
            assert!(command.len() as u64 <= u64::from(most));
            command
        }
        Asked::Large {
            front,
            declared,
            partial,
            ..
        } => {
            assert!(*declared <= most && front.len() < *declared as usize);
            assert!(partial.is_none_or(|bytes| bytes <= longest));
            assert!(front.wire().len() <= limits.whole);
            front
        }
    };
    assert!(!command.is_empty(), "a command without a name");
    let is_line = limits.inline;
    for argument in command.as_ref().arguments() {
        assert!(is_line || argument.len() as u64 <= longest);
    }
}

fn check_reply(said: &Said, limits: &ReplyLimits) {
    assert!(said.attributes < said.bytes.len());
    let is_long = said.bytes.len() > limits.whole;
    assert!(!said.is_whole || said.is_large == is_long || said.bytes.len() <= limits.line);
}

/// What decodes is written and read again, in both versions; ways to the same end agree.
pub fn roundtrip(data: &[u8]) {
    round::replies(data);
    for limits in [RequestLimits::default(), SMALL_REQUESTS] {
        round::commands(
            || {
                let mut scanner = CommandScanner::new(limits);
                scanner.set_known(true);
                (client(limits, true), scanner)
            },
            data,
        );
    }
    for whole in [LEAST_WHOLE, LEAST_WHOLE + 7] {
        round::pieces_translate_alike(data, whole);
    }
}

/// FNV-1a.
fn hash(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
