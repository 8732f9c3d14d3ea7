//! One case for each thing that an operator, or whoever looks after the pool, can do.
//!
//! Start at [`pause_waits_for_all_and_resume_serves_in_order`].

use super::*;

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
fn pause_takes_back_what_was_not_fetched() {
    let mut world = grown(limits(), 2);
    world.ask(here());
    world.discard(0, CloseReason::ServerGone);
    assert_eq!(world.snapshot().opening, 1, "offered");
    world.pause();
    assert_eq!(
        world.snapshot().opening,
        0,
        "nothing is opened during a pause"
    );
    world.pump();
    assert!(world.openings.is_empty());
    world.resume();
    world.pump();
    assert_eq!(world.openings.len(), 1);
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
    let Checkout::Wait(ticket) = world.pool.checkout(early, here(), Patience::Stays) else {
        panic!("both places are taken");
    };
    assert_eq!(
        world.pool.wait_deadline(ticket),
        Some(world.clock.now() + SECOND * 30)
    );
    drop(world.pool.cancel(early, ticket));
    world.finish();
}
