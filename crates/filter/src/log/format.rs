//! A format, compiled: literal pieces and operators in order.
//!
//! It reads no configuration; see [`super::AccessLogConfig`] for that. Start at [`Format::text`] and
//! [`Format::json`].

use super::operator::{LogRecords, Operator, OperatorError, Preset, names, resolve};
use super::template::{Part, parse};
use super::value::{Style, ValueWriter, escape};
use crate::Context;

/// A format for the records of one protocol.
pub struct Format<M: LogRecords>(Box<[Segment<M>]>);

enum Segment<M: LogRecords> {
    Literal(Box<[u8]>),
    Value {
        operator: Operator<M>,
        style: Style,
        longest: usize,
    },
}

/// Why a format does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A percent sign begins no operator.
    #[error("'{0}' is no operator: write %NAME%, %NAME(ARGUMENT)%, or %% for a percent sign")]
    Syntax(String),
    /// An operator does not exist or takes another argument.
    #[error("%{name}%: {error}")]
    Operator {
        /// The operator's name.
        name: String,
        /// What is wrong.
        error: OperatorError,
        /// The names that there are.
        known: Vec<&'static str>,
    },
}

impl<M: LogRecords> Format<M> {
    /// A line of text. Values stand unquoted; text in them is escaped, so quotes around an operator hold.
    ///
    /// # Errors
    /// See [`FormatError`].
    pub fn text(template: &str) -> Result<Self, FormatError> {
        let mut segments = Segments::default();
        segments.template(template, Style::Text)?;
        Ok(segments.line())
    }

    /// A JSON object in one line: each key with the format of its value. A format of just one operator gives a
    /// number, a string or `null`; any other gives a string.
    ///
    /// # Errors
    /// See [`FormatError`].
    pub fn json<'a>(
        keys: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, FormatError> {
        let mut segments = Segments::default();
        for (index, (key, template)) in keys.into_iter().enumerate() {
            segments.push(if index == 0 { "{\"" } else { ",\"" });
            segments.push_escaped(key);
            segments.push("\":");
            segments.json_value(template)?;
        }
        segments.push(if segments.is_empty() { "{}" } else { "}" });
        Ok(segments.line())
    }

    /// The format of a preset.
    ///
    /// # Errors
    /// See [`FormatError`].
    pub fn preset(preset: &Preset) -> Result<Self, FormatError> {
        match preset {
            Preset::Text { line, .. } => Self::text(line),
            Preset::Json { keys, .. } => Self::json(keys.iter().copied()),
        }
    }

    /// Appends the line of a record, with its line feed.
    pub fn write(&self, record: &M::Record, cx: &Context, line: &mut Vec<u8>) {
        for segment in &self.0 {
            match segment {
                Segment::Literal(bytes) => line.extend_from_slice(bytes),
                Segment::Value {
                    operator,
                    style,
                    longest,
                } => operator(record, cx, ValueWriter::new(line, *style, *longest)),
            }
        }
    }
}

impl<M: LogRecords> std::fmt::Debug for Format<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Format of {} segments", self.0.len())
    }
}

/// Segments being gathered; literals that meet become one.
struct Segments<M: LogRecords> {
    done: Vec<Segment<M>>,
    literal: Vec<u8>,
}

impl<M: LogRecords> Default for Segments<M> {
    fn default() -> Self {
        Self {
            done: Vec::new(),
            literal: Vec::new(),
        }
    }
}

impl<M: LogRecords> Segments<M> {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.literal.is_empty()
    }

    fn push(&mut self, text: &str) {
        self.literal.extend_from_slice(text.as_bytes());
    }

    fn push_escaped(&mut self, text: &str) {
        escape(&mut self.literal, text.as_bytes(), Style::JsonPart);
    }

    fn json_value(&mut self, template: &str) -> Result<(), FormatError> {
        if let Ok([Part::Operator { .. }]) = parse(template).as_deref() {
            return self.template(template, Style::Json);
        }
        self.push("\"");
        self.template(template, Style::JsonPart)?;
        self.push("\"");
        Ok(())
    }

    fn template(&mut self, template: &str, style: Style) -> Result<(), FormatError> {
        let parts = parse(template).map_err(|rest| FormatError::Syntax(rest.to_owned()))?;
        for part in parts {
            match part {
                Part::Literal(text) if style == Style::Text => self.push(text),
                Part::Literal(text) => self.push_escaped(text),
                Part::Operator {
                    name,
                    argument,
                    longest,
                } => {
                    let operator =
                        resolve::<M>(name, argument).map_err(|error| FormatError::Operator {
                            name: name.to_owned(),
                            error,
                            known: names::<M>(),
                        })?;
                    self.flush();
                    self.done.push(Segment::Value {
                        operator,
                        style,
                        longest: longest.unwrap_or(usize::MAX),
                    });
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal);
            self.done.push(Segment::Literal(literal.into()));
        }
    }

    fn line(mut self) -> Format<M> {
        if self.literal.last() != Some(&b'\n') {
            self.push("\n");
        }
        self.flush();
        Format(self.done.into())
    }
}
