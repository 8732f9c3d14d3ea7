//! Where text came from: a named [`Source`] and the [`Span`]s that point into it.
//!
//! It deliberately knows no file system (the caller reads the file) and no YAML.
//! Start with [`Source::new`].

use std::ops::Range;
use std::sync::Arc;

/// A configuration text with the name it has in messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    id: SourceId,
}

impl Source {
    /// A text and its name for messages, usually the path of the file. Its id is 0, right for the only source of a run.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Self::with_id(name, text, SourceId::default())
    }

    /// The same with an id, for runs with several sources: every id must be used once only.
    pub fn with_id(name: impl Into<String>, text: impl Into<String>, id: SourceId) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            id,
        })
    }

    /// The name shown in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The id that spans of this source carry.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The text a span covers; `None` when it does not point into this source.
    pub fn slice(&self, span: Span) -> Option<&str> {
        if span.is_none() || span.source != self.id {
            return None;
        }
        self.text.get(span.range())
    }

    /// The byte offset of a one-based line and a one-based column counted in characters, clipped to the text.
    pub(crate) fn offset(&self, line: u32, column: u32) -> usize {
        let mut start = 0;
        for (number, text) in (1_u32..).zip(self.text.split_inclusive('\n')) {
            if number == line {
                let within = text.char_indices().nth((column as usize).saturating_sub(1));
                return start
                    + within.map_or_else(|| text.trim_end_matches('\n').len(), |(at, _)| at);
            }
            start += text.len();
        }
        self.text.len()
    }
}

/// The number of a [`Source`] within one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SourceId(pub u32);

/// A range of bytes in a source, with the line and column at which it starts.
///
/// Lines and columns count from one, columns in characters. [`Span::NONE`] stands for "not in any text".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// The source it points into.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// One-based line of `start`; 0 in [`Span::NONE`].
    pub line: u32,
    /// One-based column of `start`, in characters; 0 in [`Span::NONE`].
    pub column: u32,
}

impl Span {
    /// Not in any text, such as a value made by code.
    pub const NONE: Self = Self {
        source: SourceId(0),
        start: 0,
        end: 0,
        line: 0,
        column: 0,
    };

    /// Whether this span points nowhere.
    pub const fn is_none(self) -> bool {
        self.line == 0
    }

    /// The bytes covered.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The same start, reaching to the end of `last` if that lies further on.
    pub(crate) fn until(self, last: Self) -> Self {
        Self {
            end: self.end.max(last.end),
            ..self
        }
    }

    /// `length` bytes that begin `offset` bytes into this span, which must lie on one line of ASCII up to there.
    pub(crate) fn part(self, offset: u32, length: u32) -> Self {
        let start = (self.start + offset).min(self.end);
        Self {
            start,
            end: (start + length).min(self.end),
            column: self.column + offset,
            ..self
        }
    }
}
