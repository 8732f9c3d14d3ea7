//! Brackets and commas: what opens, what it means for the names around it, what is left behind when it closes.

use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::Walk;
use super::state::{Chain, Frame, From, Kind, Mode, With};

impl Walk<'_> {
    /// `(` behind `chain`, which is empty when no word stands before it.
    pub(super) fn open(&mut self, chain: Chain) {
        let ctes = self.scratch.ctes.len() as u8;
        let mut inner = Frame::new(Kind::Group, ctes);
        if chain.parts > 0 && chain.expected != From::No {
            // Behind a table: its columns. In FROM: a function, which settling the name has not listed.
            inner.kind = expected_kind(&chain);
        } else if self.state.frame.with == With::As {
            inner.kind = Kind::Names;
            if matches!(chain.last.keyword, Keyword::As | Keyword::Materialized) && chain.parts > 0
            {
                inner.kind = Kind::Group;
                self.begin_cte(&mut inner);
            }
        } else if self.state.frame.from == From::Expect {
            inner.from = From::Expect;
            self.state.frame.from = From::Item;
        } else if chain.parts > 0 {
            inner.kind = self.kind_behind(&chain);
            if self.state.mode == Mode::Copy && chain.last.keyword == Keyword::Copy {
                self.state.frame.from = From::No;
            }
        }
        match inner.kind {
            Kind::Call => self.call(&chain),
            Kind::Names if chain.parts > 0 => self.glance(&chain),
            _ => {}
        }
        inner.at_start = matches!(inner.kind, Kind::Group | Kind::Clause);
        self.push(inner);
    }

    fn begin_cte(&mut self, inner: &mut Frame) {
        self.state.frame.with = With::Body;
        let index = self.scratch.ctes.len();
        let visible = self.state.frame.recursive;
        if let Some(cte) = self.scratch.ctes.last_mut() {
            cte.visible |= visible;
            inner.cte = index as u8;
        }
    }

    /// What a bracket behind this word is, when no table was waited for.
    fn kind_behind(&self, chain: &Chain) -> Kind {
        use Keyword as K;
        let word = if chain.parts == 1 {
            chain.last.keyword
        } else {
            K::Plain
        };
        let before = chain.before.keyword;
        if word == K::Using {
            return Kind::Names;
        }
        if word == K::Group && before == K::Within {
            return Kind::Clause;
        }
        if word.is_no_function() {
            return Kind::Group;
        }
        let structure = match word {
            K::Over | K::Filter if chain.behind_call => Some(Kind::Clause),
            K::By => matches!(before, K::Order | K::Group | K::Partition).then_some(Kind::Group),
            K::Rollup | K::Cube if self.state.frame.grouping => Some(Kind::Group),
            K::Sets if before == K::Grouping => Some(Kind::Group),
            K::Zone if before == K::Time => Some(Kind::Group),
            K::Operator if ends_operand(chain.before) => Some(Kind::Group),
            K::Like | K::Ilike if ends_operand(chain.before) => Some(Kind::Group),
            K::Set if self.state.frame.set_seen => Some(Kind::Names),
            K::Copy | K::Explain | K::Verbose if self.holds_query() => Some(Kind::Group),
            K::Repeatable
                if self.state.frame.from != From::No && chain.before.kind == TokenKind::Close =>
            {
                Some(Kind::Group)
            }
            // Its arguments are expressions.
            _ if before == K::Tablesample => Some(Kind::Group),
            K::Varying if ends_type(chain.before) => Some(Kind::Names),
            K::Insert if before == K::Then => Some(Kind::Names),
            K::Also | K::Instead if self.state.mode == Mode::Create => Some(Kind::Group),
            _ => None,
        };
        if let Some(kind) = structure {
            return kind;
        }
        let types = chain.before.kind == TokenKind::Cast
            || (chain.before.kind == TokenKind::Word && before == K::As)
            || chain.alias
            || self.state.frame.kind == Kind::Names;
        let utility = !self.state.frame.query
            && self.scratch.frames.is_empty()
            && !matches!(self.state.mode, Mode::Query | Mode::With);
        if types || utility {
            Kind::Names
        } else {
            Kind::Call
        }
    }

    /// In front of the query of COPY or EXPLAIN.
    fn holds_query(&self) -> bool {
        matches!(self.state.mode, Mode::Copy | Mode::Explain)
            && self.scratch.frames.is_empty()
            && !self.state.inner_query
    }

    /// `)` or `]`.
    pub(super) fn close(&mut self, kind: TokenKind) {
        let fits = match self.state.frame.kind {
            Kind::Top | Kind::Atomic => false,
            Kind::Bracket => kind == TokenKind::CloseBracket,
            _ => kind == TokenKind::Close,
        };
        if !fits {
            self.state.broken = true;
            return;
        }
        self.state.closed_call = matches!(self.state.frame.kind, Kind::Call | Kind::Clause);
        self.pop();
    }

    /// Back to the frame around this one.
    pub(super) fn pop(&mut self) {
        self.check_filter();
        let closed = self.state.frame;
        let Some(outer) = self.scratch.frames.pop() else {
            self.state.broken = true;
            return;
        };
        self.state.frame = outer;
        self.scratch.ctes.truncate(usize::from(closed.ctes));
        if closed.cte > 0
            && let Some(cte) = self.scratch.ctes.get_mut(usize::from(closed.cte) - 1)
        {
            cte.visible = true;
        }
    }

    pub(super) fn comma(&mut self) {
        self.state.frame.at_start = false;
        if self.state.frame.with == With::Body {
            self.state.frame.with = With::Name;
            return;
        }
        if matches!(
            self.state.frame.from,
            From::Item | From::Aliased | From::List
        ) {
            if self.state.frame.query || self.state.frame.write {
                self.state.frame.from = From::Expect;
            } else if self.state.lists {
                self.state.frame.from = From::Target;
            } else if self.state.frame.kind == Kind::Group {
                // A bracket in FROM has no commas between tables; in INHERITS it has.
                self.state.frame.from = From::Expect;
            }
        }
    }
}

/// What a bracket is behind a name that stands for a table.
const fn expected_kind(chain: &Chain) -> Kind {
    match chain.expected {
        From::Target => Kind::Names,
        _ if chain.parts == 1 && chain.last.keyword.is_no_function() => Kind::Group,
        _ => Kind::Call,
    }
}

/// `bit varying`, `character varying`.
const fn ends_type(token: Token) -> bool {
    matches!(
        token.keyword,
        Keyword::Bit | Keyword::Char | Keyword::Character | Keyword::Nchar
    )
}

/// Whether an expression can end with this token, so that a word behind it joins two of them.
pub(super) fn ends_operand(token: Token) -> bool {
    match token.kind {
        TokenKind::String
        | TokenKind::Number
        | TokenKind::Parameter
        | TokenKind::Close
        | TokenKind::CloseBracket
        | TokenKind::Quoted
        | TokenKind::UnicodeQuoted => true,
        TokenKind::Word => token.keyword == Keyword::Plain,
        _ => false,
    }
}
