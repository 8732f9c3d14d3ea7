//! What the machine remembers: open brackets, CTEs in scope, the name being read, and the statement so far.

use smallvec::SmallVec;

use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::super::verb::Verb;

/// Tokens outside brackets that are kept for [`super::super::head`].
pub(super) const MAX_HEAD: usize = 32;

/// The lists that reading takes; short ones need no memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) frames: SmallVec<[Frame; 8]>,
    pub(super) ctes: SmallVec<[Cte; 4]>,
    pub(super) head: SmallVec<[Token; MAX_HEAD]>,
}

/// A name that WITH gave to a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cte {
    pub(super) name: Token,
    /// Its query is read, or WITH is RECURSIVE: a table of this name is meant no more.
    pub(super) visible: bool,
}

/// What an open bracket, or the statement around all of them, has reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) from: From,
    pub(super) with: With,
    /// The next word can begin a query.
    pub(super) at_start: bool,
    /// SELECT or another query has begun here.
    pub(super) query: bool,
    /// INSERT or MERGE waits for its INTO, or has its table.
    pub(super) insert: bool,
    /// UPDATE or DELETE waits for its table.
    pub(super) pending_write: bool,
    /// UPDATE or DELETE has its table.
    pub(super) write: bool,
    pub(super) has_where: bool,
    pub(super) using_seen: bool,
    pub(super) set_seen: bool,
    /// In GROUP BY.
    pub(super) grouping: bool,
    pub(super) recursive: bool,
    /// CTEs in scope outside.
    pub(super) ctes: u8,
    /// The CTE whose query this is, plus one.
    pub(super) cte: u8,
}

/// What a bracket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No bracket: the statement.
    Top,
    /// A query, an expression, a list.
    Group,
    /// Arguments of a function.
    Call,
    /// OVER (...), FILTER (...), WITHIN GROUP (...): still of the call before it.
    Clause,
    /// Names and types: of columns, of a cast.
    Names,
    /// `[ ]`
    Bracket,
    /// BEGIN ATOMIC ... END.
    Atomic,
}

/// Where a frame is in its list of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Not in one.
    No,
    /// Behind a table: an alias may come.
    Item,
    /// Behind its alias.
    Aliased,
    /// Somewhere else in it, such as behind ON.
    List,
    /// A table or CTE comes next.
    Expect,
    /// A table comes next, which is no CTE.
    Target,
}

/// Where a frame is in its WITH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    No,
    /// A name comes next.
    Name,
    /// Behind the name.
    As,
    /// Behind a query.
    Body,
    /// Behind SEARCH or CYCLE, where commas part columns.
    Tail,
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.ctes.clear();
        self.head.clear();
    }
}

impl Frame {
    pub(super) const fn new(kind: Kind, ctes: u8) -> Self {
        Self {
            kind,
            from: From::No,
            with: With::No,
            at_start: true,
            query: false,
            insert: false,
            pending_write: false,
            write: false,
            has_where: false,
            using_seen: false,
            set_seen: false,
            grouping: false,
            recursive: false,
            ctes,
            cte: 0,
        }
    }

    pub(super) const fn is_unfiltered(&self) -> bool {
        self.write && !self.has_where
    }

    pub(super) const fn expects(&self) -> bool {
        matches!(self.from, From::Expect | From::Target)
    }
}

/// What a statement is, as far as it decides how words are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// No word yet.
    Start,
    /// WITH, without its main statement yet.
    With,
    /// SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE.
    Query,
    Copy,
    Explain,
    /// PREPARE and DECLARE: a query comes behind AS or FOR.
    Holds,
    Create,
    Alter,
    /// One that names tables and nothing else.
    Names,
    /// One that names none.
    Plain,
}

/// A name with its dots, or a keyword: the words before a bracket or anything else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    /// What stands before it.
    pub(super) before: Token,
    /// That is the bracket at the end of a call.
    pub(super) behind_call: bool,
    /// That ends a name with dots, so that it is no keyword.
    pub(super) behind_dotted: bool,
    /// It names what AS stands before, or follows a dot: no keyword, whatever it looks like.
    pub(super) label: bool,
    /// It is the alias of a table.
    pub(super) alias: bool,
    /// It stands where a table comes: [`From::Expect`] or [`From::Target`].
    pub(super) expected: From,
    /// None when there is no chain.
    pub(super) parts: u32,
    pub(super) start: u32,
    pub(super) schema: Option<Token>,
    pub(super) last: Token,
}

pub(super) const NO_CHAIN: Chain = Chain {
    before: Token::NOTHING,
    behind_call: false,
    behind_dotted: false,
    label: false,
    alias: false,
    expected: From::No,
    parts: 0,
    start: 0,
    schema: None,
    last: Token::NOTHING,
};

/// The statement being read, but for what it answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) mode: Mode,
    pub(super) verb: Option<Verb>,
    pub(super) frame: Frame,
    pub(super) chain: Chain,
    pub(super) prev: Token,
    /// `prev` closed a call.
    pub(super) closed_call: bool,
    pub(super) begun: bool,
    /// Something in it cannot be read.
    pub(super) broken: bool,
    /// A word in it that no plain query needs.
    pub(super) suspicious: bool,
    /// EXPLAIN ANALYZE.
    pub(super) analyze: bool,
    /// A query has begun inside.
    pub(super) inner_query: bool,
    /// SELECT ... INTO.
    pub(super) select_into: bool,
    /// Commas part tables.
    pub(super) lists: bool,
    /// A column with its table in front comes next.
    pub(super) column: bool,
}

impl State {
    pub(super) const NEW: Self = Self {
        mode: Mode::Start,
        verb: None,
        frame: Frame::new(Kind::Top, 0),
        chain: NO_CHAIN,
        prev: Token::NOTHING,
        closed_call: false,
        begun: false,
        broken: false,
        suspicious: false,
        analyze: false,
        inner_query: false,
        select_into: false,
        lists: false,
        column: false,
    };
}

impl Chain {
    /// Whether it is really this keyword: no label, no part of something with dots.
    pub(super) fn is_word(&self, keyword: Keyword) -> bool {
        self.parts == 1
            && !self.label
            && self.last.kind == TokenKind::Word
            && self.last.keyword == keyword
    }
}
