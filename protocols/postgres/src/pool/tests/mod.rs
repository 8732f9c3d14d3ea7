//! Tests of the pool: named cases, sequences of calls beside a model, a simulator, and real threads.
//!
//! Start at [`world`] for the model that most of them look through, and at [`grown`] for what the named cases begin with.

// A test may panic on a subtraction, and need not spare a copy.
#![allow(clippy::unchecked_time_subtraction, clippy::needless_pass_by_value)]

mod away;
mod cases;
mod crowd;
mod guards;
mod operator;
mod random;
mod threads;
mod upkeep;
mod world;

use std::time::Duration;

use super::*;
use world::World;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limits() -> PoolLimits {
    PoolLimits {
        size: 2,
        connect_backoff: ConnectBackoff {
            first: SECOND,
            max: SECOND * 4,
        },
        wait_timeout: SECOND * 30,
        reserve_after: SECOND * 3,
        unreachable_after: None,
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
