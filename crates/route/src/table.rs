//! Tables of ordered rules: the first rule whose condition matches decides.
//!
//! Not a place for actions' meaning: `A` is whatever the protocol does with a request. Start at
//! [`RouteTable::find`]. Tables are immutable; a new configuration builds a new one. A worker that uses
//! regexes should own a *clone* of its table: clones share the compiled program, but not its scratch
//! memory, which threads would otherwise pass through a lock.

use crate::{Covers, HostIndex, HostPattern, Match, Unreachable, unreachable_rules};

/// The position of a rule in its table, from 0. Stable for the life of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteIndex(pub u32);

impl RouteIndex {
    /// As an index into a list parallel to the rules.
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Ordered rules, tried one after the other.
#[derive(Debug, Clone)]
pub struct RouteTable<M, A> {
    rules: Vec<(M, A)>,
}

impl<M, A> RouteTable<M, A> {
    /// Rules in the order they are tried.
    pub fn new(rules: impl IntoIterator<Item = (M, A)>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
        }
    }

    /// The first rule that matches, with its action.
    pub fn find<Request: ?Sized>(&self, request: &Request) -> Option<(RouteIndex, &A)>
    where
        M: Match<Request>,
    {
        self.rules
            .iter()
            .zip(0_u32..)
            .find(|((condition, _), _)| condition.matches(request))
            .map(|((_, action), index)| (RouteIndex(index), action))
    }

    /// The action of the rule at `index`.
    pub fn action(&self, index: RouteIndex) -> Option<&A> {
        self.rules.get(index.as_usize()).map(|(_, action)| action)
    }

    /// Conditions and actions in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&M, &A)> {
        self.rules
            .iter()
            .map(|(condition, action)| (condition, action))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that can never match: see [`unreachable_rules`].
    pub fn unreachable(&self) -> Vec<Unreachable>
    where
        M: Covers,
    {
        unreachable_rules::<M, _>(self.rules.iter().map(|(condition, _)| condition))
    }
}

/// Ordered rules with host patterns, indexed so that a lookup does not walk the rules of other hosts.
///
/// Gives exactly the answer that trying every rule in order would give.
#[derive(Debug, Clone)]
pub struct HostRouteTable<M, A> {
    table: RouteTable<M, A>,
    hosts: HostIndex,
}

impl<M, A> HostRouteTable<M, A> {
    /// Rules in order, each with its host patterns; an empty list means any host.
    pub fn new(rules: impl IntoIterator<Item = (Vec<HostPattern>, M, A)>) -> Self {
        let (hosts, rules): (Vec<_>, Vec<_>) = rules
            .into_iter()
            .map(|(hosts, condition, action)| (hosts, (condition, action)))
            .unzip();
        Self {
            hosts: HostIndex::new(&hosts),
            table: RouteTable::new(rules),
        }
    }

    /// The first rule whose host patterns match `host` (without port, any case; empty when the request
    /// named none) and whose condition matches `request`.
    pub fn find<Request: ?Sized>(&self, host: &[u8], request: &Request) -> Option<(RouteIndex, &A)>
    where
        M: Match<Request>,
    {
        let take = |index: RouteIndex| {
            let (condition, action) = self.table.rules.get(index.as_usize())?;
            condition.matches(request).then_some((index, action))
        };
        match self.hosts.only_any(host) {
            // As where no rule names a host: there is nothing to merge.
            Some(rules) => rules.iter().copied().map(RouteIndex).find_map(take),
            None => self.hosts.candidates(host).find_map(take),
        }
    }

    /// The rules without their hosts.
    pub fn rules(&self) -> &RouteTable<M, A> {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PathPattern;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn first_match_wins() {
        let table = RouteTable::new([
            (path("/a/b"), 'x'),
            (path("/a/*"), 'y'),
            (path("/a/c"), 'z'),
        ]);
        let cases = [
            ("/a/b", Some((RouteIndex(0), &'x'))),
            ("/a/c", Some((RouteIndex(1), &'y'))),
            ("/b", None),
        ];
        for (request, expected) in cases {
            assert_eq!(table.find(request.as_bytes()), expected, "{request}");
        }
        assert_eq!(
            table.unreachable(),
            [Unreachable {
                rule: 2,
                covered_by: 1
            }]
        );
    }

    #[test]
    fn hosts_keep_the_order_of_the_rules() {
        let hosts = |texts: &[&str]| -> Vec<HostPattern> {
            texts
                .iter()
                .map(|text| HostPattern::parse(text).unwrap())
                .collect()
        };
        let table = HostRouteTable::new([
            (hosts(&["a.example.com"]), path("/one"), 0),
            (hosts(&["*.example.com"]), path("/two"), 1),
            (hosts(&[]), path("/three"), 2),
            (hosts(&["a.example.com", "b.example.com"]), path("/*"), 3),
            (hosts(&["*"]), path("/*"), 4),
        ]);
        let cases = [
            ("A.Example.com", "/one", Some(0)),
            ("a.example.com", "/two", Some(1)),
            ("a.example.com", "/three", Some(2)),
            ("a.example.com", "/x", Some(3)),
            ("c.example.com", "/x", Some(4)),
            ("example.com", "/two", Some(4)),
            ("", "/one", Some(4)),
        ];
        for (host, request, expected) in cases {
            let found = table.find(host.as_bytes(), request.as_bytes());
            assert_eq!(found.map(|(_, a)| *a), expected, "{host}{request}");
        }
    }
}
