//! Every way to make one reply of several.

use super::*;
use crate::reply::{ReplyFrame, ReplyScanner};

/// The reply, with bars for line ends. A part that begins with `lost` is lost; `^` cuts one in pieces.
fn made(how: How, parts: &[&str], version: RespVersion) -> String {
    let mut assembly = Assembly::new(how, parts.len());
    // The last comes first: order is that of the parts, not that of time.
    for (number, text) in (0..parts.len() as u32).zip(parts).rev() {
        let whole = text.replace('^', "").replace('|', "\r\n");
        let bytes = whole.as_bytes();
        let kind = kind(bytes);
        let is_whole = if *text == "lost" {
            assembly.on_piece(number, Piece::Lost(Lost::Timeout))
        } else if text.contains('^') {
            let (front, rest) = bytes.split_at(text.find('^').unwrap());
            let begin = Piece::Begin { kind, bytes: front };
            assert!(!assembly.on_piece(number, begin));
            let last = true;
            assembly.on_piece(number, Piece::More { bytes: rest, last })
        } else {
            assembly.on_piece(number, Piece::Whole { kind, bytes })
        };
        assert_eq!(is_whole, number == 0, "{parts:?}");
    }
    let mut out = BytesMut::new();
    let finished = assembly.finish(version, &mut out);
    assert_eq!(finished.bytes, out.len() as u64, "{parts:?}");
    assert_eq!(finished.error.is_some(), kind(&out).is_error(), "{parts:?}");
    assert_eq!(
        finished.lost.is_some(),
        parts.contains(&"lost"),
        "{parts:?}"
    );
    String::from_utf8_lossy(&out).replace("\r\n", "|")
}

/// That of the one reply that the bytes are.
fn kind(bytes: &[u8]) -> crate::reply::ReplyKind {
    match ReplyScanner::new(crate::limits::ReplyLimits::default()).next(bytes) {
        Ok(Some(ReplyFrame::Whole { kind, len, .. })) if len == bytes.len() => kind,
        _ => crate::reply::ReplyKind::Simple,
    }
}

const LOST: &str = "-ERR upstream timeout|";
const UNEXPECTED: &str = "-ERR unexpected reply from upstream|";

#[test]
fn every_merge() {
    let names = || ["one", "two"].map(Box::from).into();
    let rows: &[(Merge, &[&str], &str)] = &[
        (Merge::Sum, &[":1|", ":2|"], ":3|"),
        (
            Merge::Sum,
            &[":9223372036854775807|", ":1|"],
            ":9223372036854775807|",
        ),
        (Merge::Sum, &[":1|", "-OOM no|"], "-OOM no|"),
        (Merge::Sum, &["-A|", "-B|"], "-A|"),
        (Merge::Sum, &[":1|", "lost"], LOST),
        (Merge::Sum, &[":1|", "+OK|"], UNEXPECTED),
        (Merge::Sum, &[":1|", "_|"], UNEXPECTED),
        (Merge::Least, &[":4|", ":2|"], ":2|"),
        (
            Merge::Join,
            &["*1|$1|a|", "*2|$1|b|$1|a|"],
            "*3|$1|a|$1|b|$1|a|",
        ),
        (Merge::Join, &["*0|", "~1|$1|b|"], "*1|$1|b|"),
        (Merge::Join, &["*1|$^1|a|", "*0|"], "*1|$1|a|"),
        (
            Merge::Join,
            &["*1|*2|:1|%1|+a|:2|", "*0|"],
            "*1|*2|:1|%1|+a|:2|",
        ),
        (Merge::Join, &["*-1|", "*0|"], UNEXPECTED),
        (Merge::Join, &["*?|:1|.|", "*0|"], UNEXPECTED),
        (Merge::Join, &["*0|", "!6|ERR no|"], "!6|ERR no|"),
        (
            Merge::Union,
            &["*2|$1|a|$1|b|", "*1|$1|a|"],
            "*2|$1|a|$1|b|",
        ),
        (Merge::Union, &["*0|", "*0|"], "*0|"),
        (
            Merge::SumByName,
            &["*4|$1|a|:1|$1|b|:2|", "*4|$1|b|:3|$1|a|:4|"],
            "*4|$1|a|:5|$1|b|:5|",
        ),
        (
            Merge::SumByName,
            &["*2|$1|a|:9223372036854775807|", "*2|$1|a|:9|"],
            "*2|$1|a|:9223372036854775807|",
        ),
        (
            Merge::SumByName,
            &["%1|$1|a|:1|", "*2|$1|a|:1|"],
            "*2|$1|a|:2|",
        ),
        (
            Merge::SumByName,
            &["*4|$1|a|:1|$1|a|:1|", "*4|$1|a|:2|$1|a|:2|"],
            "*4|$1|a|:3|$1|a|:3|",
        ),
        (Merge::SumByName, &["*1|$1|a|", "*0|"], UNEXPECTED),
        (Merge::SumByName, &["*2|$1|a|$1|1|", "*0|"], UNEXPECTED),
        (Merge::Same, &["+OK|", "+OK|"], "+OK|"),
        (Merge::Same, &["+OK|", "-READONLY no|"], "-READONLY no|"),
        (Merge::Same, &["+OK|", "lost"], LOST),
        (Merge::AnyOne, &["-NOTBUSY no|", "+OK|"], "+OK|"),
        (
            Merge::AnyOne,
            &["-NOTBUSY no|", "-NOTBUSY no|"],
            "-NOTBUSY no|",
        ),
        (
            Merge::AnyOne,
            &["-NOTBUSY no|", "-UNKILLABLE no|"],
            "-UNKILLABLE no|",
        ),
        (Merge::AnyOne, &["-NOTBUSY no|", "lost"], LOST),
        (Merge::AnyOne, &["lost", "+OK|"], "+OK|"),
        (Merge::NotNull, &["$-1|", "$1|a|"], "$1|a|"),
        (Merge::NotNull, &["_|", "*-1|"], "$-1|"),
        (Merge::NotNull, &["-A|", "$1|a|"], "$1|a|"),
        (Merge::NotNull, &["-A|", "$-1|"], "-A|"),
        (Merge::Every, &["*2|:1|:1|", "*2|:1|:0|"], "*2|:1|:0|"),
        (Merge::Every, &["*2|:1|:1|", "*1|:1|"], UNEXPECTED),
        (Merge::Every, &["*1|$1|1|", "*1|:1|"], UNEXPECTED),
        (Merge::First, &["+1|", "+2|"], "+1|"),
        (Merge::First, &["+1|", "-no|"], "-no|"),
        (
            Merge::Texts,
            &["$1|a|", "=5|txt:b|"],
            "$38|# Endpoint one|a|# Endpoint two|b||",
        ),
        (
            Merge::Texts,
            &["$1|a|", "lost"],
            "$56|# Endpoint one|a|# Endpoint two|error:unavailable|||",
        ),
        (
            Merge::Texts,
            &["-no|", ":1|"],
            "$74|# Endpoint one|error:unavailable||# Endpoint two|error:unavailable|||",
        ),
    ];
    for (merge, parts, expected) in rows {
        let said = made(How::Merge(*merge, names()), parts, RespVersion::Resp2);
        assert_eq!(said, *expected, "{merge:?} of {parts:?}");
    }
}

#[test]
fn what_the_version_changes() {
    let rows: [(Merge, &[&str], &str); 3] = [
        (Merge::NotNull, &["_|", "_|"], "_|"),
        (
            Merge::Texts,
            &["=5|txt:a|", "=5|txt:b|"],
            "=42|txt:# Endpoint one|a|# Endpoint two|b||",
        ),
        (Merge::Union, &["~1|+a|", "~1|+a|"], "*1|+a|"),
    ];
    for (merge, parts, expected) in rows {
        let how = How::Merge(merge, ["one", "two"].map(Box::from).into());
        assert_eq!(made(how, parts, RespVersion::Resp3), expected, "{merge:?}");
    }
}

#[test]
fn values_go_back_to_their_places() {
    type Row<'a> = (&'a str, &'a [(u32, u32)], &'a [&'a str], &'a str);
    let rows: &[Row<'_>] = &[
        (
            "by turns",
            &[(0, 0), (1, 0), (0, 1)],
            &["*2|$1|a|$1|c|", "*1|$1|b|"],
            "*3|$1|a|$1|b|$1|c|",
        ),
        ("nil", &[(0, 0), (1, 0)], &["*1|$-1|", "*1|_|"], "*2|$-1|_|"),
        (
            "an error stands for each value of its part",
            &[(0, 0), (1, 0), (1, 1)],
            &["*1|$1|a|", "-LOADING no|"],
            "*3|$1|a|-LOADING no|-LOADING no|",
        ),
        (
            "so does what is lost",
            &[(0, 0), (1, 0)],
            &["lost", "*1|$1|b|"],
            "*2|-ERR upstream timeout|$1|b|",
        ),
        (
            "too few",
            &[(0, 0), (0, 1)],
            &["*1|$1|a|", "*0|"],
            UNEXPECTED,
        ),
        ("no array", &[(0, 0)], &["+OK|", "*0|"], UNEXPECTED),
    ];
    for (name, places, parts, expected) in rows {
        let how = How::Values((*places).into());
        assert_eq!(made(how, parts, RespVersion::Resp2), *expected, "{name}");
    }
}

#[test]
fn what_is_known_is_said_when_all_agree() {
    let how = || How::Known(Bytes::from_static(b"+known\r\n"));
    let rows: [(&[&str], &str); 3] = [
        (&[">1|+x|", ">1|+y|"], "+known|"),
        (&[">1|+x|", "lost"], LOST),
        (&["-NOPERM no|", ">1|+x|"], "-NOPERM no|"),
    ];
    for (parts, expected) in rows {
        assert_eq!(made(how(), parts, RespVersion::Resp2), expected);
    }
}

#[test]
fn a_cursor_says_which_shard_is_next() {
    let rows: [(u64, &str, &str); 9] = [
        (0, "*2|$1|5|*0|", "*2|$2|15|*0|"),
        (1, "*2|$1|5|*1|$1|a|", "*2|$2|16|*1|$1|a|"),
        (0, "*2|$1|0|*0|", "*2|$1|1|*0|"),
        (2, "*2|$1|0|*0|", "*2|$1|0|*0|"),
        (0, "*2|+7|*0|", "*2|$2|21|*0|"),
        (0, "*2|$20|18446744073709551615|*0|", UNEXPECTED),
        (0, "*2|$1|x|*0|", UNEXPECTED),
        (0, "*1|$1|5|", UNEXPECTED),
        (0, "-ERR invalid cursor|", "-ERR invalid cursor|"),
    ];
    for (shard, part, expected) in rows {
        let how = How::Cursor { shard, shards: 3 };
        let said = made(how, &[part], RespVersion::Resp2);
        assert_eq!(said, expected, "{shard}: {part}");
    }
}

#[test]
fn a_scan_of_all_shards_sees_each_to_its_end() {
    for shards in 1..5 {
        // Each shard's own scan takes as many steps as its number, and its cursors are as odd as a server's.
        let next = |shard: u64, own: u64| match own {
            0 => u64::from(shard > 0) * 64,
            own if own / 64 >= shard => 0,
            own => own + 64,
        };
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let (shard, own) = split_cursor(cursor, shards);
            assert!(shard < shards);
            seen.push((shard, own));
            let text = next(shard, own).to_string();
            let part = format!("*2|${}|{text}|*0|", text.len());
            let how = How::Cursor { shard, shards };
            let said = made(how, &[&part], RespVersion::Resp2);
            cursor = said.split('|').nth(2).unwrap().parse().unwrap();
            if cursor == 0 {
                break;
            }
        }
        let expected: Vec<(u64, u64)> = (0..shards)
            .flat_map(|shard| (0..=shard).map(move |step| (shard, step * 64)))
            .collect();
        assert_eq!(seen, expected);
    }
    assert_eq!(split_cursor(7, 0), (0, 7));
}
