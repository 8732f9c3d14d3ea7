//! BEGIN to ROLLBACK, and the modes that they name.

use super::super::analysis::{Access, Isolation, StatementInfo, TransactionModes};
use super::super::effects::Effects;
use super::super::keyword::Keyword as K;
use super::super::lexer::TokenKind;
use super::super::verb::Verb;
use super::Words;

pub(super) fn apply(info: &mut StatementInfo, words: &mut Words<'_>) {
    match info.verb {
        Verb::Begin => {
            info.effects |= Effects::TRANSACTION_BEGIN;
            info.transaction = modes(words);
        }
        Verb::Savepoint => info.name = words.name(),
        Verb::Release => {
            if words.tokens.len() > 1 {
                words.eat(K::Savepoint);
            }
            info.name = words.name();
        }
        _ => end(info, words),
    }
}

fn end(info: &mut StatementInfo, words: &mut Words<'_>) {
    let commit = info.verb == Verb::Commit;
    if words.eat(K::Prepared) {
        info.verb = if commit {
            Verb::CommitPrepared
        } else {
            Verb::RollbackPrepared
        };
        info.effects |= Effects::OUTSIDE_TRANSACTION;
        info.name = words.name();
        return;
    }
    if !words.eat(K::Work) {
        words.eat(K::Transaction);
    }
    if !commit && words.first == K::Rollback && words.eat(K::To) {
        if words.tokens.len() > 1 {
            words.eat(K::Savepoint);
        }
        info.verb = Verb::RollbackTo;
        info.name = words.name();
        return;
    }
    info.effects |= Effects::TRANSACTION_END;
    if words.has(K::Chain) && !words.has_pair(K::No, K::Chain) {
        info.effects |= Effects::TRANSACTION_BEGIN;
    }
}

/// All that the rest of the statement names.
pub(super) fn modes(words: &mut Words<'_>) -> TransactionModes {
    let mut modes = TransactionModes::default();
    let mut before = K::Plain;
    while let Some(token) = words.next() {
        match token.keyword {
            K::Only if before == K::Read => modes.access = Some(Access::ReadOnly),
            K::Write if before == K::Read => modes.access = Some(Access::ReadWrite),
            K::Deferrable => modes.deferrable = Some(before != K::Not),
            K::Serializable => modes.isolation = Some(Isolation::Serializable),
            K::Read if before == K::Repeatable => modes.isolation = Some(Isolation::RepeatableRead),
            K::Committed => modes.isolation = Some(Isolation::ReadCommitted),
            K::Uncommitted => modes.isolation = Some(Isolation::ReadUncommitted),
            _ => {}
        }
        before = if token.kind == TokenKind::Word {
            token.keyword
        } else {
            K::Plain
        };
    }
    modes
}
