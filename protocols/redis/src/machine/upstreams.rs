//! What a client's machine asks of the world: where keys live, and to carry commands there.
//!
//! No sockets here: the session implements [`Upstreams`] over connections, tests over scripts. Start there.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::slots::SlotId;
use crate::command::handling::Scope;
use crate::command::{Arguments, CommandId, Flags, Foreign, KeysError, is_refused_anywhere, keys};
use crate::message::RespVersion;
use crate::renaming::Renaming;
use crate::reply::ReplyKind;
use crate::request::CommandRef;

/// A shard of an upstream, and what is done with commands on their way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Which of the upstreams that there are.
    pub upstream: u16,
    /// The shard.
    pub shard: u16,
    /// Which of the ways that there are: what is done with keys, whether copies go elsewhere, whether requests are shared. 0 is
    /// the plain way, on which a command goes as it came.
    pub way: u16,
}

/// A command under way: what rules and filters may ask about.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Which command it is.
    pub id: CommandId,
    /// Its bytes and arguments.
    pub command: CommandRef<'a>,
    /// What it is, if it is [`CommandId::FOREIGN`].
    pub foreign: Option<&'a Foreign>,
}

impl<'a> Call<'a> {
    /// A command of the table.
    #[must_use]
    #[inline]
    pub const fn new(id: CommandId, command: CommandRef<'a>) -> Self {
        Self {
            id,
            command,
            foreign: None,
        }
    }

    /// What kind of command it is.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> Flags {
        self.foreign
            .map_or_else(|| self.id.flags(), |foreign| foreign.flags)
    }

    /// Whether it is none of the table, and may wait for what others do.
    #[must_use]
    #[inline]
    pub fn is_foreign_wait(&self) -> bool {
        self.foreign.is_some_and(Foreign::may_wait)
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.foreign
            .map_or_else(|| self.id.name(), |foreign| &foreign.name)
    }

    /// Appends the indexes of those of `args` that are keys: its own, or what is known of them.
    ///
    /// # Errors
    /// They cannot be what the command wants.
    #[inline]
    pub fn keys<A: Arguments + ?Sized>(
        &self,
        args: &A,
        found: &mut SmallVec<[u32; 8]>,
    ) -> Result<(), KeysError> {
        match self.foreign {
            None => keys(self.id, args, found),
            Some(foreign) => foreign.keys(args, found),
        }
    }

    /// Whether its keys cannot be told, and any server refuses it: see [`is_refused_anywhere`].
    #[must_use]
    pub fn is_refused_anywhere(&self) -> bool {
        self.foreign.is_none() && is_refused_anywhere(self.id, &self.command)
    }
}

/// What a connection was brought to before a client's commands go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Speaks {
    /// The database that was selected.
    pub database: u32,
    /// The version that replies come in.
    pub version: RespVersion,
}

/// Whom a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticket {
    /// A client's slot, or a part of what it waits for.
    Slot {
        /// The slot.
        slot: SlotId,
        /// Which part of it. 0 where there is one.
        part: u32,
    },
    /// A command that the machine added itself, such as MULTI: an error ends the pinned connection.
    Own,
    /// As [`Own`](Self::Own), about tracking: without it the client would not hear of changes.
    Tracking,
    /// The number of a connection at its server, over which messages about tracked keys are to come.
    Ear(PinId),
    /// A question of the owner's, whose answer is no matter of the machine's.
    Asked,
}

/// A connection of this client alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PinId(pub u32);

/// What a connection of a client's own is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// MULTI or WATCH.
    Transaction,
    /// One command that may wait.
    Blocking {
        /// For how long; `None`: for ever.
        at_most: Option<Duration>,
    },
    /// Subscriptions: it speaks RESP3, in which they cannot be taken for replies.
    Subscription,
    /// One command that is too large to be held.
    Large,
    /// All that a client says to one place while its keys are tracked.
    Tracking {
        /// It is to hear of all keys, wherever they are.
        is_broadcast: bool,
    },
    /// What the server says of all commands: replies that nobody asked for are pushes.
    Monitor,
    /// A script is to be ended: the server does nothing else meanwhile than to say who it lets in.
    Kill,
}

/// What becomes of a connection of a client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinEnd {
    /// It is as it was: others may have it.
    Clean,
    /// It may hold state: it is closed.
    Dirty,
}

/// A piece of a reply.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// All of it.
    Whole {
        /// Its type.
        kind: ReplyKind,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// The front of a large one.
    Begin {
        /// Its type.
        kind: ReplyKind,
        /// The first bytes.
        bytes: &'a [u8],
    },
    /// More of it.
    More {
        /// The next bytes.
        bytes: &'a [u8],
        /// Whether they are the last.
        last: bool,
    },
    /// It will not come.
    Lost(Lost),
}

/// Why a reply will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// No rule takes the command.
    #[error("no route for this command")]
    NoRoute,
    /// The cluster has no such shard, or none that can be used.
    #[error("no endpoint available")]
    NoEndpoint,
    /// The endpoint cannot be connected.
    #[error("upstream connection failed")]
    Connect,
    /// The endpoint did not take the gateway's credentials or settings.
    #[error("upstream refused the connection")]
    Refused,
    /// The connection ended before the reply.
    #[error("upstream connection lost")]
    Closed,
    /// No reply came in time.
    #[error("upstream timeout")]
    Timeout,
    /// What came is no RESP.
    #[error("upstream protocol error")]
    Protocol,
    /// More is under way than is allowed.
    #[error("too many commands under way")]
    Overflow,
    /// The cluster has as many connections as it may.
    #[error("too many upstream connections")]
    Full,
    /// It has as many as clients may have to themselves.
    #[error("too many clients with a connection of their own")]
    OwnFull,
    /// A node of a Redis Cluster named one that does not belong to it.
    #[error("upstream redirected to an unknown node")]
    Redirect,
    /// A key does not begin with what its route takes off.
    #[error("key does not begin with the prefix of its route")]
    KeyPrefix,
    /// The command shows or changes more than keys with the prefix of its route.
    #[error("command cannot be kept to keys with the prefix of its route")]
    BeyondPrefix,
    /// No replica can be read from, and nothing else may be.
    #[error("no replica available")]
    NoReplica,
    /// The server is not the primary that it was taken for.
    #[error("upstream is not the primary")]
    Role,
    /// Another server has become the primary.
    #[error("upstream has a new primary")]
    Switched,
}

impl Lost {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoints",
            Self::Connect => "upstream_connect",
            Self::Refused => "upstream_refused",
            Self::Closed => "upstream_closed",
            Self::Timeout => "upstream_timeout",
            Self::Protocol => "upstream_protocol",
            Self::Overflow => "upstream_overflow",
            Self::Full => "upstream_connections",
            Self::OwnFull => "own_connections",
            Self::Redirect => "redirect_refused",
            Self::KeyPrefix => "key_prefix",
            Self::BeyondPrefix => "beyond_prefix",
            Self::NoReplica => "no_replica",
            Self::Role => "upstream_role",
            Self::Switched => "upstream_switched",
        }
    }
}

/// How a command was sent, for who makes copies of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Whole, and not to wait.
    Alone,
    /// In a transaction, which may not be carried out.
    Queued,
    /// It may wait for what others do.
    Waiting,
    /// Its front only: the rest is not held.
    Large,
}

/// Destinations of a command that goes to several.
pub type Destinations = SmallVec<[Destination; 4]>;

/// Where a client's commands go.
pub trait Upstreams {
    /// Who has this key.
    ///
    /// # Errors
    /// Nobody.
    fn locate(&mut self, call: &Call<'_>, key: &[u8]) -> Result<Destination, Lost>;

    /// Where a command without keys goes.
    ///
    /// # Errors
    /// Nowhere.
    fn anywhere(&mut self, call: &Call<'_>) -> Result<Destination, Lost>;

    /// All places that a command about the whole keyspace goes to, in the order of shards.
    ///
    /// # Errors
    /// There are none.
    fn everywhere(&mut self, call: &Call<'_>, scope: Scope) -> Result<Destinations, Lost>;

    /// What is done with keys on a way.
    fn renaming(&self, _way: u16) -> Option<Arc<Renaming>> {
        None
    }

    /// All shards that any command of this client may go to: of a Redis Cluster, the nodes that have slots now.
    ///
    /// # Errors
    /// They are not known.
    fn shards(&mut self) -> Result<Destinations, Lost>;

    /// The place of the server that has what is at a place now: of a slot, that of its node.
    ///
    /// # Errors
    /// There is none.
    fn server_of(&mut self, to: Destination) -> Result<Destination, Lost> {
        Ok(to)
    }

    /// Where this client has written, if the servers that took it are still the ones that are asked.
    ///
    /// # Errors
    /// One of them may be another by now, or may have lost it. That is said once.
    fn written(&mut self) -> Result<Destinations, Lost> {
        Err(Lost::Closed)
    }

    /// Hands messages about tracked keys to the client with this number from now on. Whether there is one that listens, and that
    /// may be told.
    fn redirect_to(&mut self, _client: u64) -> bool {
        false
    }

    /// Sends a whole command over the connection that clients share. Its reply comes later, never from inside this call.
    ///
    /// # Errors
    /// It cannot be sent, and no reply will come.
    fn send(
        &mut self,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost>;

    /// As [`send`](Self::send), of a command that only reads, from a client that has nothing else under way: it may be answered
    /// by the reply to the same command of another client that was sent after this one's last answer.
    ///
    /// # Errors
    /// As there.
    fn send_shared(
        &mut self,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost> {
        self.send(to, speaks, wire, ticket)
    }

    /// A command was sent, not or not only on the plain way.
    fn on_sent(&mut self, _call: &Call<'_>, _speaks: Speaks, _sent: Sent) {}

    /// Gives the client a connection of its own, which may not be open yet.
    ///
    /// # Errors
    /// There is none to be had.
    fn pin(&mut self, to: Destination, speaks: Speaks, purpose: Purpose) -> Result<PinId, Lost>;

    /// Sends bytes over a connection of the client's own. With a ticket they begin a command.
    ///
    /// # Errors
    /// The connection is gone.
    fn send_pinned(&mut self, pin: PinId, wire: &[u8], ticket: Option<Ticket>) -> Result<(), Lost>;

    /// Ends it. Replies that are still to come are dropped.
    fn unpin(&mut self, pin: PinId, end: PinEnd);
}
