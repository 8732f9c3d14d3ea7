//! The machine that reads a text token by token: statements, brackets, names, and what they add up to.
//!
//! Two stacks, both bounded: open brackets with what a query inside them has reached, and the CTEs in scope. Words are
//! in `query`, what brackets mean in `brackets`, how a statement ends in [`super::head`]. Start at [`walk`].

mod brackets;
mod query;

use smallvec::SmallVec;

use super::Options;
use super::analysis::{
    Analysis, Class, Fingerprint, MAX_STATEMENTS, MAX_TABLES, Span, StatementInfo,
};
use super::effects::Effects;
use super::functions::{self, FunctionSet};
use super::head;
use super::hint;
use super::keyword::Keyword;
use super::lexer::{Lexer, Token, TokenKind};
use super::name::same_token;
use super::normal::Normal;
use super::verb::Verb;

/// Brackets inside brackets that are followed. The server's own stack ends not much later.
const MAX_DEPTH: usize = 512;
/// CTEs in scope that are known; names of others count as tables.
const MAX_CTES: usize = 64;
/// Tokens outside brackets that are kept for [`head`].
const MAX_HEAD: usize = 32;

/// The lists that an [`Analysis`] keeps for its next text.
#[derive(Debug, Clone, Default)]
pub(super) struct Scratch {
    frames: SmallVec<[Frame; 8]>,
    ctes: SmallVec<[Cte; 4]>,
    head: SmallVec<[Token; MAX_HEAD]>,
}

/// A name that WITH gave to a query.
#[derive(Debug, Clone, Copy)]
struct Cte {
    name: Token,
    /// Its query is read, or WITH is RECURSIVE: a table of this name is meant no more.
    visible: bool,
}

/// What an open bracket, or the statement around all of them, has reached.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    from: From,
    with: With,
    /// The next word can begin a query.
    at_start: bool,
    /// SELECT or another query has begun here.
    query: bool,
    /// INSERT or MERGE waits for its INTO, or has its table.
    insert: bool,
    /// UPDATE or DELETE waits for its table.
    pending_write: bool,
    /// UPDATE or DELETE has its table.
    write: bool,
    has_where: bool,
    using_seen: bool,
    set_seen: bool,
    /// In GROUP BY.
    grouping: bool,
    recursive: bool,
    /// CTEs in scope outside.
    ctes: u8,
    /// The CTE whose query this is, plus one.
    cte: u8,
}

/// What a bracket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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
enum From {
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
enum With {
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

impl Frame {
    const fn new(kind: Kind, ctes: u8) -> Self {
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

    const fn is_unfiltered(&self) -> bool {
        self.write && !self.has_where
    }

    const fn expects(&self) -> bool {
        matches!(self.from, From::Expect | From::Target)
    }
}

/// What a statement is, as far as it decides how words are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
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
struct Chain {
    /// What stands before it.
    before: Token,
    /// That is the bracket at the end of a call.
    behind_call: bool,
    /// It stands where a table comes: [`From::Expect`] or [`From::Target`].
    expected: From,
    /// None when there is no chain.
    parts: u32,
    start: u32,
    schema: Option<Token>,
    last: Token,
}

const NO_CHAIN: Chain = Chain {
    before: Token::NOTHING,
    behind_call: false,
    expected: From::No,
    parts: 0,
    start: 0,
    schema: None,
    last: Token::NOTHING,
};

struct Walk<'a> {
    sql: &'a [u8],
    safe: Option<&'a FunctionSet>,
    scratch: &'a mut Scratch,
    normal: Normal<'static>,
    // Of the statement being read:
    info: StatementInfo,
    mode: Mode,
    verb: Option<Verb>,
    frame: Frame,
    chain: Chain,
    prev: Token,
    /// `prev` closed a call.
    closed_call: bool,
    begun: bool,
    /// Something in it cannot be read.
    broken: bool,
    /// That was so in one of the statements.
    unreadable: bool,
    /// A word in it that no plain query needs.
    suspicious: bool,
    /// EXPLAIN ANALYZE.
    analyze: bool,
    /// A query has begun inside.
    inner_query: bool,
    /// SELECT ... INTO.
    select_into: bool,
    /// Commas part tables.
    lists: bool,
}

/// Reads `sql` into `out`.
pub(super) fn walk(sql: &[u8], options: &Options, out: &mut Analysis) {
    out.statements.clear();
    out.fingerprint = Fingerprint::default();
    out.hint = options.hints.then(|| hint::read(sql)).flatten();
    let sql = sql.get(..u32::MAX as usize).unwrap_or(sql);
    let mut scratch = std::mem::take(&mut out.scratch);
    let mut walk = Walk::new(sql, options.safe_functions.as_deref(), &mut scratch);
    let ended = if options.ascii_safe || sql.is_ascii() {
        walk.run(options, out)
    } else {
        walk.give_up(out);
        false
    };
    let fine = ended && !walk.unreadable;
    out.complete = fine && !options.truncated && sql.len() < u32::MAX as usize;
    out.scratch = scratch;
}

impl<'a> Walk<'a> {
    fn new(sql: &'a [u8], safe: Option<&'a FunctionSet>, scratch: &'a mut Scratch) -> Self {
        scratch.frames.clear();
        scratch.ctes.clear();
        scratch.head.clear();
        Self {
            sql,
            safe,
            scratch,
            normal: Normal::new(),
            info: StatementInfo::default(),
            mode: Mode::Start,
            verb: None,
            frame: Frame::new(Kind::Top, 0),
            chain: NO_CHAIN,
            prev: Token::NOTHING,
            closed_call: false,
            begun: false,
            broken: false,
            unreadable: false,
            suspicious: false,
            analyze: false,
            inner_query: false,
            select_into: false,
            lists: false,
        }
    }

    /// Whether the end was reached.
    fn run(&mut self, options: &Options, out: &mut Analysis) -> bool {
        let mut lexer = Lexer::new(self.sql, options.standard_conforming_strings);
        loop {
            let token = lexer.next_token();
            match token.kind {
                TokenKind::End => break,
                TokenKind::Semicolon if !self.is_inner_semicolon() => {
                    self.end_statement(out, false);
                    if out.statements.len() >= MAX_STATEMENTS {
                        return lexer.next_token().kind == TokenKind::End;
                    }
                    continue;
                }
                _ => {}
            }
            self.normal.push(self.sql, token);
            self.token(token);
            if self.scratch.frames.len() > MAX_DEPTH {
                self.broken = true;
                self.end_statement(out, false);
                return false;
            }
        }
        self.end_statement(out, options.truncated);
        true
    }

    /// One statement of which nothing is known.
    fn give_up(&mut self, out: &mut Analysis) {
        self.begun = true;
        self.broken = true;
        self.info.span = Span::new(0, self.sql.len());
        self.info.tables_truncated = true;
        self.info.effects = Effects::OPAQUE;
        self.end_statement(out, false);
    }

    #[inline]
    fn token(&mut self, token: Token) {
        if !self.begun {
            self.begun = true;
            self.info.span.start = token.span.start;
        }
        self.info.span.end = token.span.end;
        match token.kind {
            TokenKind::Word | TokenKind::Quoted | TokenKind::UnicodeQuoted => {
                if self.prev.kind == TokenKind::Dot && self.chain.parts > 0 {
                    self.chain.schema = Some(self.chain.last);
                    self.chain.last = token;
                    self.chain.parts += 1;
                } else {
                    self.settle(token);
                    self.word(token);
                }
            }
            TokenKind::Dot => {}
            TokenKind::Open => {
                let chain = self.settle(token);
                self.open(chain);
            }
            TokenKind::Close => {
                self.settle(token);
                self.close(TokenKind::Close);
            }
            TokenKind::Comma => {
                self.settle(token);
                self.comma();
            }
            TokenKind::OpenBracket => {
                self.settle(token);
                self.push(Frame::new(Kind::Bracket, self.scratch.ctes.len() as u8));
            }
            TokenKind::CloseBracket => {
                self.settle(token);
                self.close(TokenKind::CloseBracket);
            }
            TokenKind::Invalid | TokenKind::Unterminated => {
                self.settle(token);
                self.broken = true;
            }
            TokenKind::Semicolon => {
                self.settle(token);
                self.inner_semicolon();
            }
            _ => {
                self.settle(token);
                self.frame.at_start = false;
            }
        }
        if self.scratch.frames.is_empty() && self.keeps_head() {
            self.scratch.head.push(token);
        }
        self.prev = token;
    }

    #[inline]
    fn keeps_head(&self) -> bool {
        !matches!(self.mode, Mode::Query | Mode::With) && self.scratch.head.len() < MAX_HEAD
    }

    /// Ends a name, knowing what comes behind it: lists it where it stands for a table. Gives the name back.
    #[inline]
    fn settle(&mut self, next: Token) -> Chain {
        let chain = self.chain;
        if chain.parts > 0 {
            self.chain.parts = 0;
            if chain.expected != From::No {
                self.settle_table(&chain, next);
            }
        }
        chain
    }

    fn settle_table(&mut self, chain: &Chain, next: Token) {
        if chain.expected == From::Expect {
            self.frame.from = From::Item;
            if next.kind != TokenKind::Open {
                self.list_table(chain, true);
            }
            return;
        }
        let noise = if chain.parts == 1 {
            self.noise(chain.last.keyword, next)
        } else {
            Noise::No
        };
        if noise == Noise::Only {
            return;
        }
        self.list_table(chain, false);
        if noise == Noise::Perhaps {
            return;
        }
        self.frame.from = From::Item;
        if self.frame.pending_write {
            self.frame.pending_write = false;
            self.frame.write = true;
        }
    }

    fn list_table(&mut self, chain: &Chain, may_be_cte: bool) {
        let unreadable = |token: Token| token.kind == TokenKind::UnicodeQuoted;
        if unreadable(chain.last) || chain.schema.is_some_and(unreadable) {
            self.info.tables_truncated = true;
            return;
        }
        let known = |cte: &Cte| cte.visible && same_token(self.sql, cte.name, chain.last);
        if may_be_cte && chain.parts == 1 && self.scratch.ctes.iter().any(known) {
            return;
        }
        if self.info.tables.len() >= MAX_TABLES {
            self.info.tables_truncated = true;
            return;
        }
        self.info.tables.push(Span {
            start: chain.start,
            end: chain.last.span.end,
        });
    }

    fn push(&mut self, frame: Frame) {
        self.scratch.frames.push(self.frame);
        self.frame = frame;
    }

    fn call(&mut self, chain: &Chain) {
        let call = functions::call(self.sql, chain.schema, chain.last, chain.parts, self.safe);
        self.info.effects |= call.effects;
        self.info.inner |= call.inner;
    }

    /// A bracket behind a name that is a type, a table or a call: DDL and EXECUTE have all three. What a call by that
    /// name would do is noted, but not that it is unknown.
    fn glance(&mut self, chain: &Chain) {
        let call = functions::call(self.sql, chain.schema, chain.last, chain.parts, self.safe);
        self.info.effects |= call.effects.difference(Effects::UNSAFE_CALL);
        self.info.inner |= call.inner;
    }

    /// A `;` inside a body, or between the actions of a rule.
    fn is_inner_semicolon(&self) -> bool {
        self.frame.kind == Kind::Atomic
            || (self.mode == Mode::Create && self.frame.kind == Kind::Group && self.frame.query)
    }

    fn inner_semicolon(&mut self) {
        self.check_filter();
        let (kind, ctes, cte) = (self.frame.kind, self.frame.ctes, self.frame.cte);
        self.scratch.ctes.truncate(usize::from(ctes));
        self.frame = Frame::new(kind, ctes);
        self.frame.cte = cte;
        // Still the bracket of the actions.
        self.frame.query = kind == Kind::Group;
    }

    fn check_filter(&mut self) {
        if self.frame.is_unfiltered() {
            self.info.effects |= Effects::UNFILTERED_WRITE;
        }
    }

    fn end_statement(&mut self, out: &mut Analysis, truncated: bool) {
        self.settle(Token::NOTHING);
        if self.begun {
            self.broken |= !self.scratch.frames.is_empty();
            self.unreadable |= self.broken;
            self.check_filter();
            while let Some(frame) = self.scratch.frames.pop() {
                self.frame = frame;
                self.check_filter();
            }
            let mut info = std::mem::take(&mut self.info);
            info.has_where = self.frame.has_where;
            info.verb = self.verb.unwrap_or(if self.mode == Mode::With {
                Verb::With
            } else {
                Verb::Other
            });
            head::apply(&mut info, &self.scratch.head, self.sql);
            self.classify(&mut info);
            if truncated {
                info.class = Class::Unknown;
            }
            info.fingerprint = self.normal.finish();
            out.fingerprint = if out.statements.is_empty() {
                info.fingerprint
            } else {
                out.fingerprint.then(info.fingerprint)
            };
            out.statements.push(info);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.scratch.frames.clear();
        self.scratch.ctes.clear();
        self.scratch.head.clear();
        self.mode = Mode::Start;
        self.verb = None;
        self.frame = Frame::new(Kind::Top, 0);
        self.chain = NO_CHAIN;
        self.prev = Token::NOTHING;
        self.closed_call = false;
        self.begun = false;
        self.broken = false;
        self.suspicious = false;
        self.analyze = false;
        self.inner_query = false;
        self.select_into = false;
        self.lists = false;
    }

    /// The rules of `SQL.md`, "What counts as a read".
    fn classify(&self, info: &mut StatementInfo) {
        let pure = !self.suspicious && info.inner.is_empty();
        if info.verb == Verb::Explain && !self.analyze {
            // Planned, not run.
            info.effects = info.effects.intersection(Effects::EXECUTE);
        }
        info.class = match info.verb {
            _ if self.broken => Class::Unknown,
            Verb::Other | Verb::With => Class::Unknown,
            Verb::Select | Verb::Values | Verb::Table if pure && info.effects.is_empty() => {
                Class::Read
            }
            Verb::Show => Class::Read,
            Verb::Explain
                if self.inner_query && info.effects.is_empty() && (pure || !self.analyze) =>
            {
                Class::Read
            }
            Verb::Copy if pure && info.effects == Effects::COPY_OUT => Class::Read,
            _ => Class::Write,
        };
    }
}

/// Whether a word where a table comes is one of the grammar's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noise {
    /// A name.
    No,
    /// Either: it is listed, and a name may follow.
    Perhaps,
    /// Certainly.
    Only,
}

impl Walk<'_> {
    fn noise(&mut self, keyword: Keyword, next: Token) -> Noise {
        use Keyword as K;
        let word_next = matches!(
            next.kind,
            TokenKind::Word | TokenKind::Quoted | TokenKind::UnicodeQuoted
        );
        if !word_next || keyword == K::Plain {
            return Noise::No;
        }
        match keyword {
            K::If if matches!(next.keyword, K::Exists | K::Not) => Noise::Only,
            K::Verbose | K::Freeze | K::Full | K::Binary | K::Concurrently | K::Exists => {
                Noise::Only
            }
            K::Temp | K::Temporary if self.select_into => {
                self.info.effects |= Effects::TEMP_OBJECT;
                Noise::Perhaps
            }
            K::Local | K::Global | K::Unlogged if self.select_into => Noise::Perhaps,
            _ if self.frame.insert || self.frame.pending_write || self.frame.query => Noise::No,
            K::View
            | K::Materialized
            | K::Sequence
            | K::Index
            | K::Schema
            | K::Database
            | K::Function
            | K::Procedure
            | K::Routine
            | K::Type
            | K::Domain
            | K::Language
            | K::Tablespace
            | K::Trigger
            | K::Rule
            | K::Policy
            | K::Aggregate
            | K::Cast
            | K::Collation
            | K::Conversion
            | K::Extension
            | K::Event
            | K::Large
            | K::Operator
            | K::Publication
            | K::Role
            | K::Server
            | K::Statistics
            | K::Subscription
            | K::Text
            | K::Transform
            | K::Access
            | K::If
            | K::System => Noise::Perhaps,
            _ => Noise::No,
        }
    }
}
