//! What is wrong with a list of rules although each of them is right: two of one name, one that is never reached.
//!
//! Start at [`check_rules`].

use portcullis_config::{Diagnostics, Span};

use crate::condition::{Covers, unreachable_rules};

/// A rule, as far as it is looked at.
#[derive(Debug)]
pub struct NamedRule<'a, C> {
    /// Where it stands.
    pub span: Span,
    /// Its name.
    pub name: &'a str,
    /// When it takes something.
    pub condition: &'a C,
}

/// The words for what rules take.
#[derive(Debug, Clone, Copy)]
pub struct RuleWords {
    /// What a covering rule takes of another: `all its requests`.
    pub all: &'static str,
    /// The same as an object: `them`.
    pub them: &'static str,
}

/// Reports rules that have the name of an earlier one, and rules that an earlier one leaves nothing for. Compares every pair.
pub fn check_rules<'a, C: Covers + 'a>(
    rules: impl IntoIterator<Item = NamedRule<'a, C>>,
    words: RuleWords,
    diagnostics: &mut Diagnostics,
) {
    let rules: Vec<NamedRule<'_, C>> = rules.into_iter().collect();
    for (index, rule) in rules.iter().enumerate() {
        let mut earlier = rules.iter().take(index);
        if let Some(first) = earlier.find(|other| other.name == rule.name) {
            diagnostics
                .error(rule.span, format!("two routes are named '{}'", rule.name))
                .also(first.span, "the first one");
        }
    }
    for found in unreachable_rules::<C, _>(rules.iter().map(|rule| rule.condition)) {
        let (Some(rule), Some(cover)) = (rules.get(found.rule), rules.get(found.covered_by)) else {
            continue;
        };
        diagnostics
            .error(
                rule.span,
                format!(
                    "route '{}' can never match: '{}' before it takes {}",
                    rule.name, cover.name, words.all
                ),
            )
            .also(cover.span, format!("this one takes {}", words.them))
            .help("rules are tried in order: put the narrower one first");
    }
}
