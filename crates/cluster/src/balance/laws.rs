//! What every balancer keeps to, checked for each of them over random clusters and requests.
//!
//! A new balancer is one more line in `each_balancer_keeps_the_laws`.

use std::collections::HashMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::testing::{local_endpoints, start};

/// A generator that needs no crate and repeats.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

fn pick(balancer: &mut dyn LoadBalancer, random: u64, tried: &[EndpointId]) -> Option<EndpointId> {
    pick_accepted(balancer, random, tried, None)
}

type Accept<'a> = Option<&'a dyn Fn(&Endpoint) -> bool>;

fn pick_accepted(
    balancer: &mut dyn LoadBalancer,
    random: u64,
    tried: &[EndpointId],
    accept: Accept<'_>,
) -> Option<EndpointId> {
    let cx = PickContext {
        now: start(),
        random,
        hash: None,
        tried,
        accept,
    };
    balancer.pick(&cx).map(|endpoint| endpoint.id())
}

/// Every law for one balancer and one list of weights.
fn check_laws(balance: BalanceConfig, weights: &[u32], seed: u64) -> Result<(), TestCaseError> {
    let all = local_endpoints(weights);
    let mut numbers = Numbers(seed);
    let mut balancer = balance.build(seed);
    prop_assert_eq!(
        pick(&mut *balancer, 1, &[]),
        None,
        "nothing to pick among yet"
    );
    balancer.update(&all);
    spreads_by_weight(&mut *balancer, &all, &mut numbers)?;
    never_repeats_a_try(&mut *balancer, &all, None, &mut numbers)?;

    let some: Rc<[_]> = all.iter().skip(1).cloned().collect();
    balancer.update(&some);
    let gone = all[0].id();
    for _ in 0..200 {
        prop_assert_ne!(
            pick(&mut *balancer, numbers.next(), &[]),
            Some(gone),
            "left"
        );
    }
    spreads_by_weight(&mut *balancer, &some, &mut numbers)?;

    // Health flaps: updates between all picks change nothing about the shares.
    let mut updated = |balancer: &mut dyn LoadBalancer| balancer.update(&all);
    spreads(&mut *balancer, &all, None, &mut numbers, &mut updated)?;
    keeps_to_what_is_accepted(&mut *balancer, &all, &mut numbers)?;

    balancer.update(&Rc::default());
    prop_assert_eq!(pick(&mut *balancer, numbers.next(), &[]), None);
    Ok(())
}

fn spreads_by_weight(
    balancer: &mut dyn LoadBalancer,
    endpoints: &[Rc<LocalEndpoint>],
    numbers: &mut Numbers,
) -> Result<(), TestCaseError> {
    spreads(balancer, endpoints, None, numbers, &mut |_| {})
}

/// Requests for some of the endpoints go to those, by weight, and change nothing for requests that any will do for.
fn keeps_to_what_is_accepted(
    balancer: &mut dyn LoadBalancer,
    all: &[Rc<LocalEndpoint>],
    numbers: &mut Numbers,
) -> Result<(), TestCaseError> {
    let first = all[0].id();
    let (ours, others) = all.split_at(1);
    let is_other = |endpoint: &Endpoint| endpoint.id() != first;
    let is_first = |endpoint: &Endpoint| endpoint.id() == first;
    spreads(balancer, others, Some(&is_other), numbers, &mut |_| {})?;
    spreads(balancer, ours, Some(&is_first), numbers, &mut |_| {})?;
    let mut between_numbers = Numbers(numbers.next());
    let mut other_picks = |balancer: &mut dyn LoadBalancer| {
        pick_accepted(balancer, between_numbers.next(), &[], Some(&is_other));
    };
    spreads(balancer, all, None, numbers, &mut other_picks)?;
    never_repeats_a_try(balancer, others, Some(&is_other), numbers)?;
    let none = pick_accepted(balancer, numbers.next(), &[], Some(&|_| false));
    prop_assert_eq!(none, None);
    Ok(())
}

fn spreads(
    balancer: &mut dyn LoadBalancer,
    endpoints: &[Rc<LocalEndpoint>],
    accept: Accept<'_>,
    numbers: &mut Numbers,
    between: &mut dyn FnMut(&mut dyn LoadBalancer),
) -> Result<(), TestCaseError> {
    let picks = 4000;
    let mut counts: HashMap<EndpointId, u32> = HashMap::new();
    for _ in 0..picks {
        between(balancer);
        let picked = pick_accepted(balancer, numbers.next(), &[], accept);
        if endpoints.is_empty() {
            prop_assert_eq!(picked, None);
            return Ok(());
        }
        *counts.entry(picked.unwrap()).or_default() += 1;
    }
    let total: u32 = endpoints.iter().map(|endpoint| endpoint.weight()).sum();
    for endpoint in endpoints {
        let share = f64::from(endpoint.weight()) / f64::from(total);
        let expected = share * f64::from(picks);
        // Five standard deviations of a fair draw, and a turn or two for rounding.
        let tolerance = 5.0 * (expected * (1.0 - share)).sqrt() + 2.0;
        let count = f64::from(counts.get(&endpoint.id()).copied().unwrap_or(0));
        prop_assert!(
            (count - expected).abs() <= tolerance,
            "{} picks of weight {} out of {}, not {}",
            count,
            endpoint.weight(),
            total,
            expected
        );
    }
    Ok(())
}

fn never_repeats_a_try(
    balancer: &mut dyn LoadBalancer,
    endpoints: &[Rc<LocalEndpoint>],
    accept: Accept<'_>,
    numbers: &mut Numbers,
) -> Result<(), TestCaseError> {
    for _ in 0..20 {
        let mut tried = Vec::new();
        while let Some(picked) = pick_accepted(balancer, numbers.next(), &tried, accept) {
            prop_assert!(!tried.contains(&picked), "picked {:?} again", picked);
            tried.push(picked);
        }
        prop_assert_eq!(
            tried.len(),
            endpoints.len(),
            "gave up before all were tried"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn each_balancer_keeps_the_laws(weights in proptest::collection::vec(1_u32..8, 1..7), seed: u64) {
        check_laws(BalanceConfig::RoundRobin, &weights, seed)?;
        check_laws(BalanceConfig::LeastRequest, &weights, seed)?;
        check_laws(BalanceConfig::Random, &weights, seed)?;
    }
}

#[test]
fn round_robin_takes_turns() {
    let mut balancer = RoundRobin::new(7);
    balancer.update(&local_endpoints(&[1, 1, 1]));
    let turns: Vec<_> = (0..6)
        .map(|_| pick(&mut balancer, 0, &[]).unwrap())
        .collect();
    assert_eq!(turns[..3], turns[3..]);
    let different: std::collections::HashSet<_> = turns.iter().collect();
    assert_eq!(different.len(), 3);
}

#[test]
fn round_robin_spaces_heavy_endpoints_out() {
    let mut balancer = RoundRobin::new(0);
    balancer.update(&local_endpoints(&[4, 1, 1]));
    let turns: Vec<u64> = (0..60)
        .map(|_| pick(&mut balancer, 0, &[]).unwrap().0)
        .collect();
    let longest_run = turns.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
    assert!(longest_run <= Some(4), "{turns:?}");
    for window in turns.windows(6) {
        let heavy = window.iter().filter(|id| **id == 0).count();
        assert!((3..=5).contains(&heavy), "{turns:?}");
    }
}

#[test]
fn round_robin_workers_begin_at_different_endpoints() {
    let first: std::collections::HashSet<_> = (0..16)
        .map(|worker| {
            let mut balancer = RoundRobin::new(worker);
            balancer.update(&local_endpoints(&[1, 1, 1, 1]));
            pick(&mut balancer, 0, &[]).unwrap()
        })
        .collect();
    assert!(first.len() > 2, "{first:?}");
}

#[test]
fn least_request_avoids_the_loaded_one() {
    let endpoints = local_endpoints(&[1, 1]);
    endpoints[0].on_start();
    let mut balancer = LeastRequest::default();
    balancer.update(&endpoints);
    let mut numbers = Numbers(1);
    for _ in 0..100 {
        let picked = pick(&mut balancer, numbers.next(), &[]);
        assert_eq!(
            picked,
            Some(endpoints[1].id()),
            "of two, both are always compared"
        );
    }
}

#[test]
fn least_request_weighs_load() {
    let endpoints = local_endpoints(&[1, 4]);
    endpoints[0].on_start();
    for _ in 0..3 {
        endpoints[1].on_start();
    }
    let mut balancer = LeastRequest::default();
    balancer.update(&endpoints);
    let mut numbers = Numbers(1);
    for _ in 0..100 {
        let picked = pick(&mut balancer, numbers.next(), &[]);
        assert_eq!(
            picked,
            Some(endpoints[1].id()),
            "3 of weight 4 are less than 1 of 1"
        );
    }
}
