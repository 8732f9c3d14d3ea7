//! The machine that reads a text token by token: statements, brackets, names, and what they add up to.
//!
//! Two stacks, both bounded: open brackets with what a query inside them has reached, and the CTEs in scope. Words are
//! in `query`, what brackets mean in `brackets`, how a statement ends in [`super::head`]. Start at [`walk`].

mod brackets;
mod end;
mod query;
mod state;
mod utility;

use smallvec::SmallVec;

use super::Options;
use super::analysis::{Analysis, Fingerprint, MAX_STATEMENTS, MAX_TABLES, Span, StatementInfo};
use super::effects::Effects;
use super::functions::{self, FunctionSet};
use super::hint;
use super::keyword::Keyword;
use super::lexer::{Lexer, Token, TokenKind};
use super::name::same_token;
use super::normal::Normal;
use end::Noise;
use state::{Chain, Cte, Frame, From, Kind, MAX_HEAD, Mode, Scratch, State};

/// Brackets inside brackets that are followed. The server's own stack ends not much later.
const MAX_DEPTH: usize = 512;
/// CTEs in scope that are known; names of others count as tables.
const MAX_CTES: usize = 64;

struct Walk<'a> {
    sql: &'a [u8],
    safe: Option<&'a FunctionSet>,
    scratch: &'a mut Scratch,
    statements: &'a mut SmallVec<[StatementInfo; 1]>,
    fingerprint: Fingerprint,
    normal: Normal<'static>,
    /// One of the statements cannot be read.
    unreadable: bool,
    info: StatementInfo,
    state: State,
}

/// Reads `sql` into `out`.
pub(super) fn walk(sql: &[u8], options: &Options, out: &mut Analysis) {
    out.statements.clear();
    out.hint = options.hints.then(|| hint::read(sql)).flatten();
    let sql = sql.get(..u32::MAX as usize).unwrap_or(sql);
    let mut walk = Walk {
        sql,
        safe: options.safe_functions.as_deref(),
        scratch: &mut Scratch::default(),
        statements: &mut out.statements,
        fingerprint: Fingerprint::default(),
        normal: Normal::new(),
        unreadable: false,
        info: StatementInfo::default(),
        state: State::NEW,
    };
    let ended = if options.ascii_safe || sql.is_ascii() {
        walk.run(options)
    } else {
        walk.give_up();
        false
    };
    let fine = ended && !walk.unreadable;
    out.fingerprint = walk.fingerprint;
    out.complete = fine && !options.truncated && sql.len() < u32::MAX as usize;
}

impl Walk<'_> {
    /// Whether the end was reached.
    fn run(&mut self, options: &Options) -> bool {
        let mut lexer = Lexer::new(self.sql, options.standard_conforming_strings);
        loop {
            let token = lexer.next_token();
            match token.kind {
                TokenKind::End => break,
                TokenKind::Semicolon if !self.is_inner_semicolon() => {
                    self.end_statement(false);
                    if self.statements.len() >= MAX_STATEMENTS {
                        return lexer.next_token().kind == TokenKind::End;
                    }
                    continue;
                }
                _ => {}
            }
            self.normal.push(self.sql, token);
            self.token(token);
            if self.scratch.frames.len() > MAX_DEPTH {
                self.state.broken = true;
                self.end_statement(false);
                return false;
            }
        }
        self.end_statement(options.truncated);
        true
    }

    /// One statement of which nothing is known.
    fn give_up(&mut self) {
        self.state.begun = true;
        self.state.broken = true;
        self.info.span = Span::new(0, self.sql.len());
        self.info.tables_truncated = true;
        self.info.effects = Effects::OPAQUE;
        self.end_statement(false);
    }

    #[inline]
    fn token(&mut self, token: Token) {
        if !self.state.begun {
            self.state.begun = true;
            self.info.span.start = token.span.start;
        }
        self.info.span.end = token.span.end;
        match token.kind {
            TokenKind::Word | TokenKind::Quoted | TokenKind::UnicodeQuoted => {
                if self.state.prev.kind == TokenKind::Dot && self.state.chain.parts > 0 {
                    self.state.chain.schema = Some(self.state.chain.last);
                    self.state.chain.last = token;
                    self.state.chain.parts += 1;
                } else {
                    let earlier = self.settle(token);
                    self.word(token, &earlier);
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
                let mut inner = Frame::new(Kind::Bracket, self.scratch.ctes.len() as u8);
                inner.at_start = false;
                self.push(inner);
            }
            TokenKind::CloseBracket => {
                self.settle(token);
                self.close(TokenKind::CloseBracket);
            }
            TokenKind::Invalid | TokenKind::Unterminated => {
                self.settle(token);
                self.state.broken = true;
            }
            TokenKind::Semicolon => {
                self.settle(token);
                self.inner_semicolon();
            }
            _ => {
                self.settle(token);
                self.state.frame.at_start = false;
            }
        }
        if self.scratch.frames.is_empty() && self.keeps_head() {
            self.scratch.head.push(token);
        }
        self.state.prev = token;
    }

    #[inline]
    fn keeps_head(&self) -> bool {
        !matches!(self.state.mode, Mode::Query | Mode::With) && self.scratch.head.len() < MAX_HEAD
    }

    /// Ends a name, knowing what comes behind it: lists it where it stands for a table. Gives the name back.
    #[inline]
    fn settle(&mut self, next: Token) -> Chain {
        let chain = self.state.chain;
        if chain.parts > 0 {
            self.state.chain.parts = 0;
            if chain.expected != From::No {
                self.settle_table(&chain, next);
            }
        }
        chain
    }

    fn settle_table(&mut self, chain: &Chain, next: Token) {
        if chain.expected == From::Expect {
            self.state.frame.from = From::Item;
            let open = next.kind == TokenKind::Open;
            if open && chain.parts == 1 && chain.last.keyword == Keyword::Values {
                self.begin_query(Keyword::Values);
                return;
            }
            // Behind a bracket it is a function; ROWS FROM is no table.
            if next.kind != TokenKind::Open && next.keyword != Keyword::From {
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
        self.state.frame.from = From::Item;
        if self.state.frame.pending_write {
            self.state.frame.pending_write = false;
            self.state.frame.write = true;
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
        if self.state.select_into
            && chain
                .schema
                .is_some_and(|schema| is_temporary(self.sql, schema))
        {
            self.info.effects |= Effects::TEMP_OBJECT;
        }
        if self.info.tables.len() >= MAX_TABLES {
            self.info.tables_truncated = true;
            return;
        }
        let last = match chain.schema {
            Some(table) if self.state.column => table,
            _ => chain.last,
        };
        self.state.column = false;
        self.info.tables.push(Span {
            start: chain.start,
            end: last.span.end,
        });
    }

    fn push(&mut self, frame: Frame) {
        self.scratch.frames.push(self.state.frame);
        self.state.frame = frame;
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
        self.state.frame.kind == Kind::Atomic
            || (self.state.mode == Mode::Create
                && self.state.frame.kind == Kind::Group
                && self.state.frame.query)
    }

    fn inner_semicolon(&mut self) {
        self.check_filter();
        let (kind, ctes, cte) = (
            self.state.frame.kind,
            self.state.frame.ctes,
            self.state.frame.cte,
        );
        self.scratch.ctes.truncate(usize::from(ctes));
        self.state.frame = Frame::new(kind, ctes);
        self.state.frame.cte = cte;
        // Still the bracket of the actions.
        self.state.frame.query = kind == Kind::Group;
    }
}

/// Whether a schema is the one of temporary objects.
pub(super) fn is_temporary(sql: &[u8], token: Token) -> bool {
    let text = token.span.of(sql);
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    text.get(..7)
        .is_some_and(|front| front.eq_ignore_ascii_case(b"pg_temp"))
}
