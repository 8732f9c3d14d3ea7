//! The keywords that the classifier asks for, and a static table to find them in any case.
//!
//! Not the whole list of the manual: an unreserved keyword that decides nothing here is a name. The reserved ones are
//! complete, because only they can never name a function. Start at [`Keyword`].

use super::words::WordTable;

/// The enum, its order and its words: reserved ones first, then those that are names of columns and tables only.
macro_rules! keywords {
    (
        reserved: $($reserved:ident $reserved_word:literal),*;
        columns: $($column:ident $column_word:literal),*;
        others: $($other:ident $other_word:literal),*;
    ) => {
        /// A keyword, or [`Keyword::Plain`] for none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        #[allow(missing_docs)] // their names say it
        pub enum Keyword {
            Plain,
            $($reserved,)*
            #[doc(hidden)]
            LastReserved,
            $($column,)*
            #[doc(hidden)]
            LastColumn,
            $($other,)*
        }

        const KEYWORDS: &[Keyword] =
            &[$(Keyword::$reserved,)* $(Keyword::$column,)* $(Keyword::$other,)*];
        const WORDS: &[&str] = &[$($reserved_word,)* $($column_word,)* $($other_word,)*];
    };
}

keywords! {
reserved:
    All "all", Analyse "analyse", Analyze "analyze", And "and", Any "any", Array "array", As "as",
    Asc "asc", Asymmetric "asymmetric", Both "both", Case "case", Cast "cast", Check "check",
    Collate "collate", Column "column", Constraint "constraint", Create "create",
    CurrentCatalog "current_catalog", CurrentDate "current_date", CurrentRole "current_role",
    CurrentTime "current_time", CurrentTimestamp "current_timestamp", CurrentUser "current_user",
    Default "default", Deferrable "deferrable", Desc "desc", Distinct "distinct", Do "do",
    Else "else", End "end", Except "except", False "false", Fetch "fetch", For "for",
    Foreign "foreign", From "from", Grant "grant", Group "group", Having "having", In "in",
    Initially "initially", Intersect "intersect", Into "into", Lateral "lateral", Leading "leading",
    Limit "limit", Localtime "localtime", Localtimestamp "localtimestamp", Not "not", Null "null",
    Offset "offset", On "on", Only "only", Or "or", Order "order", Placing "placing",
    Primary "primary", References "references", Returning "returning", Select "select",
    SessionUser "session_user", Some "some", Symmetric "symmetric", Table "table", Then "then",
    To "to", Trailing "trailing", True "true", Union "union", Unique "unique", User "user",
    Using "using", Variadic "variadic", When "when", Where "where", Window "window", With "with";
columns:
    Between "between", Bigint "bigint", Bit "bit", Boolean "boolean", Char "char",
    Character "character", Coalesce "coalesce", Dec "dec", Decimal "decimal", Exists "exists",
    Extract "extract", Float "float", Greatest "greatest", Grouping "grouping", Inout "inout",
    Int "int", Integer "integer", Interval "interval", Least "least", National "national",
    Nchar "nchar", None "none", Nullif "nullif", Numeric "numeric", Out "out", Overlay "overlay",
    Position "position", Precision "precision", Real "real", Row "row", Setof "setof",
    Smallint "smallint", Substring "substring", Time "time", Timestamp "timestamp", Treat "treat",
    Trim "trim", Values "values", Varchar "varchar", Xmlattributes "xmlattributes",
    Xmlconcat "xmlconcat", Xmlelement "xmlelement", Xmlexists "xmlexists", Xmlforest "xmlforest",
    Xmlparse "xmlparse", Xmlpi "xmlpi", Xmlroot "xmlroot", Xmlserialize "xmlserialize";
others:
    Abort "abort", Access "access", Add "add", After "after", Aggregate "aggregate", Also "also",
    Alter "alter", AlterReplicationSlot "alter_replication_slot", Atomic "atomic", Attach "attach",
    Authorization "authorization", BaseBackup "base_backup", Begin "begin", Binary "binary",
    By "by", Call "call", Cascade "cascade", Chain "chain", Characteristics "characteristics",
    Checkpoint "checkpoint", Close "close", Cluster "cluster", Collation "collation",
    Comment "comment", Commit "commit", Committed "committed", Concurrently "concurrently",
    Constraints "constraints", Continue "continue", Conversion "conversion", Copy "copy",
    CreateReplicationSlot "create_replication_slot", Cross "cross", Cube "cube", Current "current",
    Cursor "cursor", Cycle "cycle", Data "data", Database "database", Deallocate "deallocate",
    Declare "declare", Delete "delete", Detach "detach", Discard "discard", Domain "domain",
    DropReplicationSlot "drop_replication_slot", Drop "drop", Event "event", Execute "execute",
    Explain "explain", Extension "extension", Family "family", Filter "filter", Freeze "freeze",
    Full "full", Function "function", Global "global", Hold "hold",
    IdentifySystem "identify_system", If "if", Ilike "ilike", Import "import", Index "index",
    Inherits "inherits", Inner "inner", Is "is", Insert "insert", Instead "instead", Join "join", Key "key",
    Language "language", Large "large", Left "left", Like "like", Listen "listen", Load "load",
    Local "local", Lock "lock", Mapping "mapping", Materialized "materialized", Merge "merge",
    Method "method", Move "move", Names "names", Natural "natural", No "no", Notify "notify",
    Object "object", Of "of", Operator "operator", Option "option", Ordinality "ordinality",
    Outer "outer", Over "over", Owned "owned", Partition "partition", Plans "plans", Policy "policy",
    Prepare "prepare", Prepared "prepared", Privileges "privileges", Procedure "procedure",
    Publication "publication", Read "read", ReadReplicationSlot "read_replication_slot",
    Reassign "reassign", Recursive "recursive", Refresh "refresh", Reindex "reindex",
    Release "release", Repeatable "repeatable", Reset "reset", Revoke "revoke", Right "right",
    Role "role", Rollback "rollback", Rollup "rollup", Routine "routine", Rule "rule",
    Savepoint "savepoint", Schema "schema", Search "search", Security "security",
    Sequence "sequence", Sequences "sequences", Serializable "serializable", Server "server",
    Session "session", Set "set", Sets "sets", Share "share", Show "show", Similar "similar",
    Start "start", StartReplication "start_replication", Statistics "statistics", Stdin "stdin",
    Stdout "stdout", Subscription "subscription", System "system", Tablesample "tablesample",
    Tablespace "tablespace", Temp "temp", Temporary "temporary", Text "text",
    TimelineHistory "timeline_history", Transaction "transaction", Transform "transform",
    Trigger "trigger", Truncate "truncate", Type "type", Uncommitted "uncommitted",
    Unlisten "unlisten", Unlogged "unlogged", Update "update", UploadManifest "upload_manifest",
    Vacuum "vacuum", Varying "varying", Verbose "verbose", View "view", Within "within", Without "without",
    Work "work", Wrapper "wrapper", Write "write", Xml "xml", Zone "zone";
}

static TABLE: WordTable<1024> = WordTable::new(WORDS);

/// The keyword at `sql[start..end]`.
#[inline]
pub(super) fn find(sql: &[u8], start: usize, end: usize) -> Keyword {
    match TABLE.find(sql, start, end) {
        Some(index) => KEYWORDS.get(index).copied().unwrap_or(Keyword::Plain),
        None => Keyword::Plain,
    }
}

impl Keyword {
    /// Whether it is reserved: no table, alias or function can have it for a name.
    #[inline]
    pub(super) const fn is_reserved(self) -> bool {
        (self as u16) > (Self::Plain as u16) && (self as u16) < (Self::LastReserved as u16)
    }

    /// Whether it can never name a function: "reserved", or "cannot be function or type name" in the manual's table,
    /// in every version from 12 on.
    #[inline]
    pub(super) const fn is_no_function(self) -> bool {
        (self as u16) > (Self::Plain as u16) && (self as u16) < (Self::LastColumn as u16)
    }

    /// Whether it is one of those that stand between tables of FROM and are never an alias.
    #[inline]
    pub(super) const fn is_join(self) -> bool {
        matches!(
            self,
            Self::Join
                | Self::Cross
                | Self::Natural
                | Self::Left
                | Self::Right
                | Self::Full
                | Self::Inner
                | Self::Outer
                | Self::Tablesample
        )
    }
}
