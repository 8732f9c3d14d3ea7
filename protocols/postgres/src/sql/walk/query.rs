//! Words: which of them begin queries, name tables and aliases, and end lists of them.

use super::super::effects::Effects;
use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::super::verb::Verb;
use super::state::{Chain, Cte, Frame, From, Kind, Mode, With};
use super::{MAX_CTES, Walk};

impl Walk<'_> {
    /// A word or quoted name that begins a name: not one behind the dot of a name. `earlier` is the name right before it.
    #[inline]
    pub(super) fn word(&mut self, token: Token, earlier: &Chain) {
        self.state.chain = Chain {
            before: self.state.prev,
            behind_call: self.state.closed_call && self.state.prev.kind == TokenKind::Close,
            behind_dotted: earlier.parts > 1,
            label: false,
            alias: false,
            expected: From::No,
            parts: 1,
            start: token.span.start,
            schema: None,
            last: token,
        };
        if self.state.prev.kind == TokenKind::Dot {
            // The field of a bracket or of something subscripted.
            self.state.chain.label = true;
            self.state.frame.at_start = false;
            return;
        }
        if self.state.frame.at_start {
            self.state.frame.at_start = false;
            if self.start(token.keyword) {
                return;
            }
        }
        self.inner_word(token, earlier);
    }

    fn inner_word(&mut self, token: Token, earlier: &Chain) {
        let keyword = token.keyword;
        if self.state.frame.with == With::Name && !keyword.is_reserved() {
            self.name_cte(token);
            return;
        }
        if self.state.frame.expects() && !keyword.is_reserved() {
            self.state.chain.expected = self.state.frame.from;
            return;
        }
        // Behind AS any keyword is a name.
        let labelled = earlier.is_word(Keyword::As)
            && self.state.frame.query
            && self.state.frame.with == With::No;
        self.state.chain.label = labelled;
        if self.state.frame.from == From::Item && self.is_alias(keyword, earlier, labelled) {
            self.state.frame.from = From::Aliased;
            self.state.chain.alias = true;
        }
        if labelled {
            return;
        }
        if keyword != Keyword::Plain {
            self.keyword(keyword, earlier);
        } else if self.state.mode == Mode::Explain
            && token.kind != TokenKind::Word
            && !self.state.inner_query
        {
            // An option's name may be quoted: "analyze" is ANALYZE.
            self.state.analyze = true;
        }
    }

    /// Right behind a table, or behind its AS.
    fn is_alias(&self, keyword: Keyword, earlier: &Chain, labelled: bool) -> bool {
        let behind_item = match self.state.prev.kind {
            TokenKind::Close | TokenKind::Operator => true,
            _ => earlier.parts > 1 || (earlier.parts == 1 && !earlier.last.keyword.is_reserved()),
        };
        labelled || (behind_item && !keyword.is_reserved() && !keyword.is_join())
    }

    fn name_cte(&mut self, token: Token) {
        if token.keyword == Keyword::Recursive && self.state.prev.keyword == Keyword::With {
            self.state.frame.recursive = true;
            return;
        }
        self.state.frame.with = With::As;
        if self.scratch.ctes.len() < MAX_CTES {
            let name = token;
            self.scratch.ctes.push(Cte {
                name,
                visible: false,
            });
        } else {
            // Not to be taken for the last one that is known.
            self.state.frame.with = With::Tail;
        }
    }

    /// The first word of a statement, of a bracket, of what AS or FOR holds. Whether there is nothing more to it.
    fn start(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        match keyword {
            // A table of that name in the brackets of a FROM.
            K::Values | K::Insert | K::Update | K::Delete | K::Merge
                if self.state.frame.expects() =>
            {
                false
            }
            K::Select | K::Values | K::Table | K::Insert | K::Update | K::Delete | K::Merge => {
                self.begin_query(keyword);
                true
            }
            K::With => {
                self.state.frame.with = With::Name;
                self.state.inner_query = true;
                if self.state.mode == Mode::Start {
                    self.state.mode = Mode::With;
                }
                true
            }
            K::Analyze | K::Analyse | K::Verbose if self.state.mode == Mode::Explain => {
                self.state.analyze |= keyword != K::Verbose;
                self.state.frame.at_start = true;
                true
            }
            _ if self.state.mode == Mode::Start && self.scratch.frames.is_empty() => {
                self.begin_utility(keyword);
                true
            }
            K::Execute => {
                self.info.effects |= Effects::EXECUTE;
                self.info.inner.insert(Verb::Execute);
                true
            }
            K::Also | K::Instead => {
                self.state.frame.at_start = true;
                true
            }
            _ => false,
        }
    }

    pub(super) fn begin_query(&mut self, keyword: Keyword) {
        use Keyword as K;
        let verb = match keyword {
            K::Select => Verb::Select,
            K::Values => Verb::Values,
            K::Table => Verb::Table,
            K::Insert => Verb::Insert,
            K::Update => Verb::Update,
            K::Delete => Verb::Delete,
            _ => Verb::Merge,
        };
        let outermost = match self.state.mode {
            Mode::Start => true,
            Mode::With => self.scratch.frames.is_empty(),
            _ => false,
        };
        if outermost {
            self.state.verb = Some(verb);
            self.state.mode = Mode::Query;
        } else {
            self.info.inner.insert(verb);
        }
        self.state.inner_query = true;
        self.state.frame.with = With::No;
        self.state.frame.query = true;
        self.state.frame.from = match verb {
            Verb::Table => From::Expect,
            Verb::Update => From::Target,
            _ => From::No,
        };
        self.state.frame.pending_write = matches!(verb, Verb::Update | Verb::Delete);
        self.state.frame.insert = matches!(verb, Verb::Insert | Verb::Merge);
        // Only DELETE and MERGE have a USING that names tables.
        self.state.frame.using_seen = verb == Verb::Update;
    }

    #[allow(clippy::cognitive_complexity)] // a table
    fn keyword(&mut self, keyword: Keyword, earlier: &Chain) {
        use Keyword as K;
        match keyword {
            K::Insert | K::Update | K::Delete | K::Merge | K::Values | K::Table
                if matches!(self.state.frame.with, With::Body | With::Tail) =>
            {
                self.begin_query(keyword);
            }
            K::Select if self.can_select() => self.select(),
            K::Values => {
                self.state.frame.query |= self.state.frame.insert;
                self.state.frame.from = From::No;
            }
            K::From => self.from(earlier),
            K::Join if self.state.frame.from != From::No => self.state.frame.from = From::Expect,
            K::Using => self.using(),
            K::Into => self.into(),
            K::Where => {
                self.state.frame.has_where = true;
                self.end_tables();
            }
            K::Group => {
                self.end_tables();
                self.state.frame.grouping = true;
            }
            K::Order
            | K::Having
            | K::Limit
            | K::Offset
            | K::Fetch
            | K::Window
            | K::Returning
            | K::Union
            | K::Intersect
            | K::Except => self.end_tables(),
            K::On => self.on(),
            K::Table => self.table(earlier),
            K::Set
                if !self.state.frame.set_seen
                    && (self.state.frame.write || self.state.frame.insert) =>
            {
                self.state.frame.set_seen = true;
                self.state.frame.from = From::No;
            }
            K::For => {
                self.end_tables();
                self.state.frame.at_start =
                    self.state.mode == Mode::Holds && !self.state.inner_query;
            }
            K::As if self.holds_behind_as() => self.state.frame.at_start = true,
            K::With if self.state.frame.insert => self.state.frame.with = With::Name,
            K::Search | K::Cycle if self.state.frame.with == With::Body => {
                self.state.frame.with = With::Tail;
            }
            _ => self.rare_keyword(keyword, earlier),
        }
    }

    fn rare_keyword(&mut self, keyword: Keyword, earlier: &Chain) {
        use Keyword as K;
        match keyword {
            K::Update | K::Share | K::No | K::Key if self.state.prev.keyword == K::For => {
                self.info.effects |= Effects::ROW_LOCK;
            }
            K::Insert | K::Update | K::Delete | K::Merge => self.state.suspicious = true,
            K::Analyze | K::Analyse
                if self.state.mode == Mode::Explain && !self.state.inner_query =>
            {
                self.state.analyze = true;
            }
            K::Do if self.state.mode == Mode::Create => self.state.frame.at_start = true,
            K::Atomic if self.begins_body(earlier) => {
                let ctes = self.scratch.ctes.len() as u8;
                self.push(Frame::new(Kind::Atomic, ctes));
            }
            K::End if self.state.frame.kind == Kind::Atomic && self.ends_body(earlier) => {
                self.pop();
            }
            _ => self.utility_keyword(keyword),
        }
    }

    /// BEGIN ATOMIC of a function, and not two names that look like it: what is inside is no statement of its own.
    fn begins_body(&self, earlier: &Chain) -> bool {
        let routine =
            |token: &Token| matches!(token.keyword, Keyword::Function | Keyword::Procedure);
        self.state.mode == Mode::Create
            && self.scratch.frames.is_empty()
            && !self.state.inner_query
            && earlier.is_word(Keyword::Begin)
            && self.scratch.head.iter().take(4).any(routine)
    }

    /// Behind the last `;` of a body.
    fn ends_body(&self, earlier: &Chain) -> bool {
        self.state.prev.kind == TokenKind::Semicolon || earlier.is_word(Keyword::Atomic)
    }

    /// Not the privilege, the event of a rule, the command of a policy.
    fn can_select(&self) -> bool {
        match self.state.mode {
            Mode::Names | Mode::Plain | Mode::Alter => !self.scratch.frames.is_empty(),
            Mode::Create => !matches!(self.state.prev.keyword, Keyword::On | Keyword::For),
            _ => true,
        }
    }

    fn select(&mut self) {
        if self.state.verb.is_none() || !self.state.frame.query {
            let insert = self.state.frame.insert;
            self.begin_query(Keyword::Select);
            self.state.frame.insert = insert;
        }
        self.state.frame.insert = false;
        self.end_tables();
    }

    fn end_tables(&mut self) {
        self.state.frame.grouping = false;
        self.state.frame.from = From::No;
    }

    fn from(&mut self, earlier: &Chain) {
        // IS DISTINCT FROM, IS NOT DISTINCT FROM: with nothing that could be a label named `distinct`.
        let compares = matches!(earlier.before.keyword, Keyword::Is | Keyword::Not);
        if earlier.is_word(Keyword::Distinct) && compares && !earlier.behind_dotted {
            return;
        }
        if self.state.frame.pending_write {
            self.state.frame.from = From::Target;
        } else if self.state.frame.query {
            self.state.frame.from = From::Expect;
        } else if self.state.frame.from != From::No && self.state.frame.kind == Kind::Group {
            // ROWS FROM (...)
            self.state.frame.from = From::Expect;
        } else if self.state.frame.kind == Kind::Top {
            // CREATE TRIGGER ... ON one FROM another
            self.state.frame.from = if self.state.mode == Mode::Create {
                From::Target
            } else {
                From::No
            };
        }
    }

    fn using(&mut self) {
        let joins_write = self.state.frame.write || self.state.frame.insert;
        let behind_target = matches!(self.state.frame.from, From::Item | From::Aliased);
        if joins_write && behind_target && !self.state.frame.using_seen {
            self.state.frame.using_seen = true;
            self.state.frame.from = From::Expect;
        } else if self.state.frame.expects() {
            self.state.frame.from = From::No;
        }
    }

    fn into(&mut self) {
        self.state.suspicious = true;
        if self.state.frame.insert {
            self.state.frame.from = From::Target;
        } else if self.state.frame.query {
            self.state.select_into = true;
            self.state.frame.from = From::Target;
        } else {
            self.end_tables();
        }
    }

    fn on(&mut self) {
        if self.state.frame.query || self.state.frame.write {
            if matches!(
                self.state.frame.from,
                From::Item | From::Aliased | From::List
            ) {
                self.state.frame.from = From::List;
            }
        } else if matches!(self.state.mode, Mode::Create | Mode::Alter | Mode::Names) {
            self.state.frame.from = From::Target;
        }
    }

    fn table(&mut self, earlier: &Chain) {
        let queries = matches!(self.state.mode, Mode::Query | Mode::With) || self.state.frame.query;
        if !queries {
            if self.state.mode != Mode::Plain {
                self.state.frame.from = From::Target;
            }
            return;
        }
        // `SELECT 1 table` is a label.
        use Keyword as K;
        let joins = [K::Union, K::Intersect, K::Except, K::All, K::Distinct];
        let begins =
            self.state.frame.insert || joins.into_iter().any(|keyword| earlier.is_word(keyword));
        if begins && !self.state.frame.expects() {
            self.state.frame.query = true;
            self.state.frame.from = From::Expect;
        }
    }

    fn holds_behind_as(&self) -> bool {
        matches!(self.state.mode, Mode::Holds | Mode::Create)
            && self.scratch.frames.is_empty()
            && !self.state.inner_query
    }
}
