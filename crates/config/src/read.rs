//! From a [`Node`] to a type by plain serde, with *every* error of the block found in one go.
//!
//! Serde stops at the first error. So the offending value is set aside, the block is read again, and so on, until it reads
//! or only consequences are left. Nothing is guessed into the result: after any error there is none.
//! Start with [`Node::read`]; [`deserializer`] is the serde side, [`repairs`] decides what an error leads to.

mod deserializer;
mod error;
mod placeholder;
mod repairs;

use serde::de::DeserializeOwned;

use self::deserializer::NodeDeserializer;
use self::repairs::Repairs;
use crate::node::Node;
use crate::{Diagnostics, Span};

/// How often one block is read again. Each pass settles one error, so this also bounds the errors reported for a block.
const MAX_PASSES: usize = 400;

impl Node {
    /// Reads a type, reporting everything that is wrong with the block at its place.
    ///
    /// `None` exactly when something was wrong, now or before (a variable that was not set, say).
    pub fn read<T: DeserializeOwned>(&self, diagnostics: &mut Diagnostics) -> Option<T> {
        let mut repairs = Repairs::default();
        for _ in 0..MAX_PASSES {
            match T::deserialize(NodeDeserializer::new(self, &repairs)) {
                Ok(value) => return repairs.is_empty().then_some(value),
                Err(error) => {
                    if !repairs.settle(self, error, diagnostics) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Reports a key that nobody knows, with a suggestion, as [`Node::read`] would. For blocks taken apart by hand.
    pub fn unknown_key(name: &str, span: Span, known: &[&str], diagnostics: &mut Diagnostics) {
        error::report_unknown("key", name, span, known, diagnostics);
    }
}

#[cfg(test)]
mod tests;
