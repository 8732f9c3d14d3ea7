//! Which parameters of a session statements have set or given back, in their order: what a RESET goes back to is the value that
//! the client began with, and only where nothing has set it since.
//!
//! Start at [`of`] and [`Touched`].

use std::sync::Arc;

use super::shape::Shape;
use crate::sql::{Analysis, Effects, ParameterValue, StatementInfo};

/// What one statement does to a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    /// Every parameter goes back: RESET ALL, DISCARD ALL, or a name that could not be read.
    All,
    /// This one goes back: RESET, SET ... TO DEFAULT.
    Reset(Box<[u8]>),
    /// This one is set.
    Set(Box<[u8]>),
}

impl Touch {
    /// Whether something goes back.
    pub(super) const fn undoes(&self) -> bool {
        !matches!(self, Self::Set(_))
    }
}

/// What the statements of a text do to parameters, each with its place in the text.
pub(super) type Touches = Vec<(usize, Touch)>;

/// What the statements of `text` do to parameters, in order.
pub(super) fn of(analysis: &Analysis, text: &[u8]) -> Touches {
    let statements = analysis.statements.iter().enumerate();
    statements
        .filter_map(|(place, statement)| Some((place, one(statement, text)?)))
        .collect()
}

/// Whether statements of `text` may change how texts behind it are read.
pub(super) fn moves_reading(analysis: &Analysis, text: &[u8]) -> bool {
    let any = Effects::SET_CONFIG_CALL.union(Effects::DISCARD_ALL);
    let moves = |statement: &StatementInfo| {
        let Some(parameter) = &statement.parameter else {
            return statement.effects.intersects(any.union(Effects::RESET));
        };
        let name = parameter.name(text).to_ascii_lowercase();
        name.is_empty() || READING.contains(&&*name)
    };
    !analysis.complete || analysis.statements.iter().any(moves)
}

/// The parameters that decide how texts are read.
const READING: [&[u8]; 2] = [b"standard_conforming_strings", b"client_encoding"];

/// What one statement does.
fn one(statement: &StatementInfo, text: &[u8]) -> Option<Touch> {
    if statement.effects.contains(Effects::DISCARD_ALL) {
        return Some(Touch::All);
    }
    let undoes = statement.effects.contains(Effects::RESET);
    let Some(parameter) = &statement.parameter else {
        return undoes.then_some(Touch::All);
    };
    // Gone with the transaction.
    if parameter.local {
        return None;
    }
    let name = parameter.name(text);
    if undoes || parameter.value == ParameterValue::Default {
        return Some(if name.is_empty() {
            Touch::All
        } else {
            Touch::Reset(name.to_ascii_lowercase().into())
        });
    }
    Some(Touch::Set(name.to_ascii_lowercase().into()))
}

/// What statements since the last ReadyForQuery have touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    all: Vec<Touch>,
    /// How many of them last, whatever follows.
    kept: usize,
}

impl Touched {
    /// The statement at this place of a text has been carried out, and all before it.
    pub(super) fn add(&mut self, touches: &mut Touches, place: usize) {
        let count = touches.partition_point(|(at, _)| *at <= place);
        self.all
            .extend(touches.drain(..count).map(|(_, touch)| touch));
    }

    /// What there is was committed.
    pub(super) fn keep(&mut self) {
        self.kept = self.all.len();
    }

    /// What was not committed is gone.
    pub(super) fn forget(&mut self) {
        self.all.truncate(self.kept);
    }

    /// Whether nothing was touched.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether anything went back.
    pub(super) fn undoes(&self) -> bool {
        self.all.iter().any(Touch::undoes)
    }

    /// Whether this parameter has gone back, and was not set after that.
    pub(super) fn has_reset(&self, name: &[u8]) -> bool {
        let last = self.all.iter().rev().find(|touch| match touch {
            Touch::All => true,
            Touch::Reset(touched) | Touch::Set(touched) => **touched == *name,
        });
        last.is_some_and(Touch::undoes)
    }

    /// What has to be set again: of `start`, what has gone back. `None` if nothing has.
    pub(super) fn due(&self, start: &Shape) -> Option<Vec<u8>> {
        start.only(|name| self.has_reset(name)).all()
    }

    /// A client's shape after this, if it is another one: what has gone back is as it was at the start.
    pub(super) fn back(&self, shape: &Arc<Shape>, start: &Arc<Shape>) -> Option<Arc<Shape>> {
        if shape == start {
            return None;
        }
        let kept = shape.only(|name| !self.has_reset(name));
        let back = kept.and(&start.only(|name| self.has_reset(name)));
        Some(Arc::new(back))
    }
}

#[cfg(test)]
mod tests {
    use super::{Touch, Touched, of};
    use crate::sql::{Analysis, Options, analyse};

    fn touched(text: &str) -> Touched {
        let mut analysis = Analysis::default();
        analyse(text.as_bytes(), &Options::default(), &mut analysis);
        let mut touched = Touched::default();
        touched.add(&mut of(&analysis, text.as_bytes()), usize::MAX);
        touched
    }

    #[test]
    fn the_last_word_counts() {
        let rows = [
            ("RESET a", true, false),
            ("RESET A", true, false),
            ("RESET ALL", true, true),
            ("DISCARD ALL", true, true),
            ("SET a TO DEFAULT", true, false),
            ("SET a = 1", false, false),
            ("RESET ALL; SET a = 1", false, true),
            ("SET a = 1; RESET ALL", true, true),
            ("SET LOCAL a TO DEFAULT", false, false),
            ("SELECT 1", false, false),
        ];
        for (text, a, b) in rows {
            let touched = touched(text);
            assert_eq!(touched.has_reset(b"a"), a, "{text}");
            assert_eq!(touched.has_reset(b"b"), b, "{text}");
            assert_eq!(touched.undoes(), a || b, "{text}");
        }
    }

    #[test]
    fn texts_add_up() {
        let mut all = touched("SET a = 1");
        all.add(&mut vec![(0, Touch::All)], 0);
        assert!(all.has_reset(b"a"));
        all.add(&mut vec![(0, Touch::Set((*b"a").into()))], 0);
        assert!(!all.has_reset(b"a") && all.has_reset(b"b"));
    }

    #[test]
    fn only_what_was_carried_out_and_committed_counts() {
        let mut analysis = Analysis::default();
        let text = b"SET a = 1; RESET b; RESET c";
        analyse(text, &Options::default(), &mut analysis);
        let mut touches = of(&analysis, text);
        let mut touched = Touched::default();
        touched.add(&mut touches, 0);
        assert!(!touched.undoes());
        touched.add(&mut touches, 1);
        assert!(touched.has_reset(b"b") && !touched.has_reset(b"c"));
        touched.keep();
        touched.add(&mut touches, 2);
        assert!(touched.has_reset(b"c"));
        touched.forget();
        assert!(touched.has_reset(b"b") && !touched.has_reset(b"c"));
    }
}
