//! Regular expressions with bounds, comparable by their text.
//!
//! The engine is linear in the input whatever the expression, so a hostile path cannot make it slow; the
//! bounds here keep a hostile or careless *expression* from taking memory. Start at [`Regex::parse`].

use std::fmt;
use std::hash::{Hash, Hasher};

use super::PatternError;

/// The compiled size of one expression, in bytes, and the scratch memory one worker may keep for it.
///
/// 256 KiB holds any expression a person writes; `(\d{1000}){1000}` and its like do not fit.
pub const MAX_REGEX_SIZE: usize = 256 * 1024;

/// A byte regex. Unanchored, as nearly everywhere: write `^` and `$` to match the whole input.
#[derive(Clone)]
pub(crate) struct Regex {
    regex: regex::bytes::Regex,
}

impl Regex {
    /// Compiles within the bounds; classes such as `\d` are ASCII, `.` is any byte but a line feed.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::new(
                "the regular expression after `~` is empty",
            ));
        }
        regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_REGEX_SIZE)
            .dfa_size_limit(MAX_REGEX_SIZE)
            .nest_limit(64)
            .build()
            .map(|regex| Self { regex })
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError::new(format!(
                    "the regular expression compiles to more than {MAX_REGEX_SIZE} bytes"
                )),
                error => PatternError::new(one_line(&error)),
            })
    }

    pub(crate) fn is_match(&self, input: &[u8]) -> bool {
        self.regex.is_match(input)
    }
}

/// The last line of the library's message says what is wrong; the lines above draw the expression.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    format!("not a regular expression: {reason}")
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Regex {}

impl Hash for Regex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.regex.as_str().hash(state);
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}", self.regex.as_str())
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.regex.as_str())
    }
}
