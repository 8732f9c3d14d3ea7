//! What a client may do: commands that exist, have their arguments, and are allowed to its user and by the listener.
//!
//! Start at [`Client::admit`].

use std::sync::Arc;

use smallvec::SmallVec;

use super::Client;
use crate::acl::{Glob, NO_AUTHENTICATION, PatternTooLong, User, Users};
use crate::command::handling::Denial;
use crate::command::{
    Arguments, Categories, CommandId, Flags, Foreign, Unknown, arity, each_pattern,
};

/// What a listener lets its clients do.
#[derive(Debug, Default)]
pub struct Policy {
    /// Who may come in.
    pub users: Users,
    /// Commands that are refused by default and allowed here.
    pub allowed: Vec<CommandId>,
    /// Databases, from 0, that a client may select.
    pub databases: u32,
    /// All servers are nodes of a Redis Cluster, which has one database.
    pub is_cluster: bool,
    /// Scripts and functions are trusted: users whose rules name these commands run them, though they may not do everything.
    pub trusts_scripts: bool,
    /// The id of the node that clients see then: see [`node_id`](super::node_id).
    pub node: Box<str>,
}

impl Policy {
    /// This one, with the users and the allowed commands of another.
    #[must_use]
    pub fn with_rights_of(&self, other: &Self) -> Self {
        Self {
            users: other.users.clone(),
            allowed: other.allowed.clone(),
            trusts_scripts: other.trusts_scripts,
            databases: self.databases,
            is_cluster: self.is_cluster,
            node: self.node.clone(),
        }
    }

    /// Why a command is refused, if it is.
    #[must_use]
    pub fn denial(&self, command: CommandId) -> Option<Denial> {
        command
            .denial()
            .filter(|_| !self.allowed.contains(&command))
    }
}

/// Why a command was not carried out, for whoever counts. The client has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The `reason` label.
    pub reason: &'static str,
}

impl<T> Client<T> {
    /// What it may do is told by this.
    #[must_use]
    #[inline]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Other users, or commands, are allowed from now on: its user is looked up anew, and who need not say who he is any more is
    /// let in. If the user's rules have changed, a transaction fails, since some of what is queued may not be allowed any more.
    ///
    /// False: it may not stay. Its user is gone or off, it never said who it is and must, or its messages come by other rules.
    #[must_use]
    pub fn renew(&mut self, policy: Arc<Policy>) -> bool {
        let before = std::mem::replace(&mut self.policy, policy);
        let users = &self.policy.users;
        let Some(user) = &self.user else {
            self.user = users.at_first().cloned();
            return true;
        };
        let was_asked = *self.user_name != *Users::DEFAULT || before.users.at_first().is_none();
        let found = if was_asked {
            users.find(&self.user_name).filter(|user| user.is_enabled())
        } else {
            users.at_first()
        };
        let Some(found) = found.cloned() else {
            return false;
        };
        let is_same = found.has_rules_of(user);
        self.user = Some(found);
        if !is_same {
            self.transaction.poison();
        }
        let may_watch = self.policy.denial(CommandId::MONITOR).is_none();
        let listens = self.is_subscribed() || self.tracking.is_some();
        (is_same || !listens) && (may_watch || self.monitor.is_none())
    }

    /// Whether a command may be carried out at all: it exists, has its arguments, and the client may do it. If not, the
    /// client is owed the answer, in its turn.
    ///
    /// # Errors
    /// It may not.
    #[inline]
    pub fn admit<A: Arguments>(&self, command: &A) -> Result<CommandId, (Refusal, Vec<u8>)> {
        let id = match CommandId::resolve(command) {
            Ok(id) => id,
            Err(unknown) => return Err(self.unknown(unknown, command)),
        };
        if !arity::fits(id, command.len()) {
            return Err(refused("arguments", |text| arity::wrong_number(id, text)));
        }
        let Some(user) = &self.user else {
            if id.flags().contains(Flags::NO_AUTH) {
                return Ok(id);
            }
            let text = |text: &mut Vec<u8>| text.extend_from_slice(NO_AUTHENTICATION.as_bytes());
            return Err(refused("unauthenticated", text));
        };
        if let Err(denied) = user.may(id, command) {
            return Err(refused(denied.label(), |text| denied.write(command, text)));
        }
        if id.runs_code() && !self.may_run_code(user, |user| user.names(id)) {
            return Err(refused("acl_script", |text| beyond_rules(id.name(), text)));
        }
        if longest_pattern(id, command) > Glob::LONGEST {
            return Err(refused("pattern_too_long", pattern_too_long));
        }
        match self.policy.denial(id) {
            None => Ok(id),
            Some(denial) => Err(refused(denial.label(), |text| {
                text.extend_from_slice(b"ERR command '");
                text.extend_from_slice(id.name().as_bytes());
                text.extend_from_slice(b"' is not allowed by the gateway");
            })),
        }
    }

    /// Whether a user may run what nobody looks into.
    fn may_run_code(&self, user: &User, names: impl FnOnce(&User) -> bool) -> bool {
        user.is_unrestricted() || (self.policy.trusts_scripts && names(user))
    }

    /// Whether [`admit`](Self::admit) would admit any call of a command that has as many arguments as it takes.
    #[must_use]
    pub fn admits_all(&self, id: CommandId) -> bool {
        let may = |user: &Arc<User>| user.may_always(id);
        self.user.as_ref().is_some_and(may) && self.policy.denial(id).is_none()
    }

    /// As [`admit`](Self::admit), of a command that is not in the table.
    ///
    /// # Errors
    /// It may not be carried out.
    #[cold]
    pub fn admit_foreign<A: Arguments>(
        &self,
        foreign: &Foreign,
        command: &A,
    ) -> Result<(), (Refusal, Vec<u8>)> {
        let name = &foreign.name;
        let says = |text: String| move |to: &mut Vec<u8>| to.extend_from_slice(text.as_bytes());
        if !foreign.fits(command.len()) {
            let text = format!("ERR wrong number of arguments for '{name}' command");
            return Err(refused("arguments", says(text)));
        }
        let mut keys = SmallVec::new();
        if let Err(error) = foreign.keys(command, &mut keys) {
            return Err(refused(error.label(), says(error.text().to_owned())));
        }
        let Some(user) = &self.user else {
            return Err(refused(
                "unauthenticated",
                says(NO_AUTHENTICATION.to_owned()),
            ));
        };
        if let Err(denied) = user.may_foreign(foreign, command, &keys) {
            return Err(refused(denied.label(), |text| denied.write(command, text)));
        }
        if foreign.categories.contains(Categories::SCRIPTING)
            && !self.may_run_code(user, |user| user.names_foreign(foreign))
        {
            return Err(refused("acl_script", |text| beyond_rules(name, text)));
        }
        match foreign.refusal() {
            None => Ok(()),
            Some(refusal) => {
                let text = format!("ERR command '{name}' {refusal}");
                Err(refused(refusal.label(), says(text)))
            }
        }
    }

    #[cold]
    fn unknown<A: Arguments>(&self, unknown: Unknown, command: &A) -> (Refusal, Vec<u8>) {
        if self.user.is_none() {
            let text = |text: &mut Vec<u8>| text.extend_from_slice(NO_AUTHENTICATION.as_bytes());
            return refused("unauthenticated", text);
        }
        refused("unknown_command", |text| {
            arity::unknown(unknown, command, text);
        })
    }
}

/// The bytes of a call's longest pattern.
fn longest_pattern<A: Arguments>(id: CommandId, command: &A) -> usize {
    let mut longest = 0;
    each_pattern(id, command, |_, pattern| {
        longest = pattern.len().max(longest);
    });
    longest
}

fn pattern_too_long(text: &mut Vec<u8>) {
    text.extend_from_slice(format!("ERR {PatternTooLong}").as_bytes());
}

/// Why a user whom rules hold back runs no script.
fn beyond_rules(name: &str, text: &mut Vec<u8>) {
    text.extend_from_slice(b"NOPERM this user has no permissions to run the '");
    text.extend_from_slice(name.as_bytes());
    let why = b"' command: its rules do not allow everything, and the gateway cannot hold scripts to them";
    text.extend_from_slice(why);
}

#[cold]
fn refused(reason: &'static str, write: impl FnOnce(&mut Vec<u8>)) -> (Refusal, Vec<u8>) {
    let mut text = Vec::new();
    write(&mut text);
    (Refusal { reason }, text)
}
