//! The relay by tables and laws, and in a simulated network that cuts at every byte.

mod simulator;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{End, Input, Output, Relay, Side};

/// Any moment: the tests add to it and never look at the clock again.
#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

fn relay(now: Instant) -> Relay {
    let expires_at = now.checked_add(Duration::from_mins(1));
    Relay::new(now, Duration::from_secs(10), expires_at)
}

#[test]
fn each_direction_ends_on_its_own() {
    let now = start();
    let mut relay = relay(now);
    relay.handle(now, Input::Moved(Side::Downstream, 5));
    relay.handle(now, Input::Ended(Side::Downstream));
    assert_eq!(relay.poll_output(), Some(Output::Shut(Side::Upstream)));
    assert_eq!(relay.poll_output(), None, "said once");
    relay.handle(now, Input::Shut(Side::Upstream));
    assert!(relay.is_open(Side::Upstream), "the answer may still come");
    relay.handle(now, Input::Moved(Side::Upstream, 7));
    relay.handle(now, Input::Ended(Side::Upstream));
    assert_eq!(relay.poll_output(), Some(Output::Shut(Side::Downstream)));
    relay.handle(now, Input::Shut(Side::Downstream));
    assert_eq!(relay.poll_output(), Some(Output::Close));
    assert_eq!(relay.end(), Some(End::Complete));
    let bytes = Side::BOTH.map(|side| relay.bytes(side));
    assert_eq!(bytes, [5, 7]);
}

#[test]
fn both_ends_at_once_are_both_passed_on() {
    let now = start();
    let mut relay = relay(now);
    relay.handle(now, Input::Ended(Side::Upstream));
    relay.handle(now, Input::Ended(Side::Downstream));
    assert_eq!(relay.poll_output(), Some(Output::Shut(Side::Upstream)));
    assert_eq!(relay.poll_output(), Some(Output::Shut(Side::Downstream)));
    assert_eq!(relay.poll_output(), None);
    assert_eq!(relay.end(), None, "until they are");
}

#[test]
fn endings_as_the_table_says() {
    use Input::{Ended, Failed, Refused, Reset, Shut, Stopped};
    use Side::{Downstream, Upstream};
    let rows: [(&str, &[Input], End, Output); 9] = [
        (
            "client resets",
            &[Reset(Downstream)],
            End::Reset(Downstream),
            Output::Reset(Upstream),
        ),
        (
            "server resets",
            &[Reset(Upstream)],
            End::Reset(Upstream),
            Output::Reset(Downstream),
        ),
        (
            "client fails",
            &[Failed(Downstream)],
            End::Failed(Downstream),
            Output::Reset(Upstream),
        ),
        (
            "server fails",
            &[Failed(Upstream)],
            End::Failed(Upstream),
            Output::Reset(Downstream),
        ),
        (
            "server refuses, then resets",
            &[Refused(Upstream), Reset(Upstream)],
            End::Reset(Upstream),
            Output::Reset(Downstream),
        ),
        (
            "server refuses, then ends: what it was sent is lost",
            &[Refused(Upstream), Ended(Upstream)],
            End::Reset(Upstream),
            Output::Reset(Downstream),
        ),
        (
            "server ends, then refuses",
            &[Ended(Upstream), Refused(Upstream)],
            End::Reset(Upstream),
            Output::Reset(Downstream),
        ),
        (
            "client ends, then refuses the answer",
            &[Ended(Downstream), Shut(Upstream), Refused(Downstream)],
            End::Reset(Downstream),
            Output::Reset(Upstream),
        ),
        (
            "a filter stops it",
            &[Stopped("denied")],
            End::Stopped("denied"),
            Output::Close,
        ),
    ];
    let now = start();
    for (name, inputs, end, output) in rows {
        let mut relay = relay(now);
        let mut outputs = Vec::new();
        for input in inputs {
            assert_eq!(relay.end(), None, "{name}: too early");
            relay.handle(now, *input);
            outputs.extend(std::iter::from_fn(|| relay.poll_output()));
        }
        assert_eq!(relay.end(), Some(end), "{name}");
        assert_eq!(outputs.last(), Some(&output), "{name}");
    }
}

#[test]
fn what_a_refusing_side_said_before_is_passed_on() {
    let now = start();
    let mut relay = relay(now);
    relay.handle(now, Input::Refused(Side::Upstream));
    assert!(!relay.is_open(Side::Downstream));
    assert!(relay.is_open(Side::Upstream));
    relay.handle(now, Input::Moved(Side::Upstream, 3));
    assert_eq!((relay.end(), relay.bytes(Side::Upstream)), (None, 3));
}

#[test]
fn deadlines_end_it() {
    let start = start();
    let at = |seconds| start + Duration::from_secs(seconds);
    let up = Input::Moved(Side::Upstream, 1);
    // what, inputs by second, asked at, deadline before, end
    type Row<'r> = (&'r str, &'r [(u64, Input)], u64, u64, Option<End>);
    let rows: [Row<'_>; 9] = [
        ("nothing yet", &[], 9, 10, None),
        ("idle", &[], 10, 10, Some(End::Idle)),
        ("activity moves it", &[(9, up)], 18, 19, None),
        ("idle after activity", &[(9, up)], 19, 19, Some(End::Idle)),
        (
            "held bytes are no idleness",
            &[(0, Input::Held(at(30)))],
            39,
            40,
            None,
        ),
        (
            "held and over",
            &[(0, Input::Held(at(30)))],
            40,
            40,
            Some(End::Idle),
        ),
        (
            "the limit on the whole",
            &[(55, up)],
            60,
            60,
            Some(End::Expired),
        ),
        (
            "drained while silent",
            &[(0, Input::Drain(at(5)))],
            5,
            5,
            Some(End::Drained),
        ),
        (
            "not drained while busy",
            &[(0, Input::Drain(at(5))), (5, up)],
            5,
            6,
            None,
        ),
    ];
    for (name, inputs, asked, deadline, end) in rows {
        let mut relay = relay(start);
        for (second, input) in inputs {
            relay.handle(at(*second), *input);
        }
        assert_eq!(relay.poll_timeout(), Some(at(deadline)), "{name}");
        relay.handle_timeout(at(asked));
        assert_eq!(relay.end(), end, "{name}");
    }
}

#[test]
fn deadlines_beyond_all_time_are_none() {
    let now = start();
    let mut relay = Relay::new(now, Duration::MAX, None);
    assert_eq!(relay.poll_timeout(), None);
    relay.handle_timeout(now + Duration::from_hours(1_000_000));
    assert_eq!(relay.end(), None);
}

fn input(start: Instant) -> impl Strategy<Value = Input> {
    let side = prop_oneof![Just(Side::Downstream), Just(Side::Upstream)];
    (side, 0..16_u8, 0..1000_u64).prop_map(move |(side, kind, number)| {
        let at = start + Duration::from_millis(number);
        match kind {
            0..=3 => Input::Moved(side, number),
            4..=6 => Input::Ended(side),
            7..=9 => Input::Shut(side),
            10 => Input::Reset(side),
            11 => Input::Refused(side),
            12 => Input::Failed(side),
            13 => Input::Stopped("denied"),
            14 => Input::Drain(at),
            _ => Input::Held(at),
        }
    })
}

proptest! {
    /// Law: whatever comes in whatever order, it ends once, says so once, and is silent from then on.
    #[test]
    fn it_ends_once_and_then_stays_silent(
        (start, inputs) in Just(start()).prop_flat_map(|start| {
            (Just(start), prop::collection::vec((input(start), any::<bool>()), 0..40))
        }),
    ) {
        let mut relay = relay(start);
        let mut shut = [0, 0];
        let mut farewells = 0;
        for (step, (input, look)) in inputs.into_iter().enumerate() {
            let now = start + Duration::from_millis(step as u64);
            let before = relay.end();
            relay.handle(now, input);
            if look {
                relay.handle_timeout(now);
            }
            while let Some(output) = relay.poll_output() {
                match output {
                    Output::Shut(Side::Downstream) => shut[0] += 1,
                    Output::Shut(Side::Upstream) => shut[1] += 1,
                    Output::Reset(_) | Output::Close => farewells += 1,
                }
            }
            if before.is_some() {
                prop_assert_eq!(relay.end(), before);
                prop_assert_eq!(relay.poll_timeout(), None);
            }
        }
        prop_assert!(shut.iter().all(|count| *count <= 1), "an end passed on twice");
        prop_assert_eq!(farewells, u32::from(relay.end().is_some()));
    }
}
