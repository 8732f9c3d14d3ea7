//! Edits of a list of fields: lines that are added, changed and removed.
//!
//! Nothing in the block changes: new lines stand in a buffer of their own, ready to be written. Start at
//! [`Fields::append`].

use super::parts::is_token;
use super::{Field, Fields, Line, MIXED, Name, Place, UNKNOWN, is_field_value};
use crate::name::KnownField;

impl Fields {
    /// Adds a field at the end. The value must hold no CR, LF or NUL: callers check what peers or people wrote.
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let line = self.keep(name.into(), |extra| extra.extend_from_slice(value));
        self.lines.push(line);
    }

    /// As [`Fields::append`], with a value that `write` appends to the buffer it is given.
    pub fn append_with(&mut self, field: KnownField, write: impl FnOnce(&mut Vec<u8>)) {
        let line = self.keep(field.into(), write);
        self.lines.push(line);
    }

    /// Adds a field at the end whose value is `parts`, one behind the other, and is known to be printable text on one
    /// line: it is not looked at. Never what a peer or a person wrote.
    #[inline]
    pub(crate) fn append_known(&mut self, field: KnownField, parts: &[&[u8]]) {
        let start = self.extra.len();
        let name = field.line_start().as_bytes();
        self.extra.extend_from_slice(name);
        for part in parts {
            self.extra.extend_from_slice(part);
        }
        self.extra.extend_from_slice(b"\r\n");
        self.push_known(field, start, self.extra.len() - start);
    }

    /// As [`Fields::append_known`], given the whole line: the lower-case name, a colon, a space, the value and CRLF.
    #[inline]
    pub(crate) fn append_line(&mut self, field: KnownField, line: &[u8]) {
        let start = self.extra.len();
        let name = field.line_start();
        debug_assert!(line.starts_with(name.as_bytes()) && line.ends_with(b"\r\n"));
        self.extra.extend_from_slice(line);
        self.push_known(field, start, self.extra.len() - start);
    }

    /// As [`Fields::append_line`], for several lines that `write` appends to the buffer it is given. It answers which fields
    /// they are, and the length of each line with its CRLF.
    #[inline]
    pub(crate) fn append_lines<const N: usize>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> [(KnownField, usize); N],
    ) {
        let mut start = self.extra.len();
        for (field, length) in write(&mut self.extra) {
            debug_assert!(
                self.extra
                    .get(start..)
                    .is_some_and(|line| line.starts_with(field.line_start().as_bytes()))
            );
            self.push_known(field, start, length);
            start += length;
        }
    }

    /// Notes the line of a known field that was just written at `start` of the edits, so long with its CRLF.
    #[inline]
    fn push_known(&mut self, field: KnownField, start: usize, length: usize) {
        let before_value = field.line_start().len();
        let line = Line {
            name: start as u32,
            name_len: (before_value - 2) as u32,
            value: (start + before_value) as u32,
            value_len: (length - before_value - 2) as u32,
            known: Some(field),
            place: Place::Extra,
            whole: true,
            removed: false,
        };
        debug_assert!(is_field_value(self.value(&line)), "{field:?}");
        self.present |= field.bit();
        self.lines.push(line);
    }

    /// Makes `value` the only value of the field, in the place of its first line if there was one.
    pub fn set<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) {
        let name = name.into();
        if let Name::Known(field) = name
            && !self.contains(field)
        {
            self.append(name, value);
            return;
        }
        let Some(first) = self.lines.iter().position(|line| self.matches(line, name)) else {
            self.append(name, value);
            return;
        };
        self.remove_from(name, first + 1);
        let Some(old) = self.lines.get(first).copied() else {
            return;
        };
        let spelling = self.name(&old).to_vec();
        let new = self.keep(Name::Other(&spelling), |extra| {
            extra.extend_from_slice(value);
        });
        self.present |= MIXED;
        if let Some(line) = self.lines.get_mut(first) {
            let known = old.known;
            *line = Line { known, ..new };
        }
    }

    /// Removes every line of the field. Returns whether there was one.
    pub fn remove<'n>(&mut self, name: impl Into<Name<'n>>) -> bool {
        let name = name.into();
        if let Name::Known(field) = name {
            if !self.contains(field) {
                return false;
            }
            self.present &= !field.bit();
        }
        self.remove_from(name, 0)
    }

    /// Removes every line that `keep` answers `false` for.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        for index in 0..self.lines.len() {
            let Some(line) = self.lines.get(index).copied() else {
                break;
            };
            if line.removed {
                continue;
            }
            if !keep(self.field(&line))
                && let Some(line) = self.lines.get_mut(index)
            {
                line.removed = true;
                self.present |= MIXED;
            }
        }
        self.present = self
            .lines
            .iter()
            .filter(|line| !line.removed)
            .filter_map(|line| line.known)
            .fold(self.present & (MIXED | UNKNOWN), |word, field| {
                word | field.bit()
            });
    }

    fn remove_from(&mut self, name: Name<'_>, start: usize) -> bool {
        let mut removed = false;
        for index in start..self.lines.len() {
            let Some(line) = self.lines.get(index).copied() else {
                break;
            };
            if self.matches(&line, name)
                && let Some(line) = self.lines.get_mut(index)
            {
                line.removed = true;
                self.present |= MIXED;
                removed = true;
            }
        }
        removed
    }

    /// Writes a line to the edits, in the form of HTTP/1, so that it can be written as it stands.
    #[inline]
    fn keep(&mut self, name: Name<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Line {
        let start = self.extra.len();
        let (name_len, known) = match name {
            Name::Known(field) => {
                self.present |= field.bit();
                self.extra.extend_from_slice(field.line_start().as_bytes());
                (field.line_start().len() - 2, Some(field))
            }
            Name::Other(bytes) => {
                self.present |= UNKNOWN;
                self.extra.extend_from_slice(bytes);
                self.extra.extend_from_slice(b": ");
                (bytes.len(), None)
            }
        };
        let value = self.extra.len();
        write(&mut self.extra);
        let value_len = self.extra.len() - value;
        self.extra.extend_from_slice(b"\r\n");
        let mut line = Line {
            name: start as u32,
            name_len: name_len as u32,
            value: value as u32,
            value_len: value_len as u32,
            known,
            place: Place::Extra,
            whole: true,
            removed: false,
        };
        let is_value = is_field_value(self.value(&line));
        debug_assert!(
            is_value,
            "a field value with control bytes: {:?}",
            self.value(&line)
        );
        // What is not fit for the wire stays a field, which the encoder refuses.
        line.whole = is_value && (known.is_some() || is_token(self.name(&line)));
        if !line.whole {
            self.present |= MIXED;
        }
        line
    }
}
