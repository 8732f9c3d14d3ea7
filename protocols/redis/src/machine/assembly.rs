//! One reply out of several.
//!
//! Parts may come in any order and in pieces; the reply is made when all are here. Their elements are passed on as the bytes
//! that they came in. Start at [`Assembly::new`], then [`How`].

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::elements::{elements, integer, text};
use super::slots::{ErrorPrefix, Finished, write_lost};
use super::upstreams::{Lost, Piece};
use crate::command::handling::Merge;
use crate::encoder;
use crate::message::RespVersion;
use crate::renaming::{Names, Renaming};

/// How parts become one reply.
#[derive(Debug, Clone)]
pub enum How {
    /// Arrays, of which each element has its place: `(part, index)` for each element of the reply. An error stands for each
    /// element of its part.
    Values(Box<[(u32, u32)]>),
    /// As the command table says. The names are those of the endpoints, where it wants them.
    Merge(Merge, Box<[Box<str>]>),
    /// This reply, once all parts have said something: what is confirmed is known before.
    Known(Bytes),
    /// `WAIT` at each place, behind a command that makes it speak of what was written: two parts each. The least number.
    Acknowledged,
    /// One part: `SCAN` of one shard of so many, whose cursor is to say which.
    Cursor {
        /// The shard.
        shard: u64,
        /// How many there are.
        shards: u64,
    },
}

#[derive(Debug, Default)]
struct Part {
    bytes: BytesMut,
    is_error: bool,
    lost: Option<Lost>,
}

/// Keys in a reply, and what they are to be called.
#[derive(Debug, Clone)]
pub struct Named {
    /// What they are called.
    pub renaming: Arc<Renaming>,
    /// Where they are.
    pub names: Names,
}

/// The parts of one reply.
#[derive(Debug)]
pub struct Assembly {
    how: How,
    named: Option<Named>,
    parts: Box<[Part]>,
    /// How many are not whole.
    left: usize,
    /// Bytes of all of them.
    held: usize,
}

impl Assembly {
    /// So many parts, one at least.
    #[must_use]
    pub fn new(how: How, parts: usize) -> Self {
        Self {
            how,
            named: None,
            parts: (0..parts).map(|_| Part::default()).collect(),
            left: parts,
            held: 0,
        }
    }

    /// A reply that is one part, but for what its keys are called.
    #[must_use]
    pub fn of_one(named: Named) -> Self {
        Self::new(How::Merge(Merge::First, Box::default()), 1).with_names(Some(named))
    }

    /// The same, with what keys in the reply are to be called.
    #[must_use]
    pub fn with_names(mut self, named: Option<Named>) -> Self {
        self.named = named;
        self
    }

    /// A piece of a part. Whether all parts are whole now.
    pub(super) fn on_piece(&mut self, part: u32, piece: Piece<'_>) -> bool {
        let Some(part) = self.parts.get_mut(part as usize) else {
            return false;
        };
        let before = part.bytes.len();
        let is_last = match piece {
            Piece::Whole { kind, bytes } => {
                part.bytes.extend_from_slice(bytes);
                part.is_error = kind.is_error();
                true
            }
            Piece::Begin { kind, bytes } => {
                part.bytes.extend_from_slice(bytes);
                part.is_error = kind.is_error();
                false
            }
            Piece::More { bytes, last } => {
                part.bytes.extend_from_slice(bytes);
                last
            }
            Piece::Lost(lost) => {
                part.bytes.clear();
                write_lost(lost, &mut part.bytes);
                part.is_error = true;
                part.lost = Some(lost);
                true
            }
        };
        self.held = self.held + part.bytes.len() - before;
        self.left -= usize::from(is_last);
        self.left == 0
    }

    /// Bytes of parts that are here.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Writes the reply.
    pub(super) fn finish(&self, version: RespVersion, out: &mut BytesMut) -> Finished {
        let made = match &self.how {
            How::Values(places) => self.values(places, out),
            How::Known(reply) if self.parts.iter().all(|part| !part.is_error) => {
                out.extend_from_slice(reply);
                Some(())
            }
            How::Known(_) => None,
            How::Cursor { shard, shards } => self.cursor(*shard, *shards, out),
            How::Acknowledged => self.acknowledged(out),
            How::Merge(merge, names) => self.merge(*merge, names, version, out),
        };
        if made.and_then(|()| self.restore_names(out)).is_none() {
            out.clear();
            match self.parts.iter().find(|part| part.is_error) {
                Some(part) => out.extend_from_slice(&part.bytes),
                None => encoder::error(b"ERR unexpected reply from upstream", out),
            }
        }
        Finished {
            bytes: out.len() as u64,
            error: matches!(out.first(), Some(b'-' | b'!')).then(|| ErrorPrefix::of(out)),
            lost: self.parts.iter().find_map(|part| part.lost),
            is_cut: false,
        }
    }

    /// Gives keys in the reply their clients' names.
    fn restore_names(&self, out: &mut BytesMut) -> Option<()> {
        let Some(Named { renaming, names }) = &self.named else {
            return Some(());
        };
        let reply = out.split();
        names.restore(&reply, renaming, out)
    }

    fn merge(
        &self,
        merge: Merge,
        names: &[Box<str>],
        version: RespVersion,
        out: &mut BytesMut,
    ) -> Option<()> {
        match merge {
            Merge::AnyOne => return self.any_one(out),
            Merge::NotNull => return self.not_null(version, out),
            Merge::Texts => {
                self.texts(names, version, out);
                return Some(());
            }
            _ if self.parts.iter().any(|part| part.is_error) => return None,
            _ => {}
        }
        match merge {
            Merge::Sum => encoder::integer(self.integers(i64::saturating_add)?, out),
            Merge::Least => encoder::integer(self.integers(i64::min)?, out),
            Merge::Join => self.join(out)?,
            Merge::Union => self.union(out)?,
            Merge::SumByName => self.sum_by_name(out)?,
            Merge::Every => self.every(out)?,
            // Those that say the same say what the first says.
            _ => self.first(|_| true, out)?,
        }
        Some(())
    }

    /// A server before Redis 7.0 does not know the command in front, and needs none.
    fn acknowledged(&self, out: &mut BytesMut) -> Option<()> {
        let is_old = |part: &Part| part.bytes.starts_with(b"-ERR unknown command");
        let mut places = self.parts.chunks(2);
        let counts: Option<Vec<i64>> = places
            .by_ref()
            .map(|place| match place {
                [mark, count] if !mark.is_error || is_old(mark) => integer(&count.bytes),
                _ => None,
            })
            .collect();
        if let Some(least) = counts.and_then(|counts| counts.into_iter().min()) {
            encoder::integer(least, out);
            return Some(());
        }
        let is_wrong = |part: &Part| part.is_error && !is_old(part);
        self.first(is_wrong, out)
    }

    fn first(&self, is: impl Fn(&Part) -> bool, out: &mut BytesMut) -> Option<()> {
        let part = self.parts.iter().find(|part| is(part))?;
        out.extend_from_slice(&part.bytes);
        Some(())
    }

    /// One that succeeded; or else what is wrong, if anything is where something was to be done.
    fn any_one(&self, out: &mut BytesMut) -> Option<()> {
        let is_idle = |part: &Part| part.bytes.starts_with(b"-NOTBUSY");
        self.first(|part| !part.is_error, out)
            .or_else(|| self.first(|part| !is_idle(part), out))
            .or_else(|| self.first(|_| true, out))
    }

    fn integers(&self, with: impl Fn(i64, i64) -> i64) -> Option<i64> {
        let mut numbers = self.parts.iter().map(|part| integer(&part.bytes));
        let first = numbers.next()??;
        numbers.try_fold(first, |sum, number| Some(with(sum, number?)))
    }

    /// `MGET`.
    fn values(&self, places: &[(u32, u32)], out: &mut BytesMut) -> Option<()> {
        let parts: Option<Vec<Vec<&[u8]>>> = self
            .parts
            .iter()
            .map(|part| {
                if part.is_error {
                    return Some(Vec::new());
                }
                Some(elements(&part.bytes)?.collect())
            })
            .collect();
        let parts = parts?;
        encoder::array(places.len(), out);
        for (part, index) in places {
            let value = parts.get(*part as usize)?.get(*index as usize);
            match (value, self.parts.get(*part as usize)?) {
                (Some(value), _) => out.extend_from_slice(value),
                (None, part) if part.is_error => out.extend_from_slice(&part.bytes),
                (None, _) => return None,
            }
        }
        Some(())
    }

    fn join(&self, out: &mut BytesMut) -> Option<()> {
        let mut count = 0;
        for part in &self.parts {
            count += elements(&part.bytes)?.left();
        }
        encoder::array(usize::try_from(count).ok()?, out);
        for part in &self.parts {
            for element in elements(&part.bytes)? {
                out.extend_from_slice(element);
            }
        }
        Some(())
    }

    fn union(&self, out: &mut BytesMut) -> Option<()> {
        let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
        for part in &self.parts {
            seen.extend(elements(&part.bytes)?);
        }
        encoder::array(seen.len(), out);
        for element in seen {
            out.extend_from_slice(element);
        }
        Some(())
    }

    /// Names and numbers, in the order of the first part: all parts have the same. One that was asked for twice is there twice.
    fn sum_by_name(&self, out: &mut BytesMut) -> Option<()> {
        let mut names: Vec<(&[u8], i64)> = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let mut list = elements(&part.bytes)?;
            let mut index = 0;
            while let Some(name) = list.next() {
                let count = integer(list.next()?)?;
                let is_it = |known: &(&[u8], i64)| number > 0 && known.0 == name;
                let at = if names.get(index).is_some_and(is_it) {
                    Some(index)
                } else {
                    names.iter().position(is_it)
                };
                match at.and_then(|at| names.get_mut(at)) {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => names.push((name, count)),
                }
                index += 1;
            }
        }
        encoder::array(names.len() * 2, out);
        for (name, count) in names {
            out.extend_from_slice(name);
            encoder::integer(count, out);
        }
        Some(())
    }

    /// `SCRIPT EXISTS`: one where all have it.
    fn every(&self, out: &mut BytesMut) -> Option<()> {
        let mut all: Option<Vec<i64>> = None;
        for part in &self.parts {
            let numbers: Option<Vec<i64>> = elements(&part.bytes)?.map(integer).collect();
            let numbers = numbers?;
            all = Some(match all {
                None => numbers,
                Some(all) if all.len() == numbers.len() => all
                    .into_iter()
                    .zip(numbers)
                    .map(|(a, b)| a.min(b))
                    .collect(),
                Some(_) => return None,
            });
        }
        let all = all?;
        encoder::array(all.len(), out);
        for number in all {
            encoder::integer(number, out);
        }
        Some(())
    }

    /// `RANDOMKEY`: of one that has any. The order of parts is the sender's, who may shuffle them.
    fn not_null(&self, version: RespVersion, out: &mut BytesMut) -> Option<()> {
        let is_null = |part: &Part| matches!(&*part.bytes, b"$-1\r\n" | b"_\r\n" | b"*-1\r\n");
        if self
            .first(|part| !part.is_error && !is_null(part), out)
            .is_some()
        {
            return Some(());
        }
        if self.parts.iter().any(|part| part.is_error) {
            return None;
        }
        encoder::null(version, out);
        Some(())
    }

    /// `INFO`: each endpoint's under its name. A single one's is as it came.
    fn texts(&self, names: &[Box<str>], version: RespVersion, out: &mut BytesMut) {
        if let [part] = &*self.parts {
            return out.extend_from_slice(&part.bytes);
        }
        let mut all = Vec::new();
        for (part, name) in self.parts.iter().zip(names) {
            all.extend_from_slice(format!("# Endpoint {name}\r\n").as_bytes());
            match (part.is_error, text(&part.bytes)) {
                (false, Some(text)) => all.extend_from_slice(text),
                _ => all.extend_from_slice(b"error:unavailable\r\n"),
            }
            all.extend_from_slice(b"\r\n");
        }
        encoder::verbatim(*b"txt", &all, version, out);
    }

    /// `SCAN`: the cursor says which shard is next, and how far it is.
    fn cursor(&self, shard: u64, shards: u64, out: &mut BytesMut) -> Option<()> {
        let part = self.parts.first().filter(|part| !part.is_error)?;
        let mut list = elements(&part.bytes)?;
        let cursor: u64 = std::str::from_utf8(text(list.next()?)?)
            .ok()?
            .parse()
            .ok()?;
        let keys = list.next()?;
        let next = match cursor {
            0 if shard + 1 < shards => shard + 1,
            0 => 0,
            // A server's cursor is no larger than its table: there is room.
            cursor => cursor.checked_mul(shards)?.checked_add(shard)?,
        };
        encoder::array(2, out);
        encoder::bulk(next.to_string().as_bytes(), out);
        out.extend_from_slice(keys);
        Some(())
    }
}

/// The shard that a client's cursor is about, and that shard's own cursor.
#[must_use]
pub(super) const fn split_cursor(cursor: u64, shards: u64) -> (u64, u64) {
    if shards == 0 {
        return (0, cursor);
    }
    (cursor % shards, cursor / shards)
}

#[cfg(test)]
mod tests;
