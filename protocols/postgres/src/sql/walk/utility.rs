//! Statements that are no queries: which verbs they are, and which of their words name tables.

use super::super::keyword::Keyword;
use super::super::lexer::{Token, TokenKind};
use super::super::verb::{Object, Verb};
use super::Walk;
use super::state::{From, Mode};

impl Walk<'_> {
    pub(super) fn begin_utility(&mut self, keyword: Keyword) {
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
        self.state.verb = Some(verb);
        self.state.mode = mode;
        self.state.lists = matches!(
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
            self.state.frame.from = From::Target;
        }
        self.state.frame.at_start = mode == Mode::Explain;
    }

    pub(super) fn utility_keyword(&mut self, keyword: Keyword) {
        use Keyword as K;
        if matches!(self.state.mode, Mode::Query | Mode::With | Mode::Plain)
            || self.state.frame.query
        {
            return;
        }
        let names = match keyword {
            K::View | K::Sequence => !self.state.frame.expects(),
            K::References => true,
            K::Partition => matches!(self.state.prev.keyword, K::Attach | K::Detach),
            K::Column => {
                self.state.column = self.state.mode == Mode::Names;
                false
            }
            K::By if self.state.prev.keyword == K::Owned => {
                self.state.column = matches!(self.state.mode, Mode::Alter | Mode::Create);
                self.state.column
            }
            K::Publication => {
                self.state.lists = true;
                false
            }
            K::Inherits => {
                self.state.frame.from = From::Expect;
                return;
            }
            K::Of => self.state.prev.keyword == K::Partition,
            K::Like => matches!(self.state.prev.kind, TokenKind::Open | TokenKind::Comma),
            K::To => {
                self.state.mode == Mode::Create && self.scratch.frames.is_empty() && self.is_rule()
            }
            K::All if matches!(self.state.verb, Some(Verb::Grant | Verb::Revoke)) => {
                // ON ALL TABLES IN SCHEMA. Not ALL PRIVILEGES, which stands before ON.
                self.info.tables_truncated |= self.state.prev.keyword == K::On;
                false
            }
            _ => false,
        };
        if names {
            self.state.frame.from = From::Target;
        }
    }

    fn is_rule(&self) -> bool {
        let rule = |token: &Token| token.keyword == Keyword::Rule;
        self.scratch.head.iter().take(4).any(rule)
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
