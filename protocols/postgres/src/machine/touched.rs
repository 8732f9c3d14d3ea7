//! Which parameters of a session statements have set or given back, in their order: what a RESET goes back to is the value that
//! the client began with, and only where nothing has set it since.
//!
//! Start at [`of`] and [`Touched`].

use std::sync::Arc;

use super::shape::Shape;
use crate::sql::{Analysis, Effects, ParameterValue};

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

/// What the statements of `text` do to parameters, in order.
pub(super) fn of(analysis: &Analysis, text: &[u8]) -> Vec<Touch> {
    let statements = analysis.statements.iter();
    statements
        .filter_map(|statement| {
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
        })
        .collect()
}

/// What statements since the last ReadyForQuery have touched.
#[derive(Debug, Default)]
pub(super) struct Touched(Vec<Touch>);

impl Touched {
    pub(super) fn add(&mut self, touches: Vec<Touch>) {
        if self.0.is_empty() {
            self.0 = touches;
        } else {
            self.0.extend(touches);
        }
    }

    /// Whether nothing was touched.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything went back.
    pub(super) fn undoes(&self) -> bool {
        self.0.iter().any(Touch::undoes)
    }

    /// Whether this parameter has gone back, and was not set after that.
    pub(super) fn has_reset(&self, name: &[u8]) -> bool {
        let last = self.0.iter().rev().find(|touch| match touch {
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
        Touched(of(&analysis, text.as_bytes()))
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
        all.add(vec![Touch::All]);
        assert!(all.has_reset(b"a"));
        all.add(vec![Touch::Set((*b"a").into())]);
        assert!(!all.has_reset(b"a") && all.has_reset(b"b"));
    }
}
