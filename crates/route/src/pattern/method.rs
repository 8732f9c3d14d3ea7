//! A set of request methods.
//!
//! Not tied to HTTP's registered ones: any token may stand in it. Start at [`MethodSet`].

use std::fmt;

use smallvec::SmallVec;

use super::{PatternError, check_length, text_form};
use crate::{Covers, Match};

/// Methods, one of which a request must have. Case matters (RFC 9110 section 9.1); `GET` does not include
/// `HEAD`. The empty set matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct MethodSet {
    /// Sorted, without duplicates.
    methods: SmallVec<[Box<str>; 4]>,
}

impl MethodSet {
    /// Parses one method, or several with commas between.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut set = Self::default();
        for method in text.split(',') {
            set.insert(method.trim())?;
        }
        Ok(set)
    }

    /// Adds one method.
    pub fn insert(&mut self, method: &str) -> Result<(), PatternError> {
        check_length(method)?;
        if let Some(other) = method.chars().find(|&c| !is_token(c)) {
            return Err(PatternError::new(format!(
                "{other:?} is not allowed in a method"
            )));
        }
        let upper = method.to_ascii_uppercase();
        if upper != method && STANDARD.contains(&upper.as_str()) {
            return Err(PatternError::new(format!(
                "methods are case-sensitive: write {upper}, not {method}"
            )));
        }
        if let Err(place) = self.methods.binary_search_by(|known| (**known).cmp(method)) {
            self.methods.insert(place, method.into());
        }
        Ok(())
    }

    /// The methods, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|method| &**method)
    }

    /// Whether no method is in the set.
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }
}

impl Match<[u8]> for MethodSet {
    fn matches(&self, method: &[u8]) -> bool {
        self.methods.iter().any(|known| known.as_bytes() == method)
    }
}

impl Covers for MethodSet {
    fn covers(&self, other: &Self) -> bool {
        other.iter().all(|method| self.matches(method.as_bytes()))
    }
}

impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.methods.join(","))
    }
}

text_form!(
    MethodSet,
    "MethodSet",
    "A method, or several with commas between",
    ["GET", "GET,HEAD"]
);

/// RFC 9110 section 5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Methods that are only ever meant in upper case.
const STANDARD: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];
