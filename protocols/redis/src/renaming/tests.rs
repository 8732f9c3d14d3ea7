//! Commands and what becomes of them; replies and what clients read; that both undo each other.

use portcullis_testkit::Random;

use super::*;
use crate::command::foreign::{Foreign, ForeignKeys};
use crate::command::{Categories, CommandId, Flags};
use crate::machine::{Call, Lost};
use crate::request::Command;

fn renaming(strip: &str, add: &str) -> Renaming {
    Renaming {
        strip: strip.as_bytes().into(),
        add: add.as_bytes().into(),
        allows_scripts: false,
    }
}

/// What servers are asked for a command of words, and where keys are in the reply.
fn sent(renaming: &Renaming, words: &str) -> Result<(String, Option<Names>), Lost> {
    let words: Vec<&str> = words.split(' ').collect();
    let command = Command::new(&words);
    let id = CommandId::resolve(&command).unwrap();
    let call = Call::new(id, command.as_ref());
    let Renamed { wire, names } = renaming.command(&call, &call.command)?;
    let mut decoder = crate::request::RequestDecoder::new(crate::limits::RequestLimits::default());
    decoder.set_known(true);
    let mut src = bytes::BytesMut::from(&*wire);
    let request = portcullis_codec::Decoder::decode(&mut decoder, &mut src);
    let crate::request::Request::Command(command) = request.unwrap().unwrap() else {
        panic!("{words:?}");
    };
    assert!(src.is_empty(), "{words:?}");
    let words: Vec<String> = command
        .as_ref()
        .arguments()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    Ok((words.join(" "), names))
}

#[test]
fn keys_of_commands_that_only_servers_know_are_renamed() {
    let foreign = |keys| Foreign {
        name: "x.do".into(),
        arity: -1,
        flags: Flags::WRITE,
        categories: Categories::WRITE,
        keys,
        is_configured: true,
    };
    let pairs = ForeignKeys::Range {
        first: 1,
        last: -1,
        step: 2,
    };
    let command = Command::new(&["x.do", "a", "a", "b", "b"]);
    let call = command.as_ref();
    let renaming = renaming("", "t:");
    let Renamed { wire, names } = renaming
        .foreign(&foreign(pairs.clone()), &call, call)
        .unwrap();
    let expected = Command::new(&["x.do", "t:a", "a", "t:b", "b"]);
    assert_eq!((&*wire, names), (&**expected.wire(), None));
    // What has no keys could reach any.
    let without = renaming.foreign(&foreign(ForeignKeys::None), &call, call);
    assert_eq!(without, Err(Lost::BeyondPrefix));
    let mut unknown = foreign(pairs);
    unknown.is_configured = false;
    let unknown = renaming.foreign(&unknown, &call, call);
    assert_eq!(unknown, Err(Lost::BeyondPrefix));
}

#[test]
fn keys_are_renamed_and_nothing_else_is() {
    let rows = [
        ("GET a", "GET t:a"),
        ("SET a a", "SET t:a a"),
        ("MSET a 1 b 2", "MSET t:a 1 t:b 2"),
        ("mget a b", "mget t:a t:b"),
        ("EXPIRE a 10 NX", "EXPIRE t:a 10 NX"),
        ("RENAME a b", "RENAME t:a t:b"),
        ("OBJECT ENCODING a", "OBJECT ENCODING t:a"),
        ("LMOVE a b LEFT RIGHT", "LMOVE t:a t:b LEFT RIGHT"),
        ("BLPOP a b 0", "BLPOP t:a t:b 0"),
        ("LMPOP 2 a b LEFT", "LMPOP 2 t:a t:b LEFT"),
        (
            "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
            "ZUNIONSTORE t:d 2 t:a t:b WEIGHTS 1 2",
        ),
        (
            "XREAD COUNT 1 STREAMS a b 0 0",
            "XREAD COUNT 1 STREAMS t:a t:b 0 0",
        ),
        (
            "XREADGROUP GROUP g c STREAMS a >",
            "XREADGROUP GROUP g c STREAMS t:a >",
        ),
        ("XGROUP CREATE a g $", "XGROUP CREATE t:a g $"),
        ("BITOP AND d a b", "BITOP AND t:d t:a t:b"),
        (
            "GEORADIUS a 1 1 1 m STORE d",
            "GEORADIUS t:a 1 1 1 m STORE t:d",
        ),
        (
            "SORT a BY w_* GET # GET o_*->f STORE d",
            "SORT t:a BY t:w_* GET # GET t:o_*->f STORE t:d",
        ),
        ("SORT a BY nosort GET x", "SORT t:a BY nosort GET x"),
        ("SORT a LIMIT BY * DESC", "SORT t:a LIMIT BY * DESC"),
        ("KEYS *", "KEYS t:*"),
        ("KEYS a[bc]", "KEYS t:a[bc]"),
        ("SCAN 0", "SCAN 0 MATCH t:*"),
        (
            "SCAN 7 COUNT 5 TYPE set",
            "SCAN 7 COUNT 5 TYPE set MATCH t:*",
        ),
        ("SCAN 0 match a* COUNT 5", "SCAN 0 match t:a* COUNT 5"),
        ("SCAN 0 MATCH a MATCH b", "SCAN 0 MATCH t:a MATCH t:b"),
        ("SCAN 0 COUNT MATCH", "SCAN 0 COUNT MATCH MATCH t:*"),
        ("SSCAN a 0 MATCH x*", "SSCAN t:a 0 MATCH x*"),
        ("COPY a b DB 1", "COPY t:a t:b DB 1"),
        ("PUBLISH news a", "PUBLISH news a"),
        ("TIME", "TIME"),
        ("INFO", "INFO"),
        ("OBJECT HELP", "OBJECT HELP"),
        ("COMMAND COUNT", "COMMAND COUNT"),
    ];
    let renaming = renaming("", "t:");
    for (words, expected) in rows {
        assert_eq!(sent(&renaming, words).unwrap().0, expected, "{words}");
    }
}

#[test]
fn what_reaches_beyond_the_prefix_is_refused() {
    let rows = [
        "DBSIZE",
        "RANDOMKEY",
        "FLUSHDB",
        "FLUSHALL",
        "SWAPDB 0 1",
        "MONITOR",
        "SLOWLOG GET",
        "DEBUG OBJECT a",
        "CLUSTER GETKEYSINSLOT 1 10",
        "MIGRATE h 1 a 0 10",
        "EVAL x 0",
        "EVAL x 1 a",
        "EVALSHA_RO x 1 a",
        "FCALL f 1 a",
        "SCRIPT FLUSH",
        "FUNCTION LIST",
        "PUBLISH __keyspace@0__:u:a set",
        "SPUBLISH __keyevent@0__:set u:a",
        "CONFIG GET *",
    ];
    let mut renaming = renaming("", "t:");
    for words in rows {
        assert_eq!(sent(&renaming, words), Err(Lost::BeyondPrefix), "{words}");
    }
    renaming.allows_scripts = true;
    assert_eq!(sent(&renaming, "EVAL x 1 a b").unwrap().0, "EVAL x 1 t:a b");
    assert_eq!(sent(&renaming, "SCRIPT LOAD x").unwrap().0, "SCRIPT LOAD x");
    let starred = self::renaming("", "t*:");
    let patterns = "SORT a BY w_*";
    assert_eq!(sent(&starred, patterns), Err(Lost::BeyondPrefix));
}

#[test]
fn what_is_taken_off_must_be_there() {
    let renaming = renaming("app:", "t:");
    assert_eq!(sent(&renaming, "GET app:a").unwrap().0, "GET t:a");
    assert_eq!(sent(&renaming, "GET app:").unwrap().0, "GET t:");
    for words in ["GET a", "MGET app:a b", "GET app", "SORT app:a BY w_*"] {
        assert_eq!(sent(&renaming, words), Err(Lost::KeyPrefix), "{words}");
    }
    let only = self::renaming("app:", "");
    assert_eq!(sent(&only, "GET app:a").unwrap().0, "GET a");
    // A pattern that does not begin with it is for what comes back.
    let (asked, names) = sent(&renaming, "KEYS app:a*").unwrap();
    assert_eq!((&*asked, names), ("KEYS t:a*", Some(Names::List(None))));
    let (asked, names) = sent(&renaming, "KEYS *a").unwrap();
    assert_eq!(asked, "KEYS t:*");
    let mut out = bytes::BytesMut::new();
    let reply = b"*2\r\n$3\r\nt:a\r\n$3\r\nt:b\r\n";
    names.unwrap().restore(reply, &renaming, &mut out).unwrap();
    assert_eq!(&*out, b"*1\r\n$5\r\napp:a\r\n");
}

#[test]
fn prefixes_mean_themselves_in_patterns() {
    let renaming = renaming("", "t[1]*?\\:");
    assert_eq!(
        sent(&renaming, "KEYS a*").unwrap().0,
        "KEYS t\\[1\\]\\*\\?\\\\:a*"
    );
}

#[test]
fn keys_in_replies_get_their_names_back() {
    let renaming = renaming("", "t:");
    let rows: [(&str, &str, Option<&str>); 17] = [
        ("BLPOP a 0", "*2|$3|t:a|$1|x|", Some("*2|$1|a|$1|x|")),
        ("BLPOP a 0", "*-1|", Some("*-1|")),
        ("BLPOP a 0", "_|", Some("_|")),
        ("BLPOP a 0", "-WRONGTYPE t:a|", Some("-WRONGTYPE t:a|")),
        ("BLPOP a 0", "*2|$3|u:a|$1|x|", None),
        ("BLPOP a 0", "+OK|", None),
        (
            "LMPOP 1 a LEFT",
            "*2|$3|t:a|*1|$3|t:a|",
            Some("*2|$1|a|*1|$3|t:a|"),
        ),
        (
            "XREAD STREAMS a 0",
            "*1|*2|$3|t:a|*1|*2|$3|1-1|*2|$1|f|$3|t:a|",
            Some("*1|*2|$1|a|*1|*2|$3|1-1|*2|$1|f|$3|t:a|"),
        ),
        ("XREAD STREAMS a 0", "%1|$3|t:a|*0|", Some("%1|$1|a|*0|")),
        ("XREAD STREAMS a 0", "*1|*2|$3|u:a|*0|", None),
        ("KEYS *", "*2|$3|t:a|$2|t:|", Some("*2|$1|a|$0||")),
        ("KEYS *", "*1|$3|u:a|", None),
        ("KEYS *", "*0|", Some("*0|")),
        ("SCAN 0", "*2|$1|7|*1|$3|t:a|", Some("*2|$1|7|*1|$1|a|")),
        ("SCAN 0", "*2|$1|0|*0|", Some("*2|$1|0|*0|")),
        ("SCAN 0", "*1|$1|0|", None),
        ("SCAN 0", "*2|$1|0|*1|$3|u:a|", None),
    ];
    for (words, reply, expected) in rows {
        let names = sent(&renaming, words).unwrap().1.unwrap();
        let mut out = bytes::BytesMut::new();
        let reply = reply.replace('|', "\r\n");
        let restored = names.restore(reply.as_bytes(), &renaming, &mut out);
        let said = restored.map(|()| String::from_utf8_lossy(&out).replace("\r\n", "|"));
        assert_eq!(said.as_deref(), expected, "{words}: {reply}");
    }
    let each = Names::Each(Box::new([(1, Names::First)]));
    let mut out = bytes::BytesMut::new();
    let reply = b"*3\r\n$3\r\nt:a\r\n*2\r\n$3\r\nt:a\r\n$1\r\nx\r\n*-1\r\n";
    each.restore(reply, &renaming, &mut out).unwrap();
    let expected = b"*3\r\n$3\r\nt:a\r\n*2\r\n$1\r\na\r\n$1\r\nx\r\n*-1\r\n";
    assert_eq!(&*out, expected);
}

/// The law: whatever a key is made of, it comes down as it went up, and never meets one with another prefix.
#[test]
fn names_go_up_and_come_down_unchanged() {
    let (mut random, seed) = Random::from_environment(17);
    let (ours, theirs) = (renaming("x", "a:"), renaming("", "ab:"));
    for _ in 0..2000 {
        let length = random.below(6);
        let letters = b"ab:*\\x\r\n";
        let letter = |random: &mut Random| letters[random.below(letters.len())];
        let key: Vec<u8> = (0..length).map(|_| letter(&mut random)).collect();
        let shown = key.escape_ascii().to_string();
        match ours.upstream(&key) {
            Ok(up) => {
                assert_eq!(ours.downstream(&up).unwrap(), key, "seed {seed}: {shown}");
                assert_eq!(theirs.downstream(&up), None, "seed {seed}: {shown}");
            }
            Err(_) => assert!(!key.starts_with(b"x"), "seed {seed}: {shown}"),
        }
        let up = theirs.upstream(&key).unwrap();
        assert_eq!(theirs.downstream(&up).unwrap(), key, "seed {seed}: {shown}");
        assert_eq!(ours.downstream(&up), None, "seed {seed}: {shown}");
    }
}
