//! Answers read, and what follows from them.

use portcullis_testkit::VirtualClock;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn primary(timeline: u32, position: u64) -> Answer {
    Answer {
        recovering: false,
        position: Some(position),
        timeline: Some(Timeline {
            number: timeline,
            current: true,
        }),
        replayed: None,
    }
}

fn replica(timeline: u32, position: u64) -> Answer {
    Answer {
        recovering: true,
        ..primary(timeline, position)
    }
}

/// A replica that does not stream, or whose stream we may not see.
fn adrift(timeline: u32, position: u64) -> Answer {
    let answer = replica(timeline, position);
    Answer {
        timeline: answer.timeline.map(|timeline| Timeline {
            current: false,
            ..timeline
        }),
        ..answer
    }
}

/// A server that knows no timelines.
fn plain(recovering: bool) -> Answer {
    Answer {
        recovering,
        position: None,
        timeline: None,
        replayed: None,
    }
}

/// Three servers, called 0, 1 and 2.
fn three() -> Servers<u8> {
    let mut servers = Servers::default();
    servers.retain(&[0, 1, 2]);
    servers
}

fn standings(servers: &Servers<u8>) -> Vec<&'static str> {
    let all = servers.all().iter();
    all.map(|server| server.standing.label()).collect()
}

#[test]
fn an_answer_is_read() {
    type Columns = &'static [Option<&'static str>];
    let timeline = |number, current| Some(Timeline { number, current });
    let rows: [(&str, Columns, Option<Answer>); 8] = [
        (
            "a primary",
            &[Some("f"), Some("50334456"), Some("3"), Some("2"), None],
            Some(Answer {
                recovering: false,
                position: Some(50_334_456),
                timeline: timeline(3, true),
                replayed: None,
            }),
        ),
        (
            "a replica that streams",
            &[Some("t"), Some("7"), Some("2"), Some("1"), Some("709")],
            Some(Answer {
                recovering: true,
                position: Some(7),
                timeline: timeline(2, true),
                replayed: Some(Duration::from_millis(709)),
            }),
        ),
        (
            "one that does not, with a clock that is behind",
            &[Some("t"), Some("7"), None, Some("1"), Some("-20")],
            Some(Answer {
                recovering: true,
                position: Some(7),
                timeline: timeline(1, false),
                replayed: Some(Duration::ZERO),
            }),
        ),
        (
            "numbers that are none",
            &[Some("t"), Some("-7"), Some("0"), Some("x"), Some("9e9")],
            Some(plain(true)),
        ),
        ("the short question", &[Some("t")], Some(plain(true))),
        ("no word", &[None], None),
        ("another word", &[Some("true")], None),
        ("nothing", &[], None),
    ];
    for (name, columns, expected) in rows {
        let columns = columns.iter().map(|column| column.map(str::as_bytes));
        assert_eq!(Answer::read(columns), expected, "{name}");
    }
}

#[test]
fn standings_follow_from_answers() {
    use Answer as A;
    let now = VirtualClock::new().now();
    type Told = Vec<(u8, Option<A>)>;
    let rows: Vec<(&str, Told, [&str; 3])> = vec![
        ("nobody is asked", vec![], ["unknown", "unknown", "unknown"]),
        (
            "a primary and its replicas",
            vec![
                (0, Some(primary(1, 9))),
                (1, Some(replica(1, 9))),
                (2, Some(adrift(1, 5))),
            ],
            ["primary", "replica", "replica"],
        ),
        (
            "replicas alone",
            vec![(1, Some(replica(1, 9))), (2, None)],
            ["unknown", "replica", "unknown"],
        ),
        (
            "who does not answer keeps its role",
            vec![
                (0, Some(primary(1, 9))),
                (1, Some(replica(1, 9))),
                (0, None),
                (1, None),
            ],
            ["primary", "replica", "unknown"],
        ),
        (
            "a failover",
            vec![
                (0, Some(primary(1, 9))),
                (1, Some(replica(1, 9))),
                (0, None),
                (1, Some(primary(2, 10))),
            ],
            ["unknown", "primary", "unknown"],
        ),
        (
            "the old primary comes back and does not know it",
            vec![
                (1, Some(primary(2, 10))),
                (0, Some(primary(1, 99))),
                (2, Some(replica(2, 10))),
            ],
            ["fenced", "primary", "replica"],
        ),
        (
            "also before the new one was heard",
            vec![(0, Some(primary(1, 99))), (1, Some(primary(2, 10)))],
            ["fenced", "primary", "unknown"],
        ),
        (
            "the new primary is slow for once",
            vec![
                (1, Some(primary(2, 10))),
                (1, None),
                (0, Some(primary(1, 99))),
            ],
            ["fenced", "primary", "unknown"],
        ),
        (
            "the old primary follows",
            vec![
                (1, Some(primary(2, 10))),
                (0, Some(primary(1, 9))),
                (0, Some(replica(2, 10))),
            ],
            ["replica", "primary", "unknown"],
        ),
        (
            "a replica still follows the old primary",
            vec![(1, Some(primary(2, 10))), (2, Some(replica(1, 50)))],
            ["unknown", "primary", "fenced"],
        ),
        (
            "a replica looks for its primary",
            vec![(1, Some(primary(2, 10))), (2, Some(adrift(1, 9)))],
            ["unknown", "primary", "replica"],
        ),
        (
            "a replica has come further than the primary's history",
            vec![(0, Some(primary(1, 10))), (2, Some(adrift(2, 9)))],
            ["primary", "unknown", "fenced"],
        ),
        (
            "a replica follows the new primary before that was heard",
            vec![
                (0, Some(primary(1, 9))),
                (0, None),
                (2, Some(replica(2, 10))),
            ],
            ["primary", "unknown", "replica"],
        ),
        (
            "two of the same timeline: who was it first stays it",
            vec![(1, Some(primary(1, 5))), (0, Some(primary(1, 50)))],
            ["fenced", "primary", "unknown"],
        ),
        (
            "servers that know no timelines share the work",
            vec![
                (0, Some(plain(false))),
                (1, Some(plain(false))),
                (2, Some(plain(true))),
            ],
            ["primary", "primary", "replica"],
        ),
        (
            "one of them fails",
            vec![(0, Some(plain(false))), (0, None), (1, Some(plain(false)))],
            ["unknown", "primary", "unknown"],
        ),
    ];
    for (name, told, expected) in rows {
        let mut servers = three();
        for (key, answer) in told {
            servers.on_answer(key, now, answer);
        }
        assert_eq!(standings(&servers), expected, "{name}");
    }
}

#[test]
fn who_leaves_takes_its_timeline_along() {
    let now = VirtualClock::new().now();
    let mut servers = three();
    servers.on_answer(1, now, Some(primary(2, 10)));
    servers.on_answer(1, now, None);
    servers.on_answer(0, now, Some(primary(1, 99)));
    assert_eq!(standings(&servers), ["fenced", "primary", "unknown"]);
    servers.retain(&[0, 2]);
    servers.on_answer(0, now, Some(primary(1, 99)));
    assert_eq!(standings(&servers), ["primary", "unknown"]);
    servers.on_answer(9, now, Some(primary(7, 1)));
    assert_eq!(servers.all().len(), 2, "nobody of ours");
}

#[test]
fn those_who_never_answer_leave_roles_as_they_are_written() {
    let now = VirtualClock::new().now();
    let mut servers = three();
    assert!(!servers.is_mute(), "nobody was asked");
    servers.on_answer(0, now, None);
    servers.on_answer(1, now, None);
    assert!(!servers.is_mute(), "one was not asked yet");
    servers.on_answer(2, now, None);
    assert!(servers.is_mute());
    servers.on_answer(2, now, Some(replica(1, 1)));
    servers.on_answer(2, now, None);
    assert!(!servers.is_mute(), "one has answered once");
}

#[test]
fn lag_is_measured_in_bytes_and_time() {
    let clock = VirtualClock::new();
    let mut servers = three();
    let mut lag = |told: &[(u8, Answer)]| {
        for (key, answer) in told {
            servers.on_answer(*key, clock.now(), Some(*answer));
        }
        let replica = &servers.all()[1];
        (replica.lag_bytes, replica.lag)
    };
    assert_eq!(lag(&[(1, replica(1, 100))]), (None, None), "behind whom?");
    let told = lag(&[(0, primary(1, 100))]);
    assert_eq!(told, (Some(0), Some(Duration::ZERO)));
    clock.advance(SECOND * 10);
    let told = lag(&[(0, primary(1, 150))]);
    assert_eq!(told, (Some(50), Some(Duration::ZERO)), "written just now");
    clock.advance(SECOND * 2);
    let told = lag(&[(0, primary(1, 150))]);
    assert_eq!(told, (Some(50), Some(SECOND * 2)));
    let told = lag(&[(1, replica(1, 149)), (0, primary(1, 170))]);
    assert_eq!(told, (Some(21), Some(SECOND * 2)), "not all of it");
    let told = lag(&[(1, replica(1, 150))]);
    assert_eq!(told, (Some(20), Some(Duration::ZERO)));
    clock.advance(SECOND);
    let told = lag(&[(0, primary(1, 170)), (1, replica(1, 180))]);
    assert_eq!(told, (Some(0), Some(Duration::ZERO)), "asked later");
}

#[test]
fn what_was_not_watched_is_as_old_as_the_replica_says() {
    let clock = VirtualClock::new();
    let mut servers = three();
    let old = Answer {
        replayed: Some(SECOND * 60),
        ..replica(1, 10)
    };
    servers.on_answer(0, clock.now(), Some(primary(1, 100)));
    servers.on_answer(1, clock.now(), Some(old));
    assert_eq!(servers.all()[1].lag, Some(SECOND * 60));
    clock.advance(SECOND * 100);
    servers.on_answer(0, clock.now(), Some(primary(1, 100)));
    assert_eq!(servers.all()[1].lag, Some(SECOND * 100));
    let even = Answer {
        replayed: Some(SECOND * 9000),
        ..replica(1, 100)
    };
    servers.on_answer(1, clock.now(), Some(even));
    assert_eq!(
        servers.all()[1].lag,
        Some(Duration::ZERO),
        "nothing was written meanwhile"
    );
}

#[test]
fn a_long_history_gets_coarser_and_never_wrong() {
    let clock = VirtualClock::new();
    let mut history = History::default();
    for second in 0..10_000_u64 {
        history.push(0, clock.now(), second);
        clock.advance(SECOND);
        if second % 97 == 0 {
            for behind in [1, 10, 100, 1000] {
                let Some(replayed) = second.checked_sub(behind) else {
                    continue;
                };
                let lag = history.lag(replayed, clock.now(), None);
                let truth = SECOND * u32::try_from(behind).unwrap();
                assert!(lag <= truth, "{second}, {behind}: {lag:?}");
                assert!(lag * 10 >= truth * 9, "{second}, {behind}: {lag:?}");
            }
        }
    }
    history.push(1, clock.now(), 5);
    assert_eq!(history.lag(5, clock.now(), None), Duration::ZERO);
}
