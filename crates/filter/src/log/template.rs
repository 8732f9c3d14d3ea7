//! The grammar of formats: literal text and operators, `%NAME(ARGUMENT):LENGTH%`; `%%` is a percent sign.
//!
//! It does not know which operators there are. Start at [`parse`].

/// One part of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text as it is.
    Literal(&'t str),
    /// An operator.
    Operator {
        name: &'t str,
        argument: Option<&'t str>,
        /// At most so many bytes of the value.
        longest: Option<usize>,
    },
}

/// Takes a format apart. The error is the text from the percent sign that begins no operator.
pub(super) fn parse(template: &str) -> Result<Vec<Part<'_>>, &str> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        let (literal, operator) = rest.split_at(at);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let (part, behind) = parse_operator(operator).ok_or(operator)?;
        parts.push(part);
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

/// Takes one operator off the front of `text`, which begins with a percent sign.
fn parse_operator(text: &str) -> Option<(Part<'_>, &str)> {
    let inside = text.strip_prefix('%')?;
    if let Some(behind) = inside.strip_prefix('%') {
        return Some((Part::Literal("%"), behind));
    }
    let is_name =
        |found: char| found.is_ascii_uppercase() || found.is_ascii_digit() || found == '_';
    let end = inside.find(|found| !is_name(found))?;
    let (name, mut rest) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    let mut argument = None;
    if let Some(behind) = rest.strip_prefix('(') {
        let (inner, behind) = behind.split_once(')')?;
        argument = Some(inner);
        rest = behind;
    }
    let mut longest = None;
    if let Some(behind) = rest.strip_prefix(':') {
        let end = behind.find(|found: char| !found.is_ascii_digit())?;
        let (digits, behind) = behind.split_at(end);
        longest = Some(digits.parse().ok()?);
        rest = behind;
    }
    let part = Part::Operator {
        name,
        argument,
        longest,
    };
    Some((part, rest.strip_prefix('%')?))
}
