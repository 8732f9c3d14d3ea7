//! Prepared statements that outlive the server connection they were parsed on.
//!
//! Clients name statements as they like; on server connections each text has one name of the gateway's, so that any client
//! finds it wherever it is sent. Texts are common to the process, names are a client's, and which texts a server connection
//! knows is the connection's. Whether a message is sent at all is [`super::relay`]'s. Start at [`Registry::intern`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{BufMut as _, BytesMut};
use foldhash::fast::{FixedState, RandomState};
use smallvec::SmallVec;

use crate::encoder;
use crate::frame::frontend;
use crate::message::frontend::Target;
use crate::request::SharedText;
use crate::sql::Analysis;

/// What every name of the gateway's on a server connection begins with.
pub const PREFIX: &[u8] = b"portcullis_";

/// A statement's text and parameter types, with what the text does.
#[derive(Debug)]
pub struct Prepared {
    /// Unlike any other of this process; never 0.
    id: u64,
    /// The body of its Parse message behind the name: text, NUL, types.
    rest: Box<[u8]>,
    /// How much of that is the text.
    text: usize,
    /// The text is the same however it is read.
    is_plain: bool,
    /// What else decides how the text is read; see [`Reading`].
    reading: Reading,
    /// What the text does.
    pub analysis: Analysis,
}

/// The settings that decide how the same bytes are read as SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reading {
    /// A hash of `client_encoding`.
    pub encoding: u64,
    /// `standard_conforming_strings` is off.
    pub escapes: bool,
    /// In this encoding bytes that look like ASCII may be halves of characters.
    pub multibyte: bool,
    /// What is on its way may have changed any of this, so that nobody knows.
    pub in_doubt: bool,
}

impl SharedText for Prepared {
    fn sql(&self) -> &[u8] {
        self.sql()
    }

    fn analysis(&self) -> &Analysis {
        &self.analysis
    }
}

impl Prepared {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The text.
    #[must_use]
    pub fn sql(&self) -> &[u8] {
        self.rest.get(..self.text).unwrap_or_default()
    }

    /// Whether a Parse message with this behind the name would make the same.
    #[must_use]
    pub fn is(&self, rest: &[u8], reading: Reading) -> bool {
        *self.rest == *rest && self.reading == reading
    }

    /// Whether a server that is told the text now would understand what was understood here when it was prepared.
    #[must_use]
    pub fn means_the_same(&self, reading: Reading) -> bool {
        self.is_plain || (self.reading == reading && !reading.in_doubt)
    }

    /// How many bytes it keeps.
    #[must_use]
    pub fn size(&self) -> usize {
        self.rest.len() + size_of::<Self>()
    }

    /// Writes the name that it has on server connections, without NUL.
    pub fn put_name(&self, dst: &mut BytesMut) {
        dst.put_slice(PREFIX);
        let mut digits = [0_u8; 20];
        let mut left = self.id;
        let mut length = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            length += 1;
            if left == 0 {
                break;
            }
        }
        dst.put_slice(digits.get(digits.len() - length..).unwrap_or_default());
    }

    /// Writes the Parse message that prepares it, under its own name or as the unnamed statement.
    pub fn put_parse(&self, unnamed: bool, dst: &mut BytesMut) {
        encoder::message(frontend::PARSE, dst, |dst| {
            if !unnamed {
                self.put_name(dst);
            }
            dst.put_u8(0);
            dst.put_slice(&self.rest);
        });
    }

    /// Writes the Close message that takes it away under its own name.
    pub fn put_close(&self, dst: &mut BytesMut) {
        encoder::message(frontend::CLOSE, dst, |dst| {
            dst.put_u8(Target::Statement.byte());
            self.put_name(dst);
            dst.put_u8(0);
        });
    }
}

/// The statements of a process. One text is kept once, for as long as any client or server connection has it.
#[derive(Debug, Default)]
pub struct Registry {
    statements: Mutex<HashMap<u64, Vec<Weak<Prepared>>, RandomState>>,
    next: AtomicU64,
}

impl Registry {
    /// No statements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The statement with this text, types (`rest` of a Parse message) and reading; `analyse` is asked if it is new.
    pub fn intern(
        &self,
        rest: &[u8],
        reading: Reading,
        analyse: impl FnOnce() -> Analysis,
    ) -> Arc<Prepared> {
        let mut hasher = FixedState::with_seed(11).build_hasher();
        hasher.write(rest);
        let flags = u64::from(reading.escapes) | u64::from(reading.in_doubt) << 1;
        hasher.write_u64(reading.encoding ^ flags);
        let hash = hasher.finish();
        let same = |known: &Arc<Prepared>| known.is(rest, reading);
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bucket = statements.entry(hash).or_default();
        if let Some(known) = bucket.iter().filter_map(Weak::upgrade).find(same) {
            return known;
        }
        bucket.retain(|known| known.strong_count() > 0);
        let made = Arc::new(self.make(rest, reading, analyse()));
        bucket.push(Arc::downgrade(&made));
        // Amortised: what nobody holds any more goes when the table has doubled.
        if statements.len() == statements.capacity() {
            statements.retain(|_, bucket| bucket.iter().any(|known| known.strong_count() > 0));
        }
        made
    }

    /// A statement that nobody else finds, as the unnamed one is.
    pub fn alone(&self, rest: &[u8], reading: Reading, analysis: Analysis) -> Arc<Prepared> {
        Arc::new(self.make(rest, reading, analysis))
    }

    /// The number of a statement of which nothing is kept.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn make(&self, rest: &[u8], reading: Reading, analysis: Analysis) -> Prepared {
        let length = memchr::memchr(0, rest).unwrap_or(rest.len());
        let text = rest.get(..length).unwrap_or_default();
        Prepared {
            id: self.number(),
            rest: rest.into(),
            text: length,
            is_plain: text.is_ascii() && memchr::memchr(b'\\', text).is_none(),
            reading,
            analysis,
        }
    }
}

/// Unnamed statements that a worker's clients have prepared lately: most clients of an application say the same, and then have one
/// statement together.
#[derive(Debug, Default)]
pub struct Recent(RefCell<Vec<Option<Arc<Prepared>>>>);

/// How many are remembered.
const RECENT: usize = 64;

/// Longer ones are not: so little is kept for nobody.
const RECENT_LENGTH: usize = 4 * 1024;

impl Recent {
    /// The statement with this `rest` and reading, which `make` makes if it is new.
    pub fn find(
        &self,
        rest: &[u8],
        reading: Reading,
        make: impl FnOnce() -> Arc<Prepared>,
    ) -> Arc<Prepared> {
        if rest.len() > RECENT_LENGTH {
            return make();
        }
        let hash = FixedState::with_seed(17).hash_one(rest);
        let mut slots = self.0.borrow_mut();
        if slots.is_empty() {
            slots.resize(RECENT, None);
        }
        let slot = slots.get_mut(hash as usize % RECENT);
        match slot {
            Some(Some(known)) if known.is(rest, reading) => Arc::clone(known),
            Some(slot) => Arc::clone(slot.insert(make())),
            None => make(),
        }
    }
}

/// How much a client may keep prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementLimits {
    /// Named statements.
    pub count: usize,
    /// Bytes of their texts and names.
    pub bytes: usize,
}

/// Statements by the client's names.
type Names = HashMap<Box<[u8]>, Arc<Prepared>, RandomState>;

/// One client's names.
#[derive(Debug, Default)]
pub struct ClientStatements {
    /// Boxed: most clients have none.
    named: Option<Box<Names>>,
    unnamed: Option<Arc<Prepared>>,
    /// What messages on their way make of the unnamed statement, oldest first, each with a number.
    unnamed_next: SmallVec<[(u64, Option<Arc<Prepared>>); 1]>,
    changes: u64,
    bytes: usize,
}

/// What gives a client its names back as they were before a message that the server then did not carry out.
#[derive(Debug, Clone, Default)]
pub enum Undo {
    /// Nothing was changed.
    #[default]
    Nothing,
    /// The name was new.
    Remove(Box<[u8]>),
    /// The name stood for this.
    Restore(Box<[u8]>, Arc<Prepared>),
    /// It would be the unnamed statement's change of this number.
    Unnamed(u64),
}

impl ClientStatements {
    /// What the name stands for; the empty name is the unnamed statement.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        if name.is_empty() {
            let next = self.unnamed_next.last();
            return next.map_or(self.unnamed.as_ref(), |(_, next)| next.as_ref());
        }
        self.named.as_ref()?.get(name)
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.len())
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one more of this size is within the limits.
    #[must_use]
    pub fn has_room(&self, size: usize, limits: StatementLimits) -> bool {
        self.len() < limits.count && self.bytes.saturating_add(size) <= limits.bytes
    }

    /// Gives a statement a name that is free.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Prepared>) -> Undo {
        if name.is_empty() {
            return self.set_unnamed(Some(statement));
        }
        self.bytes += name.len() + statement.size();
        self.named
            .get_or_insert_default()
            .insert(name.into(), statement);
        Undo::Remove(name.into())
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &[u8]) -> Undo {
        if name.is_empty() {
            return self.set_unnamed(None);
        }
        let removed = self.named.as_mut().and_then(|named| named.remove(name));
        match removed {
            Some(statement) => {
                self.bytes = self.bytes.saturating_sub(name.len() + statement.size());
                Undo::Restore(name.into(), statement)
            }
            None => Undo::Nothing,
        }
    }

    /// Takes back a change.
    pub fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Remove(name) => {
                self.remove(&name);
            }
            Undo::Restore(name, statement) => {
                self.insert(&name, statement);
            }
            Undo::Unnamed(number) => self.unnamed_next.retain(|(own, _)| *own != number),
        }
    }

    /// A message on its way makes this of the unnamed statement.
    fn set_unnamed(&mut self, statement: Option<Arc<Prepared>>) -> Undo {
        if statement.is_none() && self.unnamed.is_none() && self.unnamed_next.is_empty() {
            return Undo::Nothing;
        }
        self.changes += 1;
        self.unnamed_next.push((self.changes, statement));
        Undo::Unnamed(self.changes)
    }

    /// The message was carried out.
    pub fn confirm(&mut self, undo: &Undo) {
        let Undo::Unnamed(number) = undo else {
            return;
        };
        while let Some((own, _)) = self.unnamed_next.first()
            && own <= number
        {
            self.unnamed = self.unnamed_next.remove(0).1;
        }
    }

    /// The message was carried out as far as that what was there before is gone.
    pub fn fail(&mut self, undo: &Undo) {
        self.confirm(undo);
        if matches!(undo, Undo::Unnamed(_)) {
            self.unnamed = None;
        }
    }

    /// Forgets all names, as `DEALLOCATE ALL` does. The unnamed statement stays.
    pub fn clear(&mut self) {
        self.named = None;
        self.bytes = 0;
    }

    /// No server is there that would have it.
    pub fn forget_unnamed(&mut self) {
        self.unnamed = None;
        self.unnamed_next.clear();
    }
}

/// Which statements a server connection knows, by number, with the one that was used longest ago to go first.
#[derive(Debug, Default)]
pub struct ServerStatements {
    known: HashMap<u64, Known, FixedState>,
    turn: u64,
    /// The unnamed statement; 0 for none, [`ANY`](Self::ANY) where it is not known which, if there is one.
    pub unnamed: u64,
}

#[derive(Debug)]
struct Known {
    /// Keeps the number meaning what it means.
    statement: Arc<Prepared>,
    used: u64,
}

impl ServerStatements {
    /// The number of no statement, for one that may be any or none.
    pub const ANY: u64 = u64::MAX;

    /// Whether it knows the statement, which counts as a use.
    pub fn use_one(&mut self, id: u64) -> bool {
        self.turn += 1;
        let Some(known) = self.known.get_mut(&id) else {
            return false;
        };
        known.used = self.turn;
        true
    }

    /// Whether it knows the statement, be it as the unnamed one.
    #[must_use]
    pub fn knows(&self, id: u64) -> bool {
        self.unnamed == id || self.known.contains_key(&id)
    }

    /// It will know the statement. The answer is one that has to go for it.
    pub fn insert(&mut self, statement: Arc<Prepared>, most: usize) -> Option<Arc<Prepared>> {
        self.turn += 1;
        let goes = (self.known.len() >= most.max(1))
            .then(|| self.known.iter().min_by_key(|(_, known)| known.used))
            .flatten()
            .map(|(id, _)| *id)
            .and_then(|id| self.known.remove(&id))
            .map(|known| known.statement);
        let used = self.turn;
        self.known.insert(statement.id(), Known { statement, used });
        goes
    }

    /// It does not know the statement after all.
    pub fn remove(&mut self, id: u64) {
        self.known.remove(&id);
    }

    /// It knows none, as after `DEALLOCATE ALL`.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// How many it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
