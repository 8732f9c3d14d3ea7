//! What an analysis says: of the text, and of each statement in it.
//!
//! Everything is positions in the text and small values: an [`Analysis`] is kept and used again, and then allocates
//! nothing. Start at [`Analysis`].

use std::ops::Range;

use smallvec::SmallVec;

use super::effects::Effects;
use super::verb::Verb;

/// Statements of one text that are listed; what is behind them makes the text incomplete.
pub const MAX_STATEMENTS: usize = 1024;
/// Tables of one statement that are listed; see [`StatementInfo::tables_truncated`].
pub const MAX_TABLES: usize = 64;

/// A piece of the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Its first byte.
    pub start: u32,
    /// The byte behind it.
    pub end: u32,
}

impl Span {
    /// From byte positions.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// As a range of the text.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The piece of `sql`; empty when it is not the text that was analysed.
    #[must_use]
    pub fn of(self, sql: &[u8]) -> &[u8] {
        sql.get(self.range()).unwrap_or_default()
    }

    /// Bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A hash of what a statement is without its values: stable over processes, machines and releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of this statement and the one behind it.
    pub(super) fn then(self, next: Self) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(
            &next.0.to_le_bytes(),
            self.0,
        ))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Whether a statement may go to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Class {
    /// Provably a read, as far as names tell; `SQL.md` has the rules.
    Read,
    /// Anything else that could be read.
    Write,
    /// What could not be read to its end: cut off, unterminated, unbalanced, too deep, no SQL.
    #[default]
    Unknown,
}

impl Class {
    /// The value of a label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Unknown => "unknown",
        }
    }
}

/// READ ONLY or READ WRITE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// READ ONLY.
    ReadOnly,
    /// READ WRITE.
    ReadWrite,
}

/// ISOLATION LEVEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// SERIALIZABLE, which a hot standby refuses.
    Serializable,
    /// REPEATABLE READ.
    RepeatableRead,
    /// READ COMMITTED.
    ReadCommitted,
    /// READ UNCOMMITTED.
    ReadUncommitted,
}

/// The modes that BEGIN, START TRANSACTION, SET TRANSACTION or SET SESSION CHARACTERISTICS name. The last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TransactionModes {
    /// READ ONLY or READ WRITE, when it says.
    pub access: Option<Access>,
    /// ISOLATION LEVEL, when it says.
    pub isolation: Option<Isolation>,
    /// DEFERRABLE or NOT DEFERRABLE, when it says.
    pub deferrable: Option<bool>,
}

/// How SET names its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterName {
    /// By name, possibly dotted or quoted: see [`super::fold_name`].
    Named(Span),
    /// SET TIME ZONE.
    TimeZone,
    /// SET NAMES.
    ClientEncoding,
    /// SET SCHEMA.
    SearchPath,
    /// SET XML OPTION.
    XmlOption,
    /// SET ROLE.
    Role,
    /// SET SESSION AUTHORIZATION.
    SessionAuthorization,
}

/// What SET sets it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterValue {
    /// The text of the value as it stands, quotes and all: `'UTC'`, `public, shop`, `on`.
    Text(Span),
    /// DEFAULT (and LOCAL for TIME ZONE, NONE for ROLE): back to what the session began with.
    Default,
    /// Something that cannot be said again elsewhere: FROM CURRENT, INTERVAL, nothing.
    Other,
}

/// The parameter of a SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetParameter {
    /// Which.
    pub name: ParameterName,
    /// To what.
    pub value: ParameterValue,
    /// SET LOCAL: until the end of the transaction.
    pub local: bool,
}

impl SetParameter {
    /// The name as it is folded by the server: lower case unless quoted, empty when it cannot be read.
    #[must_use]
    pub fn name<'a>(&self, sql: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        use std::borrow::Cow;
        match self.name {
            ParameterName::Named(span) => super::fold_name(span.of(sql)),
            ParameterName::TimeZone => Cow::Borrowed(b"timezone"),
            ParameterName::ClientEncoding => Cow::Borrowed(b"client_encoding"),
            ParameterName::SearchPath => Cow::Borrowed(b"search_path"),
            ParameterName::XmlOption => Cow::Borrowed(b"xmloption"),
            ParameterName::Role => Cow::Borrowed(b"role"),
            ParameterName::SessionAuthorization => Cow::Borrowed(b"session_authorization"),
        }
    }
}

/// Verbs that a statement carries inside: in a WITH, an EXPLAIN, a PREPARE, a COPY, a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Verbs(u8);

impl Verbs {
    /// Adds one; verbs that cannot stand inside are ignored.
    pub const fn insert(&mut self, verb: Verb) {
        self.0 |= Self::bit(verb);
    }

    /// Whether it is there.
    #[must_use]
    pub const fn has(self, verb: Verb) -> bool {
        self.0 & Self::bit(verb) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one that changes rows is there.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.0 & 0b1111 != 0
    }

    const fn bit(verb: Verb) -> u8 {
        match verb {
            Verb::Insert => 1,
            Verb::Update => 2,
            Verb::Delete => 4,
            Verb::Merge => 8,
            Verb::Execute => 16,
            Verb::Notify => 32,
            _ => 0,
        }
    }
}

impl std::ops::BitOrAssign for Verbs {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// One statement of a text.
#[derive(Debug, PartialEq, Eq)]
pub struct StatementInfo {
    /// What it is called.
    pub verb: Verb,
    /// Read, write or unknown.
    pub class: Class,
    /// What it leaves behind or needs.
    pub effects: Effects,
    /// Verbs it carries inside.
    pub inner: Verbs,
    /// The parameter of a SET.
    pub parameter: Option<SetParameter>,
    /// The modes of a transaction.
    pub transaction: TransactionModes,
    /// The name that PREPARE, EXECUTE, DEALLOCATE, LISTEN, UNLISTEN, NOTIFY, DECLARE, FETCH, MOVE, CLOSE, SAVEPOINT,
    /// RELEASE, ROLLBACK TO, RESET, SHOW, SET ROLE or LOAD has; absent where that means ALL. See [`super::fold_name`].
    pub name: Option<Span>,
    /// Names that can be tables, each with its schema as written, CTEs left out. Rather too many than too few.
    pub tables: SmallVec<[Span; 8]>,
    /// There are more than [`MAX_TABLES`], or one that cannot be read: ask as if any table were named.
    pub tables_truncated: bool,
    /// Whether the statement itself has a WHERE (says something of UPDATE and DELETE only).
    pub has_where: bool,
    /// From its first to its last token, without `;`.
    pub span: Span,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

impl Default for StatementInfo {
    fn default() -> Self {
        Self {
            verb: Verb::Other,
            class: Class::Unknown,
            effects: Effects::NONE,
            inner: Verbs::default(),
            parameter: None,
            transaction: TransactionModes::default(),
            name: None,
            tables: SmallVec::new(),
            tables_truncated: false,
            has_where: false,
            span: Span::default(),
            fingerprint: Fingerprint::default(),
        }
    }
}

impl StatementInfo {
    /// An UPDATE or DELETE without WHERE, at the top or in a WITH.
    #[must_use]
    pub const fn unfiltered_write(&self) -> bool {
        self.effects.contains(Effects::UNFILTERED_WRITE)
    }
}

/// A hint in a comment at the very start. Only with [`super::Options::hints`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hint {
    /// `/* portcullis: primary */`
    Primary,
    /// `/* portcullis: replica */`
    Replica,
}

impl Clone for StatementInfo {
    fn clone(&self) -> Self {
        Self {
            // All at once; the list's own `clone` goes from one to the next.
            tables: SmallVec::from_slice(&self.tables),
            ..*self
        }
    }

    fn clone_from(&mut self, source: &Self) {
        // All of them by name, so that none is forgotten; one by one, so that the list stays where it is.
        let Self {
            verb,
            class,
            effects,
            inner,
            parameter,
            transaction,
            name,
            tables,
            tables_truncated,
            has_where,
            span,
            fingerprint,
        } = source;
        (self.verb, self.class, self.effects, self.inner) = (*verb, *class, *effects, *inner);
        (self.parameter, self.transaction, self.name) = (*parameter, *transaction, *name);
        self.tables.clear();
        self.tables.extend_from_slice(tables);
        (self.tables_truncated, self.has_where) = (*tables_truncated, *has_where);
        (self.span, self.fingerprint) = (*span, *fingerprint);
    }
}

/// What [`super::analyse`] found. Made once and used again: its lists keep their room.
#[derive(Debug, Default)]
pub struct Analysis {
    /// The statements in their order; empty ones (`;;`) are left out.
    pub statements: SmallVec<[StatementInfo; 1]>,
    /// Of the whole text: the statement's own when there is one.
    pub fingerprint: Fingerprint,
    /// The text was read to its end without an error.
    pub complete: bool,
    /// The hint at its start.
    pub hint: Option<Hint>,
}

impl Clone for Analysis {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    /// Keeps the room that there is.
    fn clone_from(&mut self, source: &Self) {
        if let ([own], [one]) = (&mut *self.statements, &*source.statements) {
            own.clone_from(one);
        } else {
            self.statements.clear();
            self.statements.extend(source.statements.iter().cloned());
        }
        self.fingerprint = source.fingerprint;
        self.complete = source.complete;
        self.hint = source.hint;
    }
}

impl Analysis {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What all statements together are: of a text that could not be read to its end nothing is known, and one without statements is
    /// a read.
    #[must_use]
    pub fn class(&self) -> Class {
        if !self.complete {
            Class::Unknown
        } else if self.is_read() || self.statements.is_empty() {
            Class::Read
        } else {
            Class::Write
        }
    }

    /// Whether all of it is provably a read: one statement or more, each of them [`Class::Read`], and complete.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.complete
            && !self.statements.is_empty()
            && self.statements.iter().all(|one| one.class == Class::Read)
    }

    /// The effects of all statements together.
    #[must_use]
    pub fn effects(&self) -> Effects {
        let all = self.statements.iter().map(|statement| statement.effects);
        all.fold(Effects::NONE, Effects::union)
    }
}
