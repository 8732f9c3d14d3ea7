//! The syntax of rules, as `ACL SETUSER` and a server's file of users have it.
//!
//! Rules apply one after the other, each to what the ones before it made. Words are told apart by spaces; letters of
//! keywords, commands and categories may have any case. Start at `apply`.

use std::ops::Range;

use super::password::PasswordHash;
use super::selector::{KeyPattern, Named, Selector};
use super::{Glob, User};
use crate::command::{Categories, CommandId, Foreign};

/// What is wrong with a rule. Said in Redis's words where it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such command, subcommand or category.
    #[error("Unknown command or category name in ACL")]
    UnknownCommand,
    /// `+config|get|x`.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgumentOfSubcommand,
    /// A pattern of keys where all keys are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    KeysAfterAll,
    /// A pattern of channels where all channels are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelsAfterAll,
    /// A password is to be removed that the user does not have.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// What is behind `#` or `!` is no hash.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    Hash,
    /// `(` without `)`.
    #[error("Unmatched parenthesis in acl selector")]
    Parenthesis,
    /// A pattern is too long.
    #[error("The pattern is longer than {} bytes", Glob::LONGEST)]
    PatternTooLong,
    /// None of the rules that there are.
    #[error("Syntax error")]
    Syntax,
}

/// A rule that is wrong, and which it is. The text of the rule is not in it: it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct RulesError {
    /// What is wrong.
    pub error: RuleError,
    /// The bytes of the text that are wrong.
    pub at: Range<usize>,
}

/// Applies rules to a user. Those before a wrong one stay applied.
pub(super) fn apply(user: &mut User, text: &str) -> Result<(), RulesError> {
    let mut words = words(text, 0);
    while let Some((at, word)) = words.next() {
        if !word.starts_with('(') {
            rule_of_user(user, word).map_err(|error| RulesError { error, at })?;
            continue;
        }
        let mut end = at.end;
        let mut closed = word.ends_with(')');
        while !closed {
            let Some((next, word)) = words.next() else {
                let error = RuleError::Parenthesis;
                return Err(RulesError { error, at });
            };
            end = next.end;
            closed = word.ends_with(')');
        }
        let inside = at.start + 1..end - 1;
        let rules = text.get(inside.clone()).unwrap_or_default();
        user.selectors.push(selector(rules, inside.start)?);
    }
    Ok(())
}

/// The words of a text that begins at `offset`, and where each is.
fn words(text: &str, offset: usize) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = 0;
    text.split(' ').filter_map(move |word| {
        let start = offset + at;
        at += word.len() + 1;
        (!word.is_empty()).then(|| (start..start + word.len(), word))
    })
}

/// The permissions between parentheses.
fn selector(rules: &str, offset: usize) -> Result<Selector, RulesError> {
    let mut selector = Selector::default();
    for (at, word) in words(rules, offset) {
        rule_of_selector(&mut selector, word).map_err(|error| RulesError { error, at })?;
    }
    Ok(selector)
}

fn rule_of_user(user: &mut User, word: &str) -> Result<(), RuleError> {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
    if is("on") {
        user.enabled = true;
    } else if is("off") {
        user.enabled = false;
    } else if is("nopass") {
        user.passwords.clear();
        user.without_password = true;
    } else if is("resetpass") {
        user.passwords.clear();
        user.without_password = false;
    } else if is("clearselectors") {
        user.selectors.clear();
    } else if is("reset") {
        *user = User::new();
    } else if is("sanitize-payload") || is("skip-sanitize-payload") {
        // How a server treats `RESTORE`: nothing of ours, but it is in the rules that a server writes down.
    } else {
        return rule_of_password(user, word);
    }
    Ok(())
}

fn rule_of_password(user: &mut User, word: &str) -> Result<(), RuleError> {
    let hash = |hex: &str| PasswordHash::from_hex(hex.as_bytes()).ok_or(RuleError::Hash);
    match word.split_at_checked(1) {
        Some((">", password)) => user.add_password(PasswordHash::of(password.as_bytes())),
        Some(("#", hex)) => user.add_password(hash(hex)?),
        Some(("<", password)) => {
            return user.remove_password(&PasswordHash::of(password.as_bytes()));
        }
        Some(("!", hex)) => return user.remove_password(&hash(hex)?),
        _ => return rule_of_selector(&mut user.root, word),
    }
    Ok(())
}

fn rule_of_selector(selector: &mut Selector, word: &str) -> Result<(), RuleError> {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
    if is("allkeys") || is("~*") {
        selector.all_keys = true;
        selector.keys.clear();
    } else if is("resetkeys") {
        selector.all_keys = false;
        selector.keys.clear();
    } else if is("allchannels") || is("&*") {
        selector.all_channels = true;
        selector.channels.clear();
    } else if is("resetchannels") {
        selector.all_channels = false;
        selector.channels.clear();
    } else if is("allcommands") || is("+@all") {
        selector.set_all(true);
    } else if is("nocommands") || is("-@all") {
        selector.set_all(false);
    } else {
        return rule_with_name(selector, word);
    }
    Ok(())
}

fn rule_with_name(selector: &mut Selector, word: &str) -> Result<(), RuleError> {
    match word.split_at_checked(1) {
        Some(("~", pattern)) => add_keys(selector, pattern, true, true),
        Some(("%", rest)) => {
            let (letters, pattern) = rest.split_once('~').ok_or(RuleError::Syntax)?;
            if letters.is_empty() || !letters.chars().all(|letter| "RrWw".contains(letter)) {
                return Err(RuleError::Syntax);
            }
            let has = |set: [char; 2]| letters.contains(set);
            add_keys(selector, pattern, has(['R', 'r']), has(['W', 'w']))
        }
        Some(("&", pattern)) => {
            if selector.all_channels {
                return Err(RuleError::ChannelsAfterAll);
            }
            selector.channels.push(glob(pattern)?);
            Ok(())
        }
        Some(("+", name)) => rule_of_command(selector, name, true),
        Some(("-", name)) => rule_of_command(selector, name, false),
        _ => Err(RuleError::Syntax),
    }
}

fn glob(pattern: &str) -> Result<Glob, RuleError> {
    Glob::new(pattern.as_bytes()).map_err(|_| RuleError::PatternTooLong)
}

fn add_keys(
    selector: &mut Selector,
    pattern: &str,
    reads: bool,
    writes: bool,
) -> Result<(), RuleError> {
    if selector.all_keys {
        return Err(RuleError::KeysAfterAll);
    }
    let glob = glob(pattern)?;
    let same = selector.keys.iter_mut().find(|key| key.glob == glob);
    if let Some(key) = same {
        key.reads |= reads;
        key.writes |= writes;
        return Ok(());
    }
    selector.keys.push(KeyPattern {
        glob,
        reads,
        writes,
    });
    Ok(())
}

fn rule_of_command(selector: &mut Selector, name: &str, allowed: bool) -> Result<(), RuleError> {
    let unknown = RuleError::UnknownCommand;
    if let Some(category) = name.strip_prefix('@') {
        let category = Categories::of(category.as_bytes()).ok_or(unknown)?;
        selector.set_category(category, allowed);
        return Ok(());
    }
    let (parent, rest) = name
        .split_once('|')
        .map_or((name, None), |(parent, rest)| (parent, Some(rest)));
    // A module's have a dot in their names. Whether there is such a module, its server knows.
    if rest.is_none()
        && name.contains('.')
        && let Some(name) = Foreign::name_of(name.as_bytes())
    {
        selector.set_foreign(Named::Command(name), allowed);
        return Ok(());
    }
    let parent = CommandId::of(parent.as_bytes()).ok_or(unknown)?;
    let Some(rest) = rest else {
        selector.set(parent, allowed);
        selector.name(parent, allowed);
        return Ok(());
    };
    if rest.is_empty() {
        return Err(RuleError::Syntax);
    }
    if let Some(child) = parent.subcommand(rest.as_bytes()) {
        selector.set(child, allowed);
        selector.name(child, allowed);
        return Ok(());
    }
    if parent.has_subcommands() {
        let child = rest
            .split_once('|')
            .and_then(|(child, _)| parent.subcommand(child.as_bytes()));
        return Err(match child {
            Some(_) if allowed => RuleError::FirstArgumentOfSubcommand,
            _ => unknown,
        });
    }
    // Only what is allowed can be narrowed down by a first argument.
    if !allowed || rest.contains('|') {
        return Err(unknown);
    }
    selector.allow_first_argument(parent, rest.as_bytes());
    Ok(())
}
