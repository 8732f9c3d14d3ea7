//! A look ahead over the messages of the extended protocol up to the next Sync: all of them go to one server.
//!
//! Only where routes depend on statements; what is looked at is looked at again when it is sent. Start at [`look`].

use crate::frame::{Frame, Tag, frontend};
use crate::sql::{self, Analysis, Class};

use super::relay::Setup;
use super::statements::{ClientStatements, Reading};

/// Type and length.
const HEADER: usize = 5;

/// A segment longer than this is not waited for: what is not seen counts as a write.
const LONGEST: usize = 64 * 1024;

/// What a segment holds.
pub(super) struct Segment<'a> {
    /// The first statement of it.
    pub(super) first: Option<Box<Analysis>>,
    /// Its text.
    pub(super) sql: &'a [u8],
    /// The worst class of all of them.
    pub(super) class: Class,
}

/// Looks at the segment at the front of `input`, whose first message is `frame`. `None` if its end is not there yet and more
/// should be waited for.
pub(super) fn look<'a>(
    frame: Frame,
    input: &'a [u8],
    statements: &'a ClientStatements,
    reading: Reading,
    setup: &Setup,
) -> Option<Segment<'a>> {
    let mut segment = Segment {
        first: None,
        sql: b"",
        class: Class::Read,
    };
    if matches!(frame, Frame::Begin { .. }) {
        segment.class = Class::Write;
        return Some(segment);
    }
    let mut ahead = input;
    let mut begun = false;
    loop {
        let Some((tag, body, rest)) = split_message(ahead) else {
            if input.len() < LONGEST {
                return None;
            }
            segment.class = Class::Write;
            return Some(segment);
        };
        ahead = rest;
        match tag {
            frontend::PARSE => {
                let mut parts = body.splitn(3, |byte| *byte == 0);
                let text = parts.nth(1).unwrap_or_default();
                let mut analysis = Box::<Analysis>::default();
                let options = sql::Options {
                    standard_conforming_strings: !reading.escapes,
                    truncated: false,
                    ..setup.sql.clone()
                };
                sql::analyse(text, &options, &mut analysis);
                segment.add(&analysis, text);
                begun = true;
            }
            frontend::BIND => {
                let name = body.splitn(3, |byte| *byte == 0).nth(1).unwrap_or_default();
                // One that was parsed in this segment was counted there.
                if !begun && let Some(statement) = statements.find(name) {
                    segment.add(&statement.analysis, statement.sql());
                }
            }
            frontend::DESCRIBE => {
                if let Some((b'S', name)) = body.split_first()
                    && let Some(statement) = statements.find(name.strip_suffix(&[0]).unwrap_or(name))
                {
                    segment.add(&statement.analysis, statement.sql());
                }
            }
            frontend::SYNC => break,
            // Whoever flushes waits for an answer before the end is there, or there is another conversation in between.
            _ if matches!(tag, frontend::EXECUTE | frontend::CLOSE) => {}
            _ => {
                segment.class = Class::Write;
                break;
            }
        }
    }
    if segment.first.is_none() {
        segment.class = Class::Write;
    }
    Some(segment)
}

impl<'a> Segment<'a> {
    fn add(&mut self, analysis: &Analysis, text: &'a [u8]) {
        if analysis.class() != Class::Read {
            self.class = analysis.class();
        }
        if self.first.is_none() {
            self.first = Some(Box::new(analysis.clone()));
            self.sql = text;
        }
    }
}

fn split_message(bytes: &[u8]) -> Option<(Tag, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let length = rest.first_chunk::<4>().copied().map(u32::from_be_bytes)?;
    let body_end = usize::try_from(length).ok()?;
    let body = rest.get(HEADER - 1..body_end)?;
    Some((Tag(*tag), body, rest.get(body_end..)?))
}
