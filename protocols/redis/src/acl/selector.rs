//! One set of permissions: commands, keys and channels that go together.
//!
//! A user has one, and may have more in parentheses; a call is allowed if one of them allows all of it.

use super::{Denied, Glob};
use crate::command::channels::ChannelUse;
use crate::command::{Arguments, Categories, CommandId, Foreign, KeyFlags, channels, each_key};

const WORDS: usize = CommandId::COUNT.div_ceil(64);

/// What may be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector {
    commands: [u64; WORDS],
    /// What was said that is about commands that are not in the table, too: the last that fits decides.
    foreign: Vec<(Named, bool)>,
    /// Commands that were allowed by their own names, or as `@scripting`: scripts want that.
    named: Vec<CommandId>,
    /// Commands that are allowed with these first arguments only, such as `SELECT 0`.
    first_arguments: Vec<(CommandId, Box<[u8]>)>,
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Glob>,
}

/// What a rule names, of commands that are not in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    All,
    Category(Categories),
    /// In lower case.
    Command(Box<str>),
}

impl Named {
    fn is(&self, foreign: &Foreign) -> bool {
        match self {
            Self::All => true,
            Self::Category(category) => foreign.categories.contains(*category),
            Self::Command(name) => *name == foreign.name,
        }
    }
}

/// Keys, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) glob: Glob,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

impl Selector {
    /// Allows or forbids a command with all of its subcommands.
    pub(super) fn set(&mut self, command: CommandId, allowed: bool) {
        self.first_arguments.retain(|(of, _)| *of != command);
        self.set_bit(command, allowed);
        for child in command.subcommands() {
            self.set_bit(child, allowed);
        }
    }

    /// Notes that a rule was about this command by its own name, with all of its subcommands.
    pub(super) fn name(&mut self, command: CommandId, allowed: bool) {
        for named in std::iter::once(command).chain(command.subcommands()) {
            self.named.retain(|known| *known != named);
            if allowed {
                self.named.push(named);
            }
        }
    }

    /// Whether it allows every call of a command, and a rule says so on purpose.
    pub(super) fn has_named(&self, command: CommandId) -> bool {
        self.has(command) && self.named.contains(&command)
    }

    /// As [`has_named`](Self::has_named), of a command that is not in the table.
    pub(super) fn has_named_foreign(&self, foreign: &Foreign) -> bool {
        let mut said = self.foreign.iter().rev();
        let last = said.find(|(named, _)| named.is(foreign));
        let is_general = |named: &Named| {
            *named == Named::All
                || matches!(named, Named::Category(category) if *category != Categories::SCRIPTING)
        };
        last.is_some_and(|(named, allowed)| *allowed && !is_general(named))
    }

    /// Whether it allows everything that there is.
    pub(super) fn is_unrestricted(&self) -> bool {
        self.all_keys
            && self.all_channels
            && self.commands == [u64::MAX; WORDS]
            && self.foreign.iter().all(|(_, allowed)| *allowed)
    }

    fn set_bit(&mut self, command: CommandId, allowed: bool) {
        if let Some(word) = self.commands.get_mut(command.index() / 64) {
            let bit = 1 << (command.index() % 64);
            *word = if allowed { *word | bit } else { *word & !bit };
        }
    }

    /// Allows or forbids all commands of a category.
    pub(super) fn set_category(&mut self, category: Categories, allowed: bool) {
        for command in CommandId::all().filter(|it| it.categories().contains(category)) {
            self.set(command, allowed);
            if category == Categories::SCRIPTING {
                self.name(command, allowed);
            }
        }
        self.set_foreign(Named::Category(category), allowed);
    }

    /// Allows or forbids commands that are not in the table.
    pub(super) fn set_foreign(&mut self, named: Named, allowed: bool) {
        self.foreign.retain(|(known, _)| *known != named);
        self.foreign.push((named, allowed));
    }

    /// Allows or forbids all commands, those that nobody knows yet too.
    pub(super) fn set_all(&mut self, allowed: bool) {
        self.commands = [if allowed { u64::MAX } else { 0 }; WORDS];
        self.foreign = vec![(Named::All, allowed)];
        self.first_arguments.clear();
    }

    /// Allows a command with this first argument.
    pub(super) fn allow_first_argument(&mut self, command: CommandId, argument: &[u8]) {
        self.first_arguments.push((command, argument.into()));
    }

    /// Whether it allows all of a call.
    #[inline]
    pub(super) fn check<A: Arguments + ?Sized>(
        &self,
        command: CommandId,
        args: &A,
    ) -> Result<(), Denied> {
        if self.allows_all(command) {
            return Ok(());
        }
        self.check_parts(command, args)
    }

    /// Whether it allows every call of a command.
    #[inline]
    pub(super) fn allows_all(&self, command: CommandId) -> bool {
        self.all_keys && self.all_channels && self.has(command)
    }

    fn check_parts<A: Arguments + ?Sized>(
        &self,
        command: CommandId,
        args: &A,
    ) -> Result<(), Denied> {
        self.check_command(command, args)?;
        self.check_keys(command, args)?;
        self.check_channels(command, args)?;
        self.check_sort(command, args)
    }

    /// As `check`, of a command that is not in the table, with the indexes of its keys.
    pub(super) fn check_foreign<A: Arguments + ?Sized>(
        &self,
        foreign: &Foreign,
        args: &A,
        keys: &[u32],
    ) -> Result<(), Denied> {
        let mut said = self.foreign.iter().rev();
        let last = said.find(|(named, _)| named.is(foreign));
        if !last.is_some_and(|(_, allowed)| *allowed) {
            return Err(Denied::UnknownCommand);
        }
        let used = foreign.key_flags();
        let denied = keys
            .iter()
            .find(|index| !self.allows_key(args.at(**index as usize), used));
        denied.map_or(Ok(()), |index| Err(Denied::Key(*index)))
    }

    /// Whether it allows a command whatever its arguments are.
    #[inline]
    fn has(&self, command: CommandId) -> bool {
        let index = command.index();
        let word = self.commands.get(index / 64).copied().unwrap_or(0);
        word >> (index % 64) & 1 == 1
    }

    fn check_command<A: Arguments + ?Sized>(
        &self,
        command: CommandId,
        args: &A,
    ) -> Result<(), Denied> {
        if self.has(command) {
            return Ok(());
        }
        let allowed = args.at(1).is_some_and(|first| {
            let mut of_command = self.first_arguments.iter().filter(|(of, _)| *of == command);
            of_command.any(|(_, argument)| argument.eq_ignore_ascii_case(first))
        });
        if allowed {
            Ok(())
        } else {
            Err(Denied::Command(command))
        }
    }

    fn check_keys<A: Arguments + ?Sized>(
        &self,
        command: CommandId,
        args: &A,
    ) -> Result<(), Denied> {
        if self.all_keys {
            return Ok(());
        }
        let mut denied = None;
        let told = each_key(command, args, |index, flags| {
            if denied.is_none() && !self.allows_key(args.at(index as usize), flags) {
                denied = Some(index);
            }
        });
        match (denied, told) {
            (Some(index), _) => Err(Denied::Key(index)),
            // Whatever the server makes of such arguments, it shall not be a key that the user may not use.
            (None, Err(_)) => Err(Denied::Key(0)),
            (None, Ok(())) => Ok(()),
        }
    }

    fn allows_key(&self, key: Option<&[u8]>, flags: KeyFlags) -> bool {
        let Some(key) = key else {
            return false;
        };
        let reads = flags.intersects(KeyFlags::READS);
        let writes = flags.intersects(KeyFlags::WRITES);
        self.all_keys
            || self.keys.iter().any(|pattern| {
                (pattern.reads || !reads)
                    && (pattern.writes || !writes)
                    && pattern.glob.matches(key)
            })
    }

    fn check_channels<A: Arguments + ?Sized>(
        &self,
        command: CommandId,
        args: &A,
    ) -> Result<(), Denied> {
        if self.all_channels {
            return Ok(());
        }
        let Some(wanted) = channels(command, args) else {
            return Ok(());
        };
        if wanted.use_of == ChannelUse::Unsubscribe {
            return Ok(());
        }
        let mut indexes = wanted.first..wanted.end;
        let denied = indexes.find(|index| {
            let channel = args.at(*index).unwrap_or_default();
            // A pattern could match more than the user may see, so only the very same is allowed.
            let allows = |glob: &Glob| {
                if wanted.patterns {
                    glob.as_bytes() == channel
                } else {
                    glob.matches(channel)
                }
            };
            !self.channels.iter().any(allows)
        });
        denied.map_or(Ok(()), |index| Err(Denied::Channel(index as u32)))
    }

    /// `SORT` makes names of keys from what it sorts. Only who may read all keys may use that.
    fn check_sort<A: Arguments + ?Sized>(
        &self,
        command: CommandId,
        args: &A,
    ) -> Result<(), Denied> {
        let sorts = command == CommandId::SORT || command == CommandId::SORT_RO;
        if !sorts || self.reads_all_keys() {
            return Ok(());
        }
        let mut index = 2;
        while let Some(option) = args.at(index) {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            let value = args.at(index + 1);
            index += if is(b"BY") {
                // Without `*`, there is nothing to make a name from.
                if value.is_some_and(|by| by.contains(&b'*')) {
                    return Err(Denied::SortBy);
                }
                2
            } else if is(b"GET") {
                return Err(Denied::SortGet);
            } else if is(b"LIMIT") {
                3
            } else if is(b"STORE") {
                2
            } else {
                1
            };
        }
        Ok(())
    }

    fn reads_all_keys(&self) -> bool {
        let mut patterns = self.keys.iter();
        self.all_keys || patterns.any(|key| key.reads && key.glob.as_bytes() == b"*")
    }
}
