//! The replies that a client is owed, in the order of its commands.
//!
//! A reply that comes before its turn waits here; that of the command in front goes straight to the client, piece by piece
//! where it is large. Nothing is known of connections. Start at [`Slots::on_piece`].

use std::collections::VecDeque;

use bytes::BytesMut;

use super::assembly::Assembly;
use super::pipeline::RunReply;
use super::upstreams::{Lost, Piece};
use crate::encoder;
use crate::message::RespVersion;

/// A place in the order of a client's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SlotId(u64);

impl SlotId {
    /// The slot so many behind this one.
    #[must_use]
    #[inline]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0 + count as u64)
    }
}

/// How a command ended, for whoever counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finished {
    /// Bytes of the reply.
    pub bytes: u64,
    /// The first word of an error.
    pub error: Option<ErrorPrefix>,
    /// Why a reply did not come.
    pub lost: Option<Lost>,
    /// The client has a part of it, and the rest will not come.
    pub is_cut: bool,
}

/// The first word of an error reply, by which errors are counted. Those that no server of ours says are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the word itself")]
pub enum ErrorPrefix {
    Err,
    WrongType,
    NoAuth,
    NoPerm,
    WrongPass,
    Moved,
    Ask,
    TryAgain,
    CrossSlot,
    ClusterDown,
    Loading,
    Busy,
    BusyGroup,
    BusyKey,
    NoScript,
    NoGroup,
    NoReplicas,
    ReadOnly,
    MasterDown,
    Misconf,
    ExecAbort,
    Oom,
    Unkillable,
    Other,
}

impl ErrorPrefix {
    const ALL: [(Self, &'static str); 24] = [
        (Self::Err, "ERR"),
        (Self::WrongType, "WRONGTYPE"),
        (Self::NoAuth, "NOAUTH"),
        (Self::NoPerm, "NOPERM"),
        (Self::WrongPass, "WRONGPASS"),
        (Self::Moved, "MOVED"),
        (Self::Ask, "ASK"),
        (Self::TryAgain, "TRYAGAIN"),
        (Self::CrossSlot, "CROSSSLOT"),
        (Self::ClusterDown, "CLUSTERDOWN"),
        (Self::Loading, "LOADING"),
        (Self::Busy, "BUSY"),
        (Self::BusyGroup, "BUSYGROUP"),
        (Self::BusyKey, "BUSYKEY"),
        (Self::NoScript, "NOSCRIPT"),
        (Self::NoGroup, "NOGROUP"),
        (Self::NoReplicas, "NOREPLICAS"),
        (Self::ReadOnly, "READONLY"),
        (Self::MasterDown, "MASTERDOWN"),
        (Self::Misconf, "MISCONF"),
        (Self::ExecAbort, "EXECABORT"),
        (Self::Oom, "OOM"),
        (Self::Unkillable, "UNKILLABLE"),
        (Self::Other, "other"),
    ];

    /// That of an error reply, whose type and length (of `!`) are in front.
    #[must_use]
    pub fn of(reply: &[u8]) -> Self {
        let text = match reply {
            [b'!', rest @ ..] => rest.split(|byte| *byte == b'\n').nth(1),
            [b'-', rest @ ..] => Some(rest),
            _ => None,
        };
        let word = text.and_then(|text| text.split(|byte| matches!(byte, b' ' | b'\r')).next());
        let word = word.unwrap_or_default();
        let found = Self::ALL.iter().find(|(_, text)| text.as_bytes() == word);
        found.map_or(Self::Other, |(prefix, _)| *prefix)
    }

    /// The word, as the value of a label.
    #[must_use]
    pub fn label(self) -> &'static str {
        let found = Self::ALL.iter().find(|(prefix, _)| *prefix == self);
        found.map_or("other", |(_, text)| text)
    }
}

#[derive(Debug)]
enum State {
    /// Its reply comes in one, and goes to the client when it is its turn.
    Owed,
    /// Bytes of it came before their turn.
    Held(BytesMut),
    /// It has several parts.
    Merging(Box<Assembly>),
}

#[derive(Debug)]
struct Slot<T> {
    of: T,
    state: State,
    /// All that will come is here.
    is_done: bool,
    /// The client asked for no reply.
    is_silent: bool,
    finished: Finished,
}

/// The replies that a client is owed. `T` is what the owner wants back when one is over.
#[derive(Debug)]
pub struct Slots<T> {
    /// The number of the slot in front.
    first: u64,
    queue: VecDeque<Slot<T>>,
    /// Bytes of replies that wait here.
    held: usize,
    /// A large reply is half with the client: nothing may come between.
    is_open: bool,
    /// The rest of one will not come: whatever came behind its half would be taken for the other.
    is_cut: bool,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            first: 0,
            queue: VecDeque::new(),
            held: 0,
            is_open: false,
            is_cut: false,
        }
    }
}

impl<T> Slots<T> {
    /// How many replies are owed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether this reply is owed still.
    #[must_use]
    pub fn has(&self, id: SlotId) -> bool {
        let end = self.first + self.queue.len() as u64;
        (self.first..end).contains(&id.0)
    }

    /// Whether something that came waits for what is before it.
    #[must_use]
    pub fn has_held(&self) -> bool {
        let is_held = |slot: &Slot<T>| !matches!(slot.state, State::Owed);
        self.queue.iter().any(is_held)
    }

    /// Whether this is the last that is owed.
    #[must_use]
    pub fn is_last(&self, id: SlotId) -> bool {
        self.first + self.queue.len() as u64 == id.0 + 1
    }

    /// Bytes of replies that wait for their turn, or for their other parts.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether a large reply is half with the client.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the client has half of a reply for good: it hears nothing more, and is to be closed.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The place of the next reply that will be owed.
    #[must_use]
    pub fn next(&self) -> SlotId {
        SlotId(self.first + self.queue.len() as u64)
    }

    /// Owes the client one more reply.
    #[inline]
    pub fn push(&mut self, of: T, is_silent: bool) -> SlotId {
        self.push_state(of, is_silent, State::Owed)
    }

    /// Owes the client a reply that is put together from parts.
    pub fn push_merging(&mut self, of: T, is_silent: bool, parts: Assembly) -> SlotId {
        self.push_state(of, is_silent, State::Merging(Box::new(parts)))
    }

    /// Owes the client a reply that is here already, in its turn. Not for the front: that is written at once.
    pub fn push_ready(&mut self, of: T, is_silent: bool, reply: BytesMut, finished: Finished) {
        self.held += reply.len();
        self.push_state(of, is_silent, State::Held(reply));
        if let Some(slot) = self.queue.back_mut() {
            slot.is_done = true;
            slot.finished = finished;
        }
    }

    #[inline]
    fn push_state(&mut self, of: T, is_silent: bool, state: State) -> SlotId {
        let id = self.next();
        if self.queue.capacity() == 0 {
            self.make_room();
        }
        self.queue.push_back(Slot {
            of,
            state,
            is_done: false,
            is_silent: is_silent || self.is_cut,
            finished: Finished::default(),
        });
        id
    }

    #[cold]
    fn make_room(&mut self) {
        // Most clients wait for each reply, and there are many of them: no room for four.
        self.queue.reserve_exact(1);
    }

    /// A piece of a reply, or of a part of one. What the client gets is appended to `out`; `over` is told of every command
    /// whose reply is whole there now. Pieces for slots that are over are dropped.
    #[inline]
    pub fn on_piece(
        &mut self,
        id: SlotId,
        part: u32,
        piece: Piece<'_>,
        version: RespVersion,
        out: &mut BytesMut,
        over: &mut impl FnMut(T, Finished),
    ) {
        let Some(index) = id.0.checked_sub(self.first) else {
            return;
        };
        let Some(slot) = self.queue.get_mut(index as usize) else {
            return;
        };
        let before = slot.held();
        match (&mut slot.state, piece) {
            (State::Owed, Piece::Whole { kind, bytes }) if index == 0 && !slot.is_silent => {
                if kind.is_error() {
                    slot.finished.error = Some(ErrorPrefix::of(bytes));
                }
                out.extend_from_slice(bytes);
                slot.finished.bytes = bytes.len() as u64;
                slot.is_done = true;
            }
            (State::Merging(parts), piece) => {
                if parts.on_piece(part, piece) {
                    let mut whole = BytesMut::new();
                    slot.finished = parts.finish(version, &mut whole);
                    slot.state = State::Held(whole);
                    slot.is_done = true;
                }
            }
            _ => self.is_open |= slot.take(piece, index == 0, out),
        }
        self.held = self.held + slot.held() - before;
        if index == 0 {
            self.release(out, over);
        }
    }

    /// Replies to commands from `first` on, none of them an error, one behind the other in `bytes`. Takes those whose turn it is
    /// and that go to the client as they are, in one. How many these were: the others are to be told of by
    /// [`on_piece`](Self::on_piece).
    #[inline]
    pub fn on_run(
        &mut self,
        first: SlotId,
        replies: &[RunReply],
        bytes: &[u8],
        out: &mut BytesMut,
        over: &mut impl FnMut(T, Finished),
    ) -> usize {
        if first.0 != self.first || self.is_open {
            return 0;
        }
        let (mut taken, mut len) = (0, 0);
        for reply in replies {
            if !self.queue.front().is_some_and(Slot::is_plain) {
                break;
            }
            let Some(Slot { of, state, .. }) = self.queue.pop_front() else {
                break;
            };
            match state {
                // It holds nothing, so that there is nothing to be dropped.
                State::Owed => {}
                held => drop(held),
            }
            taken += 1;
            len += reply.len as usize;
            let finished = Finished {
                bytes: reply.len.into(),
                ..Finished::default()
            };
            over(of, finished);
        }
        out.extend_from_slice(bytes.get(..len).unwrap_or_default());
        self.first += taken as u64;
        if self.queue.front().is_some_and(|slot| !slot.is_plain()) || self.queue.is_empty() {
            self.release(out, over);
        }
        taken
    }

    /// Sends on what is in front, as far as it is here.
    fn release(&mut self, out: &mut BytesMut, over: &mut impl FnMut(T, Finished)) {
        while let Some(slot) = self.queue.front_mut() {
            if let State::Held(bytes) = &mut slot.state {
                self.held -= bytes.len();
                if !slot.is_silent {
                    out.extend_from_slice(bytes);
                    self.is_open = !slot.is_done && !bytes.is_empty();
                }
                slot.state = State::Owed;
            }
            if !slot.is_done {
                return;
            }
            self.is_open = self.is_cut;
            self.first += 1;
            if let Some(slot) = self.queue.pop_front() {
                if slot.finished.is_cut {
                    self.cut();
                }
                over(slot.of, slot.finished);
            }
        }
        debug_assert!(!self.queue.is_empty() || self.held == 0, "held for nobody");
        if self.queue.capacity() > 64 && self.queue.is_empty() {
            // A long pipeline is no reason to hold its room for ever.
            self.queue.shrink_to(8);
        }
    }

    #[cold]
    fn cut(&mut self) {
        self.is_cut = true;
        self.is_open = true;
        for slot in &mut self.queue {
            slot.is_silent = true;
        }
    }

    /// Every command that is owed a reply, when the client is gone.
    pub fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.first += self.queue.len() as u64;
        self.held = 0;
        self.is_open = false;
        std::mem::take(&mut self.queue)
            .into_iter()
            .map(|slot| slot.of)
    }
}

impl<T> Slot<T> {
    /// Whether its reply goes to the client as it comes, and nothing of it came yet.
    #[inline]
    const fn is_plain(&self) -> bool {
        matches!(self.state, State::Owed) && !self.is_silent && self.finished.bytes == 0
    }

    /// Bytes that wait here.
    #[inline]
    fn held(&self) -> usize {
        match &self.state {
            State::Owed => 0,
            State::Held(bytes) => bytes.len(),
            State::Merging(parts) => parts.held(),
        }
    }

    /// Takes in a piece that is no whole reply for the front. Whether the client has a part of a reply now.
    fn take(&mut self, piece: Piece<'_>, is_front: bool, out: &mut BytesMut) -> bool {
        let (bytes, is_last) = match piece {
            Piece::Whole { kind, bytes } => {
                if kind.is_error() {
                    self.finished.error = Some(ErrorPrefix::of(bytes));
                }
                (bytes, true)
            }
            Piece::Begin { bytes, .. } => (bytes, false),
            Piece::More { bytes, last } => (bytes, last),
            Piece::Lost(lost) => return self.lose(lost, is_front, out),
        };
        self.finished.bytes += bytes.len() as u64;
        self.is_done = is_last;
        if self.is_silent {
            return false;
        }
        if is_front {
            out.extend_from_slice(bytes);
            return !is_last;
        }
        match &mut self.state {
            State::Held(held) => held.extend_from_slice(bytes),
            State::Owed => self.state = State::Held(bytes.into()),
            State::Merging(_) => {}
        }
        false
    }

    /// The reply will not come. If the client has a part of it already, nothing can be said.
    fn lose(&mut self, lost: Lost, is_front: bool, out: &mut BytesMut) -> bool {
        self.is_done = true;
        self.finished.lost = Some(lost);
        self.finished.error = Some(ErrorPrefix::Err);
        if self.is_silent {
            return false;
        }
        let has_part = self.finished.bytes > 0;
        match &mut self.state {
            // It was not begun with the client: the error takes its place.
            State::Held(held) => {
                held.clear();
                write_lost(lost, held);
                self.finished.bytes = 0;
            }
            _ if is_front && has_part => self.finished.is_cut = true,
            _ if is_front => write_lost(lost, out),
            _ => {
                let mut held = BytesMut::new();
                write_lost(lost, &mut held);
                self.state = State::Held(held);
            }
        }
        false
    }
}

/// What a client is told.
pub(super) fn write_lost(lost: Lost, out: &mut BytesMut) {
    encoder::error(format!("ERR {lost}").as_bytes(), out);
}

#[cfg(test)]
mod tests;
