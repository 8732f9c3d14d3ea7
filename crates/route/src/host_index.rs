//! From a host name to the rules that may apply to it, in rule order, without walking all rules.
//!
//! It decides nothing: the caller still tries the candidates' conditions. Start at
//! [`HostIndex::candidates`]. Three sorted lists are merged (the exact host, the longest wildcard that
//! fits, any host), so a lookup costs one hash for the exact name and one per label for wildcards.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::pattern::{FoldedHost, HostForm, is_folded};
use crate::{HostPattern, RouteIndex};

/// An index over the host patterns of ordered rules.
///
/// Lookups do not allocate. Keys come from the configuration only, so peers cannot grow it.
#[derive(Debug, Clone, Default)]
pub struct HostIndex {
    exact: HashMap<Box<[u8]>, Vec<u32>, RandomState>,
    /// By the suffix without `*.`; each list already holds the rules of every shorter suffix of its own.
    wildcard: HashMap<Box<[u8]>, Vec<u32>, RandomState>,
    any: Vec<u32>,
    /// A bit for each length, modulo 64, that exact names have: hosts of other lengths are not worth hashing.
    exact_lengths: u64,
    /// Longest wildcard suffix, in bytes: longer remainders of a host are not worth hashing.
    longest_suffix: usize,
}

impl HostIndex {
    /// An index where the position of a list of patterns is the rule's; an empty list means any host.
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a Vec<HostPattern>>) -> Self {
        let mut index = Self::default();
        let mut wildcards: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for (patterns, rule) in rules.into_iter().zip(0_u32..) {
            if patterns.is_empty() {
                index.any.push(rule);
            }
            for pattern in patterns {
                match pattern.form() {
                    HostForm::Any => index.any.push(rule),
                    HostForm::Exact(name) => {
                        index.exact_lengths |= 1 << (name.len() % 64);
                        index.exact.entry(name.clone()).or_default().push(rule);
                    }
                    HostForm::Wildcard(suffix) => wildcards.entry(suffix).or_default().push(rule),
                }
            }
        }
        for suffix in wildcards.keys() {
            let mut list: Vec<u32> = suffixes(suffix)
                .chain(std::iter::once(*suffix))
                .filter_map(|part| wildcards.get(part))
                .flatten()
                .copied()
                .collect();
            list.sort_unstable();
            index.longest_suffix = index.longest_suffix.max(suffix.len());
            index.wildcard.insert((*suffix).into(), list);
        }
        index
    }

    /// The rules whose host patterns match `host`, each once, smallest index first.
    ///
    /// `host` is as it came, without a port; case and one final dot do not matter. A name longer than DNS
    /// allows only finds rules for any host.
    pub fn candidates(&self, host: &[u8]) -> Candidates<'_> {
        if self.only_any(host).is_some() {
            return self.any_host();
        }
        if is_folded(host) {
            return self.candidates_folded(host);
        }
        match FoldedHost::new(host) {
            Some(folded) => self.candidates_folded(folded.as_bytes()),
            None => self.any_host(),
        }
    }

    /// The rules for any host, if it is plain to see that no rule names this one.
    #[inline]
    pub(crate) fn only_any(&self, host: &[u8]) -> Option<&[u32]> {
        let names_none = self.wildcard.is_empty() && !self.has_exact_length(host);
        names_none.then_some(&*self.any)
    }

    /// Whether an exact name may be so long, a final dot not counted.
    fn has_exact_length(&self, host: &[u8]) -> bool {
        let length = host.strip_suffix(b".").unwrap_or(host).len();
        self.exact_lengths & 1 << (length % 64) != 0
    }

    /// The rules for any host alone.
    fn any_host(&self) -> Candidates<'_> {
        Candidates {
            lists: [&[], &[], &self.any],
        }
    }

    fn candidates_folded(&self, host: &[u8]) -> Candidates<'_> {
        let exact = self.exact.get(host).map_or(&[][..], Vec::as_slice);
        let wildcard = self.longest_wildcard(host);
        Candidates {
            lists: [exact, wildcard, &self.any],
        }
    }

    fn longest_wildcard(&self, host: &[u8]) -> &[u32] {
        if self.wildcard.is_empty() {
            return &[];
        }
        suffixes(host)
            .filter(|suffix| suffix.len() <= self.longest_suffix)
            .find_map(|suffix| self.wildcard.get(suffix))
            .map_or(&[], Vec::as_slice)
    }
}

/// What follows each dot that has something in front of it, longest first.
fn suffixes(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    host.iter()
        .enumerate()
        .skip(1)
        .filter(|&(_, &byte)| byte == b'.')
        .filter_map(|(dot, _)| host.get(dot + 1..))
}

/// Rules in ascending order, merged from the lists that apply to one host.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    lists: [&'a [u32]; 3],
}

impl Iterator for Candidates<'_> {
    type Item = RouteIndex;

    fn next(&mut self) -> Option<RouteIndex> {
        let smallest = self
            .lists
            .iter()
            .filter_map(|list| list.first().copied())
            .min()?;
        for list in &mut self.lists {
            // A rule may stand in several lists, or twice in one that lists overlapping patterns.
            while let [first, rest @ ..] = list
                && *first == smallest
            {
                *list = rest;
            }
        }
        Some(RouteIndex(smallest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Match;

    fn linear(rules: &[Vec<HostPattern>], host: &[u8]) -> Vec<u32> {
        rules
            .iter()
            .zip(0_u32..)
            .filter(|(patterns, _)| patterns.is_empty() || patterns.iter().any(|p| p.matches(host)))
            .map(|(_, rule)| rule)
            .collect()
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["a", "b", "c"], 1..5)
            .prop_map(|labels| labels.join("."))
    }

    fn pattern() -> impl Strategy<Value = HostPattern> {
        prop_oneof![
            3 => name().prop_map(|name| HostPattern::parse(&name).unwrap()),
            3 => name().prop_map(|name| HostPattern::parse(&format!("*.{name}")).unwrap()),
            1 => Just(HostPattern::any()),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_rule(
            rules in proptest::collection::vec(proptest::collection::vec(pattern(), 0..4), 0..12),
            hosts in proptest::collection::vec(name(), 1..8),
        ) {
            let index = HostIndex::new(&rules);
            for host in hosts {
                let found: Vec<u32> = index.candidates(host.as_bytes()).map(|i| i.0).collect();
                prop_assert_eq!(found, linear(&rules, host.as_bytes()), "{}", host);
            }
        }

        #[test]
        fn any_bytes_are_a_host(host in proptest::collection::vec(any::<u8>(), 0..400)) {
            let rules = vec![vec![HostPattern::parse("*.a").unwrap()], vec![]];
            let index = HostIndex::new(&rules);
            let found: Vec<u32> = index.candidates(&host).map(|i| i.0).collect();
            prop_assert_eq!(found, linear(&rules, &host));
        }
    }
}
