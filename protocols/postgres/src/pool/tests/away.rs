//! A server that is away: who waits for it, who would rather leave, and who is told at once.

use super::*;

const CONNECT: OpenFailure = OpenFailure::Connect;

fn away() -> PoolLimits {
    PoolLimits {
        size: 4,
        max_opening: 1,
        unreachable_after: Some(SECOND * 3),
        wait_timeout: SECOND * 100,
        ..limits()
    }
}

fn unreachable(world: &World) -> u64 {
    refused(world, Refusal::Unreachable(CONNECT))
}

#[test]
fn who_waits_is_told_when_attempts_have_failed_for_so_long() {
    let mut world = World::new(away());
    world.ask(here());
    world.keep_up();
    // The pauses are a second and two, or half of that.
    world.open_failed(0, CONNECT, 0);
    world.keep_up();
    assert_eq!((unreachable(&world), world.waiting()), (0, 1), "it stays");
    world.advance(SECOND);
    world.keep_up();
    world.ask(here());
    world.open_failed(0, CONNECT, u64::MAX);
    world.keep_up();
    assert_eq!((unreachable(&world), world.waiting()), (0, 2));
    world.advance(SECOND * 2 - MILLISECOND);
    world.keep_up();
    assert_eq!(unreachable(&world), 0);
    world.advance(MILLISECOND);
    world.keep_up();
    assert_eq!(
        (unreachable(&world), world.waiting()),
        (2, 0),
        "to the point"
    );
}

#[test]
fn after_that_only_whoever_comes_when_an_attempt_is_due_waits_for_it() {
    let mut world = World::new(away());
    world.ask(here());
    world.keep_up();
    world.open_failed(0, CONNECT, u64::MAX);
    world.advance(SECOND * 3);
    world.keep_up();
    assert_eq!(unreachable(&world), 1);
    world.ask(here());
    world.keep_up();
    assert_eq!((world.waiting(), world.openings.len()), (1, 1), "it tries");
    world.ask(here());
    world.keep_up();
    assert_eq!(world.waiting(), 2, "and so another waits for that");
    world.open_failed(0, CONNECT, u64::MAX);
    assert_eq!(
        unreachable(&world),
        3,
        "both are told as soon as it is known"
    );
    world.ask(here());
    assert_eq!(unreachable(&world), 4, "at once, in the pause");
    world.advance(SECOND * 4);
    world.ask(here());
    world.keep_up();
    world.opened(0, 0, here());
    world.keep_up();
    assert_eq!(world.held.len(), 1, "it is back");
    world.finish();
}

#[test]
fn who_can_go_elsewhere_waits_for_one_attempt_at_most() {
    let mut world = World::new(away());
    world.ask_with(here(), Patience::Leaves);
    world.ask(here());
    world.ask_with(here(), Patience::Leaves);
    world.keep_up();
    world.open_failed(0, CONNECT, u64::MAX);
    world.keep_up();
    assert_eq!((unreachable(&world), world.waiting()), (2, 1));
    world.ask_with(here(), Patience::Leaves);
    assert_eq!(unreachable(&world), 3, "in the pause");
    world.advance(SECOND);
    world.keep_up();
    assert_eq!(world.openings.len(), 1);
    world.ask_with(here(), Patience::Leaves);
    assert_eq!(unreachable(&world), 4, "while another tries");
    world.opened(0, 0, here());
    world.keep_up();
    world.ask_with(here(), Patience::Leaves);
    world.keep_up();
    assert_eq!(unreachable(&world), 4, "all is well again");
}

#[test]
fn while_there_is_a_connection_it_is_waited_for() {
    let mut world = grown(away(), 1);
    world.ask(here());
    world.ask_with(here(), Patience::Leaves);
    world.keep_up();
    for _ in 0..10 {
        world.open_failed(0, CONNECT, 0);
        world.advance(SECOND * 4);
        world.keep_up();
    }
    assert_eq!((unreachable(&world), world.waiting()), (0, 2));
    world.discard(0, CloseReason::ServerGone);
    world.keep_up();
    assert_eq!(unreachable(&world), 0, "the time begins when it is gone");
    world.open_failed(0, CONNECT, 0);
    world.keep_up();
    assert_eq!((unreachable(&world), world.waiting()), (1, 1));
    world.advance(SECOND * 3);
    world.keep_up();
    assert_eq!((unreachable(&world), world.waiting()), (2, 0));
}

#[test]
fn without_a_bound_one_waits_as_long_as_one_may() {
    let mut world = World::new(PoolLimits {
        unreachable_after: None,
        ..away()
    });
    world.ask(here());
    world.keep_up();
    for _ in 0..10 {
        world.open_failed(0, CONNECT, 0);
        world.advance(SECOND * 4);
        world.keep_up();
    }
    assert_eq!((unreachable(&world), world.waiting()), (0, 1));
}
