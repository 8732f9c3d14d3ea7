//! What can go wrong in one pass over a block, and its words for people.
//!
//! Serde's own wording names Rust types; here it is turned into the words of the configuration. Start with [`ReadError`].

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::node::{Node, shorten};
use crate::{Diagnostics, Span, suggest};

/// The first error of a pass, at the innermost node.
#[derive(Debug)]
pub(crate) struct ReadError(pub(crate) Box<Detail>);

#[derive(Debug)]
pub(crate) struct Detail {
    pub(crate) kind: Kind,
    /// Where to point, once known.
    pub(crate) span: Option<Span>,
    /// The node to set aside, once known.
    pub(crate) target: Option<Target>,
}

/// The identity of a node during one reading: the tree is borrowed, so its nodes stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Target(usize);

impl Target {
    pub(crate) fn of(node: &Node) -> Self {
        Self(std::ptr::from_ref(node) as usize)
    }
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// In the words of whoever refused the value.
    Message(String),
    /// Not what was expected; with `value` the kind was right.
    Invalid {
        found: String,
        expected: String,
        value: bool,
    },
    UnknownKey(String, &'static [&'static str]),
    UnknownVariant(String, &'static [&'static str]),
    MissingKey(&'static str),
    /// Already reported elsewhere.
    Broken,
    /// A value made up for a missing key was refused.
    Placeholder(&'static str),
}

impl ReadError {
    pub(crate) fn new(kind: Kind) -> Self {
        Self(Box::new(Detail {
            kind,
            span: None,
            target: None,
        }))
    }

    pub(crate) fn expected(expected: impl Into<String>, node: &Node) -> Self {
        Self::new(Kind::Invalid {
            found: node.describe().into_owned(),
            expected: expected.into(),
            value: false,
        })
        .at(node)
    }

    /// Names text as it was written: what a variable holds may be a secret.
    pub(crate) fn unexpanded(mut self, node: &Node) -> Self {
        if let Kind::Invalid { found, value, .. } = &mut self.0.kind
            && !*value
            && node.unexpanded.is_some()
        {
            *found = node.describe().into_owned();
        }
        self
    }

    /// Names the node the error belongs to, unless one further in was named before.
    pub(crate) fn at(self, node: &Node) -> Self {
        self.at_span(node.label_span(), node)
    }

    /// The same, pointing elsewhere.
    pub(crate) fn at_span(mut self, span: Span, node: &Node) -> Self {
        self.0.span.get_or_insert(span);
        self.0.target.get_or_insert_with(|| Target::of(node));
        self
    }

    /// Keeps the place but sets another node aside, for errors of keys and stand-ins that are not in the tree.
    pub(crate) fn retarget(mut self, node: &Node) -> Self {
        self.0.target = Some(Target::of(node));
        self
    }
}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Message(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Invalid {
            found: describe(&found),
            expected: config_words(&expected.to_string()),
            value: false,
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Invalid {
            found: describe(&found),
            expected: config_words(&expected.to_string()),
            value: true,
        })
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Kind::Invalid {
            found: elements(length),
            expected: config_words(&expected.to_string()),
            value: false,
        })
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant(name.to_owned(), known))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey(name.to_owned(), known))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Kind::MissingKey(name))
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Kind::Message(format!("the key '{name}' is given twice")))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0.kind)
    }
}

impl std::error::Error for ReadError {}

/// Writes an error to the sink. Those already reported, or not the reader's to report, write nothing.
pub(crate) fn report(kind: &Kind, span: Span, diagnostics: &mut Diagnostics) {
    match kind {
        Kind::Message(message) if message.starts_with("data did not match any variant") => {
            diagnostics.error(span, "this has none of the forms that are accepted here");
        }
        Kind::Message(message) => {
            diagnostics.error(span, message.as_str());
        }
        Kind::Invalid {
            found,
            expected,
            value: true,
        } => {
            // Serde calls a number that does not fit an invalid value, and says no more.
            let number = found.starts_with("the number") && expected.starts_with("a whole number");
            let message = if number {
                format!("{found} is out of range")
            } else {
                found.clone()
            };
            diagnostics.error(span, message).expected(expected);
        }
        Kind::Invalid {
            found,
            expected,
            value: false,
        } => {
            let message = format!("expected {expected}, found {found}");
            let diagnostic = diagnostics.error(span, message).expected(expected);
            let scalar = found.starts_with("the number") || found == "true" || found == "false";
            if expected == "a string" && scalar {
                let text = found.trim_start_matches("the number ");
                diagnostic.help(format!("put it in quotes: \"{text}\""));
            }
        }
        Kind::UnknownKey(name, known) => report_unknown("key", name, span, known, diagnostics),
        Kind::UnknownVariant(name, known) => {
            report_unknown("value", name, span, known, diagnostics);
        }
        Kind::MissingKey(name) => {
            diagnostics.error(span, format!("the key '{name}' is missing here"));
        }
        Kind::Broken | Kind::Placeholder(_) => {}
    }
}

pub(crate) fn report_unknown(
    what: &str,
    name: &str,
    span: Span,
    known: &[&str],
    diagnostics: &mut Diagnostics,
) {
    let diagnostic = diagnostics.error(span, format!("unknown {what} '{}'", shorten(name)));
    diagnostic.expected(one_of(known));
    if let Some(near) = suggest(name, known.iter().copied()) {
        diagnostic.suggest(near);
    }
}

/// `one of 'a', 'b' or 'c'`, cut off where a list stops helping.
pub(crate) fn one_of(known: &[&str]) -> String {
    const MOST: usize = 16;
    let quoted =
        |names: &[&str]| -> Vec<String> { names.iter().map(|name| format!("'{name}'")).collect() };
    match known {
        [] => "no key at all".to_owned(),
        [only] => format!("'{only}'"),
        names if names.len() > MOST => {
            let shown = quoted(names.get(..MOST).unwrap_or_default());
            format!(
                "one of {} and {} more",
                shown.join(", "),
                names.len() - MOST
            )
        }
        [names @ .., last] => format!("one of {} or '{last}'", quoted(names).join(", ")),
    }
}

fn describe(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Char(value) => format!("the text '{value}'"),
        Unexpected::Str(text) => format!("the text '{}'", shorten(text)),
        Unexpected::Bytes(_) => "bytes".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map | Unexpected::NewtypeStruct | Unexpected::StructVariant => {
            "a block of keys".to_owned()
        }
        Unexpected::Enum | Unexpected::UnitVariant => "a name alone".to_owned(),
        Unexpected::NewtypeVariant | Unexpected::TupleVariant => "a name with settings".to_owned(),
        Unexpected::Other(text) => (*text).to_owned(),
    }
}

/// Serde's names of what it expects, in the words of a configuration.
pub(crate) fn config_words(expected: &str) -> String {
    let words = match expected {
        "a boolean" => "true or false",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" => "a whole number from 0 on",
        "i8" => "a whole number from -128 to 127",
        "i16" => "a whole number from -32768 to 32767",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "isize" | "i128" => "a whole number",
        "f32" | "f64" => "a number",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1 on",
        "a sequence" => "a list",
        "a map" => "a block of keys",
        "path string" => "a path",
        "unit" => "nothing",
        "option" => "a value",
        "a character" => "a single character",
        other if other.starts_with("struct ") => "a block of keys",
        other if other.starts_with("internally tagged enum") => "a block of keys",
        other if other.starts_with("unit variant") => "a name alone",
        other if other.starts_with("newtype variant") => "a name with settings",
        other if other.starts_with("struct variant") => "a name with settings",
        other => match fixed_length(other) {
            Some(length) => return format!("a list of {}", elements(length)),
            None => other,
        },
    };
    words.to_owned()
}

/// The length in `a tuple of size 2`, `tuple struct Pair with 2 elements`, `an array of length 2`.
fn fixed_length(expected: &str) -> Option<usize> {
    let is_list = expected.contains("tuple") || expected.starts_with("an array");
    let mut words = expected.split(' ').filter(|_| is_list);
    words.find_map(|word| word.parse().ok())
}

pub(crate) fn elements(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} element{plural}")
}
