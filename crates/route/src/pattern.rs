//! Patterns over bytes, as people write them in a configuration.
//!
//! Each is parsed from one piece of text, prints back as that text in canonical form, and matches in time
//! linear in its input: there is no backtracking to blow up. They do not decode or normalise what they
//! match; the protocol does that first. Start at [`PathPattern`].

mod glob;
mod host;
mod method;
mod path;
mod regex;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use host::{FoldedHost, HostForm, is_folded};
pub use host::{HostPattern, MAX_HOST_LENGTH};
pub use method::MethodSet;
pub use path::PathPattern;
pub use value::{NamedValue, ValuePattern};

pub use self::glob::MAX_GLOB_LENGTH;
pub use self::regex::MAX_REGEX_SIZE;

/// The longest text of a pattern, in bytes. More is a mistake, or somebody's list that wants to be data.
pub const MAX_PATTERN_LENGTH: usize = 4096;

/// Why a text is no pattern, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// What is wrong, and what to write instead where that is known.
    pub reason: String,
}

impl PatternError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// Refuses texts that no pattern takes.
fn check_length(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        Err(PatternError::new("a pattern cannot be empty"))
    } else if text.len() > MAX_PATTERN_LENGTH {
        Err(PatternError::new(format!(
            "a pattern has at most {MAX_PATTERN_LENGTH} bytes, this one has {}",
            text.len()
        )))
    } else {
        Ok(())
    }
}

/// Gives a pattern with `parse` and `Display` its standard text forms: `FromStr`, serde and JSON Schema.
///
/// A macro because the traits belong to others and the types to us: a blanket impl is not possible.
macro_rules! text_form {
    ($type:ty, $name:literal, $description:literal, [$($example:literal),+]) => {
        impl std::str::FromStr for $type {
            type Err = PatternError;

            fn from_str(text: &str) -> Result<Self, PatternError> {
                Self::parse(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "description": $description,
                    "examples": [$($example),+],
                })
            }
        }
    };
}
use text_form;
