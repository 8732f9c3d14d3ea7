//! The keywords that the classifier asks for, and a static table to find them in any case.
//!
//! Not the whole list of the manual: an unreserved keyword that decides nothing here is a name. The reserved ones are
//! complete, because only they can never name a function. Start at [`Keyword`].

use super::words::WordTable;

/// The enum, its order and its words: reserved ones first.
macro_rules! keywords {
    (reserved: $($reserved:ident $reserved_word:literal),* $(,)?; others: $($other:ident $other_word:literal),* $(,)?;) => {
        /// A keyword, or [`Keyword::Plain`] for none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        #[allow(missing_docs)] // their names say it
        pub enum Keyword { Plain, $($reserved,)* LastReserved, $($other,)* }

        const KEYWORDS: &[Keyword] = &[$(Keyword::$reserved,)* $(Keyword::$other,)*];
        const WORDS: &[&str] = &[$($reserved_word,)* $($other_word,)*];
    };
}

keywords! {
reserved:
    All "all", Analyse "analyse", Analyze "analyze", And "and", Any "any", Array "array", As "as", Asc "asc",
    Asymmetric "asymmetric", Between "between", Bigint "bigint", Bit "bit", Boolean "boolean", Both "both",
    Case "case", Cast "cast", Char "char", Character "character", Check "check", Coalesce "coalesce",
    Collate "collate", Column "column", Constraint "constraint", Create "create",
    CurrentCatalog "current_catalog", CurrentDate "current_date", CurrentRole "current_role",
    CurrentTime "current_time", CurrentTimestamp "current_timestamp", CurrentUser "current_user", Dec "dec",
    Decimal "decimal", Default "default", Deferrable "deferrable", Desc "desc", Distinct "distinct", Do "do",
    Else "else", End "end", Except "except", Exists "exists", Extract "extract", False "false", Fetch "fetch",
    Float "float", For "for", Foreign "foreign", From "from", Grant "grant", Greatest "greatest",
    Group "group", Grouping "grouping", Having "having", In "in", Initially "initially", Inout "inout",
    Int "int", Integer "integer", Intersect "intersect", Interval "interval", Into "into", Lateral "lateral",
    Leading "leading", Least "least", Limit "limit", Localtime "localtime", Localtimestamp "localtimestamp",
    National "national", Nchar "nchar", None "none", Not "not", Null "null", Nullif "nullif",
    Numeric "numeric", Offset "offset", On "on", Only "only", Or "or", Order "order", Out "out",
    Overlay "overlay", Placing "placing", Position "position", Precision "precision", Primary "primary",
    Real "real", References "references", Returning "returning", Row "row", Select "select",
    SessionUser "session_user", Setof "setof", Smallint "smallint", Some "some", Substring "substring",
    Symmetric "symmetric", Table "table", Then "then", Time "time", Timestamp "timestamp", To "to",
    Trailing "trailing", Treat "treat", Trim "trim", True "true", Union "union", Unique "unique", User "user",
    Using "using", Values "values", Varchar "varchar", Variadic "variadic", When "when", Where "where",
    Window "window", With "with", Xmlattributes "xmlattributes", Xmlconcat "xmlconcat",
    Xmlelement "xmlelement", Xmlexists "xmlexists", Xmlforest "xmlforest", Xmlparse "xmlparse", Xmlpi "xmlpi",
    Xmlroot "xmlroot", Xmlserialize "xmlserialize";
others:
    Abort "abort", Access "access", Add "add", After "after", Aggregate "aggregate", Alter "alter",
    AlterReplicationSlot "alter_replication_slot", Atomic "atomic", Attach "attach",
    Authorization "authorization", BaseBackup "base_backup", Begin "begin", Binary "binary", By "by",
    Call "call", Cascade "cascade", Chain "chain", Characteristics "characteristics", Checkpoint "checkpoint",
    Close "close", Cluster "cluster", Collation "collation", Columns "columns", Comment "comment",
    Commit "commit", Committed "committed", Concurrently "concurrently", Connection "connection",
    Conversion "conversion", Copy "copy", CreateReplicationSlot "create_replication_slot", Cross "cross",
    Cube "cube", Cursor "cursor", Data "data", Database "database", Deallocate "deallocate",
    Declare "declare", Deferred "deferred", Delete "delete", Discard "discard", Domain "domain",
    DropReplicationSlot "drop_replication_slot", Event "event", Execute "execute", Explain "explain",
    Extension "extension", Family "family", Filter "filter", First "first", Format "format", Freeze "freeze",
    Full "full", Function "function", Global "global", Hold "hold", IdentifySystem "identify_system", If "if",
    Ilike "ilike", Immediate "immediate", Import "import", Including "including", Inherits "inherits",
    Inner "inner", Insert "insert", Is "is", Isnull "isnull", Isolation "isolation", Join "join", Key "key",
    Label "label", Language "language", Large "large", Left "left", Level "level", Like "like",
    Listen "listen", Load "load", Local "local", Lock "lock", Locked "locked", Logged "logged",
    Mapping "mapping", Materialized "materialized", Merge "merge", Method "method", Mode "mode", Move "move",
    Names "names", Natural "natural", Next "next", No "no", Nothing "nothing", Notify "notify",
    Notnull "notnull", Nowait "nowait", Object "object", Of "of", Operator "operator", Option "option",
    Ordinality "ordinality", Outer "outer", Over "over", Overlaps "overlaps", Overriding "overriding",
    Owned "owned", Owner "owner", Partition "partition", Plans "plans", Policy "policy", Prepare "prepare",
    Prepared "prepared", Privileges "privileges", Procedural "procedural", Procedure "procedure",
    Program "program", Publication "publication", Read "read", ReadReplicationSlot "read_replication_slot",
    Reassign "reassign", Recursive "recursive", Refresh "refresh", Reindex "reindex", Release "release",
    Rename "rename", Repeatable "repeatable", Replace "replace", Replica "replica", Reset "reset",
    Restart "restart", Restrict "restrict", Return "return", Revoke "revoke", Right "right", Role "role",
    Rollback "rollback", Rollup "rollup", Routine "routine", Rows "rows", Rule "rule", Savepoint "savepoint",
    Schema "schema", Scroll "scroll", Search "search", Security "security", Seed "seed", Sequence "sequence",
    Sequences "sequences", Serializable "serializable", Server "server", Session "session", Set "set",
    Sets "sets", Share "share", Show "show", Similar "similar", Skip "skip", Start "start",
    StartReplication "start_replication", Statement "statement", Statistics "statistics", Stdin "stdin",
    Stdout "stdout", Subscription "subscription", System "system", Tablesample "tablesample",
    Tablespace "tablespace", Temp "temp", Temporary "temporary", Ties "ties",
    TimelineHistory "timeline_history", Transaction "transaction", Transform "transform", Trigger "trigger",
    Truncate "truncate", Type "type", Uescape "uescape", Uncommitted "uncommitted", Unlisten "unlisten",
    Unlogged "unlogged", Update "update", UploadManifest "upload_manifest", Vacuum "vacuum",
    Verbose "verbose", View "view", Within "within", Without "without", Work "work", Wrapper "wrapper",
    Write "write", Xml "xml", Zone "zone";
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
    /// Whether it can never name a function: "reserved", or "cannot be function or type name" in the manual's table,
    /// in every version from 12 on.
    #[inline]
    pub(super) const fn is_reserved(self) -> bool {
        (self as u16) > (Self::Plain as u16) && (self as u16) < (Self::LastReserved as u16)
    }
}
