//! CREATE, ALTER, DROP of what; COPY from and to where; the rest.

use super::super::analysis::StatementInfo;
use super::super::effects::Effects;
use super::super::keyword::Keyword as K;
use super::super::lexer::{Token, TokenKind};
use super::super::verb::{Object, Verb};
use super::super::walk::is_temporary;
use super::Words;

pub(super) fn apply(info: &mut StatementInfo, words: &mut Words<'_>) {
    match info.verb {
        Verb::Create(_) => {
            let (object, temporary) = object(words);
            info.verb = Verb::Create(object);
            create(info, words, temporary);
        }
        Verb::Alter(_) => info.verb = Verb::Alter(object(words).0),
        Verb::Drop(_) => info.verb = Verb::Drop(object(words).0),
        Verb::Copy => copy(info, words),
        Verb::Vacuum => info.effects |= Effects::OUTSIDE_TRANSACTION,
        _ => {}
    }
    let whole = matches!(
        info.verb,
        Verb::Create(Object::Database | Object::Tablespace | Object::Subscription)
            | Verb::Drop(Object::Database | Object::Tablespace | Object::Subscription)
            | Verb::Alter(Object::System)
    );
    let concurrently = info.verb != Verb::Refresh && words.has(K::Concurrently);
    if whole || concurrently {
        info.effects |= Effects::OUTSIDE_TRANSACTION;
    }
}

fn create(info: &mut StatementInfo, words: &Words<'_>, temporary: bool) {
    // Gone before anybody else can come, and nothing else to be reset.
    let dropped = words.has_pair(K::Commit, K::Drop) && info.verb == Verb::Create(Object::Table);
    if temporary && !dropped {
        info.effects |= Effects::TEMP_OBJECT;
    }
    if temporary && dropped {
        info.effects |= Effects::TEMP_IN_TRANSACTION;
    }
    let in_temp =
        |token: &Token| token.kind == TokenKind::UnicodeQuoted || is_temporary(words.sql, *token);
    if words.tokens.iter().any(in_temp) {
        info.effects |= Effects::TEMP_OBJECT;
    }
}

/// What it is about, and whether TEMP stands before that.
fn object(words: &mut Words<'_>) -> (Object, bool) {
    let mut temporary = false;
    let mut before = K::Plain;
    while let Some(token) = words.next() {
        let keyword = token.keyword;
        temporary |= matches!(keyword, K::Temp | K::Temporary);
        if let Some(object) = object_of(before, keyword, words.peek_keyword()) {
            return (object, temporary);
        }
        before = keyword;
    }
    (Object::Other, temporary)
}

fn object_of(before: K, keyword: K, next: K) -> Option<Object> {
    let object = match keyword {
        K::Table if before == K::Foreign => Object::ForeignTable,
        K::Table => Object::Table,
        K::Index => Object::Index,
        K::View if before == K::Materialized => Object::MaterializedView,
        K::View => Object::View,
        K::Sequence => Object::Sequence,
        K::Schema => Object::Schema,
        K::Database => Object::Database,
        K::User if next == K::Mapping => Object::UserMapping,
        K::Role | K::User | K::Group => Object::Role,
        K::Function => Object::Function,
        K::Procedure => Object::Procedure,
        K::Routine => Object::Routine,
        K::Aggregate => Object::Aggregate,
        K::Trigger if before == K::Event => Object::EventTrigger,
        K::Trigger => Object::Trigger,
        K::Type => Object::Type,
        K::Domain => Object::Domain,
        K::Extension => Object::Extension,
        K::Language => Object::Language,
        K::Operator => Object::Operator,
        K::Policy => Object::Policy,
        K::Publication => Object::Publication,
        K::Subscription => Object::Subscription,
        K::Server => Object::Server,
        K::Data if before == K::Foreign => Object::ForeignDataWrapper,
        K::Tablespace => Object::Tablespace,
        K::Cast => Object::Cast,
        K::Collation => Object::Collation,
        K::Conversion => Object::Conversion,
        K::Rule => Object::Rule,
        K::Statistics => Object::Statistics,
        K::Search if before == K::Text => Object::TextSearch,
        K::Transform => Object::Transform,
        K::Method if before == K::Access => Object::AccessMethod,
        K::System => Object::System,
        K::Privileges if before == K::Default => Object::DefaultPrivileges,
        K::Object if before == K::Large => Object::LargeObject,
        K::Owned => Object::Owned,
        K::Constraint if next != K::Trigger => Object::Constraint,
        _ => return None,
    };
    Some(object)
}

/// `COPY table (columns) FROM STDIN`, `COPY (query) TO STDOUT`: brackets are left out of the words but for the last one.
///
/// STDIN and STDOUT mean the client whichever way the data goes, as the server takes them.
fn copy(info: &mut StatementInfo, words: &mut Words<'_>) {
    while let Some(token) = words.next() {
        let client = matches!(words.peek_keyword(), K::Stdin | K::Stdout);
        match token.keyword {
            K::From if client => info.effects |= Effects::COPY_IN,
            K::To if client => info.effects |= Effects::COPY_OUT,
            K::From | K::To => {}
            _ => continue,
        }
        return;
    }
}
