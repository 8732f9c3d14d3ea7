//! By a hash: of all endpoints the one that draws the highest number for it.
//!
//! Each endpoint draws by its address, so the draw is the same in every process, and one that comes or goes changes nothing
//! for the hashes of others. It costs a look at every endpoint: for flows and connections, not for requests. Start at
//! [`rendezvous`].

use std::rc::Rc;

use super::{PickContext, mix};
use crate::LocalEndpoint;

/// The endpoint for this hash, by weight; `None` when the context allows none.
pub(crate) fn rendezvous(
    choice: &[Rc<LocalEndpoint>],
    hash: u64,
    cx: &PickContext<'_>,
) -> Option<Rc<LocalEndpoint>> {
    let candidates = choice.iter().filter(|endpoint| cx.allows(endpoint));
    let drawn = candidates.max_by(|a, b| draw(a, hash).total_cmp(&draw(b, hash)));
    drawn.map(Rc::clone)
}

/// An exponential draw with the weight as its rate, turned so that the highest wins: each endpoint wins its share of hashes.
fn draw(endpoint: &LocalEndpoint, hash: u64) -> f64 {
    let bytes = endpoint.label().bytes();
    let drawn = bytes.fold(mix(hash), |drawn, byte| mix(drawn ^ u64::from(byte)));
    // Uniform over (0, 1), by the 53 bits that a float has.
    let uniform = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(endpoint.weight()) / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{local_endpoints, start};

    fn pick(choice: &[Rc<LocalEndpoint>], hash: u64) -> u64 {
        let cx = PickContext {
            now: start(),
            random: 0,
            hash: Some(hash),
            tried: &[],
            accept: None,
        };
        rendezvous(choice, hash, &cx).unwrap().id().0
    }

    #[test]
    fn each_endpoint_wins_its_share() {
        let endpoints = local_endpoints(&[1, 2, 5]);
        let mut won = [0_u32; 3];
        for hash in 0..8000 {
            won[endpoints
                .iter()
                .position(|endpoint| endpoint.id().0 == pick(&endpoints, hash))
                .unwrap()] += 1;
        }
        for (won, share) in won.iter().zip([1000_u32, 2000, 5000]) {
            assert!(won.abs_diff(share) <= share / 8, "{won} of {share}");
        }
    }

    #[test]
    fn one_that_goes_moves_its_own_hashes_only() {
        let all = local_endpoints(&[1, 1, 1, 1]);
        let gone = all[1].id().0;
        let rest: Vec<_> = all.iter().filter(|e| e.id().0 != gone).cloned().collect();
        for hash in 0..500 {
            let before = pick(&all, hash);
            let after = pick(&rest, hash);
            assert!(before == after || before == gone, "{hash}");
        }
    }
}
