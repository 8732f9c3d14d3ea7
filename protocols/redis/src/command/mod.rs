//! What the gateway knows of each command of Redis 7.0: its name, arity, flags, keys, categories, and what is done with it.
//!
//! It runs no command and opens no reply; arguments are read, never copied. What is not in the table (commands of modules
//! and of later servers) is [`Unknown`], and may be a [`Foreign`] command that a server knows.
//!
//! Start at [`CommandId::resolve`] (which command is this?), then [`arity`] (may it be called so?), [`keys()`] (which
//! arguments are keys?), and [`handling`] (what is to be done with it?). The facts are rows in `table.rs`.

pub mod arity;
pub mod channels;
mod flags;
pub mod foreign;
pub mod handling;
mod keys;
mod lookup;
mod patterns;
mod spec;
mod table;

pub use channels::{Channels, channels};
pub use flags::{Categories, Flags, KeyFlags};
pub use foreign::Foreign;
pub use handling::{Denial, Handling};
pub use keys::{KeysError, each_key, is_refused_anywhere, keys};
pub use patterns::{each_pattern, has_patterns};
pub use spec::{Begin, Extent, KeySpec};

use table::ROWS;

/// The arguments of one call, its name first, as byte strings by index.
///
/// Whoever has a command in hand implements this; nothing in this crate needs more of it.
pub trait Arguments {
    /// How many there are, the command's name among them.
    fn len(&self) -> usize;

    /// The argument at `index`, where 0 is the command's name. `None` past the end.
    fn at(&self, index: usize) -> Option<&[u8]>;

    /// Whether there is not even a name.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: AsRef<[u8]>> Arguments for [T] {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.get(index).map(AsRef::as_ref)
    }
}

impl<T: AsRef<[u8]>> Arguments for Vec<T> {
    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.get(index).map(AsRef::as_ref)
    }
}

impl<T: AsRef<[u8]>, const N: usize> Arguments for [T; N] {
    fn len(&self) -> usize {
        N
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.get(index).map(AsRef::as_ref)
    }
}

impl Arguments for crate::request::Command {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.argument(index)
    }
}

impl Arguments for crate::request::CommandRef<'_> {
    fn len(&self) -> usize {
        Self::len(*self)
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.argument(index)
    }
}

/// A command, or a subcommand such as `config|get`, of the table.
///
/// A number below [`CommandId::COUNT`] that is the same for the life of the process, so it indexes whatever is kept for
/// each command: counters, rules, bits. It may change from one version of the gateway to the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(u16);

/// Why no command was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// There is no argument at all.
    Empty,
    /// No command of the table has this name.
    Command,
    /// This command has subcommands, and none of this name.
    Subcommand(CommandId),
}

impl CommandId {
    /// How many commands and subcommands the table has.
    pub const COUNT: usize = ROWS.len();

    /// What is not in the table, as a whole: what it is, a [`Foreign`] says. Its index is [`COUNT`](Self::COUNT).
    pub const FOREIGN: Self = Self(ROWS.len() as u16);

    /// The command of this name, in any case: `get`, `CONFIG`; not `config|get`.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        lookup::find(name)
    }

    /// The command that is called, which is a subcommand where one is named.
    ///
    /// A command that needs a subcommand but was given no argument is itself: its arity says that something is missing.
    ///
    /// # Errors
    /// The table does not have it.
    #[inline]
    pub fn resolve<A: Arguments + ?Sized>(args: &A) -> Result<Self, Unknown> {
        let name = args.at(0).ok_or(Unknown::Empty)?;
        let command = Self::of(name).ok_or(Unknown::Command)?;
        if !command.has_subcommands() {
            return Ok(command);
        }
        match args.at(1) {
            None => Ok(command),
            Some(name) => command.subcommand(name).ok_or(Unknown::Subcommand(command)),
        }
    }

    /// The command of this full name, in any case: `get`, `config|get`.
    #[must_use]
    pub fn of_full_name(name: &[u8]) -> Option<Self> {
        match name.iter().position(|byte| *byte == b'|') {
            None => Self::of(name),
            Some(at) => {
                let (parent, rest) = name.split_at(at);
                Self::of(parent)?.subcommand(rest.get(1..)?)
            }
        }
    }

    /// The subcommand of this command with this name, in any case.
    #[must_use]
    #[inline]
    pub fn subcommand(self, name: &[u8]) -> Option<Self> {
        lookup::find_child(self, name)
    }

    /// All of its subcommands.
    pub fn subcommands(self) -> impl Iterator<Item = Self> {
        (self.0 + 1..=self.0 + lookup::children(self)).map(Self)
    }

    /// Whether it is called by its subcommands.
    #[must_use]
    #[inline]
    pub fn has_subcommands(self) -> bool {
        lookup::children(self) > 0
    }

    /// The command that this is a subcommand of.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        let (parent, _) = self.name().split_once('|')?;
        Self::of(parent.as_bytes())
    }

    /// The command in this row.
    const fn at(row: usize) -> Self {
        Self(row as u16)
    }

    /// Whether it is named behind the command that it is of.
    #[must_use]
    #[inline]
    pub fn is_subcommand(self) -> bool {
        lookup::is_child(self)
    }

    /// Every command of the table, subcommands behind the command that they are of.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u16).map(Self)
    }

    /// The command with this index.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        (index < Self::COUNT).then_some(Self(index as u16))
    }

    /// Its index, below [`CommandId::COUNT`].
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its full name in lower case, as Redis writes it: `get`, `config|get`. Fit to be the value of a label.
    #[must_use]
    #[inline]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The last part of its name: `get` of `config|get`.
    #[must_use]
    pub fn own_name(self) -> &'static str {
        let name = self.name();
        name.split_once('|').map_or(name, |(_, own)| own)
    }

    /// How many arguments it takes, its own name (or names) among them; negative where that is the least.
    #[must_use]
    #[inline]
    pub fn arity(self) -> i8 {
        self.row().arity
    }

    /// What kind of command it is.
    #[must_use]
    #[inline]
    pub fn flags(self) -> Flags {
        self.row().flags
    }

    /// The categories of access rules that it is in.
    #[must_use]
    pub fn categories(self) -> Categories {
        self.row().categories
    }

    /// Where its keys are.
    #[must_use]
    #[inline]
    pub fn key_specs(self) -> &'static [KeySpec] {
        self.row().keys
    }

    #[inline]
    fn row(self) -> &'static Row {
        ROWS.get(self.index()).unwrap_or(&FOREIGN)
    }
}

impl std::fmt::Debug for CommandId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What stands for all that is in no row.
static FOREIGN: Row = Row {
    name: "foreign",
    arity: -1,
    flags: Flags::NONE,
    categories: Categories::NONE,
    keys: &[],
};

/// One row of the table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    arity: i8,
    flags: Flags,
    categories: Categories,
    keys: &'static [KeySpec],
}

#[cfg(test)]
mod tests;
