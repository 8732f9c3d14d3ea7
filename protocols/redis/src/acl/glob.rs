//! Patterns as Redis matches them: `*`, `?`, `[a-c]`, `[^x]`, and `\` before a byte that is meant as it is.
//!
//! The answers are a server's (tests compare them), the way there is not: no recursion, and a time of at most pattern times
//! text, where a server's grows with each `*`.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Box<[u8]>,
    kind: Kind,
}

/// What a pattern is, for those that need no matching byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One `*`: every text but the empty one.
    Any,
    /// No byte of it has a meaning.
    Exact,
    /// As `Exact` up to a `*` at its end.
    Prefix,
    Other,
}

/// A pattern is longer than [`Glob::LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pattern is longer than {} bytes", Glob::LONGEST)]
pub struct PatternTooLong;

impl Glob {
    /// How long a pattern may be, in bytes. Nobody writes longer ones by hand; with long ones clients have kept servers
    /// busy for hours (CVE-2022-36021, CVE-2024-31228).
    pub const LONGEST: usize = 1024;

    /// The pattern of these bytes.
    ///
    /// # Errors
    /// It is longer than [`Glob::LONGEST`].
    pub fn new(pattern: &[u8]) -> Result<Self, PatternTooLong> {
        if pattern.len() > Self::LONGEST {
            return Err(PatternTooLong);
        }
        let plain = |bytes: &[u8]| !bytes.iter().any(|byte| b"*?[\\".contains(byte));
        let kind = match pattern {
            b"*" => Kind::Any,
            [start @ .., b'*'] if plain(start) => Kind::Prefix,
            whole if plain(whole) => Kind::Exact,
            _ => Kind::Other,
        };
        Ok(Self {
            pattern: pattern.into(),
            kind,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.pattern
    }

    /// Whether all of the text is as the pattern says.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        match (self.kind, &*self.pattern) {
            (Kind::Any, _) => !text.is_empty(),
            (Kind::Exact, pattern) => pattern == text,
            (Kind::Prefix, [start @ .., _]) => text.starts_with(start),
            (_, pattern) => matches(pattern, text),
        }
    }
}

/// Follows the pattern, and when that leads nowhere goes back to the last `*` and lets it take one byte more. An earlier `*`
/// need never be gone back to: whatever it could give, the last one can take.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty(); // A server does not look for `*` then.
    }
    let (mut rest, mut left) = (pattern, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (rest, left) {
            ([b'*', behind @ ..], _) => {
                retry = Some((behind, left));
                rest = behind;
                continue;
            }
            ([], []) => return true,
            (_, []) => return false, // Giving a `*` more leaves even less for the rest.
            ([], _) => {}
            (_, [byte, after @ ..]) => {
                let (is_one, behind) = one(rest, *byte);
                if is_one {
                    (rest, left) = (behind, after);
                    continue;
                }
            }
        }
        let Some((behind, [_, after @ ..])) = retry else {
            return false;
        };
        retry = Some((behind, after));
        (rest, left) = (behind, after);
    }
}

/// Whether a byte is what the first part of the pattern (not `*`, not empty) says, and what is behind that part.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [b'?', behind @ ..] => (true, behind),
        [b'[', b'^', class @ ..] => {
            let (is_in, behind) = one_of(class, byte);
            (!is_in, behind)
        }
        [b'[', class @ ..] => one_of(class, byte),
        [b'\\', escaped, behind @ ..] => (*escaped == byte, behind),
        [plain, behind @ ..] => (*plain == byte, behind),
        [] => (false, pattern),
    }
}

/// Whether a byte is in a class, and what is behind its `]`. A class that is not closed goes to the end of the pattern.
fn one_of(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut found = false;
    loop {
        class = match class {
            [] => return (found, class),
            [b'\\', escaped, behind @ ..] => {
                found |= *escaped == byte;
                behind
            }
            [b']', behind @ ..] => return (found, behind),
            [first, b'-', last, behind @ ..] => {
                let (low, high) = (first.min(last), first.max(last));
                found |= (low..=high).contains(&&byte);
                behind
            }
            [single, behind @ ..] => {
                found |= *single == byte;
                behind
            }
        };
    }
}

#[cfg(test)]
mod tests;
