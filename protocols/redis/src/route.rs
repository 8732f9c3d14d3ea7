//! Which rule takes a command: by its key, by what it is, and by who the client is.
//!
//! Rules are ordered and the first that fits decides, for each key by itself. Nothing here picks a server. Start at
//! [`Condition`].

use std::net::IpAddr;

use portcullis_config::Network;
use portcullis_route::{AnyOf, Covers, ValuePattern};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::acl::Glob;
use crate::command::{Categories, CommandId, Foreign};

/// What a rule may ask about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The command.
    pub command: CommandId,
    /// What it is, if it is [`CommandId::FOREIGN`].
    pub foreign: Option<&'a Foreign>,
    /// The key; `None` of a command without.
    pub key: Option<&'a [u8]>,
    /// The database that the client selected.
    pub database: u32,
    /// The client's user.
    pub user: &'a [u8],
    /// The client's address.
    pub address: IpAddr,
}

/// What a client and its command must be for a rule to take them. `None` asks nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Condition {
    /// Keys.
    pub keys: Option<AnyOf<KeyPattern>>,
    /// Commands.
    pub commands: Option<AnyOf<CommandPattern>>,
    /// Databases.
    pub databases: Option<Vec<u32>>,
    /// Users.
    pub users: Option<AnyOf<ValuePattern>>,
    /// Networks.
    pub networks: Option<AnyOf<InNetwork>>,
}

impl Condition {
    /// Whether the rule takes it.
    #[must_use]
    #[inline]
    pub fn takes(&self, asked: &Asked<'_>) -> bool {
        let key = |any: &AnyOf<KeyPattern>| {
            asked
                .key
                .is_some_and(|key| any.0.iter().any(|pattern| pattern.0.matches(key)))
        };
        let command = |any: &AnyOf<CommandPattern>| {
            let mut all = any.0.iter();
            all.any(|it| it.takes(asked.command, asked.foreign))
        };
        self.keys.as_ref().is_none_or(key)
            && self.commands.as_ref().is_none_or(command)
            && self.may_take(asked.database, asked.user, asked.address)
    }

    /// Whether it takes anything that this client says now.
    #[must_use]
    #[inline]
    pub fn may_take(&self, database: u32, user: &[u8], address: IpAddr) -> bool {
        let is_user = |any: &AnyOf<ValuePattern>| any.0.iter().any(|it| it.matches(Some(user)));
        let network = |any: &AnyOf<InNetwork>| any.0.iter().any(|it| it.0.contains(address));
        let selected = |list: &Vec<u32>| list.contains(&database);
        self.databases.as_ref().is_none_or(selected)
            && self.users.as_ref().is_none_or(is_user)
            && self.networks.as_ref().is_none_or(network)
    }
}

impl Covers for Condition {
    fn covers(&self, other: &Self) -> bool {
        let databases = match (&self.databases, &other.databases) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.iter().all(|one| ours.contains(one)),
        };
        databases
            && self.keys.covers(&other.keys)
            && self.commands.covers(&other.commands)
            && self.users.covers(&other.users)
            && self.networks.covers(&other.networks)
    }
}

/// A network, as a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InNetwork(pub Network);

impl Covers for InNetwork {
    fn covers(&self, other: &Self) -> bool {
        self.0.get().contains(&other.0.get())
    }
}

/// A pattern of keys, as Redis matches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern(pub Glob);

impl Covers for KeyPattern {
    /// Of patterns with more than a `*` at their end only equal ones are known to cover each other.
    fn covers(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.0.as_bytes());
        let plain = |bytes: &[u8]| !bytes.iter().any(|byte| b"*?[\\".contains(byte));
        ours == theirs
            || ours
                .strip_suffix(b"*")
                .is_some_and(|start| !start.is_empty() && plain(start) && theirs.starts_with(start))
    }
}

impl<'de> Deserialize<'de> for KeyPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(serde::de::Error::custom(
                "a pattern has at least one character",
            ));
        }
        let glob = Glob::new(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Self(glob))
    }
}

impl JsonSchema for KeyPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1, "maxLength": Glob::LONGEST, "examples": ["session:*"]
        })
    }
}

/// Commands: one, with its subcommands, or those of a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandPattern {
    /// `get`, `config`, `config|get`.
    Command(CommandId),
    /// `@read`.
    Category(Categories),
    /// `ft.search`: of a module, whose commands have a dot in their names. In lower case.
    Foreign(Box<str>),
}

impl CommandPattern {
    /// # Errors
    /// There is no such command or category.
    fn read(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('@') {
            let category = Categories::of(name.as_bytes());
            return category
                .map(Self::Category)
                .ok_or_else(|| format!("there is no category '{name}'"));
        }
        if let Some(command) = CommandId::of_full_name(text.as_bytes()) {
            return Ok(Self::Command(command));
        }
        let foreign = Foreign::name_of(text.as_bytes()).filter(|name| name.contains('.'));
        foreign
            .map(Self::Foreign)
            .ok_or_else(|| format!("there is no command '{text}'"))
    }

    /// Whether the command is one of them.
    #[must_use]
    #[inline]
    pub fn takes(&self, command: CommandId, foreign: Option<&Foreign>) -> bool {
        match self {
            Self::Command(one) => command == *one || command.parent() == Some(*one),
            Self::Category(category) => {
                let categories = foreign.map_or_else(|| command.categories(), |it| it.categories);
                categories.contains(*category)
            }
            Self::Foreign(name) => foreign.is_some_and(|foreign| foreign.name == *name),
        }
    }
}

impl Covers for CommandPattern {
    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Command(one) => self.takes(*one, None),
            Self::Category(_) | Self::Foreign(_) => self == other,
        }
    }
}

impl<'de> Deserialize<'de> for CommandPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for CommandPattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["get", "config|get", "@read", "ft.search"] })
    }
}
