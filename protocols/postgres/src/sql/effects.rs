//! What a statement leaves behind, or needs, beyond its rows: what a pool must know before it lends a server connection on.
//!
//! Effects are what the text shows. What a function, trigger or view does inside is not seen; [`Effects::OPAQUE`]
//! marks the statements that run code of their own. Start at [`Effects`].

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Names, bits and labels in one list.
macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $label:literal;)*) => {
        impl Effects {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const LABELS: &'static [(Self, &'static str)] = &[$((Self::$name, $label)),*];
        }
    };
}

/// A set of effects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Effects(u64);

effects! {
    /// SET or SET SESSION of a parameter: lasts until RESET or the end of the session.
    SET_SESSION = 0, "set_session";
    /// SET LOCAL, SET TRANSACTION, SET CONSTRAINTS: gone with the transaction.
    SET_LOCAL = 1, "set_local";
    /// RESET of one parameter, or of ALL when the statement has no name.
    RESET = 2, "reset";
    /// SET ROLE other than NONE.
    SET_ROLE = 3, "set_role";
    /// RESET ROLE, SET ROLE NONE or DEFAULT.
    RESET_ROLE = 4, "reset_role";
    /// SET SESSION AUTHORIZATION, or its RESET.
    SESSION_AUTHORIZATION = 5, "session_authorization";
    /// Makes a temporary table, sequence or view, or something in `pg_temp`.
    TEMP_OBJECT = 6, "temp_object";
    /// Takes an advisory lock of the session (not the `_xact_` ones).
    ADVISORY_LOCK = 7, "advisory_lock";
    /// Gives one advisory lock of the session back.
    ADVISORY_UNLOCK = 8, "advisory_unlock";
    /// Gives all advisory locks of the session back.
    ADVISORY_UNLOCK_ALL = 9, "advisory_unlock_all";
    /// LISTEN.
    LISTEN = 10, "listen";
    /// UNLISTEN of one channel, or of all when the statement has no name.
    UNLISTEN = 11, "unlisten";
    /// DECLARE ... WITH HOLD: the cursor outlives the transaction.
    HOLD_CURSOR = 12, "hold_cursor";
    /// CLOSE ALL.
    CLOSE_ALL = 13, "close_all";
    /// SQL-level PREPARE.
    PREPARE = 14, "prepare";
    /// SQL-level EXECUTE, also by EXPLAIN or CREATE TABLE AS.
    EXECUTE = 15, "execute";
    /// DEALLOCATE of one statement, or of ALL when the statement has no name.
    DEALLOCATE = 16, "deallocate";
    /// DISCARD ALL.
    DISCARD_ALL = 17, "discard_all";
    /// DISCARD PLANS.
    DISCARD_PLANS = 18, "discard_plans";
    /// DISCARD SEQUENCES.
    DISCARD_SEQUENCES = 19, "discard_sequences";
    /// DISCARD TEMP.
    DISCARD_TEMP = 20, "discard_temp";
    /// LOAD: the library stays in the server process.
    LOAD = 21, "load";
    /// Calls `set_config`, which is SET or SET LOCAL by an argument.
    SET_CONFIG_CALL = 22, "set_config_call";
    /// Runs code that the text does not show: DO, CALL, a function by a name that cannot be read.
    OPAQUE = 23, "opaque";
    /// COPY FROM STDIN: the client sends data next.
    COPY_IN = 24, "copy_in";
    /// COPY TO STDOUT: the server sends data.
    COPY_OUT = 25, "copy_out";
    /// BEGIN, START TRANSACTION, or the CHAIN of an end.
    TRANSACTION_BEGIN = 26, "transaction_begin";
    /// COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION.
    TRANSACTION_END = 27, "transaction_end";
    /// A command of the replication protocol, or a call that makes a replication slot or origin of the session.
    REPLICATION = 28, "replication";
    /// Reads or moves the session's memory of sequences: `nextval`, `currval`, `lastval`, `setval`.
    SEQUENCE_STATE = 29, "sequence_state";
    /// FOR UPDATE, FOR SHARE and the like.
    ROW_LOCK = 30, "row_lock";
    /// Calls a function that is not known to be free of effects.
    UNSAFE_CALL = 31, "unsafe_call";
    /// An UPDATE or DELETE without WHERE, wherever it stands in the statement.
    UNFILTERED_WRITE = 32, "unfiltered_write";
    /// DECLARE of a cursor that ends with its transaction.
    CURSOR = 33, "cursor";
    /// Uses session state by name: FETCH, MOVE, CLOSE of a cursor.
    USE_CURSOR = 34, "use_cursor";
    /// Makes a temporary table that its transaction drops (ON COMMIT DROP).
    TEMP_IN_TRANSACTION = 36, "temp_in_transaction";
    /// Cannot run inside a transaction block (VACUUM, CREATE DATABASE, ALTER SYSTEM, ... CONCURRENTLY).
    OUTSIDE_TRANSACTION = 35, "outside_transaction";
}

impl Effects {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// All four kinds of DISCARD.
    pub const DISCARD: Self = Self(
        Self::DISCARD_ALL.0
            | Self::DISCARD_PLANS.0
            | Self::DISCARD_SEQUENCES.0
            | Self::DISCARD_TEMP.0,
    );

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether one of `other` is here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Only what is in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is here without `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Adds `other`.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The labels of what is here.
    pub fn labels(self) -> impl Iterator<Item = &'static str> {
        let present =
            move |(effect, label): &(Self, &'static str)| self.contains(*effect).then_some(*label);
        Self::LABELS.iter().filter_map(present)
    }
}

impl BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.labels()).finish()
    }
}
