//! One client's conversation: who it is, what each of its commands becomes, and the replies that it is owed.
//!
//! What it may do is in `admission`, and what is said to what it may not in `refusal`. One file for each kind of command: `forward` (to one place, to several, to all), `local`,
//! `transaction`, `subscription`, `tracking`, `monitor`, `acknowledge`, `kill`. Start at [`Client::admit`], then [`Client::execute`].

mod acknowledge;
mod admission;
mod answers;
mod cluster;
mod copy;
mod forward;
mod kill;
mod local;
mod monitor;
mod parts;
mod refusal;
mod run;
mod subscription;
#[cfg(test)]
mod tests;
mod tracking;
mod transaction;
mod way;

pub use self::admission::{Policy, Refusal};
pub use self::cluster::{Here, node_id};
pub use self::copy::copies;
pub use self::forward::Front;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use self::monitor::Monitor;
use self::subscription::Subscriptions;
use self::tracking::Tracking;
use self::transaction::Transaction;
use super::assembly::{Assembly, How, Named};
use super::slots::{ErrorPrefix, Finished, SlotId, Slots};
use super::upstreams::{Call, Lost, Piece, PinEnd, PinId, Speaks, Ticket, Upstreams};
use crate::acl::User;
use crate::command::CommandId;
use crate::command::handling::{Handling, Merge, Pin};
use crate::encoder;
use crate::message::RespVersion;

/// What to do next with what a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next command.
    Next,
    /// Read no more, and close when all replies are sent.
    Close,
}

/// A client's side of its conversation. `T` is what the owner keeps for each command under way.
#[derive(Debug)]
pub struct Client<T> {
    policy: Arc<Policy>,
    id: u64,
    /// Where the client comes from, for its own eyes.
    address: Box<str>,
    /// Where it is connected to, where that is asked for.
    here: Option<Box<Here>>,
    user: Option<Arc<User>>,
    user_name: Arc<[u8]>,
    name: Bytes,
    speaks: Speaks,
    slots: Slots<T>,
    transaction: Transaction,
    subscriptions: Subscriptions,
    tracking: Option<Box<Tracking>>,
    monitor: Option<Box<Monitor>>,
    replies: Replies,
    /// Connections of its own that go back when all replies are here.
    ending: SmallVec<[(PinId, PinEnd); 1]>,
    is_closing: bool,
    /// The last command that may wait for what others do.
    waiting: Option<SlotId>,
    out: BytesMut,
    over: SmallVec<[(T, Finished); 1]>,
}

/// What the client asked to see (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    SkipNext,
}

impl<T> Client<T> {
    /// A client that has said nothing yet.
    #[must_use]
    pub fn new(policy: Arc<Policy>, id: u64, address: impl Into<Box<str>>) -> Self {
        let user = policy.users.at_first().cloned();
        let user_name = policy.users.default_name();
        Self {
            policy,
            id,
            address: address.into(),
            here: None,
            user,
            user_name,
            name: Bytes::new(),
            speaks: Speaks {
                database: 0,
                version: RespVersion::Resp2,
            },
            slots: Slots::default(),
            transaction: Transaction::default(),
            subscriptions: Subscriptions::default(),
            tracking: None,
            monitor: None,
            replies: Replies::On,
            ending: SmallVec::new(),
            is_closing: false,
            waiting: None,
            out: BytesMut::new(),
            over: SmallVec::new(),
        }
    }

    /// What is to be sent to the client. The owner takes off what it has sent.
    #[inline]
    pub const fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Whether any command is over since the last [`take_over`](Self::take_over).
    #[must_use]
    #[inline]
    pub fn has_over(&self) -> bool {
        !self.over.is_empty()
    }

    /// The commands that are over since the last call, and how each ended.
    #[inline]
    pub fn take_over(&mut self) -> smallvec::Drain<'_, [(T, Finished); 1]> {
        self.over.drain(..)
    }

    /// Whether the client has said who it is, or need not.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.user.is_some()
    }

    /// Its user's name.
    #[must_use]
    pub const fn user_name(&self) -> &Arc<[u8]> {
        &self.user_name
    }

    /// What connections are brought to that its commands go over.
    #[must_use]
    pub const fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// The database that it selected.
    #[must_use]
    pub const fn database(&self) -> u32 {
        self.speaks.database
    }

    /// The version of RESP that it speaks.
    #[must_use]
    pub const fn version(&self) -> RespVersion {
        self.speaks.version
    }

    /// Bytes that it will be sent: those in [`out`](Self::out), and those of replies that wait for others.
    #[must_use]
    #[inline]
    pub fn unsent(&self) -> usize {
        self.out.len() + self.slots.held()
    }

    /// Whether it has been sent all that there is for it.
    #[must_use]
    pub fn is_all_written(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a command of its is under way that waits for what others do, for ever perhaps.
    #[must_use]
    pub fn awaits_others(&self) -> bool {
        self.waiting.is_some_and(|slot| self.slots.has(slot))
    }

    /// How many replies it is owed.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is under way behind this.
    #[must_use]
    pub fn is_last(&self, slot: SlotId) -> bool {
        self.slots.is_last(slot)
    }

    /// Whether nothing is under way: a command that had to wait may be tried again.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let awaits_ears = |tracking: &Tracking| tracking.awaits_ears();
        self.slots.is_empty() && !self.tracking.as_deref().is_some_and(awaits_ears)
    }

    /// Whether [`settle`](Self::settle) has something to do.
    #[must_use]
    pub fn wants_settling(&self) -> bool {
        let is_due = |client: &Self| {
            !client.ending.is_empty() || client.subscriptions.has_unused() || client.is_asking()
        };
        self.slots.is_empty() && is_due(self)
    }

    /// Whether commands are queued for EXEC.
    #[must_use]
    pub const fn is_in_transaction(&self) -> bool {
        self.transaction.is_open()
    }

    /// Whether it may stay connected without a command: it waits for messages.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty() || self.monitor.is_some()
    }

    /// Whether it may say little else than what it listens to: RESP2 cannot tell messages from replies.
    fn is_only_listening(&self) -> bool {
        self.speaks.version == RespVersion::Resp2 && !self.subscriptions.is_empty()
    }

    /// Whether it listens for messages that other clients ask to be told to it.
    #[must_use]
    pub fn hears_redirected(&self) -> bool {
        self.subscriptions.has_channel(tracking::CHANNEL)
    }

    /// Whether it waits to hear whether tracking, or MONITOR, has begun.
    fn is_asking(&self) -> bool {
        self.tracking.as_ref().is_some_and(|it| it.is_asking())
            || self.monitor.as_ref().is_some_and(|it| it.is_asking())
    }

    /// Whether what servers do for it is no more what it was told: it is to be closed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.tracking.as_ref().is_some_and(|it| it.is_broken())
    }

    /// Whether it holds a connection of its own, or state that is more than a drain may cut.
    #[must_use]
    pub fn is_between_commands(&self) -> bool {
        self.slots.is_empty() && !self.transaction.is_open()
    }

    /// Whether it is in a transaction, or watches keys: what it reads then must be read where it writes.
    #[must_use]
    pub const fn holds_transaction(&self) -> bool {
        self.transaction.is_open() || self.transaction.has_connection()
    }

    /// Gives back connections of its own that it needs no more. To be called when all replies are here.
    pub fn settle(&mut self, up: &mut impl Upstreams) {
        if self.slots.is_empty() {
            for (pin, end) in self.ending.drain(..) {
                up.unpin(pin, end);
            }
            if self.subscriptions.has_unused() {
                self.end_subscriptions_now(up);
            }
            self.settle_tracking(up);
            self.settle_monitor(up);
        }
    }

    /// The client is gone: whatever it holds ends. Gives back what the owner kept for commands under way.
    pub fn leave(&mut self, up: &mut impl Upstreams) -> Vec<T> {
        for (pin, _) in self.ending.drain(..) {
            up.unpin(pin, PinEnd::Dirty);
        }
        self.end_all_now(up);
        self.is_closing = true;
        self.slots.take_all().collect()
    }

    /// Ends all that it has connections of its own for.
    fn end_all_now(&mut self, up: &mut impl Upstreams) {
        self.end_transaction_now(up);
        self.end_subscriptions_now(up);
        self.end_tracking_now(up);
        self.end_monitor_now(up);
    }

    /// Answers a command with an error. Inside of a transaction, that fails.
    fn refuse(&mut self, text: &[u8], of: T) {
        self.transaction.poison();
        if let Some(tracking) = &mut self.tracking {
            tracking.on_refused();
        }
        self.answer(of, |_, reply| encoder::error(text, reply));
    }

    /// Carries out a command that was [admitted](Self::admit).
    ///
    /// # Errors
    /// It must wait until the client [is settled](Self::is_settled), and is to be tried again then.
    pub fn execute(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        if !self.ending.is_empty() || self.is_asking() || self.subscriptions.is_asking() {
            if !self.slots.is_empty() {
                return Err(of);
            }
            self.settle(up);
        }
        let flow = self.carry_out(call, of, up)?;
        if let Some(tracking) = &mut self.tracking
            && !self.transaction.is_open()
        {
            tracking.on_executed(call.id);
        }
        Ok(flow)
    }

    fn carry_out(&mut self, call: Call<'_>, of: T, up: &mut impl Upstreams) -> Result<Flow, T> {
        if self.monitor.is_some() && !monitor::is_allowed(call.id) {
            self.answer(of, |_, reply| encoder::error(monitor::REFUSAL, reply));
            return Ok(Flow::Next);
        }
        if self.is_only_listening() && !subscription::is_allowed(call.id) {
            let text = subscription::refusal(call.name());
            self.answer(of, |_, reply| encoder::error(text.as_bytes(), reply));
            return Ok(Flow::Next);
        }
        let handling = call.id.handling();
        if self
            .transaction
            .has_to_wait(handling, self.slots.is_empty())
        {
            return Err(of);
        }
        if self.transaction.is_open() {
            return self.in_transaction(call, of, up);
        }
        match handling {
            Handling::Forward if call.is_foreign_wait() => return self.blocking(call, of, up),
            Handling::Forward => self.forward(call, of, up),
            Handling::Split(split) => self.split(split, call, of, up),
            Handling::FanOut(..) if call.id == CommandId::WAIT => {
                return self.acknowledge(call, of, up);
            }
            Handling::FanOut(_, Merge::AnyOne) => self.kill(call, of, up),
            Handling::FanOut(scope, merge) => self.fan_out(scope, merge, call, of, up),
            Handling::Local(local) => return self.local(local, call, of, up),
            Handling::Pin(Pin::Transaction | Pin::Watch) => {
                return self.transaction_command(call, of, up);
            }
            Handling::Pin(Pin::Blocking) => return self.blocking(call, of, up),
            Handling::Pin(Pin::Subscription) => {
                return self.subscription_command(call, of, up);
            }
            Handling::Pin(Pin::Tracking) => return self.tracking_command(call, of, up),
            Handling::Pin(Pin::Monitor) => return self.monitor(call, of, up),
            Handling::Pin(Pin::Replication) => {
                let name = call.id.name();
                let text = format!("ERR command '{name}' is not supported by the gateway");
                self.refuse(text.as_bytes(), of);
            }
        }
        Ok(Flow::Next)
    }

    /// A piece of a reply came. Nothing is sent upstream from here: what the machine wants to do next it does at
    /// [`settle`](Self::settle) and with the next command.
    #[inline]
    pub fn on_piece(&mut self, ticket: Ticket, piece: Piece<'_>) {
        if matches!(piece, Piece::Lost(_)) {
            // What was not queued must not be missed.
            self.transaction.poison();
        }
        match ticket {
            Ticket::Slot { slot, part } => {
                self.note_answer(piece);
                let (version, over) = (self.speaks.version, &mut self.over);
                let mut over = |of, finished| over.push((of, finished));
                self.slots
                    .on_piece(slot, part, piece, version, &mut self.out, &mut over);
            }
            Ticket::Own => self.on_own_reply(piece),
            Ticket::Tracking => {
                if let Some(tracking) = &mut self.tracking {
                    tracking.on_own_reply(piece);
                }
            }
            Ticket::Ear(pin) => {
                if let Some(tracking) = &mut self.tracking {
                    tracking.on_ear(pin, piece);
                }
            }
            Ticket::Asked => {}
        }
        self.write_late();
    }

    /// Sends messages that had to wait for the end of a reply.
    #[inline]
    fn write_late(&mut self) {
        self.subscriptions
            .write_late(self.slots.is_open(), &mut self.out);
        if let Some(tracking) = &mut self.tracking
            && tracking.has_late()
            && !self.slots.is_open()
            && !self.slots.has_held()
        {
            tracking.write_late(&mut self.out);
        }
    }

    /// Looks what servers say to what changes how the client is served.
    #[inline]
    fn note_answer(&mut self, piece: Piece<'_>) {
        if let Some(tracking) = &mut self.tracking {
            tracking.note(piece);
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.note(piece);
        }
    }

    /// A server answered what the machine said of its own: what it did not take must not be carried out by halves.
    #[cold]
    fn on_own_reply(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Whole { kind, .. } if kind.is_error() => self.transaction.on_refused(),
            Piece::Lost(_) => self.transaction.poison(),
            Piece::Whole { .. } | Piece::Begin { .. } | Piece::More { .. } => {}
        }
    }

    /// Answers a command here and now, in its turn.
    fn answer(&mut self, of: T, write: impl FnOnce(RespVersion, &mut BytesMut)) {
        let is_silent = self.is_silent() || self.slots.is_cut();
        if self.slots.is_empty() {
            let before = self.out.len();
            write(self.speaks.version, &mut self.out);
            let finished = finished(self.out.get(before..).unwrap_or_default());
            if is_silent {
                self.out.truncate(before);
            }
            return self.over.push((of, finished));
        }
        let mut reply = BytesMut::new();
        write(self.speaks.version, &mut reply);
        let finished = finished(&reply);
        self.slots.push_ready(of, is_silent, reply, finished);
    }

    /// Answers a command that cannot be sent.
    fn lose(&mut self, lost: Lost, of: T) {
        let is_silent = self.is_silent();
        let slot = self.slots.push(of, is_silent);
        let ticket = Ticket::Slot { slot, part: 0 };
        self.on_piece(ticket, Piece::Lost(lost));
    }

    fn is_silent(&mut self) -> bool {
        match self.replies {
            Replies::On => false,
            Replies::Off => true,
            Replies::SkipNext => {
                self.replies = Replies::On;
                true
            }
        }
    }
}

fn finished(reply: &[u8]) -> Finished {
    Finished {
        bytes: reply.len() as u64,
        error: reply.starts_with(b"-").then(|| ErrorPrefix::of(reply)),
        lost: None,
        is_cut: false,
    }
}
