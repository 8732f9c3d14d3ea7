//! Request targets: which of the four forms, and where its parts are (RFC 9112 section 3.2).
//!
//! Not normalisation: `..`, `%2f` and `//` are left for the exchange, which matches and forwards one value.
//! Start at [`spans`].

use nom::Err;
use portcullis_codec::ByteSet;
use portcullis_http::{Scheme, TargetForm};

use portcullis_codec::run::target_run;

use super::Parsed;
use crate::error::HeadError;

/// The parts of a target as offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetSpans {
    pub(crate) form: TargetForm,
    pub(crate) scheme: Option<Scheme>,
    /// Empty where the form has no authority.
    pub(crate) authority: (usize, usize),
    /// May be empty in absolute-form, or begin with `?` there.
    pub(crate) path: (usize, usize),
}

impl TargetSpans {
    /// Those of a target in origin-form that stands from `start` to `end`.
    #[inline]
    pub(super) const fn origin(start: usize, end: usize) -> Self {
        Self {
            form: TargetForm::Origin,
            scheme: None,
            authority: (0, 0),
            path: (start, end),
        }
    }

    /// The same parts for a target that begins at `offset`.
    #[inline]
    pub(super) const fn shifted(mut self, offset: usize) -> Self {
        self.authority = (self.authority.0 + offset, self.authority.1 + offset);
        self.path = (self.path.0 + offset, self.path.1 + offset);
        self
    }
}

/// The bytes of a target and the space behind it.
#[inline]
pub(super) fn run(input: &[u8], limit: usize) -> Parsed<'_, &[u8]> {
    let length = target_run(input);
    if length > limit {
        return Err(Err::Failure(HeadError::TargetTooLong));
    }
    match input.split_at_checked(length) {
        Some((target @ [_, ..], [b' ', rest @ ..])) => Ok((rest, target)),
        _ => Err(Err::Failure(refusal(input, length))),
    }
}

#[cold]
fn refusal(input: &[u8], length: usize) -> HeadError {
    match input.get(length..).unwrap_or_default() {
        [b'#', ..] => HeadError::Fragment,
        // RFC 1945 section 4.1: a simple request ends behind the target.
        [b'\r', b'\n', ..] if input.starts_with(b"/") => HeadError::Http09,
        [b'\r', b'\n', ..] => HeadError::RequestLine,
        [b' ', ..] => HeadError::RequestLine,
        rest => super::refusal(rest, HeadError::Target),
    }
}

/// Decides the form. The bytes of `target` are visible ASCII without `#`.
#[inline]
pub(super) fn spans(method: &[u8], target: &[u8]) -> Result<TargetSpans, HeadError> {
    let connect = method == b"CONNECT";
    if target.starts_with(b"/") && !connect {
        return Ok(TargetSpans::origin(0, target.len()));
    }
    uncommon_spans(method, target, connect).ok_or(HeadError::Target)
}

fn uncommon_spans(method: &[u8], target: &[u8], connect: bool) -> Option<TargetSpans> {
    if connect {
        // RFC 9112 section 3.2.3: the port is not optional.
        return (authority(target)? == Port::Stated).then_some(TargetSpans {
            form: TargetForm::Authority,
            scheme: None,
            authority: (0, target.len()),
            path: (0, 0),
        });
    }
    if target == b"*" {
        // RFC 9112 section 3.2.4.
        return (method == b"OPTIONS").then_some(TargetSpans {
            form: TargetForm::Asterisk,
            scheme: None,
            authority: (0, 0),
            path: (0, 1),
        });
    }
    absolute(target)
}

/// RFC 9112 section 3.2.2. Schemes are compared without case; user information is refused (RFC 9110 section 4.2.4).
fn absolute(target: &[u8]) -> Option<TargetSpans> {
    let prefixed = |prefix: &[u8]| {
        target
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let (scheme, start) = if prefixed(b"http://") {
        (Scheme::Http, 7)
    } else if prefixed(b"https://") {
        (Scheme::Https, 8)
    } else {
        return None;
    };
    let rest = target.get(start..)?;
    let length = rest
        .iter()
        .position(|&byte| byte == b'/' || byte == b'?')
        .unwrap_or(rest.len());
    authority(rest.get(..length)?)?;
    Some(TargetSpans {
        form: TargetForm::Absolute,
        scheme: Some(scheme),
        authority: (start, start + length),
        path: (start + length, target.len()),
    })
}

#[derive(PartialEq, Eq)]
enum Port {
    Stated,
    Omitted,
}

/// RFC 3986 section 3.2 without user information: a host that is not empty, and a port of digits up to 65535.
fn authority(bytes: &[u8]) -> Option<Port> {
    let host = if bytes.starts_with(b"[") {
        let literal = bytes.iter().position(|&byte| byte == b']')?;
        let inside = bytes.get(1..literal)?;
        (!inside.is_empty() && ADDRESS.contains_all(inside)).then_some(literal + 1)?
    } else {
        let length = HOST.prefix_len(bytes);
        (length > 0).then_some(length)?
    };
    match bytes.get(host..)? {
        [] => Some(Port::Omitted),
        [b':', port @ ..] if is_port(port) => Some(Port::Stated),
        _ => None,
    }
}

fn is_port(digits: &[u8]) -> bool {
    (1..=5).contains(&digits.len())
        && digits
            .iter()
            .try_fold(0_u32, |port, byte| {
                byte.is_ascii_digit()
                    .then(|| port * 10 + u32::from(byte - b'0'))
            })
            .is_some_and(|port| port <= 65_535)
}

/// RFC 3986 section 3.2.2: `reg-name`.
const HOST: ByteSet = ByteSet::of(b"-._~%!$&'()*+,;=")
    .with_range(b'0', b'9')
    .with_range(b'a', b'z')
    .with_range(b'A', b'Z');

/// RFC 3986 section 3.2.2: the inside of an `IP-literal`, versions to come included.
const ADDRESS: ByteSet = HOST.with_range(b':', b':');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_parts() {
        use TargetForm as F;
        for (method, target, expected) in [
            ("GET", "/", Some((F::Origin, "", "/"))),
            ("GET", "//a/b?c", Some((F::Origin, "", "//a/b?c"))),
            ("CONNECT", "/", None),
            ("CONNECT", "a:443", Some((F::Authority, "a:443", ""))),
            ("CONNECT", "[::1]:80", Some((F::Authority, "[::1]:80", ""))),
            ("CONNECT", "a", None),
            ("CONNECT", "a:", None),
            ("CONNECT", "a:65536", None),
            ("CONNECT", "http://a:80/", None),
            ("OPTIONS", "*", Some((F::Asterisk, "", "*"))),
            ("GET", "*", None),
            ("GET", "HTTP://a", Some((F::Absolute, "a", ""))),
            ("GET", "https://a:1?q", Some((F::Absolute, "a:1", "?q"))),
            ("GET", "http://a/b", Some((F::Absolute, "a", "/b"))),
            ("GET", "http://", None),
            ("GET", "http://u@a/", None),
            ("GET", "http://:80/", None),
            ("GET", "http://[/", None),
            ("GET", "ftp://a/", None),
            ("GET", "a/b", None),
        ] {
            let found = spans(method.as_bytes(), target.as_bytes()).ok();
            let text = |(start, end): (usize, usize)| target[start..end].to_owned();
            let found = found.map(|spans| (spans.form, text(spans.authority), text(spans.path)));
            let expected = expected.map(|(form, host, path)| (form, host.into(), path.into()));
            assert_eq!(found, expected, "{method} {target}");
        }
    }
}
