//! Who gets what, in which order, whatever came when.

use super::*;
use crate::machine::assembly::How;
use crate::reply::ReplyKind;

const VERSION: RespVersion = RespVersion::Resp2;

/// Slots, and what became of them.
#[derive(Default)]
struct Board {
    slots: Slots<u32>,
    ids: Vec<SlotId>,
    out: BytesMut,
    over: Vec<(u32, Finished)>,
}

impl Board {
    /// One slot for each letter: `o`wed, `s`ilent, `m`erging two parts, `r`eady.
    fn new(kinds: &str) -> Self {
        let mut board = Self::default();
        for (of, kind) in (0..).zip(kinds.chars()) {
            let slots = &mut board.slots;
            let id = match kind {
                'm' => slots.push_merging(of, false, Assembly::new(How::Values([].into()), 2)),
                'r' => {
                    let reply = BytesMut::from(&b"+ready\r\n"[..]);
                    slots.push_ready(of, false, reply, Finished::default());
                    continue;
                }
                kind => slots.push(of, kind == 's'),
            };
            board.ids.push(id);
        }
        board
    }

    /// `0 whole`, `1.1 begin`: a piece for a slot, or for a part of it.
    fn say(&mut self, step: &str) {
        let (whose, what) = step.split_once(' ').unwrap();
        let (slot, part) = whose.split_once('.').unwrap_or((whose, "0"));
        let id = self.ids[slot.parse::<usize>().unwrap()];
        let whole = format!("+{slot}\r\n");
        let piece = match what {
            "whole" => Piece::Whole {
                kind: ReplyKind::Simple,
                bytes: whole.as_bytes(),
            },
            "error" => Piece::Whole {
                kind: ReplyKind::Error,
                bytes: b"-WRONGTYPE no\r\n",
            },
            "bulk-error" => Piece::Whole {
                kind: ReplyKind::BulkError,
                bytes: b"!7\r\nOOM big\r\n",
            },
            "array" => Piece::Whole {
                kind: ReplyKind::Array,
                bytes: b"*0\r\n",
            },
            "begin" => Piece::Begin {
                kind: ReplyKind::Bulk,
                bytes: b"(",
            },
            "more" => Piece::More {
                bytes: b".",
                last: false,
            },
            "last" => Piece::More {
                bytes: b")",
                last: true,
            },
            "lost" => Piece::Lost(Lost::Closed),
            other => panic!("no piece: {other}"),
        };
        let over = &mut self.over;
        let mut note = |of, finished| over.push((of, finished));
        let part = part.parse().unwrap();
        self.slots
            .on_piece(id, part, piece, VERSION, &mut self.out, &mut note);
    }

    fn heard(&self) -> String {
        let text = String::from_utf8_lossy(&self.out);
        text.replace("-ERR upstream connection lost", "LOST")
            .replace("\r\n", " ")
            .trim_end()
            .to_owned()
    }

    fn is_over(&self) -> Vec<u32> {
        self.over.iter().map(|(of, _)| *of).collect()
    }
}

#[test]
fn replies_come_in_their_order() {
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], &'a str, &'a [u32]);
    let rows: [Row<'_>; 19] = [
        ("in order", "oo", &["0 whole", "1 whole"], "+0 +1", &[0, 1]),
        ("reversed", "oo", &["1 whole", "0 whole"], "+0 +1", &[0, 1]),
        ("one is missing", "ooo", &["2 whole", "1 whole"], "", &[]),
        ("a ready one", "or", &["0 whole"], "+0 +ready", &[0, 1]),
        ("in pieces", "o", &["0 begin", "0 more"], "(.", &[]),
        (
            "a whole one in pieces",
            "oo",
            &["0 begin", "1 whole", "0 more", "0 last"],
            "(.)+1",
            &[0, 1],
        ),
        (
            "pieces before their turn",
            "oo",
            &["1 begin", "1 more", "0 whole", "1 last"],
            "+0 (.)",
            &[0, 1],
        ),
        (
            "whole pieces before their turn",
            "oo",
            &["1 begin", "1 last", "0 whole"],
            "+0 ()",
            &[0, 1],
        ),
        (
            "pieces held, and more behind them",
            "ooo",
            &["1 begin", "2 whole", "0 whole"],
            "+0 (",
            &[0],
        ),
        ("silent", "so", &["0 whole", "1 whole"], "+1", &[0, 1]),
        (
            "silent before its turn",
            "os",
            &["1 whole", "0 whole"],
            "+0",
            &[0, 1],
        ),
        (
            "silent pieces",
            "so",
            &["0 begin", "1 whole", "0 last"],
            "+1",
            &[0, 1],
        ),
        (
            "silent and lost",
            "so",
            &["0 begin", "0 lost", "1 whole"],
            "+1",
            &[0, 1],
        ),
        ("lost", "oo", &["0 lost", "1 whole"], "LOST +1", &[0, 1]),
        (
            "lost before its turn",
            "oo",
            &["1 lost", "0 whole"],
            "+0 LOST",
            &[0, 1],
        ),
        (
            "lost when half of it waited for its turn",
            "oo",
            &["1 begin", "1 lost", "0 whole"],
            "+0 LOST",
            &[0, 1],
        ),
        (
            "cut: nothing comes behind it",
            "ooor",
            &["1 whole", "0 begin", "0 lost", "2 whole"],
            "(",
            &[0, 1, 2, 3],
        ),
        (
            "merged",
            "mo",
            &["0.1 array", "1 whole", "0.0 array"],
            "*0 +1",
            &[0, 1],
        ),
        (
            "merged before its turn",
            "om",
            &["1.0 array", "1.1 array", "0 whole"],
            "+0 *0",
            &[0, 1],
        ),
    ];
    for (name, slots, steps, heard, over) in rows {
        let mut board = Board::new(slots);
        for step in steps {
            board.say(step);
        }
        assert_eq!(board.heard(), heard, "{name}");
        assert_eq!(board.is_over(), over, "{name}");
        let left = slots.len() - over.len();
        assert_eq!(board.slots.len(), left, "{name}");
    }
}

#[test]
fn how_each_ended_is_told() {
    let finished = Finished::default();
    let lost = Finished {
        error: Some(ErrorPrefix::Err),
        lost: Some(Lost::Closed),
        ..finished
    };
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], Finished);
    let rows: [Row<'_>; 9] = [
        (
            "whole",
            "o",
            &["0 whole"],
            Finished {
                bytes: 4,
                ..finished
            },
        ),
        (
            "pieces",
            "o",
            &["0 begin", "0 more", "0 last"],
            Finished {
                bytes: 3,
                ..finished
            },
        ),
        (
            "an error",
            "o",
            &["0 error"],
            Finished {
                bytes: 15,
                error: Some(ErrorPrefix::WrongType),
                ..finished
            },
        ),
        (
            "an error with its length",
            "o",
            &["0 bulk-error"],
            Finished {
                bytes: 13,
                error: Some(ErrorPrefix::Oom),
                ..finished
            },
        ),
        (
            "an error that nobody hears",
            "s",
            &["0 error"],
            Finished {
                bytes: 15,
                error: Some(ErrorPrefix::WrongType),
                ..finished
            },
        ),
        ("lost", "o", &["0 lost"], lost),
        (
            "cut",
            "o",
            &["0 begin", "0 lost"],
            Finished {
                bytes: 1,
                is_cut: true,
                ..lost
            },
        ),
        ("lost, and nobody hears", "s", &["0 lost"], lost),
        (
            "a merged one, of which an error with its length is the reply",
            "m",
            &["0.0 bulk-error", "0.1 whole"],
            Finished {
                bytes: 13,
                error: Some(ErrorPrefix::Oom),
                ..finished
            },
        ),
    ];
    for (name, slots, steps, expected) in rows {
        let mut board = Board::new(slots);
        for step in steps {
            board.say(step);
        }
        let [(_, ended)] = &*board.over else {
            panic!("{name}: {:?}", board.over);
        };
        assert_eq!(*ended, expected, "{name}");
    }
}

#[test]
fn it_is_open_while_a_reply_is_half_with_the_client() {
    let rows: [(&str, &str, &[&str], bool); 8] = [
        ("nothing", "o", &[], false),
        ("its beginning", "o", &["0 begin"], true),
        ("all", "o", &["0 begin", "0 last"], false),
        ("not its turn", "oo", &["1 begin"], false),
        ("its turn now", "oo", &["1 begin", "0 whole"], true),
        ("and all", "oo", &["1 begin", "0 whole", "1 last"], false),
        ("silent", "s", &["0 begin"], false),
        (
            "cut, for ever",
            "oo",
            &["0 begin", "0 lost", "1 whole"],
            true,
        ),
    ];
    for (name, slots, steps, expected) in rows {
        let mut board = Board::new(slots);
        for step in steps {
            board.say(step);
        }
        assert_eq!(board.slots.is_open(), expected, "{name}");
    }
}

#[test]
fn what_comes_when_all_is_over_is_dropped() {
    let mut board = Board::new("oo");
    board.say("1 begin");
    let left: Vec<u32> = board.slots.take_all().collect();
    assert_eq!(left, [0, 1]);
    for step in ["1 last", "0 whole", "0 lost"] {
        board.say(step);
    }
    assert_eq!((board.heard().as_str(), board.over.len()), ("", 0));
    let id = board.slots.push(7, false);
    board.ids[0] = id;
    board.say("0 whole");
    assert_eq!(board.is_over(), [7]);
}

#[test]
fn errors_are_known_by_their_first_word() {
    let rows: [(&[u8], &str); 7] = [
        (b"-ERR no\r\n", "ERR"),
        (b"-MOVED 1 h:1\r\n", "MOVED"),
        (b"-OOM\r\n", "OOM"),
        (b"!9\r\nBUSY wait\r\n", "BUSY"),
        (b"-\r\n", "other"),
        (b"-other\r\n", "other"),
        (b"", "other"),
    ];
    for (reply, expected) in rows {
        assert_eq!(ErrorPrefix::of(reply).label(), expected, "{reply:?}");
    }
}

#[test]
fn runs_give_what_replies_by_themselves_give() {
    // The slots, what was said before, the first slot of the run and the number of its replies; how many are taken in one.
    type Row = (
        &'static str,
        &'static str,
        &'static [&'static str],
        usize,
        usize,
        usize,
    );
    let rows: [Row; 9] = [
        ("all", "ooo", &[], 0, 3, 3),
        ("the front", "oooo", &[], 0, 2, 2),
        ("not their turn", "oooo", &[], 1, 2, 0),
        ("a silent one among them", "ooso", &[], 0, 4, 2),
        (
            "one that is merged behind them",
            "oom",
            &["2.0 array"],
            0,
            2,
            2,
        ),
        ("held behind them", "ooo", &["2 whole"], 0, 2, 2),
        ("ready behind them", "ooro", &[], 0, 2, 2),
        ("a reply is half there", "ooo", &["0 begin"], 0, 1, 0),
        ("over already", "ooo", &["0 whole"], 0, 1, 0),
    ];
    for (name, kinds, before, first, count, expected) in rows {
        let mut one_by_one = Board::new(kinds);
        let mut at_once = Board::new(kinds);
        for step in before {
            one_by_one.say(step);
            at_once.say(step);
        }
        if name != "a reply is half there" {
            for slot in first..first + count {
                one_by_one.say(&format!("{slot} whole"));
            }
        }
        let kind = ReplyKind::Simple;
        let replies = vec![RunReply { kind, len: 4 }; count];
        let texts = (first..first + count).map(|slot| format!("+{slot}\r\n"));
        let bytes: String = texts.collect();
        let over = &mut at_once.over;
        let mut tell = |of, finished| over.push((of, finished));
        let id = at_once.ids[first];
        let slots = &mut at_once.slots;
        let taken = slots.on_run(id, &replies, bytes.as_bytes(), &mut at_once.out, &mut tell);
        assert_eq!(taken, expected, "{name}");
        if name != "a reply is half there" {
            for slot in first + taken..first + count {
                at_once.say(&format!("{slot} whole"));
            }
        }
        assert_eq!(at_once.out, one_by_one.out, "{name}");
        assert_eq!(at_once.over, one_by_one.over, "{name}");
        assert_eq!(at_once.slots.held(), one_by_one.slots.held(), "{name}");
    }
}
