//! Words: which of them begin queries, name tables and aliases, and end lists of them.

use super::super::effects::Effects;
use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::super::verb::{Object, Verb};
use super::{Chain, Cte, Frame, From, Kind, MAX_CTES, Mode, Walk, With};

impl Walk<'_> {
    /// A word or quoted name that begins a name: not one behind a dot.
    #[inline]
    pub(super) fn word(&mut self, token: Token) {
        let keyword = token.keyword;
        self.chain = Chain {
            before: self.prev,
            behind_call: self.closed_call && self.prev.kind == TokenKind::Close,
            expected: From::No,
            parts: 1,
            start: token.span.start,
            schema: None,
            last: token,
        };
        if self.frame.at_start {
            self.frame.at_start = false;
            if self.start(keyword) {
                return;
            }
        }
        if self.frame.with == With::Name && !keyword.is_reserved() {
            self.name_cte(token);
            return;
        }
        if self.frame.expects() && !keyword.is_reserved() {
            self.chain.expected = self.frame.from;
            return;
        }
        if self.frame.from == From::Item && self.is_alias(keyword) {
            self.frame.from = From::Aliased;
        }
        if keyword != Keyword::Plain {
            self.keyword(keyword);
        } else if self.mode == Mode::Explain && token.kind != TokenKind::Word && !self.inner_query {
            // An option's name may be quoted: "analyze" is ANALYZE.
            self.analyze = true;
        }
    }

    fn is_alias(&self, keyword: Keyword) -> bool {
        !keyword.is_reserved() && !keyword.is_join() && self.prev.keyword != Keyword::With
    }

    fn name_cte(&mut self, token: Token) {
        if token.keyword == Keyword::Recursive && self.prev.keyword == Keyword::With {
            self.frame.recursive = true;
            return;
        }
        self.frame.with = With::As;
        if self.scratch.ctes.len() < MAX_CTES {
            let name = token;
            self.scratch.ctes.push(Cte {
                name,
                visible: false,
            });
        } else {
            // Not to be taken for the last one that is known.
            self.frame.with = With::Tail;
        }
    }

    /// The first word of a statement, of a bracket, of what AS or FOR holds. Whether there is nothing more to it.
    fn start(&mut self, keyword: Keyword) -> bool {
        use Keyword as K;
        match keyword {
            K::Select | K::Values | K::Table | K::Insert | K::Update | K::Delete | K::Merge => {
                self.begin_query(keyword);
                true
            }
            K::With => {
                self.frame.with = With::Name;
                self.inner_query = true;
                if self.mode == Mode::Start {
                    self.mode = Mode::With;
                }
                true
            }
            K::Analyze | K::Analyse | K::Verbose if self.mode == Mode::Explain => {
                self.analyze |= keyword != K::Verbose;
                self.frame.at_start = true;
                true
            }
            _ if self.mode == Mode::Start && self.scratch.frames.is_empty() => {
                self.begin_utility(keyword);
                true
            }
            K::Execute => {
                self.info.effects |= Effects::EXECUTE;
                self.info.inner.insert(Verb::Execute);
                true
            }
            K::Also | K::Instead => {
                self.frame.at_start = true;
                true
            }
            _ => false,
        }
    }

    fn begin_query(&mut self, keyword: Keyword) {
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
        let outermost = match self.mode {
            Mode::Start => true,
            Mode::With => self.scratch.frames.is_empty(),
            _ => false,
        };
        if outermost {
            self.verb = Some(verb);
            self.mode = Mode::Query;
        } else {
            self.info.inner.insert(verb);
        }
        self.inner_query = true;
        self.frame.with = With::No;
        self.frame.query = true;
        self.frame.from = match verb {
            Verb::Table => From::Expect,
            Verb::Update => From::Target,
            _ => From::No,
        };
        self.frame.pending_write = matches!(verb, Verb::Update | Verb::Delete);
        self.frame.insert = matches!(verb, Verb::Insert | Verb::Merge);
    }

    fn begin_utility(&mut self, keyword: Keyword) {
        use Keyword as K;
        let (verb, mode) = match keyword {
            K::Copy => (Verb::Copy, Mode::Copy),
            K::Explain => (Verb::Explain, Mode::Explain),
            K::Prepare => (Verb::Prepare, Mode::Holds),
            K::Declare => (Verb::Declare, Mode::Holds),
            K::Create => (Verb::Create(Object::Other), Mode::Create),
            K::Alter => (Verb::Alter(Object::Other), Mode::Alter),
            K::Drop => (Verb::Drop(Object::Other), Mode::Names),
            K::Truncate => (Verb::Truncate, Mode::Names),
            K::Lock => (Verb::Lock, Mode::Names),
            K::Vacuum => (Verb::Vacuum, Mode::Names),
            K::Analyze | K::Analyse => (Verb::Analyze, Mode::Names),
            K::Cluster => (Verb::Cluster, Mode::Names),
            K::Reindex => (Verb::Reindex, Mode::Names),
            K::Refresh => (Verb::Refresh, Mode::Names),
            K::Comment => (Verb::Comment, Mode::Names),
            K::Security => (Verb::Security, Mode::Names),
            K::Grant => (Verb::Grant, Mode::Names),
            K::Revoke => (Verb::Revoke, Mode::Names),
            K::Import => (Verb::Import, Mode::Names),
            _ => (plain_verb(keyword), Mode::Plain),
        };
        self.verb = Some(verb);
        self.mode = mode;
        self.lists = matches!(
            verb,
            Verb::Drop(_)
                | Verb::Truncate
                | Verb::Lock
                | Verb::Vacuum
                | Verb::Analyze
                | Verb::Grant
                | Verb::Revoke
        );
        if mode == Mode::Copy
            || matches!(
                verb,
                Verb::Truncate
                    | Verb::Lock
                    | Verb::Vacuum
                    | Verb::Analyze
                    | Verb::Cluster
                    | Verb::Reindex
            )
        {
            self.frame.from = From::Target;
        }
        self.frame.at_start = mode == Mode::Explain;
    }

    #[allow(clippy::cognitive_complexity)] // a table
    fn keyword(&mut self, keyword: Keyword) {
        use Keyword as K;
        match keyword {
            K::Select => self.select(),
            K::Values => {
                self.frame.query |= self.frame.insert;
                self.frame.from = From::No;
            }
            K::From => self.from(),
            K::Join if self.frame.from != From::No => self.frame.from = From::Expect,
            K::Using => self.using(),
            K::Into => self.into(),
            K::Where => {
                self.frame.has_where = true;
                self.end_tables();
            }
            K::Group => {
                self.end_tables();
                self.frame.grouping = true;
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
            K::Table => self.table(),
            K::Set if !self.frame.set_seen && (self.frame.write || self.frame.insert) => {
                self.frame.set_seen = true;
                self.frame.from = From::No;
            }
            K::For => {
                self.end_tables();
                self.frame.at_start = self.mode == Mode::Holds && !self.inner_query;
            }
            K::As if self.holds_behind_as() => self.frame.at_start = true,
            K::With if self.frame.insert => self.frame.with = With::Name,
            K::Search | K::Cycle if self.frame.with == With::Body => self.frame.with = With::Tail,
            _ => self.rare_keyword(keyword),
        }
    }

    fn rare_keyword(&mut self, keyword: Keyword) {
        use Keyword as K;
        match keyword {
            K::Insert | K::Update | K::Delete | K::Merge
                if matches!(self.frame.with, With::Body | With::Tail) =>
            {
                self.begin_query(keyword);
            }
            K::Update | K::Share | K::No | K::Key if self.prev.keyword == K::For => {
                self.info.effects |= Effects::ROW_LOCK;
            }
            K::Insert | K::Update | K::Delete | K::Merge => self.suspicious = true,
            K::Analyze | K::Analyse if self.mode == Mode::Explain && !self.inner_query => {
                self.analyze = true;
            }
            K::Do if self.mode == Mode::Create => self.frame.at_start = true,
            K::Atomic if self.mode == Mode::Create && self.prev.keyword == K::Begin => {
                let ctes = self.scratch.ctes.len() as u8;
                self.push(Frame::new(Kind::Atomic, ctes));
            }
            K::End if self.frame.kind == Kind::Atomic && self.ends_body() => self.pop(),
            _ => self.utility_keyword(keyword),
        }
    }

    /// Behind the last `;` of a body.
    const fn ends_body(&self) -> bool {
        matches!(self.prev.kind, TokenKind::Semicolon)
            || matches!(self.prev.keyword, Keyword::Atomic)
    }

    fn utility_keyword(&mut self, keyword: Keyword) {
        use Keyword as K;
        if matches!(self.mode, Mode::Query | Mode::With | Mode::Plain) || self.frame.query {
            return;
        }
        let names = match keyword {
            K::View | K::Sequence => !self.frame.expects(),
            K::References | K::Partition => true,
            K::Inherits => {
                self.frame.from = From::Expect;
                return;
            }
            K::Of => self.prev.keyword == K::Partition,
            K::Like => matches!(self.prev.kind, TokenKind::Open | TokenKind::Comma),
            K::To => self.mode == Mode::Create && self.scratch.frames.is_empty() && self.is_rule(),
            K::All if matches!(self.verb, Some(Verb::Grant | Verb::Revoke)) => {
                // ON ALL TABLES IN SCHEMA. Not ALL PRIVILEGES, which stands before ON.
                self.info.tables_truncated |= self.prev.keyword == K::On;
                false
            }
            _ => false,
        };
        if names {
            self.frame.from = From::Target;
        }
    }

    fn is_rule(&self) -> bool {
        let rule = |token: &Token| token.keyword == Keyword::Rule;
        self.scratch.head.iter().take(4).any(rule)
    }

    fn select(&mut self) {
        if self.verb.is_none() || !self.frame.query {
            let insert = self.frame.insert;
            self.begin_query(Keyword::Select);
            self.frame.insert = insert;
        }
        self.frame.insert = false;
        self.end_tables();
    }

    fn end_tables(&mut self) {
        self.frame.grouping = false;
        self.frame.from = From::No;
    }

    fn from(&mut self) {
        // IS DISTINCT FROM
        if self.prev.keyword == Keyword::Distinct {
            return;
        }
        if self.frame.pending_write {
            self.frame.from = From::Target;
        } else if self.frame.query {
            self.frame.from = From::Expect;
        } else if self.frame.from != From::No && self.frame.kind == Kind::Group {
            // ROWS FROM (...)
            self.frame.from = From::Expect;
        } else if self.frame.kind == Kind::Top {
            self.frame.from = From::No;
        }
    }

    fn using(&mut self) {
        let joins_write = self.frame.write || self.frame.insert;
        let behind_target = matches!(self.frame.from, From::Item | From::Aliased);
        if joins_write && behind_target && !self.frame.using_seen {
            self.frame.using_seen = true;
            self.frame.from = From::Expect;
        } else if self.frame.expects() {
            self.frame.from = From::No;
        }
    }

    fn into(&mut self) {
        self.suspicious = true;
        if self.frame.insert {
            self.frame.from = From::Target;
        } else if self.frame.query {
            self.select_into = true;
            self.frame.from = From::Target;
        } else {
            self.end_tables();
        }
    }

    fn on(&mut self) {
        if self.frame.query || self.frame.write {
            if matches!(self.frame.from, From::Item | From::Aliased | From::List) {
                self.frame.from = From::List;
            }
        } else if matches!(self.mode, Mode::Create | Mode::Alter | Mode::Names) {
            self.frame.from = From::Target;
        }
    }

    fn table(&mut self) {
        if self.frame.query {
            if !self.frame.expects() {
                self.frame.from = From::Expect;
            }
        } else if !matches!(self.mode, Mode::Query | Mode::With | Mode::Plain) {
            self.frame.from = From::Target;
        }
    }

    fn holds_behind_as(&self) -> bool {
        matches!(self.mode, Mode::Holds | Mode::Create)
            && self.scratch.frames.is_empty()
            && !self.inner_query
    }
}

const fn plain_verb(keyword: Keyword) -> Verb {
    use Keyword as K;
    match keyword {
        K::Begin | K::Start => Verb::Begin,
        K::Commit | K::End => Verb::Commit,
        K::Rollback | K::Abort => Verb::Rollback,
        K::Savepoint => Verb::Savepoint,
        K::Release => Verb::Release,
        K::Set => Verb::Set,
        K::Reset => Verb::Reset,
        K::Show => Verb::Show,
        K::Discard => Verb::Discard,
        K::Execute => Verb::Execute,
        K::Deallocate => Verb::Deallocate,
        K::Fetch => Verb::Fetch,
        K::Move => Verb::Move,
        K::Close => Verb::Close,
        K::Listen => Verb::Listen,
        K::Unlisten => Verb::Unlisten,
        K::Notify => Verb::Notify,
        K::Checkpoint => Verb::Checkpoint,
        K::Call => Verb::Call,
        K::Do => Verb::Do,
        K::Load => Verb::Load,
        K::Reassign => Verb::Reassign,
        K::IdentifySystem
        | K::StartReplication
        | K::BaseBackup
        | K::CreateReplicationSlot
        | K::DropReplicationSlot
        | K::ReadReplicationSlot
        | K::AlterReplicationSlot
        | K::TimelineHistory
        | K::UploadManifest => Verb::Replication,
        _ => Verb::Other,
    }
}
