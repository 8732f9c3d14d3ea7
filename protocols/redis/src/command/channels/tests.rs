use super::*;

fn call(text: &str) -> (CommandId, Vec<&str>) {
    let args: Vec<&str> = text.split(' ').collect();
    (CommandId::resolve(&args).unwrap(), args)
}

#[test]
fn channels_are_found() {
    let rows = [
        (
            "PUBLISH c m",
            Some((1, 2, ChannelUse::Publish, false, false)),
        ),
        (
            "SPUBLISH c m",
            Some((1, 2, ChannelUse::Publish, false, true)),
        ),
        (
            "SUBSCRIBE c d",
            Some((1, 3, ChannelUse::Subscribe, false, false)),
        ),
        (
            "PSUBSCRIBE c* d",
            Some((1, 3, ChannelUse::Subscribe, true, false)),
        ),
        (
            "SSUBSCRIBE c",
            Some((1, 2, ChannelUse::Subscribe, false, true)),
        ),
        (
            "UNSUBSCRIBE",
            Some((1, 1, ChannelUse::Unsubscribe, false, false)),
        ),
        (
            "PUNSUBSCRIBE c*",
            Some((1, 2, ChannelUse::Unsubscribe, true, false)),
        ),
        (
            "SUNSUBSCRIBE c",
            Some((1, 2, ChannelUse::Unsubscribe, false, true)),
        ),
        ("PUBSUB CHANNELS", None),
        ("GET c", None),
    ];
    for (text, expected) in rows {
        let (command, args) = call(text);
        let found = channels(command, &args);
        let found = found.map(|it| (it.first, it.end, it.use_of, it.patterns, it.sharded));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn waits_are_read() {
    let seconds = |seconds| Some(Wait::AtMost(Duration::from_secs_f64(seconds)));
    let rows = [
        ("BLPOP a 0", Some(Wait::Forever)),
        ("BLPOP a b 1.5", seconds(1.5)),
        ("BRPOP a 0.25", seconds(0.25)),
        ("BLMOVE a b LEFT RIGHT 2", seconds(2.0)),
        ("BRPOPLPUSH a b 3", seconds(3.0)),
        ("BZPOPMIN a 4", seconds(4.0)),
        ("BZPOPMAX a 0.0", Some(Wait::Forever)),
        ("BLMPOP 5 1 a LEFT", seconds(5.0)),
        ("BZMPOP 6 1 a MIN", seconds(6.0)),
        ("WAIT 1 700", seconds(0.7)),
        ("WAIT 1 0", Some(Wait::Forever)),
        ("XREAD STREAMS a 0", None),
        ("XREAD BLOCK 80 STREAMS a 0", seconds(0.08)),
        ("XREAD COUNT 1 BLOCK 0 STREAMS a 0", Some(Wait::Forever)),
        ("XREAD BLOCK 5 BLOCK 9 STREAMS a 0", seconds(0.009)),
        (
            "XREADGROUP GROUP BLOCK 7 NOACK BLOCK 90 STREAMS a >",
            seconds(0.09),
        ),
        ("XREAD STREAMS BLOCK 0", None),
        ("XREAD NEW 1 BLOCK 80 STREAMS a 0", seconds(0.08)),
        ("XREAD BLOCK", Some(Wait::Forever)),
        ("XREAD BLOCK x STREAMS a 0", Some(Wait::Forever)),
        // A server reads these two.
        ("BLPOP a 0x10", Some(Wait::Forever)),
        ("BLPOP a -0.0001", Some(Wait::Forever)),
        ("BLPOP a -1", Some(Wait::Forever)),
        ("BLPOP a x", Some(Wait::Forever)),
        ("BLPOP a inf", Some(Wait::Forever)),
        ("BLPOP a nan", Some(Wait::Forever)),
        ("BLPOP a 1e300", Some(Wait::Forever)),
        ("WAIT 1 -1", Some(Wait::Forever)),
        ("GET a", None),
    ];
    for (text, expected) in rows {
        let (command, args) = call(text);
        assert_eq!(wait(command, &args), expected, "{text}");
    }
}
