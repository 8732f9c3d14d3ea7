//! One case for each thing that a pool promises.
//!
//! Start at [`grown`], which most of them begin with.

use std::time::Duration;

use super::super::*;
use super::world::World;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limits() -> PoolLimits {
    PoolLimits {
        size: 2,
        connect_backoff: ConnectBackoff {
            first: SECOND,
            max: SECOND * 4,
        },
        idle_timeout: None,
        max_lifetime: None,
        ..PoolLimits::default()
    }
}

fn at(worker: u32, shape: u64) -> Affinity {
    Affinity { worker, shape }
}

fn here() -> Affinity {
    at(0, 0)
}

/// A pool with `count` connections in use, numbered from 0.
fn grown(limits: PoolLimits, count: usize) -> World {
    let mut world = World::new(limits);
    for _ in 0..count {
        world.ask(here());
        world.opened(0, 0, here()).unwrap();
        world.pump();
    }
    assert_eq!(world.held.len(), count);
    world
}

/// A pool with `count` idle connections, the highest number used last.
fn idle(limits: PoolLimits, count: usize) -> World {
    let mut world = grown(limits, count);
    (0..count).for_each(|_| world.checkin(0, here()));
    assert_eq!(world.idle().len(), count);
    world
}

fn refused(world: &World, refusal: Refusal) -> u64 {
    world.snapshot().totals.refused[refusal.index()]
}

fn closed(world: &World, reason: CloseReason) -> u64 {
    world.snapshot().totals.closed[reason as usize]
}

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
    assert_eq!(world.sweep(), None, "the last stays for ever");
    assert_eq!(world.idle(), [2], "the one used last");
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

#[test]
fn pause_waits_for_all_and_resume_serves_in_order() {
    let mut world = grown(
        PoolLimits {
            size: 3,
            ..limits()
        },
        3,
    );
    world.checkin(2, here());
    world.ask(here());
    world.checkin(2, here());
    world.pause();
    assert_eq!(closed(&world, CloseReason::Paused), 1, "what is idle goes");
    world.ask(here());
    world.ask(here());
    assert!(!world.pool.is_quiet());
    world.pool.wake_when_quiet(u64::MAX);
    world.checkin(0, here());
    assert_eq!(world.pool.poll_woken(), None);
    world.checkin(0, here());
    assert!(world.pool.is_quiet());
    assert_eq!(
        world.pool.poll_woken(),
        Some(u64::MAX),
        "and who waits for that is told"
    );
    assert_eq!(
        (world.waiting(), closed(&world, CloseReason::Paused)),
        (2, 3)
    );
    world.resume();
    world.pump();
    assert_eq!(world.openings.len(), 2);
    world.pause();
    world.opened(0, 0, here());
    assert_eq!(
        closed(&world, CloseReason::Paused),
        4,
        "what was being opened goes, too"
    );
    world.abandon(0);
    world.advance(SECOND * 30);
    world.sweep();
    world.pump();
    assert_eq!(world.refused, [Refusal::Paused; 2]);
    world.finish();
}

#[test]
fn reconnect_uses_nothing_older() {
    let mut world = grown(
        PoolLimits {
            size: 4,
            ..limits()
        },
        2,
    );
    world.checkin(0, here());
    world.ask(here());
    world.checkin(1, here());
    world.ask(here());
    world.ask(here());
    assert_eq!(world.openings.len(), 1, "being opened when it is said");
    world.reconnect();
    world.opened(0, 0, here());
    assert_eq!(closed(&world, CloseReason::Reconnect), 1, "begun before");
    world.pump();
    assert_eq!(world.opened(0, 0, here()), Some(3));
    world.pump();
    (0..2).for_each(|_| world.checkin(0, here()));
    assert_eq!(closed(&world, CloseReason::Reconnect), 3, "in use before");
    world.checkin(0, here());
    assert_eq!(world.idle(), [3], "begun after");
    world.reconnect();
    assert_eq!(closed(&world, CloseReason::Reconnect), 4, "idle before");
    world.finish();
}

#[test]
fn kill_ends_everything_until_resumed() {
    let mut world = grown(limits(), 2);
    world.ask(here());
    world.kill();
    world.pump();
    assert_eq!(world.refused, [Refusal::Killed]);
    assert!(
        world
            .held
            .iter()
            .all(|(_, lease)| lease.generation() < world.pool.killed_before())
    );
    world.checkin(0, here());
    assert_eq!(closed(&world, CloseReason::Killed), 1);
    world.ask(here());
    assert_eq!((world.waiting(), world.openings.len()), (1, 0));
    world.resume();
    world.pump();
    assert_eq!(world.openings.len(), 1);
    world.checkin(0, here());
    assert_eq!(closed(&world, CloseReason::Killed), 2, "killed is killed");
    world.finish();
}

#[test]
fn a_closed_pool_serves_nobody() {
    let mut world = idle(limits(), 2);
    world.ask(here());
    world.close();
    world.ask(here());
    world.resume();
    world.ask(here());
    assert_eq!(refused(&world, Refusal::Closed), 2, "for good");
    world.checkin(0, here());
    assert_eq!(closed(&world, CloseReason::Closed), 2);
    world.finish();
}

#[test]
fn fewer_places_close_idle_ones_first() {
    let mut world = grown(
        PoolLimits {
            size: 5,
            ..limits()
        },
        5,
    );
    (0..2).for_each(|_| world.checkin(0, here()));
    world.set_limits(PoolLimits {
        size: 4,
        ..limits()
    });
    assert_eq!(world.idle(), [1], "the one idle for longest");
    world.set_limits(PoolLimits {
        size: 1,
        ..limits()
    });
    assert_eq!(world.idle().len(), 0);
    world.ask(here());
    (0..2).for_each(|_| world.checkin(0, here()));
    assert_eq!(
        closed(&world, CloseReason::Shrunk),
        4,
        "then those that come back"
    );
    world.checkin(0, here());
    world.pump();
    assert_eq!(world.held.len(), 1, "and the last is used");
    world.finish();
}

#[test]
fn more_places_serve_those_who_wait() {
    let mut world = grown(limits(), 2);
    world.ask(here());
    world.set_limits(PoolLimits {
        size: 3,
        ..limits()
    });
    world.pump();
    assert_eq!(world.openings.len(), 1);
    world.finish();
}

#[test]
fn dead_ones_are_found_while_idle() {
    let mut world = idle(
        PoolLimits {
            size: 4,
            ..limits()
        },
        4,
    );
    world.retain_idle(|connection| connection % 2 == 0);
    assert_eq!(world.idle(), [0, 2]);
    assert_eq!(closed(&world, CloseReason::ServerGone), 2);
    world.finish();
}

#[test]
fn the_bell_rings_when_a_deadline_comes_to_lie_sooner() {
    const BELL: u64 = u64::MAX;
    let far = |world: &World| Some(world.clock.at(SECOND * 100));
    let mut world = grown(
        PoolLimits {
            idle_timeout: Some(SECOND),
            ..limits()
        },
        2,
    );
    let rings = |world: &mut World, name: &str| {
        assert_eq!(world.pool.poll_woken(), Some(BELL), "{name}");
        world.pool.arm(BELL, far(world));
    };
    world.pool.arm(BELL, None);
    world.ask(here());
    rings(&mut world, "somebody waits");
    world.discard(0, CloseReason::ServerGone);
    world.pump();
    world.pool.arm(BELL, far(&world));
    world.open_failed(0, OpenFailure::Connect, 0);
    rings(&mut world, "an attempt is due later");
    world.checkin(0, here());
    world.pump();
    world.pool.arm(BELL, far(&world));
    world.checkin(0, here());
    rings(&mut world, "one became idle");
    world.set_limits(PoolLimits { min: 1, ..limits() });
    assert_eq!(world.pool.poll_woken(), None, "nothing is due");
    world.ask(here());
    world.discard(0, CloseReason::ServerGone);
    rings(&mut world, "the minimum is not met");
    world.finish();
}

#[test]
fn a_snapshot_says_how_things_stand() {
    let mut world = idle(
        PoolLimits {
            size: 4,
            reserve: 1,
            ..limits()
        },
        3,
    );
    world.advance(SECOND * 31);
    world.ask(here());
    assert_eq!(
        world.snapshot().used,
        2,
        "idle for longer than `check_after`"
    );
    world.checkin(0, here());
    let snapshot = world.snapshot();
    assert_eq!((snapshot.idle, snapshot.used, snapshot.active), (1, 2, 0));
    (0..6).for_each(|_| world.ask(here()));
    world.advance(SECOND);
    let snapshot = world.snapshot();
    assert_eq!(
        (snapshot.active, snapshot.opening, snapshot.waiting),
        (3, 1, 3)
    );
    assert_eq!(snapshot.max_wait, SECOND);
    assert_eq!(snapshot.totals.checkouts, 10);
    assert_eq!((snapshot.totals.waited, snapshot.totals.served), (6, 3));
    world.finish();
}

#[test]
fn time_may_go_backwards() {
    let mut world = grown(limits(), 1);
    let early = world.clock.now();
    world.advance(SECOND);
    world.ask(here());
    let Checkout::Wait(ticket) = world.pool.checkout(early, here()) else {
        panic!("both places are taken");
    };
    assert_eq!(
        world.pool.wait_deadline(ticket),
        Some(world.clock.now() + SECOND * 30)
    );
    drop(world.pool.cancel(early, ticket));
    world.finish();
}
