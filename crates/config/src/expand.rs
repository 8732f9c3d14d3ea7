//! `${VARIABLE}` in values.
//!
//! Pure: the environment comes in as a closure. Keys are never expanded and what a variable holds is not expanded again.
//! Start with [`Node::expand`].

use crate::node::{Node, Value};
use crate::{Diagnostics, Span};

/// How much text all variables of a document may add up to. A small file must not grow without bound.
const MAX_EXPANDED: usize = 4 * 1024 * 1024;

impl Node {
    /// Expands variables in every text of this tree, in place.
    ///
    /// `${NAME}` is what `lookup` has for the name, `${NAME:-default}` falls back when that is missing or empty, `$$` is a
    /// dollar sign, and any other dollar sign stands for itself. A missing variable without a default, a malformed
    /// reference, and more than 4 MiB of expanded text are errors at their place.
    pub fn expand(
        &mut self,
        lookup: &dyn Fn(&str) -> Option<String>,
        diagnostics: &mut Diagnostics,
    ) {
        let mut left = MAX_EXPANDED;
        self.expand_within(lookup, diagnostics, &mut left);
    }

    fn expand_within(
        &mut self,
        lookup: &dyn Fn(&str) -> Option<String>,
        diagnostics: &mut Diagnostics,
        left: &mut usize,
    ) {
        match &mut self.value {
            Value::Sequence(items) => {
                for item in items {
                    item.expand_within(lookup, diagnostics, left);
                }
            }
            Value::Mapping(entries) => {
                for (_, node) in entries {
                    node.expand_within(lookup, diagnostics, left);
                }
            }
            Value::String(text) if text.contains('$') => match expand(text, lookup, *left) {
                Ok(expanded) => {
                    *left = left.saturating_sub(expanded.len());
                    if expanded != *text {
                        let before = std::mem::replace(text, expanded);
                        self.unexpanded = Some(before.into_boxed_str());
                    }
                }
                Err(error) => {
                    let span = reference_span(self.span, text, &error);
                    let diagnostic = diagnostics.error(span, error.message);
                    if let Some(help) = error.help {
                        diagnostic.help(help);
                    }
                    self.broken = true;
                }
            },
            _ => {}
        }
    }
}

#[derive(Debug)]
struct ExpandError {
    message: String,
    help: Option<String>,
    offset: usize,
    length: usize,
}

fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    limit: usize,
) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let offset = text.len() - after.len() - 1;
        rest = match after.chars().next() {
            Some('$') => {
                expanded.push('$');
                after.get(1..).unwrap_or_default()
            }
            Some('{') => {
                let (value, remaining) = reference(after, offset, lookup)?;
                expanded.push_str(&value);
                remaining
            }
            _ => {
                expanded.push('$');
                after
            }
        };
        if expanded.len() > limit {
            return Err(ExpandError {
                message: "variables expand to more than 4 MiB of text".to_owned(),
                help: None,
                offset: 0,
                length: text.len(),
            });
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Reads `{NAME}` or `{NAME:-default}` off the front: its value and what follows it.
fn reference<'a>(
    after: &'a str,
    offset: usize,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, &'a str), ExpandError> {
    let Some((inside, rest)) = after.get(1..).and_then(|inside| inside.split_once('}')) else {
        return Err(ExpandError {
            message: "'${' without '}'".to_owned(),
            help: Some("write '$$' for a dollar sign".to_owned()),
            offset,
            length: after.len() + 1,
        });
    };
    let fail = |message: String, help: &str| ExpandError {
        message,
        help: Some(help.to_owned()),
        offset,
        length: inside.len() + 3,
    };
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(fail(
            format!(
                "'{}' is not the name of a variable",
                crate::node::shorten(name)
            ),
            "names are letters, digits and '_', as in ${PORT} or ${PORT:-8080}; write '$$' for a dollar sign",
        ));
    }
    match (lookup(name), default) {
        (Some(value), None) => Ok((value, rest)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((value, rest)),
        (_, Some(default)) => Ok((default.to_owned(), rest)),
        (None, None) => Err(fail(
            format!("the variable '{name}' is not set"),
            &format!("set it, or give a default: ${{{name}:-default}}"),
        )),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Narrows a value's span to the reference in it, when the text was written on one line as it is, quoted or not.
fn reference_span(span: Span, text: &str, error: &ExpandError) -> Span {
    let written = span.range().len();
    let quote = match written.checked_sub(text.len()) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return span,
    };
    if text.contains('\n') || !text.is_ascii() {
        return span;
    }
    span.part(error.offset as u32 + quote, error.length as u32)
}

#[cfg(test)]
mod tests;
