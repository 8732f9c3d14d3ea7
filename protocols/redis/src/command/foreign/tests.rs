use super::*;
use crate::message::parse;

/// An answer to `COMMAND INFO`; bars are line ends.
fn read(reply: &str) -> Result<Option<Foreign>, NoDescription> {
    let reply = parse(reply.replace('|', "\r\n").into_bytes().into()).unwrap();
    Foreign::read("x.do", &reply)
}

fn foreign(flags: Flags, keys: ForeignKeys) -> Foreign {
    Foreign {
        name: "x.do".into(),
        arity: -2,
        flags,
        categories: Categories::NONE,
        keys,
        is_configured: false,
    }
}

fn range(first: u32, last: i32, step: u32) -> ForeignKeys {
    ForeignKeys::Range { first, last, step }
}

#[test]
fn answers_of_servers_are_read() {
    let rows = [
        (
            "as Redis 7 says it",
            "*1|*10|$4|x.do|:-3|*2|+write|+denyoom|:1|:-2|:2|*2|+@write|+@slow|*0|*0|*0|",
            (-3, range(1, -2, 2), "write slow"),
        ),
        (
            "as Redis 5 says it",
            "*1|*6|$4|x.do|:2|*2|+readonly|+fast|:1|:1|:1|",
            (2, range(1, 1, 1), "fast read"),
        ),
        (
            "in RESP3",
            "*1|*7|$4|x.do|:2|~1|+readonly|:0|:0|:0|~1|+@read|",
            (2, ForeignKeys::None, "read"),
        ),
        (
            "movable",
            "*1|*7|$4|x.do|:-2|*2|+write|+movablekeys|:1|:1|:1|*0|",
            (-2, ForeignKeys::Movable, "write"),
        ),
        (
            "with places that are none",
            "*1|*7|$4|x.do|:-2|*1|+write|:-1|:1|:0|*0|",
            (-2, ForeignKeys::Movable, "write"),
        ),
    ];
    for (name, reply, (arity, keys, categories)) in rows {
        let foreign = read(reply).unwrap().unwrap();
        assert_eq!(foreign.arity, arity, "{name}");
        assert_eq!(foreign.keys, keys, "{name}");
        let mut names: Vec<&str> = foreign.categories.names().collect();
        let mut expected: Vec<&str> = categories.split(' ').collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{name}");
    }
    for absent in ["*1|*-1|", "*1|$-1|", "*1|_|"] {
        assert_eq!(read(absent), Ok(None), "{absent}");
    }
    for wrong in [
        "+OK|",
        "*0|",
        "*2|*-1|*-1|",
        "*1|*0|",
        "*1|*6|$1|x|:1|+a|:1|:1|:1|",
        "*1|*6|$1|x|:99999999999|*0|:1|:1|:1|",
    ] {
        assert_eq!(read(wrong), Err(NoDescription), "{wrong}");
    }
}

#[test]
fn keys_are_where_they_are_said_to_be() {
    let rows = [
        (range(1, 1, 1), "x.do a b", Some("1")),
        (range(1, -1, 1), "x.do a b c", Some("1 2 3")),
        (range(1, -2, 1), "x.do a b c", Some("1 2")),
        (range(1, -1, 2), "x.do a b c d", Some("1 3")),
        (range(2, 2, 1), "x.do a", None),
        (range(1, 7, 1), "x.do a b", Some("1 2")),
        (range(1, -9, 1), "x.do a", None),
        (range(1, i32::MIN, 1), "x.do a", None),
        (range(u32::MAX, i32::MAX, u32::MAX), "x.do a", None),
        (ForeignKeys::None, "x.do a", Some("")),
    ];
    for (keys, call, expected) in rows {
        let words: Vec<&str> = call.split(' ').collect();
        let mut found = SmallVec::new();
        let foreign = foreign(Flags::WRITE, keys);
        let result = foreign.keys(&words, &mut found);
        let texts: Vec<String> = found.iter().map(u32::to_string).collect();
        let seen = result.ok().map(|()| texts.join(" "));
        assert_eq!(seen.as_deref(), expected, "{foreign:?} {call}");
    }
    let mut found = SmallVec::new();
    let optional = foreign(Flags::NO_MANDATORY_KEYS, range(1, 1, 1));
    assert_eq!(optional.keys(&["x.do"], &mut found), Ok(()));
    assert!(found.is_empty());
}

#[test]
fn servers_say_which_arguments_of_a_call_are_keys() {
    let listed = |places: &[u32]| Some(ForeignKeys::Listed(places.into()));
    let rows = [
        ("*1|$1|b|", listed(&[3])),
        ("*3|$1|b|$1|a|$1|b|", listed(&[2, 3])),
        // Which of two that are alike makes no difference.
        ("*1|$1|1|", listed(&[1])),
        ("*0|", Some(ForeignKeys::None)),
        (
            "-ERR The command has no key arguments|",
            Some(ForeignKeys::None),
        ),
        ("-ERR Invalid arguments specified for command|", None),
        ("-ERR Invalid command specified|", None),
        // It is none of the arguments, or is the name.
        ("*1|$1|c|", None),
        ("*1|$4|x.do|", None),
        ("*1|*0|", None),
        ("+OK|", None),
    ];
    let movable = foreign(Flags::WRITE, ForeignKeys::Movable);
    for (reply, expected) in rows {
        let said = parse(reply.replace('|', "\r\n").into_bytes().into()).unwrap();
        let told = movable.with_keys(&said, &["x.do", "1", "a", "b", "1"]);
        assert_eq!(told.map(|told| told.keys), expected, "{reply}");
    }
}

#[test]
fn what_would_do_harm_is_refused() {
    let rows = [
        (Flags::WRITE, ForeignKeys::None, None),
        (
            Flags::ADMIN,
            ForeignKeys::None,
            Some(ForeignRefusal::Dangerous),
        ),
        (Flags::BLOCKING, range(1, 1, 1), None),
        (Flags::BLOCKING, ForeignKeys::Listed([1].into()), None),
        (
            Flags::BLOCKING,
            ForeignKeys::None,
            Some(ForeignRefusal::Stateful),
        ),
        (
            Flags::PUBSUB,
            ForeignKeys::None,
            Some(ForeignRefusal::Stateful),
        ),
        (
            Flags::WRITE,
            ForeignKeys::Movable,
            Some(ForeignRefusal::Keys),
        ),
    ];
    for (flags, keys, expected) in rows {
        let mut foreign = foreign(flags, keys);
        assert_eq!(foreign.refusal(), expected, "{foreign:?}");
        foreign.is_configured = true;
        assert_eq!(foreign.refusal(), None, "{foreign:?}");
    }
}

#[test]
fn names_may_be_those_of_commands() {
    let long = "x".repeat(LONGEST_NAME);
    for name in ["FT.SEARCH", "x", &*long] {
        let expected = name.to_ascii_lowercase();
        assert_eq!(
            Foreign::name_of(name.as_bytes()).as_deref(),
            Some(&*expected)
        );
    }
    let too_long = "x".repeat(LONGEST_NAME + 1);
    for name in ["", "a b", "a|b", "ä", "a\n", &*too_long] {
        assert_eq!(Foreign::name_of(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn what_was_said_is_used_for_a_while() {
    let now = portcullis_testkit::clock::VirtualClock::new().now();
    let mut table = ForeignTable::default();
    let is = Known::Is(Arc::new(foreign(Flags::WRITE, ForeignKeys::None)));
    table.insert("x.do", is.clone(), now);
    table.insert("x.not", Known::Absent, now);
    assert_eq!(table.find("x.do", now), Some(is.clone()));
    assert_eq!(table.find("x.not", now), Some(Known::Absent));
    assert_eq!(table.find("x.other", now), None);
    assert_eq!(table.find("x.not", now + ABSENT_FOR), None);
    assert_eq!(table.find("x.do", now + ABSENT_FOR), Some(is.clone()));
    assert_eq!(table.find("x.do", now + KNOWN_FOR), None);
    for number in 0..3 * MOST_NAMES {
        table.insert(&format!("made.up{number}"), Known::Absent, now);
        assert!(table.names.len() <= MOST_NAMES);
    }
    assert_eq!(table.find("x.do", now), Some(is), "nobody can push it out");
}
