//! What a client's task and the links share: the client's machine, and the socket that its replies go to.
//!
//! A link that read replies writes them at once, without waking the client's task; that is woken only for what it alone can
//! do. No borrow is held over a call to the other side. Start at [`Cell::on_piece`] and [`Cell::flush`].

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use portcullis_filter::{Context, FilterChain};
use portcullis_net::{Stream, clock};

use super::link::Link;
use super::mailbox::Mailbox;
use super::server::RedisServer;
use super::shard::Shard;
use super::spare;
use super::tally::Tally;
use super::tracked::Turned;
use super::written::Written;
use crate::chain::{Record, RedisMessages};
use crate::command::CommandId;
use crate::machine::{Client, Lost, Piece, PinId, RunReply, SlotId, Ticket};
use crate::slow_log::Noted;

/// A command under way. One is moved about for each command, so it is small.
pub(super) struct Flight {
    /// `None` of one that there is not.
    pub(super) command: Option<CommandId>,
    pub(super) bytes: u32,
    pub(super) started: Instant,
    /// What filters hold until it is over, where they hold something.
    pub(super) held: Option<Box<Held>>,
    /// What is to be remembered of few.
    pub(super) kept: Option<Box<Kept>>,
}

/// What is kept of some commands until they are over.
pub(super) struct Kept {
    /// Its key, where this command is one of those that are shown to the picture of keys.
    pub(super) sampled: Option<Box<[u8]>>,
    /// What is known of it if it turns out to be slow, where that is logged.
    pub(super) noted: Option<Noted>,
    /// How many bytes of it came, if it is large.
    pub(super) came: Option<Rc<Came>>,
}

/// Bytes of a large command that came until now.
pub(super) type Came = std::cell::Cell<u64>;

impl Flight {
    /// Of a command of so many bytes that came now.
    #[inline]
    pub(super) fn new(command: Option<CommandId>, bytes: usize, started: Instant) -> Self {
        Self {
            command,
            // What is held whole is not that long; of what is not, this is the front.
            bytes: bytes as u32,
            started,
            held: None,
            kept: None,
        }
    }

    /// Keeps what there is to keep.
    #[inline]
    pub(super) fn keep(&mut self, sampled: Option<Box<[u8]>>, noted: Option<Noted>) {
        if sampled.is_some() || noted.is_some() {
            self.kept = Some(Box::new(Kept {
                sampled,
                noted,
                came: None,
            }));
        }
    }
}

/// What filters hold, and what they are told in the end.
pub(super) struct Held {
    /// Those that were asked.
    pub(super) chain: Rc<FilterChain<RedisMessages>>,
    pub(super) cx: Context,
    pub(super) record: Record,
}

/// The part of `limits.output` from which on links wait for the client.
const BEHIND: u64 = 4;

/// What a client's task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// More from the client.
    Input,
    /// That nothing is under way.
    Settled,
    /// That the client has been sent all that there is for it.
    Written,
    /// That fewer commands are under way.
    Capacity,
    /// That the server has taken most of a large command.
    Drained,
    /// What a server answers to a question of the gateway's.
    Answer,
    /// That it is known which nodes there are, or that nobody knows.
    Nodes,
}

/// One client, as its task and the links see it.
pub(super) struct Cell {
    pub(super) server: Rc<RedisServer>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) stream: Stream,
    pub(super) machine: Client<Flight>,
    pub(super) need: Need,
    pub(super) waker: Option<Waker>,
    /// How many shared requests had been sent when it was last answered.
    pub(super) answered: u64,
    /// Where else than its task knows it may have written.
    pub(super) redirected: Option<Box<Written>>,
    /// The client that is told of keys that this one tracks.
    pub(super) redirect: Option<Arc<Mailbox>>,
    /// Commands that its task is to send to other nodes.
    pub(super) turned: Vec<Turned>,
    /// To a question of the gateway's.
    pub(super) answer: Option<Box<Result<Bytes, Lost>>>,
    /// The link that waits until it has read more of what came for it.
    pub(super) drained: Option<Waker>,
    /// Why it is to be closed, once that is so.
    pub(super) ended: Option<&'static str>,
}

impl Cell {
    /// A piece of a reply for this client.
    #[inline]
    pub(super) fn on_piece(&self, ticket: Ticket, piece: Piece<'_>) {
        let mut state = self.state.borrow_mut();
        if ticket == Ticket::Asked {
            return state.on_answer(piece);
        }
        let out = state.machine.out();
        if out.capacity() == 0 {
            *out = spare::take();
        }
        state.machine.on_piece(ticket, piece);
        self.after(&mut state);
    }

    /// Whether this is the last reply that it is owed.
    pub(super) fn is_last(&self, slot: SlotId) -> bool {
        self.state.borrow().machine.is_last(slot)
    }

    /// A message for this client.
    pub(super) fn on_push(&self, pin: PinId, piece: Piece<'_>) {
        let mut state = self.state.borrow_mut();
        // Messages are for who may hear them still.
        if !self.server.rights.is_policy(state.machine.policy()) && !state.renew(&self.server) {
            return state.end("rights_revoked");
        }
        state.machine.on_push(pin, piece);
        state.redirect();
        // It may tell of what others wrote: what is read from now on is not older.
        state.answered = self.server.shared.number();
        self.after(&mut state);
    }

    /// A connection of its own is gone.
    pub(super) fn on_pin_lost(&self, pin: PinId) {
        let mut state = self.state.borrow_mut();
        if state.machine.listens_on(pin) {
            // Messages may be missed from now on: who subscribes, or tracks, again knows that.
            state.end("subscription_lost");
        }
    }

    /// Counts what is over, and looks whether the client can be kept.
    fn after(&self, state: &mut State) {
        self.count(state);
        self.check(state);
    }

    /// Ends a client that cannot be served any more.
    #[inline]
    fn check(&self, state: &mut State) {
        if state.machine.is_broken() {
            state.end("tracking_lost");
        }
        let most = self.server.config.limits.output.get();
        if state.machine.unsent() as u64 > most && state.ended.is_none() {
            self.server.stats.on_rejected("output_limit");
            state.end("output_limit");
        }
    }

    /// Whether so much waits for the client that a link should not read on for it. It is woken when that is less.
    pub(super) fn is_behind(&self, link: &Waker) -> bool {
        let mut state = self.state.borrow_mut();
        let most = self.server.config.limits.output.get() / BEHIND;
        let is_behind = state.machine.unsent() as u64 > most && state.ended.is_none();
        state.drained = is_behind.then(|| link.clone());
        is_behind
    }

    /// Replies came to a run of commands from `first` on, none of them an error, one behind the other in `bytes`.
    #[inline]
    pub(super) fn on_run(
        &self,
        first: SlotId,
        replies: &[RunReply],
        bytes: &[u8],
        tally: &mut Tally,
    ) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let out = state.machine.out();
        if out.capacity() == 0 {
            *out = spare::take();
        }
        let server = &*self.server;
        tally.of(server);
        let mut over = |flight, finished| tally.add(server, flight, &finished);
        let taken = state.machine.on_run(first, replies, bytes, &mut over);
        state.answered = self.server.shared.number();
        if taken < replies.len() {
            self.on_pieces(state, (first, taken), replies, bytes);
        }
        self.check(state);
    }

    /// The replies of a run behind so many, each by itself.
    #[cold]
    fn on_pieces(
        &self,
        state: &mut State,
        (first, taken): (SlotId, usize),
        replies: &[RunReply],
        bytes: &[u8],
    ) {
        let mut end = 0;
        for (number, reply) in (0..).zip(replies) {
            let start = end;
            end += reply.len as usize;
            if (number as usize) < taken {
                continue;
            }
            let slot = first.plus(number);
            let piece = Piece::Whole {
                kind: reply.kind,
                bytes: bytes.get(start..end).unwrap_or_default(),
            };
            state
                .machine
                .on_piece(Ticket::Slot { slot, part: 0 }, piece);
            self.count(state);
        }
    }

    /// Tells counters and filters of commands that are over.
    #[inline]
    pub(super) fn count(&self, state: &mut State) {
        if !state.machine.has_over() {
            return;
        }
        let mut tally = Tally::new(clock::now());
        tally.of(&self.server);
        for (flight, finished) in state.machine.take_over() {
            tally.add(&self.server, flight, &finished);
        }
        tally.finish();
        state.answered = self.server.shared.number();
        if tally.take_cut() {
            state.end("reply_cut");
        }
    }

    /// The server has taken what was sent: there is room for more of a large command.
    pub(super) fn wake_streaming(&self) {
        let mut state = self.state.borrow_mut();
        if state.need == Need::Drained {
            state.wake();
        }
    }

    /// A command of its went on to another node, and may write there.
    pub(super) fn note_redirected(
        &self,
        node: &Rc<Shard>,
        link: impl FnOnce() -> Option<Rc<Link>>,
    ) {
        let mut state = self.state.borrow_mut();
        state.redirected.get_or_insert_default().note(node, link);
    }

    /// A command of its is to be sent to another node, by its own task.
    pub(super) fn on_turned(&self, turned: Turned) {
        let mut state = self.state.borrow_mut();
        state.turned.push(turned);
        state.wake();
    }

    /// What its task waits for may be there.
    pub(super) fn wake(&self) {
        self.state.borrow_mut().wake();
    }

    /// Sends what there is to send, as far as the kernel takes it, and wakes the client's task for the rest.
    pub(super) fn flush(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        match state.write() {
            Ok(true) => {}
            Ok(false) => state.wake(),
            Err(_) => state.end("downstream_io"),
        }
        if state.has(state.need, &self.server) {
            state.wake();
        }
    }
}

impl State {
    /// Whether what a task waits for is there, as far as that is to be seen here: not what others than the client have.
    #[inline]
    pub(super) fn has(&self, need: Need, server: &RedisServer) -> bool {
        match need {
            Need::Input => self.machine.wants_settling(),
            Need::Settled => self.machine.is_settled(),
            // Links write without its task.
            Need::Written => self.machine.is_all_written(),
            Need::Capacity => self.machine.owed() < server.most_owed(),
            Need::Answer => self.answer.is_some(),
            Need::Drained | Need::Nodes => false,
        }
    }

    /// Takes up what a reload has changed of what the client may do. False, and counted: it may not stay.
    #[cold]
    pub(super) fn renew(&mut self, server: &RedisServer) -> bool {
        let may_stay = self.machine.renew(server.rights.policy());
        if !may_stay {
            server.stats.on_rejected("rights_revoked");
        }
        may_stay
    }

    /// Hands on what another client is to be told.
    fn redirect(&mut self) {
        let Some(mailbox) = &self.redirect else {
            return;
        };
        for message in self.machine.take_redirected() {
            if !mailbox.put(message) {
                self.machine.on_redirect_lost();
            }
        }
    }

    /// A server answered a question of the gateway's. Answers that come in pieces are none that it wants.
    #[cold]
    fn on_answer(&mut self, piece: Piece<'_>) {
        let answer = match piece {
            Piece::Whole { bytes, .. } => Ok(Bytes::copy_from_slice(bytes)),
            Piece::Begin { .. } | Piece::More { .. } => Err(Lost::Protocol),
            Piece::Lost(lost) => Err(lost),
        };
        self.answer = Some(Box::new(answer));
    }

    /// Closes the client when its task runs next.
    pub(super) fn end(&mut self, reason: &'static str) {
        self.ended.get_or_insert(reason);
        self.wake();
        self.wake_link();
    }

    /// What waits for the client has become less, or will not be read.
    fn wake_link(&mut self) {
        if let Some(link) = self.drained.take() {
            link.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Writes without waiting. Whether all is written.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        let out = self.machine.out();
        while !out.is_empty() {
            match self.stream.try_write(out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    spare::advance(out, count);
                    if let Some(link) = &self.drained {
                        link.wake_by_ref();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.trim();
        Ok(true)
    }

    /// An idle client keeps no room.
    pub(super) fn trim(&mut self) {
        spare::put(self.machine.out());
    }
}
