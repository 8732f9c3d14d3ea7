//! What is read is written and read again, and three ways to look at a reply agree.
//!
//! Shared by the laws and the fuzz targets. Start at [`reply`] and [`commands`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use bytes::{Bytes, BytesMut};
use portcullis_codec::{Decoder as _, WireError as _};
use portcullis_redis::encoder::translate::{Downgrade, to_resp2};
use portcullis_redis::encoder::{self, value};
use portcullis_redis::limits::ReplyLimits;
use portcullis_redis::message::{self, RespVersion, Value, ValueDecoder, ValueLimits};
use portcullis_redis::reply::{ReplyFrame, ReplyScanner};
use portcullis_redis::request::{Command, CommandFrame, CommandScanner, Request, RequestDecoder};
use portcullis_testkit::laws;

pub fn written(of: &Value, version: RespVersion) -> Vec<u8> {
    let mut dst = BytesMut::new();
    value(of, version, &mut dst);
    dst.to_vec()
}

fn read(bytes: &[u8]) -> Option<Value> {
    message::parse(Bytes::copy_from_slice(bytes)).ok()
}

/// Whole replies at the front of `bytes`, each opened, written in both versions, and read again.
pub fn replies(bytes: &[u8]) {
    let mut scanner = ReplyScanner::new(ReplyLimits::default());
    let mut rest = bytes;
    while let Ok(Some(ReplyFrame::Whole {
        kind,
        len,
        attributes,
    })) = scanner.next(rest)
    {
        let (whole, behind) = rest.split_at(len);
        let tree = read(whole).expect("what was scanned can be opened");
        assert_eq!(tree.kind(), kind);
        let bare = read(&whole[attributes..]).expect("the reply behind its attributes");
        assert_eq!(&bare, tree.bare());
        reply(&tree);
        let mut translated = BytesMut::new();
        to_resp2(whole, &mut translated).expect("any reply can be translated");
        // Numbers keep the form that they came in, which the tree forgets.
        assert_eq!(read(&translated), read(&written(&tree, RespVersion::Resp2)));
        rest = behind;
    }
}

/// A value that can be written, written and read again in both versions.
pub fn reply(tree: &Value) {
    let encoded = written(tree, RespVersion::Resp3);
    laws::roundtrip(&encoded, read, |tree| written(tree, RespVersion::Resp3))
        .expect("own writing is read");
    let encoded = written(tree, RespVersion::Resp2);
    let again = read(&encoded).expect("own writing is read");
    assert_is_resp2(&again);
    assert_eq!(written(&again, RespVersion::Resp2), encoded);
}

fn assert_is_resp2(tree: &Value) {
    assert!(tree.kind().is_resp2(), "{tree:?}");
    assert!(!matches!(tree, Value::Attributed(_)), "{tree:?}");
    tree.elements()
        .into_iter()
        .flatten()
        .for_each(assert_is_resp2);
}

/// The scanner and the tree take the same replies, as far as both have the same limits.
pub fn scanner_and_tree_agree(bytes: &[u8]) {
    let limits = ReplyLimits {
        whole: 1024 * 1024,
        bulk: 1024 * 1024,
        elements: u32::MAX,
        line: 1024 * 1024,
        ..ReplyLimits::default()
    };
    let mut scanner = ReplyScanner::new(limits);
    let mut decoder = ValueDecoder::new(ValueLimits::default());
    let mut src = BytesMut::from(bytes);
    loop {
        let scanned = scanner.next(&src);
        let before = src.len();
        match (scanned, decoder.decode(&mut src)) {
            (Ok(Some(ReplyFrame::Whole { len, .. })), Ok(Some(_))) => {
                assert_eq!(before - src.len(), len);
            }
            (Ok(None), Ok(None)) => return,
            (Err(scanned), Err(opened)) => {
                assert_eq!(scanned.label(), opened.label());
                return;
            }
            (scanned, opened) => panic!("{scanned:?}, but {opened:?}"),
        }
    }
}

/// A reply in the pieces that the scanner makes of it, against the whole, both translated.
pub fn pieces_translate_alike(encoded: &[u8], whole: usize) {
    let limits = ReplyLimits {
        whole,
        ..ReplyLimits::default()
    };
    let mut scanner = ReplyScanner::new(limits);
    let mut downgrade = Downgrade::new();
    let (mut translated, mut rest) = (BytesMut::new(), encoded);
    while let Ok(Some(frame)) = scanner.next(rest) {
        let (piece, behind) = rest.split_at(frame.len());
        if downgrade.push(piece, &mut translated).is_err() {
            return;
        }
        rest = behind;
    }
    if scanner.is_between() && rest.is_empty() {
        assert!(downgrade.is_between());
        let mut at_once = BytesMut::new();
        to_resp2(encoded, &mut at_once).expect("a whole reply");
        assert_eq!(translated, at_once);
    }
}

/// What the decoder, the scanner, and the decoder of many make of the same commands. Each command is written as it came.
pub fn commands(make: impl Fn() -> (RequestDecoder, CommandScanner), bytes: &[u8]) {
    let (mut decoder, mut scanner) = make();
    let (mut many, _) = make();
    let mut src = BytesMut::from(bytes);
    let mut together = BytesMut::from(bytes);
    let mut rest = bytes;
    let mut row = Vec::new();
    many.take_commands(&mut together, &mut row);
    let mut row = row.into_iter();
    loop {
        let item = decoder.decode(&mut src).ok().flatten();
        let other = row
            .next()
            .map(Request::Command)
            .or_else(|| many.decode(&mut together).ok().flatten());
        assert_eq!(item, other, "one by one, and in a row");
        let Some(item) = item else {
            assert_eq!(src.len(), together.len());
            return;
        };
        let frame = loop {
            let frame = scanner.next(rest).expect("the same").expect("the same");
            let (wire, behind) = rest.split_at(frame.len());
            rest = behind;
            if !matches!(frame, CommandFrame::Blank { .. }) {
                break (frame, wire);
            }
        };
        if let (CommandFrame::Whole { .. }, wire) = frame {
            let borrowed = scanner.command(wire);
            assert_eq!(
                Request::Command(Command::from_parts(
                    Bytes::copy_from_slice(wire),
                    borrowed.spans().into(),
                )),
                item
            );
        }
        if let Request::Command(command) = item {
            let words: Vec<_> = command.as_ref().arguments().collect();
            assert_eq!(Command::new(&words), command, "written as it came");
            let mut dst = BytesMut::new();
            encoder::command(&words, &mut dst);
            assert_eq!(dst, command.wire());
        }
    }
}
