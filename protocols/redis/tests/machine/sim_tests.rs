//! The simulator over seeds. `PORTCULLIS_SEED=n` plays one of them again, `PORTCULLIS_SIMULATE=n` plays that many.

use portcullis_testkit::Random;

use super::sim::site;
use portcullis_testkit::Choices;

/// Steps of one run.
const STEPS: usize = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_client_hears_its_own_in_order_whatever_breaks() {
    if let Some(seed) = number("PORTCULLIS_SEED") {
        site::run(Choices::Seed(Random::from_seed(seed)), STEPS);
        return;
    }
    let seeds = number("PORTCULLIS_SIMULATE").unwrap_or(200);
    let fails = |seed: &u64| {
        let run = || site::run(Choices::Seed(Random::from_seed(*seed)), STEPS);
        std::panic::catch_unwind(run).is_err()
    };
    let failed: Vec<u64> = (0..seeds).filter(fails).take(20).collect();
    assert!(failed.is_empty(), "PORTCULLIS_SEED: {failed:?}");
}
