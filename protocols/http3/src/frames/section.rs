//! A field section (RFC 9204 section 4.5), looked at without being decoded: which pseudo-header fields it has and where, and that
//! it needs no dynamic table.
//!
//! Values stay unread, but for a fragment in a path, and so do names that are no pseudo-header's. Start at [`check`].

use super::{Breach, huffman};

/// Whose fields a head may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// A request's.
    Request,
    /// A response's.
    Response,
}

/// A pseudo-header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Pseudo {
    Method = 1,
    Scheme = 2,
    Authority = 4,
    Path = 8,
    Status = 16,
    /// RFC 9220 section 3.
    Protocol = 32,
    /// One that nobody knows, or whose name is compressed in another way than the one that there is: a lax decoder may take it
    /// for any.
    Other = 64,
}

/// Looks at a section; the answer is whether it has pseudo-header fields, which makes it a head.
pub(crate) fn check(section: &[u8], kind: SectionKind) -> Result<bool, Breach> {
    let mut section = Section { rest: section };
    section.prefix()?;
    let mut seen = 0_u8;
    let mut regular = false;
    while !section.rest.is_empty() {
        let Some(pseudo) = section.next()? else {
            regular = true;
            continue;
        };
        let fits = match kind {
            SectionKind::Request => !matches!(pseudo, Pseudo::Status | Pseudo::Other),
            SectionKind::Response => pseudo == Pseudo::Status,
        };
        if !fits || regular || seen & pseudo as u8 != 0 {
            return Err(Breach::Pseudo);
        }
        seen |= pseudo as u8;
    }
    Ok(seen != 0)
}

struct Section<'a> {
    rest: &'a [u8],
}

impl<'a> Section<'a> {
    /// RFC 9204 section 4.5.1: nothing of a dynamic table is needed.
    fn prefix(&mut self) -> Result<(), Breach> {
        let (_, required) = self.number(8)?;
        let (_, _base) = self.number(7)?;
        if required == 0 {
            Ok(())
        } else {
            Err(Breach::Section)
        }
    }

    /// The next field: `None` if it is a regular one.
    fn next(&mut self) -> Result<Option<Pseudo>, Breach> {
        let &first = self.rest.first().ok_or(Breach::Section)?;
        if first & 0x80 != 0 {
            // Indexed: T says whether the table is the static one.
            let (flags, index) = self.number(6)?;
            return static_name(flags, index);
        }
        if first & 0x40 != 0 {
            // A value whose name is indexed: N, T.
            let (flags, index) = self.number(4)?;
            let name = static_name(flags, index)?;
            self.value(name)?;
            return Ok(name);
        }
        if first & 0x20 != 0 {
            let name = self.literal_name()?;
            self.value(name)?;
            return Ok(name);
        }
        Err(Breach::Section)
    }

    /// A name that is written out. A peer that writes out those that have an index does more than it needs, and is let: which
    /// one it is tells the name where it is plain, and where it is compressed its beginning tells what matters.
    fn literal_name(&mut self) -> Result<Option<Pseudo>, Breach> {
        let (flags, name) = self.string(3)?;
        let compressed = flags & 1 != 0;
        let Some(&first) = name.first() else {
            return Err(Breach::Pseudo);
        };
        if compressed {
            // RFC 7541 appendix B: a colon is 1011100.
            return Ok((first >> 1 == 0b101_1100).then(|| compressed_pseudo(name)));
        }
        Ok((first == b':').then(|| plain_pseudo(name)))
    }

    /// A value. That of a path has no fragment (RFC 9114 section 4.3.1), which the `http` crate would cut off without a word.
    fn value(&mut self, name: Option<Pseudo>) -> Result<(), Breach> {
        let (flags, value) = self.string(7)?;
        let is_compressed = flags & 1 != 0;
        let has_fragment = name == Some(Pseudo::Path)
            && if is_compressed {
                huffman::has_hash(value)
            } else {
                value.contains(&b'#')
            };
        if has_fragment {
            return Err(Breach::Fragment);
        }
        Ok(())
    }

    /// RFC 7541 section 5.1: a number in the last `bits` of a byte and those that follow; the bits before it.
    fn number(&mut self, bits: u8) -> Result<(u8, u64), Breach> {
        let (&first, rest) = self.rest.split_first().ok_or(Breach::Section)?;
        self.rest = rest;
        let mask = u8::MAX >> (8 - bits);
        let flags = (u16::from(first) >> bits) as u8;
        let mut value = u64::from(first & mask);
        if first & mask != mask {
            return Ok((flags, value));
        }
        for shift in (0..56).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Breach::Section)?;
            self.rest = rest;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((flags, value));
            }
        }
        Err(Breach::Section)
    }

    /// RFC 7541 section 5.2: a string; its length has `bits`, and the lowest of the flags says whether it is compressed.
    fn string(&mut self, bits: u8) -> Result<(u8, &'a [u8]), Breach> {
        let (flags, length) = self.number(bits)?;
        let length = usize::try_from(length).map_err(|_| Breach::Section)?;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(Breach::Section)?;
        self.rest = rest;
        Ok((flags, string))
    }
}

/// The name of an entry of the static table (RFC 9204 appendix A), if it is a pseudo-header field's. The lowest of the flags says
/// whether that table is meant.
fn static_name(flags: u8, index: u64) -> Result<Option<Pseudo>, Breach> {
    if flags & 1 == 0 {
        return Err(Breach::Section);
    }
    Ok(match index {
        0 => Some(Pseudo::Authority),
        1 => Some(Pseudo::Path),
        15..=21 => Some(Pseudo::Method),
        22 | 23 => Some(Pseudo::Scheme),
        24..=28 | 63..=71 => Some(Pseudo::Status),
        99.. => return Err(Breach::Section),
        _ => None,
    })
}

fn plain_pseudo(name: &[u8]) -> Pseudo {
    match name {
        b":method" => Pseudo::Method,
        b":scheme" => Pseudo::Scheme,
        b":authority" => Pseudo::Authority,
        b":path" => Pseudo::Path,
        b":status" => Pseudo::Status,
        b":protocol" => Pseudo::Protocol,
        _ => Pseudo::Other,
    }
}

/// The names as RFC 7541 appendix B writes them.
fn compressed_pseudo(name: &[u8]) -> Pseudo {
    match name {
        [0xb9, 0x49, 0x53, 0x39, 0xe4] => Pseudo::Method,
        [0xb8, 0x82, 0x4e, 0x5a, 0x4b] => Pseudo::Scheme,
        [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f] => Pseudo::Authority,
        [0xb9, 0x58, 0xd3, 0x3f] => Pseudo::Path,
        [0xb8, 0x84, 0x8d, 0x36, 0xa3] => Pseudo::Status,
        [0xb9, 0x5d, 0x87, 0x49, 0xc8, 0x7a, 0x3f] => Pseudo::Protocol,
        _ => Pseudo::Other,
    }
}
