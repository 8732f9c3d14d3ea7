//! One user: whether it may come in, and what it may do.

use super::Denied;
use super::password::PasswordHash;
use super::rules::{self, RuleError, RulesError};
use super::selector::Selector;
use crate::command::{Arguments, CommandId, Flags, Foreign};

/// A user and its rules.
#[derive(Debug, Clone, Default)]
pub struct User {
    pub(super) enabled: bool,
    pub(super) without_password: bool,
    pub(super) passwords: Vec<PasswordHash>,
    pub(super) root: Selector,
    pub(super) selectors: Vec<Selector>,
}

impl User {
    /// A user as `ACL SETUSER` begins with: off, without a password, who may do nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A user who may do all there is, without a password: the one that a server has for everybody.
    #[must_use]
    pub fn unrestricted() -> Self {
        let mut user = Self {
            enabled: true,
            without_password: true,
            ..Self::default()
        };
        user.root.set_all(true);
        user.root.all_keys = true;
        user.root.all_channels = true;
        user
    }

    /// A new user with these rules, such as `on >secret ~app:* +@read -keys (%R~shared:* +get)`.
    ///
    /// # Errors
    /// A rule is wrong; it says which.
    pub fn parse(rules: &str) -> Result<Self, RulesError> {
        let mut user = Self::new();
        user.apply(rules)?;
        Ok(user)
    }

    /// Applies rules to what is there.
    ///
    /// # Errors
    /// A rule is wrong; those before it stay applied.
    pub fn apply(&mut self, rules: &str) -> Result<(), RulesError> {
        rules::apply(self, rules)
    }

    /// Whether it may come in at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it comes in with any password, or none.
    #[must_use]
    pub fn needs_no_password(&self) -> bool {
        self.without_password
    }

    /// Whether it comes in with this password. Takes as long for a wrong one as for a right one.
    #[must_use]
    pub fn accepts(&self, password: &[u8]) -> bool {
        let hash = PasswordHash::of(password);
        let known = self
            .passwords
            .iter()
            .fold(false, |known, password| known | password.is(&hash));
        self.enabled && (self.without_password || known)
    }

    /// Lets it in with this password, and no more without any.
    pub fn add(&mut self, password: &[u8]) {
        self.add_password(PasswordHash::of(password));
    }

    pub(super) fn add_password(&mut self, hash: PasswordHash) {
        self.without_password = false;
        if !self.passwords.iter().any(|known| known.is(&hash)) {
            self.passwords.push(hash);
        }
    }

    pub(super) fn remove_password(&mut self, hash: &PasswordHash) -> Result<(), RuleError> {
        let before = self.passwords.len();
        self.passwords.retain(|known| !known.is(hash));
        if self.passwords.len() == before {
            return Err(RuleError::NoSuchPassword);
        }
        Ok(())
    }

    /// Whether it may do this call, whose command was found and has as many arguments as it wants.
    ///
    /// Commands that are there before authentication (`AUTH`, `HELLO`, `QUIT`, `RESET`) are always allowed.
    ///
    /// # Errors
    /// It may not; why is what a server would say.
    #[inline]
    pub fn may<A: Arguments + ?Sized>(&self, command: CommandId, args: &A) -> Result<(), Denied> {
        if command.flags().contains(Flags::NO_AUTH) {
            return Ok(());
        }
        self.any(|selector| selector.check(command, args))
    }

    /// Whether both may do the same, whatever their passwords are.
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        self.root == other.root && self.selectors == other.selectors
    }

    /// Whether it may do everything: all commands with all keys and channels.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.sets().any(Selector::is_unrestricted)
    }

    /// Whether a rule allows this command by its own name, or as `+@scripting`, and not only among others.
    #[must_use]
    pub fn names(&self, command: CommandId) -> bool {
        self.sets().any(|selector| selector.has_named(command))
    }

    /// As [`names`](Self::names), of a command that is not in the table.
    #[must_use]
    pub fn names_foreign(&self, foreign: &Foreign) -> bool {
        self.sets()
            .any(|selector| selector.has_named_foreign(foreign))
    }

    /// All sets of permissions.
    fn sets(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether it may do any call of a command, whatever the arguments are.
    #[must_use]
    pub fn may_always(&self, command: CommandId) -> bool {
        self.root.allows_all(command)
    }

    /// Whether it may call a command that is not in the table, with keys at these indexes.
    ///
    /// # Errors
    /// It may not.
    pub fn may_foreign<A: Arguments + ?Sized>(
        &self,
        foreign: &Foreign,
        args: &A,
        keys: &[u32],
    ) -> Result<(), Denied> {
        self.any(|selector| selector.check_foreign(foreign, args, keys))
    }

    /// Allowed if one set of permissions allows all; else the reason of the one that got furthest.
    #[inline]
    fn any(&self, check: impl Fn(&Selector) -> Result<(), Denied>) -> Result<(), Denied> {
        match check(&self.root) {
            Ok(()) => Ok(()),
            Err(denied) => self.any_other(denied, check),
        }
    }

    fn any_other(
        &self,
        mut furthest: Denied,
        check: impl Fn(&Selector) -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        for selector in &self.selectors {
            match check(selector) {
                Ok(()) => return Ok(()),
                Err(denied) => furthest = furthest.max(denied),
            }
        }
        Err(furthest)
    }
}

#[cfg(test)]
mod tests;
