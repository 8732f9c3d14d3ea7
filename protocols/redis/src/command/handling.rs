//! What the gateway does with each command, and which it refuses unless it is told otherwise.
//!
//! This is where opinions are; facts are in `table.rs`. Nothing is done here: the session reads these answers. How a command
//! is handled and whether it is denied are apart, since an operator may allow what is denied by default.

use super::keys::the_one_key;
use super::table::ROWS;
use super::{CommandId, Flags};

/// What the gateway does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Sends it where its keys are, which must be one place. Without keys, any endpoint will do.
    Forward,
    /// Takes it apart by key, and puts the replies together.
    Split(Split),
    /// Sends it to many endpoints, and merges their replies.
    FanOut(Scope, Merge),
    /// Answers it, for this client alone.
    Local(Local),
    /// Gives the client an upstream connection of its own for as long as that is needed.
    Pin(Pin),
}

/// How the replies to the parts of one command become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// `MGET`: values, in the order of the keys.
    Values,
    /// `MSET`: a key and a value each; OK if all are.
    Pairs,
    /// `DEL`, `UNLINK`, `EXISTS`, `TOUCH`: the sum.
    Count,
}

/// To whom a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The primary of each shard.
    Primaries,
    /// Every endpoint.
    Endpoints,
}

/// How replies become one. An error is the reply unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Integers are added.
    Sum,
    /// Arrays are joined.
    Join,
    /// Arrays are joined, and what is in several is there once.
    Union,
    /// Arrays of names and numbers, alternating: the numbers of a name are added.
    SumByName,
    /// `SCAN`: one after the other, with a cursor that says which.
    Cursor,
    /// All say the same, or else the first error is the reply.
    Same,
    /// One must succeed; its reply is the reply.
    AnyOne,
    /// `RANDOMKEY`: one of those that is not null.
    NotNull,
    /// Arrays of 0 and 1: 1 where all have it.
    Every,
    /// The least integer.
    Least,
    /// `INFO`: the texts, one behind the other, each under the name of its endpoint.
    Texts,
    /// The first that comes: the endpoints are set up alike.
    First,
}

/// What the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `PING`: in RESP2 it has another form while there are subscriptions.
    Ping,
    /// `ECHO`.
    Echo,
    /// `HELLO`: version of the protocol, user, name.
    Hello,
    /// `AUTH`.
    Auth,
    /// `ACL WHOAMI`: the user of the gateway.
    WhoAmI,
    /// `QUIT`.
    Quit,
    /// `RESET`.
    Reset,
    /// `SELECT`: which upstream connection is used from now on.
    Select,
    /// `CLIENT ID`.
    ClientId,
    /// `CLIENT INFO`.
    ClientInfo,
    /// `CLIENT GETNAME`.
    ClientGetName,
    /// `CLIENT SETNAME`.
    ClientSetName,
    /// `CLIENT REPLY`: which replies the client wants to see. It never goes to a shared connection.
    ClientReply,
    /// `CLIENT NO-EVICT`: is about a server's memory; answered with OK.
    ClientNoEvict,
    /// `CLIENT LIST`: as if the client were the only one.
    ClientList,
    /// `READONLY` and `READWRITE`: whether replicas are read is the gateway's to decide; answered with OK.
    ReadMode,
    /// `CLUSTER SLOTS`, `SHARDS`, `NODES`, `INFO`, `MYID`: one node, the gateway, that has all slots.
    ClusterView,
    /// `CLUSTER KEYSLOT`.
    ClusterKeySlot,
}

/// What a client needs a connection of its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// `MULTI` to `EXEC` or `DISCARD`.
    Transaction,
    /// `WATCH` to `EXEC`, `DISCARD` or `UNWATCH`.
    Watch,
    /// A command that may wait. Only if [`wait`](super::channels::wait) says so; else it is forwarded.
    Blocking,
    /// As long as there are subscriptions.
    Subscription,
    /// As long as the server tells which keys were changed.
    Tracking,
    /// `MONITOR`: to the end.
    Monitor,
    /// A replica of the server's: to the end.
    Replication,
}

/// Why a command is refused by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It shows what other clients do, or does something to them. Over shared connections it would hit the wrong ones.
    OtherClients,
    /// It deletes or swaps whole databases.
    WholeKeyspace,
    /// It sets up, stops, inspects or saves the server, or shows its secrets.
    Server,
    /// It changes which server has which data, or speaks for a server.
    Topology,
    /// It changes or stops what others run: functions and scripts.
    Code,
}

impl Denial {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::OtherClients => "other_clients",
            Self::WholeKeyspace => "whole_keyspace",
            Self::Server => "server",
            Self::Topology => "topology",
            Self::Code => "code",
        }
    }
}

impl CommandId {
    /// What the gateway does with it.
    #[must_use]
    pub const fn handling(self) -> Handling {
        use Handling::{FanOut, Local, Pin, Split};
        match self {
            Self::MGET => Split(self::Split::Values),
            Self::MSET => Split(self::Split::Pairs),
            Self::DEL | Self::UNLINK | Self::EXISTS | Self::TOUCH => Split(self::Split::Count),

            Self::MULTI | Self::EXEC | Self::DISCARD => Pin(self::Pin::Transaction),
            Self::WATCH | Self::UNWATCH => Pin(self::Pin::Watch),
            Self::BLPOP | Self::BRPOP | Self::BLMOVE | Self::BLMPOP | Self::BRPOPLPUSH => {
                Pin(self::Pin::Blocking)
            }
            Self::BZPOPMIN | Self::BZPOPMAX | Self::BZMPOP | Self::XREAD | Self::XREADGROUP => {
                Pin(self::Pin::Blocking)
            }
            Self::SUBSCRIBE | Self::PSUBSCRIBE | Self::SSUBSCRIBE => Pin(self::Pin::Subscription),
            Self::UNSUBSCRIBE | Self::PUNSUBSCRIBE | Self::SUNSUBSCRIBE => {
                Pin(self::Pin::Subscription)
            }
            Self::CLIENT_TRACKING | Self::CLIENT_CACHING => Pin(self::Pin::Tracking),
            Self::CLIENT_TRACKINGINFO | Self::CLIENT_GETREDIR => Pin(self::Pin::Tracking),
            Self::MONITOR => Pin(self::Pin::Monitor),
            Self::SYNC | Self::PSYNC | Self::REPLCONF => Pin(self::Pin::Replication),

            _ => match (self.answered_here(), self.merged()) {
                (Some(local), _) => Local(local),
                (None, Some((scope, merge))) => FanOut(scope, merge),
                (None, None) => Handling::Forward,
            },
        }
    }

    const fn answered_here(self) -> Option<Local> {
        Some(match self {
            Self::PING => Local::Ping,
            Self::ECHO => Local::Echo,
            Self::HELLO => Local::Hello,
            Self::AUTH => Local::Auth,
            Self::ACL_WHOAMI => Local::WhoAmI,
            Self::QUIT => Local::Quit,
            Self::RESET => Local::Reset,
            Self::SELECT => Local::Select,
            Self::CLIENT_ID => Local::ClientId,
            Self::CLIENT_INFO => Local::ClientInfo,
            Self::CLIENT_GETNAME => Local::ClientGetName,
            Self::CLIENT_SETNAME => Local::ClientSetName,
            Self::CLIENT_REPLY => Local::ClientReply,
            Self::CLIENT_NO_EVICT => Local::ClientNoEvict,
            Self::CLIENT_LIST => Local::ClientList,
            Self::READONLY | Self::READWRITE => Local::ReadMode,
            Self::CLUSTER_SLOTS | Self::CLUSTER_SHARDS | Self::CLUSTER_NODES => Local::ClusterView,
            Self::CLUSTER_INFO | Self::CLUSTER_MYID => Local::ClusterView,
            Self::CLUSTER_KEYSLOT => Local::ClusterKeySlot,
            _ => return None,
        })
    }

    const fn merged(self) -> Option<(Scope, Merge)> {
        use Scope::{Endpoints, Primaries};
        Some(match self {
            Self::DBSIZE => (Primaries, Merge::Sum),
            Self::KEYS => (Primaries, Merge::Join),
            Self::SCAN => (Primaries, Merge::Cursor),
            Self::RANDOMKEY => (Primaries, Merge::NotNull),
            Self::FLUSHDB | Self::FLUSHALL | Self::SWAPDB => (Primaries, Merge::Same),
            Self::WAIT => (Primaries, Merge::Least),

            // Patterns are subscribed to everywhere, so that all say the same.
            Self::PUBSUB_NUMPAT => (Primaries, Merge::First),
            Self::PUBSUB_CHANNELS | Self::PUBSUB_SHARDCHANNELS => (Primaries, Merge::Union),
            Self::PUBSUB_NUMSUB | Self::PUBSUB_SHARDNUMSUB => (Primaries, Merge::SumByName),

            // Replicas are given scripts too: EVALSHA_RO may be sent to them.
            Self::SCRIPT_LOAD | Self::SCRIPT_FLUSH => (Endpoints, Merge::Same),
            Self::SCRIPT_EXISTS => (Primaries, Merge::Every),
            Self::SCRIPT_KILL | Self::FUNCTION_KILL => (Endpoints, Merge::AnyOne),
            // Functions reach replicas as data does.
            Self::FUNCTION_LOAD | Self::FUNCTION_DELETE => (Primaries, Merge::Same),
            Self::FUNCTION_FLUSH | Self::FUNCTION_RESTORE => (Primaries, Merge::Same),
            Self::FUNCTION_LIST | Self::FUNCTION_DUMP => (Primaries, Merge::First),

            Self::INFO | Self::LATENCY_DOCTOR | Self::MEMORY_DOCTOR => (Endpoints, Merge::Texts),
            Self::CONFIG_GET => (Primaries, Merge::First),
            Self::CONFIG_SET | Self::CONFIG_RESETSTAT => (Endpoints, Merge::Same),
            Self::CONFIG_REWRITE | Self::MEMORY_PURGE => (Endpoints, Merge::Same),
            Self::SLOWLOG_GET => (Endpoints, Merge::Join),
            Self::SLOWLOG_LEN | Self::LATENCY_RESET => (Endpoints, Merge::Sum),
            Self::SLOWLOG_RESET => (Endpoints, Merge::Same),
            Self::SAVE | Self::BGSAVE | Self::BGREWRITEAOF => (Endpoints, Merge::Same),
            _ => return None,
        })
    }

    /// The index of its only key, if it is a command that is sent as it came to where that is, and never anything else.
    #[must_use]
    #[inline]
    pub fn plain_key(self) -> Option<u8> {
        PLAIN.get(self.index()).copied().filter(|index| *index > 0)
    }

    /// Whether a replica may answer it: it only reads, and what it answers is about the keys.
    ///
    /// A cursor is of one server. What a server remembers of its own, such as when a key was used or which scripts it was
    /// given, another does not know.
    #[must_use]
    #[inline]
    pub fn is_replicas(self) -> bool {
        let is_own = matches!(
            self,
            Self::SCAN
                | Self::SSCAN
                | Self::HSCAN
                | Self::ZSCAN
                | Self::TOUCH
                | Self::OBJECT_FREQ
                | Self::OBJECT_IDLETIME
                | Self::EVALSHA_RO
        );
        self.flags().contains(Flags::READONLY) && !is_own
    }

    /// Whether something may be written by it that `WAIT` is about. Nobody knows what scripts do.
    #[must_use]
    #[inline]
    pub fn may_write(self) -> bool {
        !self.flags().contains(Flags::READONLY) && self != Self::WAIT
    }

    /// Whether it may do more than its arguments say: it runs a script or a function, or loads one for others to run.
    #[must_use]
    pub const fn runs_code(self) -> bool {
        matches!(
            self,
            Self::EVAL
                | Self::EVAL_RO
                | Self::EVALSHA
                | Self::EVALSHA_RO
                | Self::FCALL
                | Self::FCALL_RO
                | Self::SCRIPT_LOAD
                | Self::FUNCTION_LOAD
                | Self::FUNCTION_RESTORE
        )
    }

    /// Why it is refused unless the configuration allows it. `None` if it is not.
    ///
    /// What managed services refuse too is refused here, and what does harm over connections that clients share. `KEYS`,
    /// `SCAN`, `INFO`, `SORT` and scripts are allowed: slow they may be, but clients live on them.
    #[must_use]
    pub fn denial(self) -> Option<Denial> {
        let own = self.denial_of_its_own();
        if !self.is_subcommand() {
            return own;
        }
        own.or_else(|| {
            let parent = match self.name().split_once('|')? {
                (_, "help") => return None,
                ("acl", own) => return (own != "whoami" && own != "cat").then_some(Denial::Server),
                (parent, _) => parent,
            };
            match parent {
                // Shows `requirepass` and `masterauth`, and moves the files that a server writes.
                "config" => Some(Denial::Server),
                // Loads code into the server.
                "module" => Some(Denial::Server),
                "latency" => Some(Denial::Server),
                // Shows what others asked for.
                "slowlog" => Some(Denial::OtherClients),
                "cluster" => (self.handling() == Handling::Forward).then_some(Denial::Topology),
                _ => None,
            }
        })
    }

    const fn denial_of_its_own(self) -> Option<Denial> {
        Some(match self {
            // Shows all that others say, values and all.
            Self::MONITOR => Denial::OtherClients,
            // Ids of a server's clients are upstream connections, which clients share.
            Self::CLIENT_KILL | Self::CLIENT_PAUSE | Self::CLIENT_UNPAUSE => Denial::OtherClients,
            Self::CLIENT_UNBLOCK => Denial::OtherClients,
            Self::FLUSHALL | Self::FLUSHDB | Self::SWAPDB => Denial::WholeKeyspace,
            Self::SHUTDOWN | Self::SAVE | Self::BGSAVE | Self::BGREWRITEAOF => Denial::Server,
            // Reads and crashes at will.
            Self::DEBUG | Self::PFDEBUG | Self::PFSELFTEST => Denial::Server,
            Self::MEMORY_PURGE | Self::MEMORY_MALLOC_STATS | Self::MEMORY_DOCTOR => Denial::Server,
            Self::REPLICAOF | Self::SLAVEOF | Self::FAILOVER => Denial::Topology,
            Self::SYNC | Self::PSYNC | Self::REPLCONF => Denial::Topology,
            // Sends data to any host that the client names.
            Self::MIGRATE => Denial::Topology,
            // Get past the check of who has a slot.
            Self::ASKING | Self::RESTORE_ASKING => Denial::Topology,
            Self::SCRIPT_KILL | Self::SCRIPT_DEBUG => Denial::Code,
            Self::FUNCTION_LOAD | Self::FUNCTION_DELETE | Self::FUNCTION_FLUSH => Denial::Code,
            Self::FUNCTION_RESTORE | Self::FUNCTION_KILL => Denial::Code,
            _ => return None,
        })
    }
}

/// The indexes of the keys of plain commands; 0 of all others.
static PLAIN: [u8; CommandId::COUNT] = plain();

#[allow(clippy::indexing_slicing)] // Run by the compiler only, which would say so.
const fn plain() -> [u8; CommandId::COUNT] {
    let mut keys = [0; CommandId::COUNT];
    let mut number = 0;
    while number < CommandId::COUNT {
        if let Handling::Forward = CommandId::at(number).handling()
            && let Some(index) = the_one_key(ROWS[number].keys)
        {
            keys[number] = index;
        }
        number += 1;
    }
    keys
}

#[cfg(test)]
mod tests;
