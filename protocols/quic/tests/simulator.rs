//! The simulator over seeds. `PORTCULLIS_SEED=n` plays one of them again, `PORTCULLIS_SIMULATE=n` plays that many.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod sim;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use portcullis_testkit::{Choices, Random};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn connections_reach_their_servers_and_nobody_is_flooded() {
    let seeds = match number("PORTCULLIS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PORTCULLIS_SIMULATE").unwrap_or(100),
    };
    let (mut established, mut delivered) = (0, 0);
    for seed in seeds {
        let choices = Choices::Seed(Random::from_seed(seed));
        let outcome = catch_unwind(AssertUnwindSafe(|| sim::run(choices, 1500)));
        let outcome = outcome.unwrap_or_else(|panic| {
            eprintln!("PORTCULLIS_SEED={seed}");
            resume_unwind(panic)
        });
        established += outcome.established;
        delivered += outcome.delivered;
    }
    // A simulator in which nothing happens proves nothing.
    assert!(
        established > 0 && delivered > 0,
        "{established} {delivered}"
    );
    println!("{established} connections, {delivered} datagrams");
}
