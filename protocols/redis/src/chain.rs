//! What Redis filters see: a command as one request, and the record of how it went.
//!
//! Replies are not shown: they pass unopened. Start at [`RedisMessages`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_filter::{Fact, Facts, Messages};
use smallvec::SmallVec;

use crate::command::{Categories, CommandId, Foreign, keys};
use crate::request::{CommandRef, Span};

/// The messages of Redis.
#[derive(Debug, Clone, Copy)]
pub struct RedisMessages;

impl Messages for RedisMessages {
    type Request = CommandRequest;
    type Response = ErrorText;
    type Data = ();
    type Record = Record;
}

/// An error that a filter answers with: its prefix, a space, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorText(pub String);

/// A command that a client wants carried out. Used again for the next one: its buffers keep their room.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// The command.
    pub command: CommandId,
    /// What it is, if it is [`CommandId::FOREIGN`].
    pub foreign: Option<Arc<Foreign>>,
    /// The client's user.
    pub user: Arc<[u8]>,
    /// The database that it selected.
    pub database: u32,
    wire: Vec<u8>,
    arguments: Vec<Span>,
    keys: SmallVec<[u32; 8]>,
    large: Option<Large>,
}

/// What is known of a command that is too large to be held, of which only the front is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Large {
    /// How many arguments there will be, the name among them.
    pub declared: u32,
    /// The bytes of the first argument that is not whole, if they were said.
    pub partial: Option<u64>,
}

impl CommandRequest {
    /// A request of this command, of which `call` is the front if it is large.
    #[must_use]
    pub fn new(
        command: CommandId,
        call: CommandRef<'_>,
        large: Option<Large>,
        user: &Arc<[u8]>,
        database: u32,
    ) -> Self {
        let mut request = Self {
            command,
            foreign: None,
            user: Arc::clone(user),
            database,
            wire: Vec::new(),
            arguments: Vec::new(),
            keys: SmallVec::new(),
            large: None,
        };
        request.set(command, call, large);
        request
    }

    /// Takes another command, of which `call` is the front if it is large.
    pub fn set(&mut self, command: CommandId, call: CommandRef<'_>, large: Option<Large>) {
        self.command = command;
        self.large = large;
        self.foreign = None;
        self.wire.clear();
        self.wire.extend_from_slice(call.wire());
        self.arguments.clear();
        self.arguments.extend_from_slice(call.spans());
        self.keys.clear();
        // A server says what is wrong with one whose keys cannot be told.
        let _ = keys(command, &call, &mut self.keys);
    }

    /// Takes in what a command is that is not in the table.
    pub fn set_foreign(&mut self, foreign: Arc<Foreign>) {
        let mut keys = SmallVec::new();
        let _ = foreign.keys(&self.call(), &mut keys);
        self.keys = keys;
        self.foreign = Some(foreign);
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        let foreign = self.foreign.as_ref();
        foreign.map_or_else(|| self.command.name(), |foreign| &foreign.name)
    }

    fn categories(&self) -> Categories {
        let foreign = self.foreign.as_ref();
        foreign.map_or_else(|| self.command.categories(), |foreign| foreign.categories)
    }

    /// The command and its arguments.
    #[must_use]
    pub fn call(&self) -> CommandRef<'_> {
        CommandRef::new(&self.wire, &self.arguments)
    }

    /// How many arguments it has, its name among them.
    #[must_use]
    pub fn count(&self) -> usize {
        let declared = self.large.map(|large| large.declared as usize);
        declared.unwrap_or(self.arguments.len())
    }

    /// The bytes of its longest argument. Of a command that is too large to be held: of those that begin in its front.
    #[must_use]
    pub fn longest(&self) -> u64 {
        let longest = self.call().arguments().map(<[u8]>::len).max();
        let partial = self.large.and_then(|large| large.partial);
        (longest.unwrap_or_default() as u64).max(partial.unwrap_or_default())
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let call = self.call();
        self.keys
            .iter()
            .filter_map(move |index| call.argument(*index as usize))
    }

    /// Its first key up to the first `:`, by which applications group their keys; all of it if there is none.
    #[must_use]
    pub fn key_prefix(&self) -> Option<&[u8]> {
        let key = self.keys().next()?;
        let end = memchr::memchr(b':', key).unwrap_or(key.len());
        key.get(..end)
    }
}

impl Facts for RedisMessages {
    const FACTS: &'static [&'static str] = &[
        "redis.command",
        "redis.category",
        "redis.key",
        "redis.key_prefix",
        "redis.user",
        "redis.database",
    ];

    fn fact(name: &str) -> Option<Fact<Self>> {
        Some(match name {
            "redis.command" => Box::new(|request, _, key| key.write(request.name().as_bytes())),
            "redis.category" => Box::new(|request, _, key| {
                let category = request.categories().foremost();
                key.write(category.as_bytes());
            }),
            "redis.key" => Box::new(|request, _, key| match request.keys().next() {
                Some(first) => key.write(first),
                None => key.absent(),
            }),
            "redis.key_prefix" => Box::new(|request, _, key| match request.key_prefix() {
                Some(prefix) => key.write(prefix),
                None => key.absent(),
            }),
            "redis.user" => Box::new(|request, _, key| key.write(&request.user)),
            "redis.database" => {
                Box::new(|request, _, key| key.write(&request.database.to_be_bytes()))
            }
            _ => return None,
        })
    }
}

/// What is known about a command when it is over. Logs are written from it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Wall-clock time at which it was read.
    pub started_at: SystemTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// Until its reply was whole.
    pub duration: Duration,
    /// The command; `None` of one that there is not.
    pub command: Option<CommandId>,
    /// What it is, if it is [`CommandId::FOREIGN`].
    pub foreign: Option<Arc<Foreign>>,
    /// How many arguments it had, its name among them.
    pub arguments: usize,
    /// The client's user.
    pub user: Arc<[u8]>,
    /// The database that it selected.
    pub database: u32,
    /// The bytes of the command.
    pub bytes_up: u64,
    /// The bytes of the reply.
    pub bytes_down: u64,
    /// The first word of an error reply.
    pub error: Option<&'static str>,
    /// Why it was refused, or its reply did not come: a `reason` label.
    pub reason: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Command;

    fn request(arguments: &[&str]) -> CommandRequest {
        let command = Command::new(arguments);
        let id = CommandId::resolve(&command.as_ref()).unwrap();
        CommandRequest::new(id, command.as_ref(), None, &Arc::from(&b"default"[..]), 0)
    }

    #[test]
    fn the_prefix_of_a_key_is_what_applications_group_by() {
        let cases = [
            (&["GET", "session:1:a"][..], Some(&b"session"[..])),
            (&["GET", "plain"], Some(b"plain")),
            (&["MSET", "a:1", "x", "b:2", "y"], Some(b"a")),
            (&["PING"], None),
        ];
        for (arguments, expected) in cases {
            assert_eq!(request(arguments).key_prefix(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn the_category_of_a_command_is_what_it_does() {
        let rows = [
            ("set", "write"),
            ("incr", "write"),
            ("del", "write"),
            ("flushall", "write"),
            ("blpop", "write"),
            ("get", "read"),
            ("keys", "read"),
            ("xread", "read"),
            ("eval", "scripting"),
            ("publish", "pubsub"),
            ("multi", "transaction"),
            ("ping", "connection"),
            ("config|get", "admin"),
            ("info", "dangerous"),
            ("time", "fast"),
        ];
        for (name, category) in rows {
            let command = CommandId::of_full_name(name.as_bytes()).unwrap();
            assert_eq!(command.categories().foremost(), category, "{name}");
        }
    }

    #[test]
    fn it_is_used_again() {
        let mut used = request(&["MSET", "a:1", "x", "b:2", "y"]);
        let next = Command::new(&["GET", "c"]);
        used.set(CommandId::GET, next.as_ref(), None);
        assert_eq!(used.keys().collect::<Vec<_>>(), [b"c"]);
        assert_eq!(used.call().len(), 2);
    }

    #[test]
    fn a_large_command_is_as_large_as_it_will_be() {
        let mut request = request(&["RPUSH", "list", "four"]);
        assert_eq!((request.count(), request.longest()), (3, 5));
        let front = Command::new(&["RPUSH", "list"]);
        let rows = [(100, None, 5), (3, Some(70_000), 70_000), (3, Some(1), 5)];
        for (declared, partial, longest) in rows {
            let large = Large { declared, partial };
            request.set(CommandId::RPUSH, front.as_ref(), Some(large));
            assert_eq!(request.count(), declared as usize);
            assert_eq!(request.longest(), longest, "{large:?}");
        }
    }
}
