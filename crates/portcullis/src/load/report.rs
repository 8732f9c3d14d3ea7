//! Everything there is to say about a configuration: errors, which keep it from running, and warnings.
//!
//! It finds nothing itself. Start at [`Report::text`].

use std::fmt::Write as _;
use std::sync::Arc;

use portcullis_config::{Diagnostics, Source, Span};
use serde_json::{Value, json};

/// Errors and warnings about one configuration.
#[derive(Debug)]
pub struct Report {
    name: String,
    /// What keeps it from running.
    pub(crate) errors: Diagnostics,
    /// What is probably a mistake, and harmless.
    pub(crate) warnings: Vec<Warning>,
}

/// Something that is probably a mistake, and harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Report {
    /// Nothing to say yet about this source.
    pub(crate) fn new(source: &Arc<Source>) -> Self {
        Self {
            name: source.name().to_owned(),
            errors: Diagnostics::new(source),
            warnings: Vec::new(),
        }
    }

    /// One error without a place.
    pub(crate) fn of_error(name: &str, message: String) -> Self {
        let mut report = Self::new(&Source::new(name, ""));
        report.errors.error(Span::NONE, message);
        report
    }

    /// The errors.
    #[must_use]
    pub fn errors(&self) -> &Diagnostics {
        &self.errors
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    /// For people: each error with a picture of its line, then the warnings, then the number of errors.
    #[must_use]
    pub fn text(&self, colours: bool) -> String {
        let mut text = self.errors.render(colours);
        if !text.is_empty() && !self.warnings.is_empty() {
            text.push('\n');
        }
        for warning in &self.warnings {
            let _ = writeln!(
                text,
                "warning: {}{}",
                self.place(warning.span),
                warning.message
            );
        }
        match self.errors.count() {
            0 => {}
            1 => text.push_str("\n1 error in the configuration\n"),
            count => {
                let _ = writeln!(text, "\n{count} errors in the configuration");
            }
        }
        text
    }

    /// For programs: a list of objects.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut all = Vec::new();
        if let Value::Array(errors) = self.errors.to_json() {
            all.extend(errors.into_iter().map(|entry| with_level(entry, "error")));
        }
        all.extend(self.warnings.iter().map(|warning| {
            json!({
                "level": "warning",
                "message": warning.message,
                "file": self.name,
                "line": warning.span.line,
                "column": warning.span.column,
            })
        }));
        Value::Array(all)
    }

    /// Says the warnings in the log.
    pub(crate) fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{}{}", self.place(warning.span), warning.message);
        }
    }

    fn place(&self, span: Span) -> String {
        if span.is_none() {
            return String::new();
        }
        format!("{}:{}:{}: ", self.name, span.line, span.column)
    }
}

fn with_level(mut entry: Value, level: &str) -> Value {
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("level".to_owned(), Value::from(level));
    }
    entry
}
