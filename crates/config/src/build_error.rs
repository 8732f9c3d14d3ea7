//! The error for operators when a configuration that reads well cannot be carried out.
//!
//! It is not for mistakes in the text (those are [`Diagnostics`](crate::Diagnostics)) nor for the wire.
//! Start with [`BuildError::new`].

use thiserror::Error;

/// Something failed past parsing: a file that is not there, an address in use, an option this build does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{}{reason}", path, if path.is_empty() { "" } else { ": " })]
pub struct BuildError {
    /// Where in the configuration, such as `listeners.web.filters[0].rate`; may be empty.
    pub path: String,
    /// What is wrong, in words for the operator.
    pub reason: String,
}

impl BuildError {
    /// An error at a path, which may be relative: [`BuildError::within`] completes it on the way up.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// The same error seen from the block that holds this one: `within("listeners.web")` makes `rate` into
    /// `listeners.web.rate`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        let joint = match self.path.chars().next() {
            None | Some('[') => "",
            Some(_) if parent.is_empty() => "",
            Some(_) => ".",
        };
        self.path = format!("{parent}{joint}{}", self.path);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_grow_from_the_inside() {
        let error = BuildError::new("rate", "too low")
            .within("[0]")
            .within("filters")
            .within("listeners.web");
        assert_eq!(error.path, "listeners.web.filters[0].rate");
        assert_eq!(error.to_string(), "listeners.web.filters[0].rate: too low");
        assert_eq!(
            BuildError::new("", "no listeners").to_string(),
            "no listeners"
        );
        assert_eq!(BuildError::new("a", "x").within("").path, "a");
    }
}
