//! How many rounds the task makes that looks after a pool: it sleeps while there is nothing for it to do.
//!
//! That it always comes to rest is also tested in `random`. Start at [`rounds_of_use`].

use super::*;

/// How many rounds of upkeep it takes to take a connection and give it back, a thousand times in no time.
fn rounds_of_use(limits: PoolLimits) -> usize {
    let mut world = idle(limits, limits.size as usize);
    world.keep_up();
    (0..1000)
        .map(|_| {
            world.ask(here());
            let taken = world.keep_up();
            world.checkin(0, here());
            taken + world.keep_up()
        })
        .sum()
}

#[test]
fn use_costs_no_upkeep() {
    let aging = PoolLimits {
        idle_timeout: Some(SECOND * 10),
        max_lifetime: Some(SECOND * 100),
        ..limits()
    };
    let table = [
        ("nothing grows old", limits()),
        ("everything may be closed", aging),
        ("some are kept", PoolLimits { min: 1, ..aging }),
        ("all are kept", PoolLimits { min: 2, ..aging }),
        (
            "all are kept, for ever",
            PoolLimits {
                min: 2,
                max_lifetime: None,
                ..aging
            },
        ),
    ];
    for (name, limits) in table {
        assert!(rounds_of_use(limits) <= 1, "{name}");
    }
}

#[test]
fn a_server_that_is_away_costs_a_round_for_each_attempt() {
    let mut world = idle(PoolLimits { min: 2, ..limits() }, 2);
    world.keep_up();
    world.ask(here());
    world.ask(here());
    world.discard(0, CloseReason::ServerGone);
    world.discard(0, CloseReason::ServerGone);
    world.ask(here());
    let mut rounds = world.keep_up();
    let mut attempts = 0;
    for _ in 0..600 {
        while !world.openings.is_empty() {
            attempts += 1;
            world.open_failed(0, OpenFailure::Connect, 0);
            rounds += world.keep_up();
        }
        world.advance(SECOND / 10);
        rounds += world.keep_up();
    }
    // The waiter's own end is one more, and the first attempts are two at once.
    assert!(
        rounds <= 2 * attempts + 2,
        "{rounds} rounds, {attempts} attempts"
    );
}

#[test]
fn a_connection_of_the_reserve_is_closed_in_time() {
    let limits = PoolLimits {
        size: 1,
        reserve: 1,
        reserve_after: SECOND,
        wait_timeout: SECOND * 100,
        ..limits()
    };
    let mut world = grown(limits, 1);
    world.keep_up();
    world.ask(here());
    world.advance(SECOND);
    world.keep_up();
    world.opened(0, 0, here());
    world.keep_up();
    assert_eq!(world.held.len(), 2);
    world.checkin(0, here());
    world.keep_up();
    assert_eq!(world.idle().len(), 1);
    world.advance(SECOND);
    world.keep_up();
    assert_eq!(
        (world.idle().len(), closed(&world, CloseReason::Reserve)),
        (0, 1)
    );
}

#[test]
fn a_failover_costs_no_more_than_its_parts() {
    let mut world = idle(
        PoolLimits {
            min: 2,
            idle_timeout: Some(SECOND * 10),
            ..limits()
        },
        2,
    );
    world.keep_up();
    world.ask(here());
    world.kill();
    let killed = world.keep_up();
    world.resume();
    let resumed = world.keep_up();
    world.checkin(0, here());
    let returned = world.keep_up();
    assert!(
        killed + resumed + returned <= 3,
        "{killed}, {resumed}, {returned}"
    );
}

#[test]
fn the_end_of_a_pool_is_told_once() {
    let mut world = idle(PoolLimits { min: 2, ..limits() }, 2);
    world.keep_up();
    world.close();
    assert_eq!(world.keep_up(), 1);
    assert_eq!(world.keep_up(), 0);
}
