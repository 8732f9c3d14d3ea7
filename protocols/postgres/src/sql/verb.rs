//! What a statement is called: the closed list of verbs, their labels for metrics and their names for configuration.
//!
//! A verb says nothing of what a statement may do: `explain` may run a `delete`, `with` may hide one. That is
//! [`super::Effects`], [`super::Class`] and [`super::Verbs`]. Start at [`Verb`]; rules hold a [`StatementPattern`].

use std::fmt;
use std::str::FromStr;

use super::analysis::{Class, StatementInfo};

/// Objects with their names: one list for the enum, the three labels and the parser.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident $label:literal),* $(,)?) => {
        /// What CREATE, ALTER or DROP is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Object { $($(#[$doc])* $name),* }

        impl Object {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name for metrics and configuration, such as `foreign_table`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),* }
            }

            const fn create(self) -> &'static str {
                match self { $(Self::$name => concat!("create_", $label)),* }
            }

            const fn alter(self) -> &'static str {
                match self { $(Self::$name => concat!("alter_", $label)),* }
            }

            const fn drop(self) -> &'static str {
                match self { $(Self::$name => concat!("drop_", $label)),* }
            }
        }
    };
}

objects! {
    /// Table, temporary or not, and CREATE TABLE AS.
    Table "table",
    /// Index.
    Index "index",
    /// View, recursive too.
    View "view",
    /// Materialized view.
    MaterializedView "materialized_view",
    /// Foreign table.
    ForeignTable "foreign_table",
    /// Sequence.
    Sequence "sequence",
    /// Schema.
    Schema "schema",
    /// Database.
    Database "database",
    /// ROLE, USER and GROUP, which are one thing.
    Role "role",
    /// Function.
    Function "function",
    /// Procedure.
    Procedure "procedure",
    /// ROUTINE: function or procedure.
    Routine "routine",
    /// Aggregate.
    Aggregate "aggregate",
    /// Trigger on a table.
    Trigger "trigger",
    /// Trigger on events.
    EventTrigger "event_trigger",
    /// Type.
    Type "type",
    /// Domain.
    Domain "domain",
    /// Extension.
    Extension "extension",
    /// Language.
    Language "language",
    /// Operator, its classes and families.
    Operator "operator",
    /// Policy of row security.
    Policy "policy",
    /// Publication.
    Publication "publication",
    /// Subscription.
    Subscription "subscription",
    /// Foreign server.
    Server "server",
    /// Foreign-data wrapper.
    ForeignDataWrapper "foreign_data_wrapper",
    /// Tablespace.
    Tablespace "tablespace",
    /// Cast.
    Cast "cast",
    /// Collation.
    Collation "collation",
    /// Conversion of encodings.
    Conversion "conversion",
    /// Rewrite rule.
    Rule "rule",
    /// Extended statistics.
    Statistics "statistics",
    /// TEXT SEARCH configuration, dictionary, parser or template.
    TextSearch "text_search",
    /// Transform.
    Transform "transform",
    /// Access method.
    AccessMethod "access_method",
    /// User mapping.
    UserMapping "user_mapping",
    /// ALTER SYSTEM.
    System "system",
    /// ALTER DEFAULT PRIVILEGES.
    DefaultPrivileges "default_privileges",
    /// Large object.
    LargeObject "large_object",
    /// DROP OWNED.
    Owned "owned",
    /// Constraint (only in COMMENT and ALTER).
    Constraint "constraint",
    /// Anything newer than this list.
    Other "other_object",
}

/// Verbs with their names.
macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident $label:literal),* $(,)?) => {
        /// What a statement is called. `label()` is bounded and fit for a metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Verb {
            $($(#[$doc])* $name,)*
            /// CREATE of something.
            Create(Object),
            /// ALTER of something.
            Alter(Object),
            /// DROP of something.
            Drop(Object),
        }

        impl Verb {
            /// Every verb that has no object.
            pub const PLAIN: &'static [Self] = &[$(Self::$name),*];

            /// The name for metrics and configuration: `select`, `rollback_to`, `create_table`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                    Self::Create(object) => object.create(),
                    Self::Alter(object) => object.alter(),
                    Self::Drop(object) => object.drop(),
                }
            }
        }
    };
}

verbs! {
    /// SELECT, also behind WITH or in parentheses.
    Select "select",
    /// INSERT, also behind WITH.
    Insert "insert",
    /// UPDATE, also behind WITH.
    Update "update",
    /// DELETE, also behind WITH.
    Delete "delete",
    /// MERGE, also behind WITH.
    Merge "merge",
    /// VALUES.
    Values "values",
    /// TABLE.
    Table "table",
    /// WITH whose main statement was not found.
    With "with",
    /// COPY.
    Copy "copy",
    /// BEGIN and START TRANSACTION.
    Begin "begin",
    /// COMMIT and END.
    Commit "commit",
    /// ROLLBACK and ABORT.
    Rollback "rollback",
    /// SAVEPOINT.
    Savepoint "savepoint",
    /// RELEASE.
    Release "release",
    /// ROLLBACK TO.
    RollbackTo "rollback_to",
    /// PREPARE TRANSACTION.
    PrepareTransaction "prepare_transaction",
    /// COMMIT PREPARED.
    CommitPrepared "commit_prepared",
    /// ROLLBACK PREPARED.
    RollbackPrepared "rollback_prepared",
    /// SET and SET SESSION of a parameter.
    Set "set",
    /// SET LOCAL of a parameter.
    SetLocal "set_local",
    /// SET TRANSACTION.
    SetTransaction "set_transaction",
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetSessionCharacteristics "set_session_characteristics",
    /// SET CONSTRAINTS.
    SetConstraints "set_constraints",
    /// SET ROLE.
    SetRole "set_role",
    /// SET SESSION AUTHORIZATION.
    SetSessionAuthorization "set_session_authorization",
    /// RESET.
    Reset "reset",
    /// SHOW.
    Show "show",
    /// DISCARD.
    Discard "discard",
    /// PREPARE.
    Prepare "prepare",
    /// EXECUTE.
    Execute "execute",
    /// DEALLOCATE.
    Deallocate "deallocate",
    /// DECLARE of a cursor.
    Declare "declare",
    /// FETCH.
    Fetch "fetch",
    /// MOVE.
    Move "move",
    /// CLOSE.
    Close "close",
    /// LISTEN.
    Listen "listen",
    /// UNLISTEN.
    Unlisten "unlisten",
    /// NOTIFY.
    Notify "notify",
    /// LOCK.
    Lock "lock",
    /// TRUNCATE.
    Truncate "truncate",
    /// GRANT.
    Grant "grant",
    /// REVOKE.
    Revoke "revoke",
    /// COMMENT.
    Comment "comment",
    /// VACUUM.
    Vacuum "vacuum",
    /// ANALYZE.
    Analyze "analyze",
    /// CLUSTER.
    Cluster "cluster",
    /// REINDEX.
    Reindex "reindex",
    /// REFRESH MATERIALIZED VIEW.
    Refresh "refresh",
    /// CHECKPOINT.
    Checkpoint "checkpoint",
    /// EXPLAIN.
    Explain "explain",
    /// CALL.
    Call "call",
    /// DO.
    Do "do",
    /// LOAD.
    Load "load",
    /// IMPORT FOREIGN SCHEMA.
    Import "import",
    /// SECURITY LABEL.
    Security "security",
    /// REASSIGN OWNED.
    Reassign "reassign",
    /// A command of the replication protocol (START_REPLICATION, IDENTIFY_SYSTEM ...).
    Replication "replication",
    /// Nothing that this list knows, or no SQL.
    Other "other",
}

impl Verb {
    /// The word that CREATE, ALTER and DROP of anything share, otherwise the label: `drop` for `drop_table`.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Alter(_) => "alter",
            Self::Drop(_) => "drop",
            plain => plain.label(),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

/// What a rule says of a statement: `drop`, `drop_table`, `rollback to`, `read`, `write`.
///
/// Names are those of [`Verb::label`] in any case, with spaces or underscores. `create`, `alter` and `drop` alone
/// mean every object; `start`, `end` and `abort` mean what they are in SQL; `ddl` is all of CREATE, ALTER and DROP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatementPattern {
    /// This verb with this object, also inside the statement (in a WITH, an EXPLAIN, a function's body).
    Verb(Verb),
    /// CREATE of anything.
    Create,
    /// ALTER of anything.
    Alter,
    /// DROP of anything.
    Drop,
    /// CREATE, ALTER or DROP of anything.
    Ddl,
    /// Of this class. `write` is whatever is not provably a read.
    Class(Class),
}

/// A name that is no statement's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such statement: expected a verb such as select, drop or drop_table, or read, write, ddl"
)]
pub struct UnknownStatement;

impl StatementPattern {
    /// Whether the statement is one, or carries one inside.
    ///
    /// A statement of class [`Class::Unknown`] matches `write` and whatever its verb says: whoever denies by
    /// statement should decide about unreadable ones by itself.
    #[must_use]
    pub fn matches(self, statement: &StatementInfo) -> bool {
        match self {
            Self::Verb(verb) => statement.verb == verb || statement.inner.has(verb),
            Self::Create => matches!(statement.verb, Verb::Create(_)),
            Self::Alter => matches!(statement.verb, Verb::Alter(_)),
            Self::Drop => matches!(statement.verb, Verb::Drop(_)),
            Self::Ddl => matches!(
                statement.verb,
                Verb::Create(_) | Verb::Alter(_) | Verb::Drop(_)
            ),
            Self::Class(Class::Read) => statement.class == Class::Read,
            Self::Class(Class::Write) => statement.class != Class::Read,
            Self::Class(Class::Unknown) => statement.class == Class::Unknown,
        }
    }
}

impl FromStr for StatementPattern {
    type Err = UnknownStatement;

    fn from_str(text: &str) -> Result<Self, UnknownStatement> {
        let name = text
            .split(|char: char| char == '_' || char.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect::<Vec<_>>()
            .join("_");
        let pattern = match name.as_str() {
            "create" => Self::Create,
            "alter" => Self::Alter,
            "drop" => Self::Drop,
            "ddl" => Self::Ddl,
            "read" => Self::Class(Class::Read),
            "write" => Self::Class(Class::Write),
            "unknown" => Self::Class(Class::Unknown),
            "start" | "start_transaction" => Self::Verb(Verb::Begin),
            "end" => Self::Verb(Verb::Commit),
            "abort" => Self::Verb(Verb::Rollback),
            "analyse" => Self::Verb(Verb::Analyze),
            name => Self::Verb(verb_of(name).ok_or(UnknownStatement)?),
        };
        Ok(pattern)
    }
}

fn verb_of(name: &str) -> Option<Verb> {
    let plain = Verb::PLAIN.iter().copied();
    let objects = Object::ALL.iter().copied();
    plain
        .chain(objects.clone().map(Verb::Create))
        .chain(objects.clone().map(Verb::Alter))
        .chain(objects.map(Verb::Drop))
        .find(|verb| verb.label() == name)
}
