//! Sets of names: flags of commands, categories of access rules, and what is done with a key.
//!
//! The names are those that a server's `COMMAND INFO` and `ACL CAT` use. What a name means is said here, what it leads to is
//! said where it is asked for.

/// Declares a set of named bits.
macro_rules! bits {
    ($(#[$doc:meta])* $set:ident: $number:ty { $($(#[$bit_doc:meta])* $bit:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
        pub struct $set($number);

        #[allow(non_camel_case_types, clippy::upper_case_acronyms)] // Numbers the bits; seen nowhere else.
        #[repr(u8)]
        enum Bit { $($bit,)* }

        impl $set {
            $($(#[$bit_doc])* pub const $bit: Self = Self(1 << Bit::$bit as u8);)*

            /// No name.
            pub const NONE: Self = Self(0);

            /// Every name, with how Redis writes it.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$bit, $text),)*];

            /// Both sets together.
            #[must_use]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether it has all names of `other`.
            #[must_use]
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether it has a name of `other`.
            #[must_use]
            #[inline]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Its names, as Redis writes them.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| *name)
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.debug_set().entries(self.names()).finish()
            }
        }
    };
}

pub use categories::Categories;
pub use command::Flags;
pub use key::KeyFlags;

mod command {
    bits! {
        /// Flags of a command, as `COMMAND INFO` has them.
        Flags: u32 {
            /// For operators.
            ADMIN = "admin",
            /// Answered even while a script runs too long.
            ALLOW_BUSY = "allow_busy",
            /// `ASKING`.
            ASKING = "asking",
            /// May wait for something that other clients do.
            BLOCKING = "blocking",
            /// Refused by a server that is out of memory.
            DENYOOM = "denyoom",
            /// Takes constant or logarithmic time.
            FAST = "fast",
            /// Answered while the server loads its data.
            LOADING = "loading",
            /// Its keys are where its arguments say.
            MOVABLEKEYS = "movablekeys",
            /// Refused while a replica loads data in the background.
            NO_ASYNC_LOADING = "no_async_loading",
            /// Allowed before authentication.
            NO_AUTH = "no_auth",
            /// May be called without any key although it takes keys.
            NO_MANDATORY_KEYS = "no_mandatory_keys",
            /// Refused inside a transaction.
            NO_MULTI = "no_multi",
            /// Refused inside a script.
            NOSCRIPT = "noscript",
            /// Publishes or subscribes.
            PUBSUB = "pubsub",
            /// Reads keys and writes none.
            READONLY = "readonly",
            /// Not shown to `MONITOR`.
            SKIP_MONITOR = "skip_monitor",
            /// Not in the slow log, since it may hold secrets.
            SKIP_SLOWLOG = "skip_slowlog",
            /// Answered by a replica that lost its primary.
            STALE = "stale",
            /// May write keys.
            WRITE = "write",
        }
    }
}

mod categories {
    bits! {
        /// Categories of commands in access rules, as `ACL CAT` has them.
        Categories: u32 {
            /// For operators.
            ADMIN = "admin",
            /// Bitmaps.
            BITMAP = "bitmap",
            /// May wait for something that other clients do.
            BLOCKING = "blocking",
            /// About the connection itself.
            CONNECTION = "connection",
            /// What may do harm: to the server, or to other clients.
            DANGEROUS = "dangerous",
            /// Takes constant or logarithmic time.
            FAST = "fast",
            /// Places.
            GEO = "geo",
            /// Hashes.
            HASH = "hash",
            /// HyperLogLogs.
            HYPERLOGLOG = "hyperloglog",
            /// Keys, whatever they hold.
            KEYSPACE = "keyspace",
            /// Lists.
            LIST = "list",
            /// Publishes or subscribes.
            PUBSUB = "pubsub",
            /// Reads keys.
            READ = "read",
            /// Scripts and functions.
            SCRIPTING = "scripting",
            /// Sets.
            SET = "set",
            /// All that is not fast.
            SLOW = "slow",
            /// Sorted sets.
            SORTEDSET = "sortedset",
            /// Streams.
            STREAM = "stream",
            /// Strings.
            STRING = "string",
            /// Transactions.
            TRANSACTION = "transaction",
            /// Writes keys.
            WRITE = "write",
        }
    }

    impl Categories {
        /// The category of this name (without `@`), in any case. `all` is none: every command is in it.
        #[must_use]
        pub fn of(name: &[u8]) -> Option<Self> {
            Self::NAMES
                .iter()
                .find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name))
                .map(|(category, _)| *category)
        }

        /// Of the many that most commands are in, the name of the one that says what is done: `write` or `read`, and where no
        /// data is touched `scripting`, `pubsub`, `transaction`, `connection`, `admin`; else the first.
        #[must_use]
        pub fn foremost(self) -> &'static str {
            const ORDER: [Categories; 7] = [
                Categories::WRITE,
                Categories::READ,
                Categories::SCRIPTING,
                Categories::PUBSUB,
                Categories::TRANSACTION,
                Categories::CONNECTION,
                Categories::ADMIN,
            ];
            let found = ORDER.into_iter().find(|one| self.contains(*one));
            found.unwrap_or(self).names().next().unwrap_or_default()
        }
    }
}

mod key {
    bits! {
        /// What is done with a key, as `COMMAND GETKEYSANDFLAGS` has it.
        KeyFlags: u16 {
            /// The data is read only.
            RO = "RO",
            /// The data is read and written.
            RW = "RW",
            /// The data is replaced without being read.
            OW = "OW",
            /// The key is deleted.
            RM = "RM",
            /// What the key holds is given back, or copied.
            ACCESS = "access",
            /// What the key holds is changed.
            UPDATE = "update",
            /// Something is added to what the key holds.
            INSERT = "insert",
            /// Something of what the key holds is deleted.
            DELETE = "delete",
            /// No key, but placed as if it were one: a sharded channel.
            NOT_KEY = "not_key",
            /// There may be keys that the specification does not find.
            INCOMPLETE = "incomplete",
            /// What is done depends on other arguments.
            VARIABLE_FLAGS = "variable_flags",
        }
    }

    impl KeyFlags {
        /// What reads a key, in the sense of access rules.
        pub const READS: Self = Self::ACCESS;
        /// What writes a key, in the sense of access rules.
        pub const WRITES: Self = Self::UPDATE.and(Self::INSERT).and(Self::DELETE);
    }
}
