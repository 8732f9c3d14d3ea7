//! What is wrong with a configuration, gathered so that one run can report all of it.
//!
//! It holds and prints; it finds nothing by itself and never stops anybody. Start with [`Diagnostics::error`].

mod render;

use std::fmt;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::node::Node;
use crate::{BuildError, Source, Span};

/// A sink for errors, with the sources they point into.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    sources: Vec<Arc<Source>>,
    list: Vec<Diagnostic>,
    /// How many were reported past [`MAX_KEPT`].
    dropped: usize,
    /// What the reporter of a dropped error still writes to.
    overflow: Box<Diagnostic>,
}

/// One error, as far as its reporter described it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostic {
    message: String,
    span: Option<Span>,
    path: Option<String>,
    expected: Option<String>,
    suggestion: Option<String>,
    help: Vec<String>,
    related: Vec<(Span, String)>,
}

/// Errors kept; a broken file must not make the report larger than the file is worth.
const MAX_KEPT: usize = 1000;
/// Errors printed by [`Diagnostics::render`], the rest is only counted.
pub(crate) const MAX_PRINTED: usize = 100;

impl Diagnostics {
    /// An empty sink for errors in one source.
    pub fn new(source: &Arc<Source>) -> Self {
        let mut diagnostics = Self::default();
        diagnostics.add_source(source);
        diagnostics
    }

    /// Makes another source known, so that spans pointing into it can be shown. Adding one twice is no error.
    pub fn add_source(&mut self, source: &Arc<Source>) {
        if self.source(source.id()).is_none() {
            self.sources.push(Arc::clone(source));
        }
    }

    /// Reports an error at a place; details are added to what comes back.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Diagnostic {
            message: message.into(),
            span: (!span.is_none()).then_some(span),
            ..Diagnostic::default()
        })
    }

    /// Reports an error about a node as a whole, which is shown at its key where it has one.
    pub fn error_at(&mut self, node: &Node, message: impl Into<String>) -> &mut Diagnostic {
        self.error(node.label_span(), message)
    }

    /// Reports an error that has no place in a text, only a path such as `listeners.web.filters[0].rate`.
    pub fn error_in(&mut self, path: &str, message: impl Into<String>) -> &mut Diagnostic {
        let diagnostic = self.error(Span::NONE, message);
        diagnostic.path = (!path.is_empty()).then(|| path.to_owned());
        diagnostic
    }

    /// Reports a failure past parsing, at the deepest place in `root` that its path leads to.
    pub fn build_error(&mut self, root: &Node, error: &BuildError) -> &mut Diagnostic {
        let (node, rest) = root.nearest(&error.path);
        let found = rest.len() < error.path.len();
        let span = if found { node.label_span() } else { Span::NONE };
        let diagnostic = self.error(span, error.reason.as_str());
        diagnostic.path = (!error.path.is_empty()).then(|| error.path.clone());
        diagnostic
    }

    /// Takes over everything another sink holds.
    pub fn absorb(&mut self, other: Self) {
        for source in &other.sources {
            self.add_source(source);
        }
        self.dropped += other.dropped;
        for diagnostic in other.list {
            self.push(diagnostic);
        }
    }

    /// How many errors were reported.
    pub fn count(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The errors by their place in the text; those without a place come last. At most a thousand are kept.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.list.iter().collect();
        sorted.sort_by_key(|diagnostic| {
            let place = diagnostic.span.map(|span| (span.source, span.start));
            (place.is_none(), place)
        });
        sorted
    }

    /// The report for people: each error with file, line, column, a picture of the line and what was expected.
    ///
    /// At most a hundred errors are printed, then a line says how many more there are. `color` adds terminal escapes.
    pub fn render(&self, color: bool) -> String {
        render::render(self, color)
    }

    /// The report for programs: a list of objects with `message`, and where known `file`, `line`, `column`, `end_column`,
    /// `path`, `expected`, `suggestion`, `help` and `related`.
    pub fn to_json(&self) -> Json {
        self.sorted()
            .into_iter()
            .map(|diagnostic| self.entry(diagnostic))
            .collect()
    }

    pub(crate) fn source(&self, id: crate::SourceId) -> Option<&Arc<Source>> {
        self.sources.iter().find(|source| source.id() == id)
    }

    fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        if self.list.len() < MAX_KEPT {
            return self.list.push_mut(diagnostic);
        }
        self.dropped += 1;
        *self.overflow = diagnostic;
        &mut self.overflow
    }

    fn entry(&self, diagnostic: &Diagnostic) -> Json {
        let mut entry = json!({ "message": diagnostic.message() });
        let mut set = |name: &str, value: Option<Json>| {
            if let (Some(entry), Some(value)) = (entry.as_object_mut(), value) {
                entry.insert(name.to_owned(), value);
            }
        };
        if let Some((file, span)) = diagnostic.span.and_then(|span| self.place(span)) {
            set("file", Some(file.into()));
            set("line", Some(span.line.into()));
            set("column", Some(span.column.into()));
            let length = self
                .source(span.source)
                .and_then(|source| source.slice(span))
                .map(|text| text.lines().next().unwrap_or_default().chars().count() as u64);
            set(
                "end_column",
                length.map(|length| (u64::from(span.column) + length).into()),
            );
        }
        set("path", diagnostic.path.as_deref().map(Json::from));
        set("expected", diagnostic.expected.as_deref().map(Json::from));
        set(
            "suggestion",
            diagnostic.suggestion.as_deref().map(Json::from),
        );
        set(
            "help",
            (!diagnostic.help.is_empty()).then(|| json!(diagnostic.help)),
        );
        let related = diagnostic.related.iter().filter_map(|(span, label)| {
            let (file, span) = self.place(*span)?;
            Some(
                json!({ "message": label, "file": file, "line": span.line, "column": span.column }),
            )
        });
        let related: Vec<Json> = related.collect();
        set("related", (!related.is_empty()).then(|| related.into()));
        entry
    }

    fn place(&self, span: Span) -> Option<(&str, Span)> {
        self.source(span.source).map(|source| (source.name(), span))
    }
}

impl Diagnostic {
    /// Says what should have been there, as the text after "expected": `a list`, `one of 'a', 'b'`.
    pub fn expected(&mut self, what: impl Into<String>) -> &mut Self {
        self.expected = Some(what.into());
        self
    }

    /// Names the word that was probably meant; shown as `did you mean 'listen'?`.
    pub fn suggest(&mut self, word: impl Into<String>) -> &mut Self {
        self.suggestion = Some(word.into());
        self
    }

    /// Adds advice on its own line.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help.push(text.into());
        self
    }

    /// Points at another place that belongs to it, with a few words about it.
    pub fn also(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        if !span.is_none() {
            self.related.push((span, label.into()));
        }
        self
    }

    /// Names the path of the offending value, for errors whose place is known too.
    pub fn path(&mut self, path: impl Into<String>) -> &mut Self {
        self.path = Some(path.into());
        self
    }

    /// The message, with the suggestion if there is one.
    pub fn message(&self) -> String {
        match &self.suggestion {
            Some(word) => format!("{}, did you mean '{word}'?", self.message),
            None => self.message.clone(),
        }
    }

    /// Where it is, if it is in a text.
    pub fn span(&self) -> Option<Span> {
        self.span
    }
}

impl fmt::Display for Diagnostics {
    /// The plain report of [`Diagnostics::render`].
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(false))
    }
}

#[cfg(test)]
mod tests;
