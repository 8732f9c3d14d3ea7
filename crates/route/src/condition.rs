//! Conditions: when a rule matches, and when one rule certainly covers another.
//!
//! Not a pattern language (see [`crate::pattern`]): only the two traits every condition has, and the
//! ways to combine conditions. Start at [`Match`] and [`Covers`].

use std::borrow::Borrow;

/// A condition on a request.
pub trait Match<Request: ?Sized> {
    /// Whether `request` meets the condition. Called per message: it does not allocate.
    fn matches(&self, request: &Request) -> bool;
}

/// Certain implication between conditions, for finding rules that can never be reached.
pub trait Covers {
    /// True only when every request that meets `other` certainly meets `self` too.
    ///
    /// False means "not known", so a rule is never reported as unreachable by mistake.
    fn covers(&self, other: &Self) -> bool;
}

/// `None` is "not asked for" and matches everything.
impl<Request: ?Sized, T: Match<Request>> Match<Request> for Option<T> {
    fn matches(&self, request: &Request) -> bool {
        self.as_ref()
            .is_none_or(|condition| condition.matches(request))
    }
}

impl<T: Covers> Covers for Option<T> {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(this), Some(other)) => this.covers(other),
        }
    }
}

impl<A: Covers, B: Covers> Covers for (A, B) {
    fn covers(&self, other: &Self) -> bool {
        self.0.covers(&other.0) && self.1.covers(&other.1)
    }
}

impl<T: Covers> Covers for &T {
    fn covers(&self, other: &Self) -> bool {
        (**self).covers(other)
    }
}

/// All of the conditions. Empty matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllOf<T>(pub Vec<T>);

impl<T> Default for AllOf<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<Request: ?Sized, T: Match<Request>> Match<Request> for AllOf<T> {
    fn matches(&self, request: &Request) -> bool {
        self.0.iter().all(|condition| condition.matches(request))
    }
}

impl<T: Covers> Covers for AllOf<T> {
    /// Each condition of `self` is implied by one of `other`'s.
    fn covers(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|ours| other.0.iter().any(|theirs| ours.covers(theirs)))
    }
}

/// Any one of the conditions. Empty matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyOf<T>(pub Vec<T>);

impl<Request: ?Sized, T: Match<Request>> Match<Request> for AnyOf<T> {
    fn matches(&self, request: &Request) -> bool {
        self.0.iter().any(|condition| condition.matches(request))
    }
}

impl<T: Covers> Covers for AnyOf<T> {
    /// Each alternative of `other` is covered by one of `self`'s.
    fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|theirs| self.0.iter().any(|ours| ours.covers(theirs)))
    }
}

/// A rule that can never be reached, by position in the list (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    /// The rule that never matches.
    pub rule: usize,
    /// The earliest rule before it that takes every request it could match.
    pub covered_by: usize,
}

/// The rules that certainly can never match because one earlier rule takes all their requests.
///
/// Rules that only several earlier ones together cover are not found. Compares every pair: for
/// configuration checks, not for the data path.
pub fn unreachable_rules<C, I>(conditions: I) -> Vec<Unreachable>
where
    C: Covers,
    I: IntoIterator,
    I::Item: Borrow<C>,
{
    let mut seen: Vec<I::Item> = Vec::new();
    let mut found = Vec::new();
    for (rule, condition) in conditions.into_iter().enumerate() {
        let covered_by = seen
            .iter()
            .position(|earlier| earlier.borrow().covers(condition.borrow()));
        if let Some(covered_by) = covered_by {
            found.push(Unreachable { rule, covered_by });
        }
        seen.push(condition);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PathPattern;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn unreachable_rules_name_the_earliest_cover() {
        type Row<'a> = (&'a str, &'a [&'a str], &'a [(usize, usize)]);
        let cases: [Row<'_>; 5] = [
            ("nothing hidden", &["/a", "/b", "/*"], &[]),
            ("catch-all first", &["/*", "/a", "/b/*"], &[(1, 0), (2, 0)]),
            ("same twice", &["/a", "/b", "/a"], &[(2, 0)]),
            ("glob under prefix", &["/a/*", "/a/*/c"], &[(1, 0)]),
            ("narrow before broad", &["/a/b", "/a/*"], &[]),
        ];
        for (name, rules, expected) in cases {
            let rules: Vec<_> = rules.iter().map(|text| path(text)).collect();
            let found: Vec<_> = unreachable_rules::<PathPattern, _>(&rules)
                .into_iter()
                .map(|u| (u.rule, u.covered_by))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn combinations() {
        let ab = AllOf(vec![path("/a/*"), path("/a/b/*")]);
        let a = AllOf(vec![path("/a/*")]);
        assert!(a.covers(&ab), "fewer conditions cover more");
        assert!(
            ab.covers(&AllOf(vec![path("/a/b/c")])),
            "one condition may imply two"
        );
        assert!(!ab.covers(&a));
        assert!(AllOf::<PathPattern>::default().covers(&a));
        assert!(!a.covers(&AllOf::default()));

        let either = AnyOf(vec![path("/a/*"), path("/b/*")]);
        assert!(either.covers(&AnyOf(vec![path("/b/c"), path("/a")])));
        assert!(!either.covers(&AnyOf(vec![path("/b/c"), path("/c")])));
        assert!(either.matches(b"/b".as_slice()));
        assert!(!either.matches(b"/c".as_slice()));

        assert!(None.covers(&Some(path("/a"))));
        assert!(!Some(path("/*")).covers(&None));
        assert!((path("/*"), path("/a")).covers(&(path("/b"), path("/a"))));
    }
}
