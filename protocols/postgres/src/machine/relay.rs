//! The conversation of one client: what it may send on, what is owed to it, and when its server connection is free.
//!
//! ```text
//!              Want::Statement ─▶ filters ─▶ admit / reject
//! client bytes ─▶ handle_client ─▶ upstream bytes          (needs a Link: Want::Server)
//! client bytes ◀─ handle_server ◀─ server bytes            (Event::Idle: the link is free)
//! ```
//!
//! Messages from the client are in `client`, those from the server in `server`; what both keep in step with is
//! `owed`. Start at [`Relay::handle_client`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::flight::Flight;
use super::link::Link;
use super::owed::{Done, Owed, Rooms};
use super::pins::Pins;
use super::portals::Portals;
pub use super::setup::{Demand, Mode, Router, Setup, StatePolicy, Target};
use super::shape::Shape;
use super::statements::{ClientStatements, Prepared, Reading};
use super::touched::Touched;
use crate::encoder;
use crate::frame::{Frame, FrameScanner, Side};
use crate::message::backend::TransactionStatus;
use crate::sql::{self, Analysis};

/// A parameter's name and its value.
pub type Setting = (Box<[u8]>, Box<[u8]>);

/// One call's surroundings.
pub struct Turn<'a> {
    /// The time.
    pub now: Instant,
    /// The server connection that the client has.
    pub link: Option<&'a mut Link>,
    /// What goes to the server.
    pub upstream: &'a mut BytesMut,
    /// What goes to the client.
    pub downstream: &'a mut BytesMut,
    /// What the listener's conversations have in common.
    pub setup: &'a Setup,
    /// Where statements go.
    pub router: &'a dyn Router,
}

/// Why nothing more is taken from the client for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// More bytes.
    Input,
    /// A server connection to this target; where there is one, another.
    Server(Target),
    /// Replies that are owed have to come first.
    Replies,
    /// [`Relay::subject`] is to be judged: [`Relay::admit`] or [`Relay::reject`].
    Statement,
    /// Nothing ever: the client has said goodbye.
    Goodbye,
}

/// A statement that is to be judged.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The text at the front: [`Relay::query`].
    Query,
    /// One that was prepared.
    Prepared(Arc<Prepared>),
    /// One of which nothing is known: too large to be looked into, named by number, or not there.
    Unknown,
}

impl Subject {
    pub(super) fn of(statement: Option<&Arc<Prepared>>) -> Self {
        statement.map_or(Self::Unknown, |statement| {
            Self::Prepared(Arc::clone(statement))
        })
    }
}

/// What the server's bytes led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// All was looked at.
    Nothing,
    /// All that was owed has come, and no transaction is open. The connection may be free: see [`Relay::is_free`].
    Ready,
    /// The client's own parameters must be applied again before it hears of this: [`Relay::on_applied`].
    Reapply,
}

/// What became of the message at the front of the client's bytes.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Nobody has looked at it.
    #[default]
    New,
    /// It is with the filters.
    Judged,
    /// It may go on.
    Admitted,
    /// It gets this error.
    Rejected(Bytes),
}

/// Where the rest of a large message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Forward,
    Drop,
}

/// The conversation of one client.
pub struct Relay {
    pub(super) scanner: FrameScanner,
    /// The frame at the front of the client's bytes, once it was seen.
    pub(super) front: Option<Frame>,
    pub(super) stage: Stage,
    pub(super) rest: Option<Rest>,
    pub(super) owed: Owed,
    pub(super) statements: ClientStatements,
    pub(super) portals: Portals,
    pub(super) pins: Pins,
    pub(super) status: TransactionStatus,
    /// Extended messages were sent since the last Sync.
    pub(super) segment: bool,
    /// An error of ours is to be followed by nothing up to the next Sync, and no server knows of it.
    pub(super) skipping: bool,
    /// A Flush of ours is on its way and nothing was sent behind it.
    pub(super) flushed: bool,
    /// Errors since the last ReadyForQuery.
    pub(super) errors: u32,
    /// A name that only stands on the server connection until the next Sync.
    pub(super) taken_name: Option<Box<[u8]>>,
    /// The client's shape was changed by a statement since the session last asked.
    pub(super) shape_changed: bool,
    /// The statement that is answered reads COPY data.
    pub(super) copying: bool,
    /// It does, and the client has not sent the end of it.
    pub(super) copy_in: bool,
    /// The server was shown that the client has something else to say.
    pub(super) complained: bool,
    /// Something was executed since the last Sync of the segment.
    pub(super) executed: bool,
    /// The number of the client's unnamed statement if that is too large to be kept; 0 for none.
    pub(super) large_unnamed: u64,
    /// The number of a statement on its way that changes what later messages mean: nothing follows it until its end. 0 for none.
    pub(super) barrier: u64,
    /// How texts are read may change with what is under way or with the end of the transaction: nothing is read before it is known.
    pub(super) unsettled: bool,
    /// What statements since the last ReadyForQuery have set or given back.
    pub(super) touched: Touched,
    /// Something was rolled back after it, a transaction or to a savepoint.
    pub(super) rolled_back: bool,
    /// SQL that gives the client its own settings again.
    pub(super) due: Option<Vec<u8>>,
    /// The ReadyForQuery that the client gets after that.
    pub(super) held_ready: Option<TransactionStatus>,
    /// A setting that the server has to confirm before the client's shape has it.
    pub(super) setting: Option<Setting>,
    /// The result that comes is cut off, and the client gets this error for its end.
    pub(super) cut: Option<Bytes>,
    /// A result was cut off since the session last asked.
    pub(super) cuts: bool,
    /// Nothing more up to the ReadyForQuery is for the client.
    pub(super) mute: bool,
    /// Where the rest of a large message of the server's goes, while one comes.
    pub(super) large: Option<Rest>,
    pub(super) shape: Arc<Shape>,
    /// As it was when the client began: what RESET goes back to.
    pub(super) start: Arc<Shape>,
    pub(super) reading: Reading,
    /// How this client's SQL is read.
    pub(super) options: sql::Options,
    /// What is with the filters.
    pub(super) subject: Subject,
    /// Why messages were refused here since the session last asked.
    pub(super) refusals: Vec<&'static str>,
    /// Numbers for what the filters have seen.
    pub(super) judged: u64,
    /// When the statement at the front was first looked at.
    pub(super) arrived: Option<Instant>,
    /// The statement at the front.
    pub(super) analysis: Rc<Analysis>,
    /// Statements that have come to their end.
    pub(super) done: Done,
}

impl Relay {
    /// A conversation that begins after its start-up, with nothing owed.
    #[must_use]
    pub fn new(setup: &Setup, shape: Arc<Shape>, reading: Reading) -> Self {
        Self {
            scanner: FrameScanner::new(Side::Frontend, setup.client_frames),
            front: None,
            stage: Stage::New,
            rest: None,
            owed: Owed::default(),
            statements: ClientStatements::default(),
            portals: Portals::default(),
            pins: if setup.mode == Mode::Session {
                Pins::SESSION
            } else {
                Pins::NONE
            },
            status: TransactionStatus::Idle,
            segment: false,
            skipping: false,
            flushed: false,
            errors: 0,
            taken_name: None,
            shape_changed: false,
            copying: false,
            copy_in: false,
            complained: false,
            executed: false,
            large_unnamed: 0,
            barrier: 0,
            unsettled: false,
            touched: Touched::default(),
            rolled_back: false,
            due: None,
            held_ready: None,
            setting: None,
            cut: None,
            cuts: false,
            mute: false,
            large: None,
            start: Arc::clone(&shape),
            shape,
            options: sql::Options {
                standard_conforming_strings: !reading.escapes,
                ascii_safe: !reading.multibyte,
                ..setup.sql.clone()
            },
            reading,
            subject: Subject::Query,
            refusals: Vec::new(),
            judged: 0,
            arrived: None,
            analysis: setup.nothing_read(),
            done: Done::new(),
        }
    }

    /// The parameters of the client's session.
    #[must_use]
    pub const fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Takes an equal value of the same parameters for its own, which others have as well.
    pub fn share_shape(&mut self, shape: Arc<Shape>) {
        debug_assert_eq!(*shape, *self.shape, "the same parameters");
        self.shape = shape;
    }

    /// How the client's bytes are to be read as SQL, for the filters.
    #[must_use]
    pub const fn reading(&self) -> crate::request::Reading {
        crate::request::Reading {
            backslash_escapes: self.reading.escapes,
            multibyte: self.reading.multibyte,
        }
    }

    /// The transaction's state as the client was last told.
    #[must_use]
    pub const fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Whether the server connection is not needed between this and the client's next message.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_quiet() && self.pins.is_empty()
    }

    /// Whether nothing is under way: no reply owed, no transaction, no half message.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.owed.is_empty()
            && self.status == TransactionStatus::Idle
            && !self.segment
            && self.rest.is_none()
            && self.large.is_none()
            && self.held_ready.is_none()
    }

    /// Whether the rest of a large message has to come.
    #[must_use]
    pub const fn is_in_message(&self) -> bool {
        self.rest.is_some()
    }

    /// Whether messages were sent to the server that no Sync has ended.
    #[must_use]
    pub const fn is_in_segment(&self) -> bool {
        self.segment
    }

    /// Whether nothing is under way and no message is waiting to be sent on.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.is_quiet() && self.front.is_none()
    }

    /// Whether the server owes nothing and has no half message, be a transaction open or not.
    #[must_use]
    pub fn owes_nothing(&self) -> bool {
        self.owed.is_empty()
            && self.rest.is_none()
            && self.large.is_none()
            && self.held_ready.is_none()
    }

    /// Whether the client has got the front of a message whose rest is still to come: anything else that it is told now would be read
    /// as a part of that.
    #[must_use]
    pub const fn is_mid_message(&self) -> bool {
        matches!(self.large, Some(Rest::Forward))
    }

    /// What keeps the server connection with the client.
    #[must_use]
    pub const fn pins(&self) -> Pins {
        self.pins
    }

    /// How many statements the client has prepared under names, by the protocol.
    #[must_use]
    pub fn names(&self) -> usize {
        self.statements.len()
    }

    /// How many statements are prepared under names on the client's server connection, as far as that is seen: where names go as
    /// they are, those are its own.
    #[must_use]
    pub fn names_there(&self, link: &Link, setup: &Setup) -> usize {
        if setup.names_are_ours() {
            link.statements.len()
        } else {
            self.names()
        }
    }

    /// What [`Want::Statement`] is about.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Why messages were refused here since the last call, for the counters.
    pub fn take_refusals(&mut self, each: impl FnMut(&'static str)) {
        self.refusals.drain(..).for_each(each);
    }

    /// The text at the front of the client's bytes, and what it does.
    #[must_use]
    pub fn query<'a>(&'a self, input: &'a [u8]) -> (&'a [u8], &'a Rc<Analysis>) {
        let text = self
            .front
            .map_or(&[][..], |frame| super::client::query_text(input, frame));
        (text, &self.analysis)
    }

    /// Takes room for replies that another conversation of this worker has left, if there is none.
    pub fn take_room(&mut self, rooms: &Rooms) {
        self.owed.take_room(rooms);
    }

    /// Leaves the room for replies to others, if none is owed.
    pub fn leave_room(&mut self, rooms: &Rooms) {
        self.owed.leave_room(rooms);
    }

    /// The statement may go on. The answer is the number that its [`Flight`] will have.
    pub fn admit(&mut self) -> u64 {
        self.stage = Stage::Admitted;
        self.judged += 1;
        self.judged
    }

    /// The statement gets `error`, a whole ErrorResponse, and is not carried out. A transaction that it is part of fails with it.
    pub fn reject(&mut self, error: Bytes) {
        self.stage = Stage::Rejected(error);
    }

    /// The statement that the server is at.
    #[must_use]
    pub fn under_way(&self) -> Option<&Flight> {
        self.owed.first_flight()
    }

    /// Whether a result was cut off since the last call: the server need not go on with it.
    pub fn take_cut(&mut self) -> bool {
        std::mem::take(&mut self.cuts)
    }

    /// Whether a statement has changed the client's shape since the last call: the server connection has it already.
    pub fn take_shape_changed(&mut self) -> bool {
        std::mem::take(&mut self.shape_changed)
    }

    /// Statements that have come to their end since the last call.
    pub fn take_done(&mut self, mut each: impl FnMut(&Flight)) {
        if self.done.is_empty() {
            return;
        }
        for flight in self.done.drain(..) {
            each(&flight);
        }
        if self.done.spilled() {
            self.done = Done::new();
        }
    }

    /// What sets the client's own parameters again, while a ReadyForQuery is held back for it.
    pub fn take_due(&mut self) -> Option<Vec<u8>> {
        self.due.take()
    }

    /// The client's own parameters are applied again: it hears what was held back.
    pub fn on_applied(&mut self, downstream: &mut BytesMut) {
        self.barrier = 0;
        if let Some(status) = self.held_ready.take() {
            encoder::ready_for_query(status, downstream);
        }
    }
}
