//! The picture of an error for people.
//!
//! Layout is left to `annotate-snippets`; this cuts out the lines it needs and chooses the words. Start with [`render`].

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use super::{Diagnostic, Diagnostics, MAX_PRINTED};
use crate::{Source, SourceId, Span};

pub(super) fn render(diagnostics: &Diagnostics, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let sorted = diagnostics.sorted();
    let mut report = String::new();
    for diagnostic in sorted.iter().take(MAX_PRINTED) {
        report.push_str(&one(diagnostics, diagnostic, &renderer));
        report.push_str("\n\n");
    }
    let more = diagnostics.count().saturating_sub(MAX_PRINTED);
    if more > 0 {
        report.push_str("... and ");
        report.push_str(&more.to_string());
        report.push_str(" more errors\n");
    }
    report.truncate(report.trim_end().len());
    if !report.is_empty() {
        report.push('\n');
    }
    report
}

fn one(diagnostics: &Diagnostics, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let message = diagnostic.message();
    let place = diagnostic.span.map_or(diagnostic.path.as_ref(), |_| None);
    let title = match place {
        Some(path) => format!("{path}: {message}"),
        None => message.clone(),
    };
    let mut group = Group::with_title(Level::ERROR.primary_title(normalize_untrusted_str(&title)));
    // The label would only repeat a message that already says what was expected.
    let label = diagnostic
        .expected
        .as_ref()
        .filter(|expected| !message.contains(expected.as_str()))
        .map(|expected| normalize_untrusted_str(&format!("expected {expected}")));
    let mut marks: Vec<Mark> = Vec::new();
    match diagnostic.span {
        Some(span) => marks.push(Mark::new(span, true, label)),
        None => {
            if let Some(label) = label {
                group = group.element(Level::NOTE.message(label));
            }
        }
    }
    for (span, label) in &diagnostic.related {
        let label = Some(normalize_untrusted_str(label));
        marks.push(Mark::new(*span, false, label));
    }
    let mut done: Vec<SourceId> = Vec::new();
    for mark in &marks {
        let id = mark.span.source;
        if !done.contains(&id)
            && let Some(source) = diagnostics.source(id)
        {
            done.push(id);
            let here: Vec<&Mark> = marks.iter().filter(|mark| mark.span.source == id).collect();
            group = group.element(snippet(source, &here));
        }
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    renderer.render(&[group])
}

/// A place to underline.
struct Mark {
    span: Span,
    primary: bool,
    label: Option<String>,
}

impl Mark {
    fn new(span: Span, primary: bool, label: Option<String>) -> Self {
        Self {
            span,
            primary,
            label,
        }
    }
}

/// The lines from the first mark to the last. Only those are handed on: the library walks all it is given.
fn snippet<'a>(
    source: &'a Source,
    marks: &[&'a Mark],
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = source.text();
    let ranges: Vec<Range<usize>> = marks
        .iter()
        .map(|mark| first_line(text, mark.span))
        .collect();
    let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    let last = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    let before = text.get(..first).unwrap_or_default();
    let from = before.rfind('\n').map_or(0, |at| at + 1);
    let to = text
        .get(last..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |at| last + at);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let annotations = marks.iter().zip(ranges).map(|(mark, range)| {
        let kind = if mark.primary {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        kind.span(range.start - from..range.end - from)
            .label(mark.label.as_deref())
    });
    Snippet::source(text.get(from..to).unwrap_or_default())
        .line_start(line)
        .path(source.name())
        .annotations(annotations)
}

/// The part of a span that lies on its first line, on character boundaries: a block is shown by how it begins.
fn first_line(text: &str, span: Span) -> Range<usize> {
    let mut start = (span.start as usize).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.find('\n').unwrap_or(rest.len());
    let mut end = (span.end as usize).clamp(start, start + line);
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
