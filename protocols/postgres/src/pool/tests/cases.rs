//! One case for each thing that a pool promises to clients, and for what time does.
//!
//! What an operator does is in `operator`. Start at [`opens_up_to_its_size_and_no_further`].

use super::*;

#[test]
fn opens_up_to_its_size_and_no_further() {
    let mut world = World::new(PoolLimits {
        max_opening: 9,
        ..limits()
    });
    (0..5).for_each(|_| world.ask(here()));
    assert_eq!(world.openings.len(), 2);
    world.opened(0, 0, here());
    world.opened(0, 0, here());
    world.pump();
    assert_eq!(
        (world.served.as_slice(), world.waiting()),
        ([0, 1].as_slice(), 3)
    );
    world.checkin(0, here());
    world.pump();
    assert_eq!(
        (world.served.as_slice(), world.waiting()),
        ([0, 1, 0].as_slice(), 2)
    );
    world.finish();
}

#[test]
fn no_more_at_a_time_than_may_be_opening() {
    let mut world = World::new(PoolLimits {
        size: 9,
        max_opening: 2,
        ..limits()
    });
    (0..5).for_each(|_| world.ask(here()));
    assert_eq!(world.openings.len(), 2);
    world.opened(0, 0, here());
    world.pump();
    assert_eq!(world.openings.len(), 2);
    world.finish();
}

#[test]
fn takes_the_idle_connection_that_suits_best() {
    let table = [
        ("same worker and shape", at(1, 1), 1),
        ("same worker", at(1, 9), 2),
        ("same shape", at(9, 1), 3),
        ("any: the one used last", at(9, 9), 4),
    ];
    for (name, wanted, expected) in table {
        let mut world = grown(
            PoolLimits {
                size: 5,
                ..limits()
            },
            5,
        );
        for affinity in [at(5, 5), at(1, 1), at(1, 2), at(3, 1), at(4, 4)] {
            world.checkin(0, affinity);
        }
        world.ask(wanted);
        assert_eq!(world.served.last(), Some(&expected), "{name}");
        world.finish();
    }
}

#[test]
fn who_frees_one_and_asks_again_does_not_overtake() {
    let mut world = grown(limits(), 2);
    world.ask(here());
    world.checkin(0, here());
    world.ask(here());
    world.pump();
    assert_eq!((world.held.len(), world.waiting()), (2, 1));
    world.finish();
}

#[test]
fn a_connection_that_is_freed_is_not_kept_from_one_whose_own_is_still_opening() {
    let mut world = grown(limits(), 1);
    world.ask(here());
    assert_eq!(world.openings.len(), 1, "it is to open one");
    world.checkin(0, here());
    world.pump();
    assert_eq!(world.served, [0, 0], "but gets what is there sooner");
    world.ask(here());
    assert_eq!(
        world.openings.len(),
        1,
        "the next waits for what is being opened already"
    );
    world.opened(0, 0, here());
    world.pump();
    assert_eq!(world.served, [0, 0, 1]);
    world.finish();
}

#[test]
fn a_place_that_is_discarded_is_opened_anew() {
    // ATTACKS.md P9 and P10: what is not provably clean is discarded.
    for reason in [
        CloseReason::Unclean,
        CloseReason::OutOfSync,
        CloseReason::ServerGone,
        CloseReason::Dropped,
    ] {
        let mut world = grown(limits(), 2);
        world.ask(here());
        assert_eq!(world.openings.len(), 0);
        world.discard(0, reason);
        world.pump();
        assert_eq!(world.openings.len(), 1, "{}", reason.label());
        assert_eq!(closed(&world, reason), 1, "{}", reason.label());
        assert_eq!(world.opened(0, 0, here()), Some(2));
        world.pump();
        assert_eq!(world.served, [0, 1, 2], "the dirty one is never seen again");
        world.finish();
    }
}

#[test]
fn waits_end() {
    let mut world = grown(limits(), 2);
    world.ask(here());
    world.advance(SECOND * 10);
    world.ask(here());
    assert_eq!(world.sweep(), Some(world.clock.at(SECOND * 30)));
    world.advance(SECOND * 20 - MILLISECOND);
    assert_eq!(world.snapshot().max_wait, SECOND * 30 - MILLISECOND);
    world.sweep();
    assert_eq!(world.waiting(), 2, "not a moment too soon");
    world.advance(MILLISECOND);
    assert_eq!(world.sweep(), Some(world.clock.at(SECOND * 40)));
    world.pump();
    assert_eq!(
        (world.refused.as_slice(), world.waiting()),
        ([Refusal::WaitTimeout].as_slice(), 1)
    );
    world.finish();
}

#[test]
fn the_queue_is_bounded() {
    let table = [("no waiting at all", 0, 2, 2), ("one may wait", 1, 3, 1)];
    for (name, max_waiting, fits, refusals) in table {
        let mut world = World::new(PoolLimits {
            max_waiting,
            ..limits()
        });
        (0..4).for_each(|_| world.ask(here()));
        assert_eq!(
            world.askers(),
            fits,
            "{name}: those whose connection is being opened do not count"
        );
        assert_eq!(world.refused, vec![Refusal::QueueFull; refusals], "{name}");
        world.finish();
    }
}

#[test]
fn the_reserve_is_for_those_who_have_waited() {
    let mut world = grown(
        PoolLimits {
            reserve: 1,
            ..limits()
        },
        2,
    );
    world.ask(here());
    world.ask(here());
    assert_eq!(world.sweep(), Some(world.clock.at(SECOND * 3)));
    world.advance(SECOND * 3);
    world.sweep();
    world.pump();
    assert_eq!((world.openings.len(), world.snapshot().reserve), (1, 1));
    world.opened(0, 0, here());
    world.pump();
    assert_eq!(
        (world.held.len(), world.waiting()),
        (3, 1),
        "and no more than the reserve"
    );
    (0..3).for_each(|_| world.checkin(0, here()));
    world.pump();
    world.checkin(0, here());
    assert_eq!(world.idle().len(), 3);
    world.advance(SECOND * 2);
    world.sweep();
    assert_eq!(
        world.idle().len(),
        3,
        "it is not given up between two clients"
    );
    world.advance(SECOND);
    assert_eq!(world.sweep(), None);
    assert_eq!(
        (world.idle().len(), closed(&world, CloseReason::Reserve)),
        (2, 1)
    );
    world.finish();
}

#[test]
fn idle_connections_age_down_to_the_minimum() {
    let limits = PoolLimits {
        size: 3,
        min: 1,
        idle_timeout: Some(SECOND * 10),
        ..limits()
    };
    let mut world = idle(limits, 3);
    world.advance(SECOND * 5);
    world.ask(here());
    world.checkin(0, here());
    assert_eq!(world.sweep(), Some(world.clock.at(SECOND * 10)));
    world.advance(SECOND * 5);
    world.sweep();
    assert_eq!(world.idle(), [2], "the one used last");
    world.advance(SECOND * 20);
    assert_eq!(world.sweep(), None);
    assert_eq!(world.idle(), [2], "the last stays for ever");
    assert_eq!(closed(&world, CloseReason::IdleTimeout), 2);
    world.finish();
}

#[test]
fn the_minimum_is_opened_and_kept() {
    let mut world = World::new(PoolLimits {
        size: 3,
        min: 2,
        ..limits()
    });
    assert_eq!(world.sweep(), None);
    assert_eq!(world.openings.len(), 2);
    world.opened(0, 0, here());
    world.opened(0, 0, here());
    assert_eq!(world.idle(), [0, 1]);
    world.ask(here());
    world.discard(0, CloseReason::ServerGone);
    assert_eq!(
        world.pool.next_deadline(),
        Some(world.clock.now()),
        "at once"
    );
    world.sweep();
    world.open_failed(0, OpenFailure::Connect, u64::MAX);
    world.sweep();
    assert!(world.openings.is_empty(), "not while it backs off");
    world.advance(SECOND);
    world.sweep();
    assert_eq!(world.openings.len(), 1);
    world.finish();
}

#[test]
fn lifetimes_differ_by_a_tenth() {
    let limits = PoolLimits {
        max_lifetime: Some(SECOND * 100),
        ..limits()
    };
    let table = [
        ("shortest", 0, 90),
        ("middle", u64::MAX / 2 + 1, 100),
        ("longest", u64::MAX, 110),
    ];
    for (name, random, seconds) in table {
        let mut world = World::new(limits);
        world.ask(here());
        world.opened(0, random, here());
        world.pump();
        world.checkin(0, here());
        let end = world.sweep().unwrap() - world.clock.now();
        assert!(SECOND * seconds - end <= MILLISECOND, "{name}: {end:?}");
        world.advance(end - MILLISECOND);
        world.ask(here());
        world.advance(MILLISECOND);
        world.sweep();
        assert_eq!(
            closed(&world, CloseReason::Lifetime),
            0,
            "{name}: it is in use"
        );
        world.checkin(0, here());
        assert_eq!(
            closed(&world, CloseReason::Lifetime),
            1,
            "{name}: closed when it comes back"
        );
        world.finish();
    }
}

#[test]
fn an_old_connection_is_not_handed_on() {
    let mut world = grown(
        PoolLimits {
            size: 1,
            max_lifetime: Some(SECOND),
            ..limits()
        },
        1,
    );
    world.ask(here());
    world.advance(SECOND * 2);
    world.checkin(0, here());
    world.pump();
    assert_eq!(world.openings.len(), 1, "the waiter opens another");
    world.finish();
}

#[test]
fn failures_hold_back_and_one_goes_ahead() {
    let mut world = World::new(PoolLimits {
        size: 4,
        ..limits()
    });
    (0..4).for_each(|_| world.ask(here()));
    assert_eq!(world.openings.len(), 4);
    (0..4).for_each(|_| world.open_failed(0, OpenFailure::Connect, u64::MAX));
    world.pump();
    assert_eq!(
        (world.openings.len(), world.waiting()),
        (0, 4),
        "those who wait stay"
    );
    for seconds in [1, 2, 4, 4] {
        let next = world.sweep().unwrap() - world.clock.now();
        assert!(
            SECOND * seconds - next <= MILLISECOND,
            "{next:?}, not {seconds} s"
        );
        world.advance(next);
        world.sweep();
        world.pump();
        assert_eq!(world.openings.len(), 1, "one tries");
        world.open_failed(0, OpenFailure::Timeout, u64::MAX);
    }
    world.advance(SECOND * 4);
    world.sweep();
    world.pump();
    world.opened(0, 0, here());
    world.pump();
    assert_eq!(
        (world.served.len(), world.openings.len()),
        (1, 3),
        "the others follow"
    );
    world.finish();
}

#[test]
fn who_waits_for_a_server_that_is_away_is_told_so() {
    let mut world = World::new(limits());
    world.ask(here());
    world.open_failed(0, OpenFailure::Connect, 0);
    world.advance(SECOND * 30);
    world.sweep();
    world.pump();
    assert_eq!(world.refused, [Refusal::Unreachable(OpenFailure::Connect)]);
    world.finish();
}

#[test]
fn a_definite_failure_is_told_at_once_unless_there_is_a_connection_to_wait_for() {
    let database = OpenFailure::Server {
        sqlstate: *b"3D000",
    };
    for (in_use, told) in [(0, true), (1, false)] {
        let mut world = grown(limits(), in_use);
        world.ask(here());
        world.ask(here());
        (0..2).for_each(|_| world.open_failed(0, database, 0));
        world.ask(here());
        world.pump();
        let expected = if told {
            vec![Refusal::Unreachable(database); 3]
        } else {
            vec![]
        };
        assert_eq!(world.refused, expected, "{in_use} in use");
        world.advance(SECOND);
        world.ask(here());
        world.sweep();
        world.pump();
        assert_eq!(
            world.openings.len(),
            1,
            "{in_use} in use: after the pause the next one tries"
        );
        world.finish();
    }
}

#[test]
fn what_was_granted_to_one_who_left_goes_to_the_next() {
    let mut world = grown(limits(), 2);
    (0..3).for_each(|_| world.ask(here()));
    world.checkin(0, here());
    world.cancel(0);
    world.pump();
    assert_eq!(
        (world.served.as_slice(), world.waiting()),
        ([0, 1, 0].as_slice(), 1)
    );
    world.discard(0, CloseReason::ServerGone);
    world.cancel(0);
    assert_eq!(
        world.snapshot().opening,
        0,
        "a permission that nobody needs is no more"
    );
    world.ask(here());
    world.pump();
    assert_eq!(world.openings.len(), 1);
    world.finish();
}

#[test]
fn an_offer_to_one_who_left_goes_to_the_next() {
    let mut world = grown(limits(), 2);
    world.ask(here());
    world.ask(here());
    world.discard(0, CloseReason::ServerGone);
    world.cancel(0);
    world.pump();
    assert_eq!((world.openings.len(), world.waiting()), (1, 1));
    world.finish();
}

#[test]
fn an_opening_that_is_given_up_goes_to_the_next() {
    let mut world = World::new(PoolLimits {
        size: 1,
        ..limits()
    });
    world.ask(here());
    world.ask(here());
    world.cancel(0);
    assert_eq!(
        world.openings.len(),
        1,
        "it is about it still, and the other waits for that"
    );
    world.abandon(0);
    world.pump();
    assert_eq!(world.openings.len(), 1);
    world.opened(0, 0, here());
    world.pump();
    assert_eq!(world.served, [0]);
    world.finish();
}
