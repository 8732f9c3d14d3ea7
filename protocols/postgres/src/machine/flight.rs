//! A statement on its way, as far as it is known.
//!
//! Start at [`Flight`].

use std::time::Instant;

use super::pins::Pins;
use super::touched::Touches;
use crate::request::StatementRequest;
use crate::sql::{Analysis, Class, Effects, Fingerprint, ParameterValue, Verb};
use crate::sqlstate::SqlState;

/// One statement on its way: what is known of it when it was sent, and what its results add.
#[derive(Debug, Clone)]
pub struct Flight {
    /// When it came; of one that was bound, when that was asked for.
    pub arrived: Instant,
    /// When it was sent.
    pub started: Instant,
    /// What kind of statement it is.
    pub verb: Verb,
    /// Whether it can be a read.
    pub class: Class,
    /// Its text without literals.
    pub fingerprint: Fingerprint,
    /// What it counts as, where that is another text than its own, or one that is [not known](super::relay::Router::knows) yet.
    pub text: Option<Box<StatementRequest>>,
    /// What it does to the session.
    pub effects: Effects,
    /// It gives parameters the values that a session begins with.
    pub resets: bool,
    /// What its statements do to parameters.
    pub touches: Touches,
    /// How many of its statements were carried out.
    pub(super) completed: usize,
    /// What no longer ties the client to its server connection when it has succeeded.
    pub frees: Pins,
    /// The number that the filters know it by; 0 for none.
    pub judged: u64,
    /// Rows that were sent, or that it says it touched.
    pub rows: u64,
    /// Bytes of its results.
    pub bytes: u64,
    /// The error that ended it.
    pub error: Option<SqlState>,
    /// It was refused here and is carried to its end for the sake of order only.
    pub refused: bool,
    /// It stopped at the number of rows that the client had asked for, and has more.
    pub suspended: bool,
    /// The server has said how it ended, or how one of its statements did.
    pub(super) ended: bool,
}

impl Flight {
    /// A text that is sent.
    pub(super) fn new(analysis: &Analysis, now: Instant) -> Self {
        let effects = analysis.effects();
        Self {
            arrived: now,
            started: now,
            verb: analysis
                .statements
                .first()
                .map_or(Verb::Other, |first| first.verb),
            class: analysis.class(),
            fingerprint: analysis.fingerprint,
            text: None,
            effects,
            resets: resets(analysis, effects),
            touches: Touches::new(),
            completed: 0,
            frees: Pins::freed_by(analysis),
            judged: 0,
            rows: 0,
            bytes: 0,
            error: None,
            refused: false,
            suspended: false,
            ended: false,
        }
    }

    /// It carries out what was prepared, too.
    pub(super) fn carries(&mut self, prepared: &Analysis) {
        let inner = Self::new(prepared, self.started);
        self.effects = self.effects.union(inner.effects);
        self.resets |= inner.resets;
        if inner.class != Class::Read {
            self.class = inner.class;
        }
    }

    /// Whether nothing may follow it before its end is known: it changes what later messages mean.
    pub(super) fn is_barrier(&self) -> bool {
        let takes = Effects::DEALLOCATE
            .union(Effects::DISCARD)
            .union(Effects::EXECUTE);
        self.resets || !self.frees.is_empty() || self.effects.intersects(takes)
    }

    /// Whether the server may read COPY data for it, as far as can be told.
    pub(super) fn may_copy(&self) -> bool {
        self.effects.contains(Effects::COPY_IN) || self.class == Class::Unknown
    }

    /// Whether it may leave something behind in the server's session, as far as can be told.
    pub(super) fn leaves_traces(&self) -> bool {
        !self.effects.is_empty() || self.class == Class::Unknown
    }
}

/// Whether a text gives any parameter back the value that a server's session begins with.
fn resets(analysis: &Analysis, effects: Effects) -> bool {
    if effects.intersects(Effects::RESET.union(Effects::DISCARD_ALL)) {
        return true;
    }
    effects.intersects(Effects::SET_SESSION)
        && analysis.statements.iter().any(|statement| {
            let parameter = statement.parameter.as_ref();
            parameter.is_some_and(|parameter| parameter.value == ParameterValue::Default)
        })
}
