//! The short cut against the walk. The wire is for the vectors.

use super::{ReplyFrame, ReplyKind, ReplyScanner, short};
use crate::limits::ReplyLimits;

/// What the short cut takes, the walk takes as the same.
#[test]
fn the_short_cut_is_no_other_way() {
    let mut replies = ["+OK\r\n", "$-1\r\n", "+\r\n", "+PONG\r\n"]
        .map(Vec::from)
        .to_vec();
    replies.extend((0..18).map(|zeros| format!(":{}\r\n", 10_u64.pow(zeros)).into_bytes()));
    replies.extend(
        (0..999).map(|length| format!("${length}\r\n{}\r\n", "x".repeat(length)).into_bytes()),
    );
    let limits = ReplyLimits::default();
    for reply in replies {
        let found = short::value(&reply, limits.bulk);
        let mut scanner = ReplyScanner::new(limits);
        let Ok(Some(ReplyFrame::Whole {
            kind,
            len,
            attributes: 0,
        })) = scanner.walk(&reply)
        else {
            panic!("{}", reply.escape_ascii());
        };
        assert_eq!(found, Some((kind, len)), "{}", reply.escape_ascii());
        assert_eq!(len, reply.len());
    }
}

/// What is odd is for the walk.
#[test]
fn the_short_cut_judges_nothing() {
    for reply in [
        "",
        "+",
        "+OK",
        "+OK\n",
        "+O\rK\r\n",
        "$",
        "$3",
        "$3\r\nab",
        "$3\r\nabcd\r\n",
        "$03\r\nabc\r\n",
        "$-2\r\n",
        "$-1\r",
        ":",
        ":-\r\n",
        ":-1",
        ":+1\r\n",
        ":1234567890123456789\r\n",
        ":1\n",
        ":1x\r\n",
        "-ERR\r\n",
        "_",
        "_x\r\n",
        "#x\r\n",
        "#t",
        ",\r\n",
        ",1.\r\n",
        ",.5\r\n",
        ",1e5\r\n",
        ",inf\r\n",
        ",1",
        "(1\r\n",
        "*1\r\n:1\r\n",
        ";0\r\n",
        ".\r\n",
    ] {
        assert_eq!(short::value(reply.as_bytes(), 100), None, "{reply:?}");
    }
}

/// With and without what is short, the walk ends at the same places.
#[test]
fn aggregates_are_walked_alike() {
    for reply in [
        "*3\r\n:1\r\n:2\r\n:3\r\n",
        "*2\r\n*2\r\n+a\r\n,1.5\r\n*2\r\n+b\r\n,2\r\n",
        "%2\r\n+a\r\n~1\r\n#t\r\n+b\r\n*0\r\n",
        "*2\r\n*1\r\n*1\r\n:1\r\n:2\r\n",
        "*3\r\n-ERR\r\n:1\r\n-ERR\r\n",
        "*17\r\n+a\r\n*16\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n\
         +a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n+a\r\n",
    ] {
        let streamed = format!("*?\r\n{reply}.\r\n");
        for reply in [reply, &streamed] {
            let mut scanner = ReplyScanner::new(ReplyLimits::default());
            let frame = scanner.next(reply.as_bytes()).unwrap();
            assert_eq!(
                frame.map(|frame| frame.len()),
                Some(reply.len()),
                "{reply:?}"
            );
        }
    }
}

#[test]
fn it_says_how_much_it_waits_for() {
    for (bytes, wants) in [
        (&b"$10\r\nab"[..], 10),
        (b"$10\r\n0123456789\r", 1),
        (b"*2\r\n", 3),
        (b"+", 2),
        (b"", 3),
    ] {
        let mut scanner = ReplyScanner::new(ReplyLimits::default());
        assert_eq!(scanner.next(bytes), Ok(None));
        assert_eq!(
            scanner.wants(bytes.len()),
            wants,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn kinds_say_what_they_are() {
    for (kind, error, null, push, resp2) in [
        (ReplyKind::Simple, false, false, false, true),
        (ReplyKind::Error, true, false, false, true),
        (ReplyKind::BulkError, true, false, false, false),
        (ReplyKind::NullBulk, false, true, false, true),
        (ReplyKind::NullArray, false, true, false, true),
        (ReplyKind::Null, false, true, false, false),
        (ReplyKind::Push, false, false, true, false),
        (ReplyKind::Map, false, false, false, false),
    ] {
        assert_eq!(kind.is_error(), error, "{kind:?}");
        assert_eq!(kind.is_null(), null, "{kind:?}");
        assert_eq!(kind.is_push(), push, "{kind:?}");
        assert_eq!(kind.is_resp2(), resp2, "{kind:?}");
    }
}
