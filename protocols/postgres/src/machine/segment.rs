//! A look ahead over the messages of the extended protocol up to the next Sync: all of them go to one server.
//!
//! Only where routes depend on statements; what is looked at is looked at again when it is sent. Start at [`look`].

use crate::frame::{Frame, HEADER, Tag, frontend};
use crate::sql::{self, Analysis, Class};

use super::statements::ClientStatements;

/// A segment longer than this is not waited for: what is not seen counts as a write.
const LONGEST: usize = 64 * 1024;

/// What a segment holds.
pub(super) struct Segment<'a> {
    /// The statement of it that asks most of a server.
    pub(super) worst: Option<Box<Analysis>>,
    /// Its text.
    pub(super) sql: &'a [u8],
}

/// Looks at the segment at the front of `input`, whose first message is `frame`. `None` if its end is not there yet and more
/// should be waited for.
pub(super) fn look<'a>(
    frame: Frame,
    input: &'a [u8],
    statements: &'a ClientStatements,
    options: &sql::Options,
) -> Option<Segment<'a>> {
    let mut segment = Segment {
        worst: None,
        sql: b"",
    };
    if matches!(frame, Frame::Begin { .. }) {
        return Some(segment);
    }
    let mut ahead = input;
    let mut begun = false;
    loop {
        let Some((tag, body, rest)) = split_message(ahead) else {
            if input.len() < LONGEST {
                return None;
            }
            return Some(Segment::unknown());
        };
        ahead = rest;
        match tag {
            frontend::PARSE => {
                let mut parts = body.splitn(3, |byte| *byte == 0);
                let text = parts.nth(1).unwrap_or_default();
                let mut analysis = Box::<Analysis>::default();
                sql::analyse(text, options, &mut analysis);
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
                    && let Some(statement) =
                        statements.find(name.strip_suffix(&[0]).unwrap_or(name))
                {
                    segment.add(&statement.analysis, statement.sql());
                }
            }
            frontend::SYNC => break,
            frontend::EXECUTE | frontend::CLOSE => {}
            // Whoever flushes waits for an answer before the end is there, or there is another conversation in between.
            _ => return Some(Segment::unknown()),
        }
    }
    Some(segment)
}

impl<'a> Segment<'a> {
    fn add(&mut self, analysis: &Analysis, text: &'a [u8]) {
        let known = self.worst.as_deref().map(Analysis::class);
        if known.is_none_or(|known| known == Class::Read && analysis.class() != Class::Read) {
            self.worst = Some(Box::new(analysis.clone()));
            self.sql = text;
        }
    }

    /// What is not seen may be anything.
    const fn unknown() -> Self {
        Self {
            worst: None,
            sql: b"",
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
