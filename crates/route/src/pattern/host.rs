//! Host patterns: one name, everything below a name, or any host.
//!
//! No ports and no IDNA: the caller cuts the port off, and international names are written and arrive as
//! `xn--`. Start at [`HostPattern`].

use std::fmt;

use super::{PatternError, check_length, text_form};
use crate::{Covers, Match};

/// The longest host name that DNS allows, in bytes.
pub const MAX_HOST_LENGTH: usize = 253;

/// A pattern for a host name: `example.com`, `*.example.com` (one or more labels in front) or `*`.
///
/// Matches without regard to case and ignores one final dot. Names longer than [`MAX_HOST_LENGTH`] match
/// only `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern(HostForm);

/// The three forms; names are in lower case, without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum HostForm {
    Any,
    Exact(Box<[u8]>),
    /// Without the leading `*.`.
    Wildcard(Box<[u8]>),
}

impl HostPattern {
    /// Parses `name`, `*.name` or `*`. Address literals are names: `192.0.2.1`, `[2001:db8::1]`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_length(text)?;
        if text == "*" {
            return Ok(Self::any());
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        check_name(name)?;
        let name = name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        Ok(Self(if wildcard {
            HostForm::Wildcard(name)
        } else {
            HostForm::Exact(name)
        }))
    }

    /// The pattern that every host matches, also an empty one.
    pub fn any() -> Self {
        Self(HostForm::Any)
    }

    pub(crate) fn form(&self) -> &HostForm {
        &self.0
    }
}

impl Match<[u8]> for HostPattern {
    fn matches(&self, host: &[u8]) -> bool {
        let host = without_final_dot(host);
        match &self.0 {
            HostForm::Any => true,
            _ if host.len() > MAX_HOST_LENGTH => false,
            HostForm::Exact(name) => name.eq_ignore_ascii_case(host),
            HostForm::Wildcard(suffix) => is_below(host, suffix),
        }
    }
}

impl Covers for HostPattern {
    fn covers(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (HostForm::Any, _) => true,
            (_, HostForm::Any) | (HostForm::Exact(_), HostForm::Wildcard(_)) => false,
            (_, HostForm::Exact(name)) => self.matches(name),
            (HostForm::Wildcard(ours), HostForm::Wildcard(theirs)) => {
                ours == theirs || is_below(theirs, ours)
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostForm::Any => f.write_str("*"),
            HostForm::Exact(name) => f.write_str(&String::from_utf8_lossy(name)),
            HostForm::Wildcard(name) => write!(f, "*.{}", String::from_utf8_lossy(name)),
        }
    }
}

text_form!(
    HostPattern,
    "HostPattern",
    "A host name, `*.name` for everything below a name, or `*`",
    ["example.com", "*.example.com", "*"]
);

/// A host name in lower case and without its final dot: as it came where it is so already, else on the stack.
#[allow(clippy::large_enum_variant)] // lives for one look-up
pub(crate) enum FoldedHost<'h> {
    AsItCame(&'h [u8]),
    Folded {
        bytes: [u8; MAX_HOST_LENGTH],
        length: usize,
    },
}

impl<'h> FoldedHost<'h> {
    /// `None` when the name is longer than any that can be configured.
    pub(crate) fn new(host: &'h [u8]) -> Option<Self> {
        let host = without_final_dot(host);
        if host.len() > MAX_HOST_LENGTH {
            return None;
        }
        if !host.iter().any(u8::is_ascii_uppercase) {
            return Some(Self::AsItCame(host));
        }
        let mut bytes = [0; MAX_HOST_LENGTH];
        let target = bytes.get_mut(..host.len())?;
        target.copy_from_slice(host);
        target.make_ascii_lowercase();
        Some(Self::Folded {
            bytes,
            length: host.len(),
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::AsItCame(host) => host,
            Self::Folded { bytes, length } => bytes.get(..*length).unwrap_or_default(),
        }
    }
}

fn without_final_dot(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

/// Whether `host` is `suffix` with at least one label in front.
fn is_below(host: &[u8], suffix: &[u8]) -> bool {
    let Some(front) = host.len().checked_sub(suffix.len()) else {
        return false;
    };
    let Some((front, tail)) = host.split_at_checked(front) else {
        return false;
    };
    front.len() > 1 && front.ends_with(b".") && tail.eq_ignore_ascii_case(suffix)
}

fn check_name(name: &str) -> Result<(), PatternError> {
    let refuse = |reason: &str| Err(PatternError::new(format!("host '{name}': {reason}")));
    if name.len() > MAX_HOST_LENGTH {
        return refuse("longer than the 253 bytes of a DNS name");
    }
    if let Some(address) = name.strip_prefix('[') {
        let valid = address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        return if valid {
            Ok(())
        } else {
            refuse("not an IPv6 address in brackets")
        };
    }
    if name.contains(':') {
        return refuse("the port is not part of a host pattern (IPv6 addresses stand in brackets)");
    }
    if name.contains('*') {
        return refuse("a `*` can only be the whole first label, as in *.example.com");
    }
    if !name.is_ascii() {
        return refuse("write international names in their xn-- form");
    }
    if name.split('.').any(str::is_empty) {
        return refuse("a label between dots is empty");
    }
    let is_label_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match name.chars().find(|&c| !is_label_byte(c as u8)) {
        Some(other) => refuse(&format!("{other:?} is not allowed in a host name")),
        None => Ok(()),
    }
}
