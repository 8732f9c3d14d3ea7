//! What changes or uses the session: parameters, roles, prepared statements, cursors, channels.

use super::super::analysis::{ParameterName, ParameterValue, SetParameter, StatementInfo};
use super::super::effects::Effects;
use super::super::keyword::Keyword as K;
use super::super::lexer::TokenKind;
use super::super::verb::Verb;
use super::{Words, transaction};

pub(super) fn apply(info: &mut StatementInfo, words: &mut Words<'_>) {
    match info.verb {
        Verb::Set => set(info, words),
        Verb::Reset => reset(info, words),
        Verb::Show => {
            info.name = if words.peek_keyword() == K::All {
                None
            } else {
                words.rest()
            }
        }
        Verb::Discard => info.effects |= discard(words),
        Verb::Prepare => prepare(info, words),
        Verb::Execute => {
            info.effects |= Effects::EXECUTE;
            info.name = words.name();
        }
        Verb::Deallocate => deallocate(info, words),
        Verb::Declare => declare(info, words),
        Verb::Fetch | Verb::Move => {
            info.effects |= Effects::USE_CURSOR;
            info.name = words.tokens.last().map(|token| token.span);
        }
        Verb::Close if words.peek_keyword() == K::All => info.effects |= Effects::CLOSE_ALL,
        Verb::Close => {
            info.effects |= Effects::USE_CURSOR;
            info.name = words.name();
        }
        Verb::Listen => {
            info.effects |= Effects::LISTEN;
            info.name = words.name();
        }
        Verb::Unlisten => {
            info.effects |= Effects::UNLISTEN;
            let all = words
                .peek()
                .is_some_and(|token| token.kind == TokenKind::Operator);
            info.name = if all { None } else { words.name() };
        }
        Verb::Notify => info.name = words.name(),
        Verb::Load => {
            info.effects |= Effects::LOAD;
            info.name = words.name();
        }
        Verb::Call | Verb::Do => info.effects |= Effects::OPAQUE,
        Verb::Replication => info.effects |= Effects::REPLICATION,
        _ => {}
    }
}

fn set(info: &mut StatementInfo, words: &mut Words<'_>) {
    let mut local = false;
    if words.eat(K::Local) {
        local = true;
    } else if words.peek_keyword() == K::Session && !is_authorization(words) {
        words.next();
        if words.eat(K::Characteristics) {
            info.verb = Verb::SetSessionCharacteristics;
            info.effects |= Effects::SET_SESSION;
            info.transaction = transaction::modes(words);
            return;
        }
    }
    match words.peek_keyword() {
        K::Transaction => {
            info.verb = Verb::SetTransaction;
            info.effects |= Effects::SET_LOCAL;
            info.transaction = transaction::modes(words);
        }
        K::Constraints => {
            info.verb = Verb::SetConstraints;
            info.effects |= Effects::SET_LOCAL;
        }
        K::Role if !is_assignment(words) => role(info, words, local),
        K::Session if is_authorization(words) => authorization(info, words, local),
        _ => parameter(info, words, local),
    }
}

/// SESSION AUTHORIZATION comes next.
fn is_authorization(words: &Words<'_>) -> bool {
    words.peek_keyword() == K::Session
        && words
            .tokens
            .get(1)
            .is_some_and(|token| token.keyword == K::Authorization)
}

/// TO or = comes behind the next word: `SET role = x` is a parameter of that name, and the same thing.
fn is_assignment(words: &Words<'_>) -> bool {
    words
        .tokens
        .get(1)
        .is_some_and(|token| token.keyword == K::To || token.span.of(words.sql) == b"=")
}

fn role(info: &mut StatementInfo, words: &mut Words<'_>, local: bool) {
    words.next();
    role_value(info, words, local);
}

fn role_value(info: &mut StatementInfo, words: &mut Words<'_>, local: bool) {
    let none = matches!(words.peek_keyword(), K::None | K::Default);
    let value = parameter_value(words);
    info.verb = Verb::SetRole;
    info.name = words.name();
    info.effects |= match (local, none) {
        (true, _) => Effects::SET_LOCAL,
        (false, true) => Effects::RESET_ROLE,
        (false, false) => Effects::SET_ROLE,
    };
    info.parameter = Some(SetParameter {
        name: ParameterName::Role,
        value: if none { ParameterValue::Default } else { value },
        local,
    });
}

fn authorization(info: &mut StatementInfo, words: &mut Words<'_>, local: bool) {
    words.next();
    words.next();
    let value = parameter_value(words);
    info.verb = Verb::SetSessionAuthorization;
    info.name = words.name();
    info.effects |= if local {
        Effects::SET_LOCAL
    } else {
        Effects::SESSION_AUTHORIZATION
    };
    info.parameter = Some(SetParameter {
        name: ParameterName::SessionAuthorization,
        value,
        local,
    });
}

fn parameter(info: &mut StatementInfo, words: &mut Words<'_>, local: bool) {
    let Some(first) = words.peek() else { return };
    let name = match first.keyword {
        K::Time
            if words
                .tokens
                .get(1)
                .is_some_and(|token| token.keyword == K::Zone) =>
        {
            words.next();
            words.next();
            ParameterName::TimeZone
        }
        K::Names if !is_assignment(words) => {
            words.next();
            ParameterName::ClientEncoding
        }
        K::Schema if !is_assignment(words) => {
            words.next();
            ParameterName::SearchPath
        }
        K::Xml
            if words
                .tokens
                .get(1)
                .is_some_and(|token| token.keyword == K::Option) =>
        {
            words.next();
            words.next();
            ParameterName::XmlOption
        }
        _ => match words.name() {
            Some(name) => ParameterName::Named(name),
            None => return,
        },
    };
    let assigned = words
        .peek()
        .is_some_and(|token| token.keyword == K::To || token.span.of(words.sql) == b"=");
    if assigned {
        words.next();
    }
    let parameter = SetParameter {
        name,
        value: parameter_value(words),
        local,
    };
    // `SET role = x` and `SET session_authorization = x` are what they are with a space.
    match &parameter.name(words.sql)[..] {
        name if name.eq_ignore_ascii_case(b"role") => return role_value(info, words, local),
        name if name.eq_ignore_ascii_case(b"session_authorization") && !local => {
            info.effects |= Effects::SESSION_AUTHORIZATION;
        }
        // A name that cannot be read may be any of these.
        b"" => info.effects |= Effects::OPAQUE,
        _ => {}
    }
    // What is made in this schema is temporary, and no CREATE needs to say so.
    if words.mentions(b"pg_temp") {
        info.effects |= Effects::TEMP_OBJECT;
    }
    info.verb = if local { Verb::SetLocal } else { Verb::Set };
    info.effects |= if local {
        Effects::SET_LOCAL
    } else {
        Effects::SET_SESSION
    };
    info.parameter = Some(parameter);
}

fn parameter_value(words: &Words<'_>) -> ParameterValue {
    let only = words.tokens.len() == 1;
    match (words.peek_keyword(), words.rest()) {
        (K::Default | K::Local, _) if only => ParameterValue::Default,
        (K::From | K::Interval, _) | (_, None) => ParameterValue::Other,
        (_, Some(span)) => ParameterValue::Text(span),
    }
}

fn reset(info: &mut StatementInfo, words: &mut Words<'_>) {
    info.effects |= Effects::RESET;
    let name = match words.peek_keyword() {
        K::All => return,
        K::Role => {
            info.effects |= Effects::RESET_ROLE;
            ParameterName::Role
        }
        K::Session if is_authorization(words) => {
            info.effects |= Effects::SESSION_AUTHORIZATION;
            ParameterName::SessionAuthorization
        }
        K::Time => ParameterName::TimeZone,
        _ => match words.rest() {
            Some(span) => ParameterName::Named(span),
            None => return,
        },
    };
    info.name = words.rest();
    info.parameter = Some(SetParameter {
        name,
        value: ParameterValue::Default,
        local: false,
    });
}

fn discard(words: &Words<'_>) -> Effects {
    match words.peek_keyword() {
        K::All => Effects::DISCARD_ALL,
        K::Plans => Effects::DISCARD_PLANS,
        K::Sequences => Effects::DISCARD_SEQUENCES,
        K::Temp | K::Temporary => Effects::DISCARD_TEMP,
        _ => Effects::NONE,
    }
}

fn prepare(info: &mut StatementInfo, words: &mut Words<'_>) {
    let global = words.peek_keyword() == K::Transaction
        && words
            .tokens
            .get(1)
            .is_some_and(|token| token.kind == TokenKind::String);
    if global {
        words.next();
        info.verb = Verb::PrepareTransaction;
        info.effects |= Effects::TRANSACTION_END;
    } else {
        info.effects |= Effects::PREPARE;
    }
    info.name = words.name();
}

fn deallocate(info: &mut StatementInfo, words: &mut Words<'_>) {
    info.effects |= Effects::DEALLOCATE;
    if words.tokens.len() > 1 {
        words.eat(K::Prepare);
    }
    info.name = if words.peek_keyword() == K::All {
        None
    } else {
        words.name()
    };
}

fn declare(info: &mut StatementInfo, words: &mut Words<'_>) {
    info.name = words.name();
    let hold = words.has_pair(K::With, K::Hold);
    info.effects |= if hold {
        Effects::HOLD_CURSOR
    } else {
        Effects::CURSOR
    };
}
