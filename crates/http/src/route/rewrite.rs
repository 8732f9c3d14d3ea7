//! What a route changes about a target before it goes upstream.
//!
//! A rewritten path is as normal as the one that matched: a result that is not is refused, never sent. Redirects
//! are in [`super::reply`]. Start at [`Rewrite::apply`].

use bytes::Bytes;

use crate::head::TargetForm;
use crate::message::Request;
use crate::name::KnownField;
use crate::normalize::{RequestError, has_dot_segment, is_target_path};

/// What a route changes about a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// What happens to the path.
    pub path: PathRewrite,
    /// The authority that upstream sees.
    pub host: Option<Bytes>,
}

/// What happens to a path. The query stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// It is replaced.
    Path(Bytes),
    /// Its prefix is replaced.
    Prefix(PrefixRewrite),
    /// The first match of an expression is replaced.
    Regex(RegexRewrite),
}

impl Rewrite {
    /// Whether nothing is rewritten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Rewrites the target and Host of a request.
    ///
    /// # Errors
    /// [`RequestError::UnsafeRewrite`] if the result is not a path in normal form; the request is then unchanged.
    pub fn apply(&self, request: &mut Request) -> Result<(), RequestError> {
        if self.path != PathRewrite::Keep && request.head.target.form == TargetForm::Origin {
            let target = &request.head.target;
            if let Some(path) = self.path.apply(target.path())? {
                let whole = with_query(&path, target.query());
                request.replace_path(whole);
            }
        }
        if let Some(host) = &self.host {
            request.head.fields.set(KnownField::Host, host);
            request.authority = host.clone();
        }
        Ok(())
    }
}

/// A path with the query that the request had.
pub(super) fn with_query(path: &[u8], query: Option<&[u8]>) -> Bytes {
    match query {
        None => Bytes::copy_from_slice(path),
        Some(query) => Bytes::from([path, b"?", query].concat()),
    }
}

impl PathRewrite {
    /// The new path; `None` if it stays.
    ///
    /// # Errors
    /// The result is not normal.
    pub(super) fn apply(&self, path: &[u8]) -> Result<Option<Vec<u8>>, RequestError> {
        let rewritten = match self {
            Self::Keep => return Ok(None),
            Self::Path(new) => return Ok(Some(new.to_vec())),
            Self::Prefix(rewrite) => rewrite.apply(path),
            Self::Regex(rewrite) => rewrite.apply(path),
        };
        match rewritten {
            // A capture may end in the middle of a segment or of an escape.
            Some(path) if !is_target_path(&path) || has_dot_segment(&path) => {
                Err(RequestError::UnsafeRewrite)
            }
            rewritten => Ok(rewritten),
        }
    }
}

/// Replaces the prefix that a rule's path pattern matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixRewrite {
    /// The prefixes of the rule's patterns, without the final slash; one of them matched.
    pub prefixes: Vec<Box<[u8]>>,
    /// What stands there instead.
    pub replacement: Box<[u8]>,
}

impl PrefixRewrite {
    fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = self
            .prefixes
            .iter()
            .filter_map(|prefix| path.strip_prefix(&**prefix))
            .find(|rest| rest.is_empty() || rest.starts_with(b"/"))?;
        // `/v1` under `/` is `/`; `/v1/x` under `/` is `/x`, not `//x`.
        let front = match self.replacement.strip_suffix(b"/") {
            Some(front) if rest.starts_with(b"/") => front,
            _ => &self.replacement,
        };
        let mut path = [front, rest].concat();
        if path.is_empty() {
            path.push(b'/');
        }
        Some(path)
    }
}

/// Replaces the first match of an expression.
#[derive(Debug, Clone)]
pub struct RegexRewrite {
    regex: regex::bytes::Regex,
    replacement: Box<[u8]>,
}

/// Compiled size of an expression, and the scratch memory it may take: as for patterns.
const MAX_SIZE: usize = portcullis_route::MAX_REGEX_SIZE;

impl RegexRewrite {
    /// Compiles within bounds. `replacement` may name groups as `$1`, `${1}` or `${name}`.
    ///
    /// # Errors
    /// What is wrong with the expression or the replacement, in words.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, String> {
        let regex = regex::bytes::RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(MAX_SIZE)
            .dfa_size_limit(MAX_SIZE)
            .nest_limit(64)
            .build()
            .map_err(|error| {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!(
                    "not a regular expression: {}",
                    last.trim_start_matches("error: ")
                )
            })?;
        check_groups(&regex, replacement)?;
        Ok(Self {
            regex,
            replacement: replacement.as_bytes().into(),
        })
    }

    fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.regex
            .is_match(path)
            .then(|| self.regex.replace(path, &*self.replacement).into_owned())
    }
}

/// A group that does not exist would be replaced by nothing, silently.
fn check_groups(regex: &regex::bytes::Regex, replacement: &str) -> Result<(), String> {
    for part in replacement.split('$').skip(1) {
        let name: String = match part.strip_prefix('{') {
            Some(braced) => braced.split('}').next().unwrap_or_default().to_owned(),
            None => part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect(),
        };
        let exists = match name.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => name.is_empty() || regex.capture_names().flatten().any(|known| known == name),
        };
        if !exists {
            return Err(format!("the expression has no group '{name}'"));
        }
    }
    Ok(())
}

impl PartialEq for RegexRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.replacement == other.replacement
    }
}

impl Eq for RegexRewrite {}
