//! How statements end: what they add up to, and which words were none of their names.

use super::super::analysis::{Class, StatementInfo};
use super::super::effects::Effects;
use super::super::head;
use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::super::verb::Verb;
use super::Walk;
use super::state::{Mode, State};

impl Walk<'_> {
    pub(super) fn check_filter(&mut self) {
        if self.state.frame.is_unfiltered() {
            self.info.effects |= Effects::UNFILTERED_WRITE;
        }
    }

    pub(super) fn end_statement(&mut self, truncated: bool) {
        self.settle(Token::NOTHING);
        if self.state.begun {
            self.state.broken |= !self.scratch.frames.is_empty();
            self.unreadable |= self.state.broken;
            self.check_filter();
            while let Some(frame) = self.scratch.frames.pop() {
                self.state.frame = frame;
                self.check_filter();
            }
            let mut info = std::mem::take(&mut self.info);
            info.has_where = self.state.frame.has_where;
            info.verb = self.state.verb.unwrap_or(if self.state.mode == Mode::With {
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
            self.fingerprint = if self.statements.is_empty() {
                info.fingerprint
            } else {
                self.fingerprint.then(info.fingerprint)
            };
            self.statements.push(info);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.scratch.clear();
        self.state = State::NEW;
    }

    /// The rules of `SQL.md`, "What counts as a read".
    fn classify(&self, info: &mut StatementInfo) {
        let pure = !self.state.suspicious && info.inner.is_empty();
        if info.verb == Verb::Explain && !self.state.analyze {
            // Planned, not run.
            info.effects = info.effects.intersection(Effects::EXECUTE);
        }
        info.class = match info.verb {
            _ if self.state.broken => Class::Unknown,
            Verb::Other | Verb::With => Class::Unknown,
            Verb::Select | Verb::Values | Verb::Table if pure && info.effects.is_empty() => {
                Class::Read
            }
            Verb::Show => Class::Read,
            Verb::Explain
                if self.state.inner_query
                    && info.effects.is_empty()
                    && (pure || !self.state.analyze) =>
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
pub(super) enum Noise {
    /// A name.
    No,
    /// Either: it is listed, and a name may follow.
    Perhaps,
    /// Certainly.
    Only,
}

impl Walk<'_> {
    pub(super) fn noise(&mut self, keyword: Keyword, next: Token) -> Noise {
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
            K::Temp | K::Temporary if self.state.select_into => {
                self.info.effects |= Effects::TEMP_OBJECT;
                Noise::Perhaps
            }
            K::Insert | K::Update | K::Delete if next.keyword == K::To => Noise::Only,
            K::Of => Noise::Perhaps,
            K::Local | K::Global | K::Unlogged if self.state.select_into => Noise::Perhaps,
            _ if self.state.frame.insert
                || self.state.frame.pending_write
                || self.state.frame.query =>
            {
                Noise::No
            }
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
