//! A client's task: its commands are taken in, pass the filters, and are carried out.
//!
//! Replies are mostly written by the links that read them (see [`super::cell`]); this task writes what is left, and waits for
//! what the machine has to wait for. Start at [`serve`].

mod end;
mod filter;
mod foreign;
mod large;
mod run;
mod tracked;
mod turn;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use portcullis_filter::Connection;
use portcullis_net::drain::DrainListener;
use portcullis_net::{ConnectionGuard, Downstream, Timer, clock};

use self::run::Known;
use super::cell::{Came, Cell, Flight, Need, State};
use super::mailbox::Mailbox;
use super::reach::{Asking, Pins, Reach, act};
use super::server::RedisServer;
use super::spare;
use crate::chain::Large;
use crate::command::{CommandId, Foreign};
use crate::error::RequestError;
use crate::machine::{Call, Client, Flow, Here, PinId, Refusal};
use crate::request::{Command, CommandFrame, CommandRef, CommandScanner};
use crate::slow_log::Noted;

/// Bytes of a large command that may wait for the server before more are read.
pub(super) const STREAMED: usize = 256 << 10;

/// Serves one client until it is gone.
// An `async fn` would keep its arguments beside the session for ever.
pub(super) fn serve(
    server: Rc<RedisServer>,
    downstream: Downstream,
) -> impl Future<Output = ()> + 'static {
    let mut session = Session::new(server, downstream);
    async move {
        let reason = session.converse().await;
        session.set_reason(reason);
    }
}

/// The client, as what it reaches has to know it.
#[inline]
fn asking(connection: &Connection, busy_since: Instant) -> Asking {
    Asking {
        client: connection.id,
        busy_since,
        address: connection.client_ip(),
        is_read: false,
        is_write: false,
    }
}

/// A command that was found.
enum Taken {
    /// At the front of the buffer, with so many bytes.
    Front(usize),
    /// Made of a line.
    Own(Command),
}

impl Taken {
    #[inline]
    fn command<'a>(&'a self, scanner: &'a CommandScanner, input: &'a [u8]) -> CommandRef<'a> {
        match self {
            Self::Front(len) => scanner.command(input.get(..*len).unwrap_or_default()),
            Self::Own(command) => command.as_ref(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Front(len) => *len,
            Self::Own(command) => command.wire().len(),
        }
    }
}

/// Whether a command may be carried out.
enum Admitted {
    Yes(CommandId, Flight),
    /// The client was told why not.
    No,
    /// A server may know what this is.
    Foreign(Box<str>),
}

/// What becomes of the rest of a large command.
#[derive(Debug, Clone, Copy)]
enum Rest {
    Sent(PinId),
    Dropped,
}

/// Why taking in commands stops before the end of what is there.
enum Pause {
    /// It is not known yet which nodes there are.
    Nodes,
    /// A frame that may have to wait.
    Frame(CommandFrame),
    /// A command of so many bytes, with a name that the table does not have.
    Foreign(usize, Box<str>),
    /// A command of so many bytes that filters have to see.
    Filters(usize, CommandId, Flight),
    /// A command of so many bytes that waits for those before it.
    Blocked(usize, CommandId, Flight),
    /// What the client said is no command.
    Error(RequestError),
    /// The client wants to go.
    Close,
}

/// One client.
struct Session {
    cell: Rc<Cell>,
    pins: Pins,
    scanner: CommandScanner,
    input: BytesMut,
    /// The runtime knows that this task waits for the client: see [`portcullis_net::Stream::poll_read_again`].
    waits: bool,
    /// How often the client was read from in this turn.
    reads: u8,
    /// The client will say no more.
    has_ended: bool,
    rest: Rest,
    /// How many bytes of a large command came, for whoever counts that.
    came: Option<Rc<Came>>,
    known: Option<Known>,
    /// How often a reload has changed what it may do.
    renewals: u32,
    /// What the command is that is being carried out, if it is not in the table.
    foreign: Option<Arc<Foreign>>,
    connection: Rc<Connection>,
    /// What other clients ask to be told to it.
    mailbox: Option<Arc<Mailbox>>,
    /// Since when it has had something under way, or had.
    busy_since: Instant,
    timer: Timer,
    drain: DrainListener,
    /// When it last said something.
    heard: Instant,
    reason: &'static str,
    _guard: ConnectionGuard,
}

impl Session {
    fn new(server: Rc<RedisServer>, downstream: Downstream) -> Self {
        let cx = server.context(&downstream);
        let peer = downstream.client().map(|address| address.to_string());
        let id = downstream.id.0;
        let policy = server.rights.policy();
        let is_cluster = policy.is_cluster;
        let mut machine = Client::new(policy, id, peer.unwrap_or_default());
        if is_cluster && let Some(address) = downstream.local().0.ip() {
            let is_secure = downstream.tls.is_some();
            machine.set_here(Here { address, is_secure });
        }
        let mut scanner = CommandScanner::new(server.config.limits.request());
        scanner.set_known(machine.is_known());
        server.stats.on_start();
        Self {
            pins: Pins::default(),
            scanner,
            input: downstream.prefix,
            waits: false,
            reads: 0,
            has_ended: false,
            rest: Rest::Dropped,
            came: None,
            known: None,
            renewals: 0,
            busy_since: downstream.accepted_at,
            foreign: None,
            mailbox: None,
            connection: cx.connection,
            timer: Timer::new(),
            drain: server.drain.listen(),
            heard: downstream.accepted_at,
            reason: "stopped",
            _guard: downstream.guard,
            cell: Rc::new(Cell {
                state: std::cell::RefCell::new(State {
                    stream: downstream.stream,
                    machine,
                    need: Need::Input,
                    waker: None,
                    answered: server.shared.number(),
                    redirected: None,
                    turned: Vec::new(),
                    redirect: None,
                    answer: None,
                    drained: None,
                    ended: None,
                }),
                server,
            }),
        }
    }

    /// Why it ends, for whoever counts.
    const fn set_reason(&mut self, reason: &'static str) {
        self.reason = reason;
    }

    /// Until the client is gone; the answer is why.
    async fn converse(&mut self) -> &'static str {
        loop {
            match self.take_in() {
                Ok(()) => {}
                // What has to wait is in a box, so that an idle client is small.
                Err(pause) => match Box::pin(self.go_on(pause)).await {
                    Ok(Flow::Next) => continue,
                    Ok(Flow::Close) => return Box::pin(self.quit()).await,
                    Err(reason) => return reason,
                },
            }
            if self.has_ended {
                return Box::pin(self.see_off()).await;
            }
            if let Err(reason) = self.wait(Need::Input).await {
                return reason;
            }
        }
    }

    /// Carries out what is whole in the buffer, as far as that can be done without waiting.
    fn take_in(&mut self) -> Result<(), Pause> {
        self.settle();
        if self.cell.server.awaits_nodes(&self.cell) {
            return Err(Pause::Nodes);
        }
        loop {
            match self.next_frame() {
                Ok(Some(CommandFrame::Whole { len })) => self.whole_now(len)?,
                Ok(Some(frame)) => return Err(Pause::Frame(frame)),
                Ok(None) => return Ok(()),
                Err(error) => return Err(Pause::Error(error)),
            }
        }
    }

    /// Carries out the whole command in front, if it need not wait.
    #[inline]
    fn whole_now(&mut self, len: usize) -> Result<(), Pause> {
        let frame = CommandFrame::Whole { len };
        if !self.has_room() {
            return Err(Pause::Frame(frame));
        }
        let taken = Taken::Front(len);
        let flow = match self.admit(&taken).map_err(Pause::Error)? {
            Admitted::No => Flow::Next,
            Admitted::Foreign(name) => return Err(Pause::Foreign(len, name)),
            Admitted::Yes(id, flight) if self.cell.server.rights.is_filtered() => {
                return Err(Pause::Filters(len, id, flight));
            }
            Admitted::Yes(id, flight) => self
                .execute(id, &taken, flight)
                .map_err(|flight| Pause::Blocked(len, id, flight))?,
        };
        spare::advance(&mut self.input, len);
        match flow {
            Flow::Next => Ok(()),
            Flow::Close => Err(Pause::Close),
        }
    }

    /// Goes on with what has to wait.
    async fn go_on(&mut self, pause: Pause) -> Result<Flow, &'static str> {
        let (len, flow) = match pause {
            Pause::Nodes => {
                self.wait(Need::Nodes).await?;
                (0, Flow::Next)
            }
            Pause::Close => (0, Flow::Close),
            Pause::Error(error) => return Err(self.protocol_error(error).await),
            Pause::Frame(frame) => (frame.len(), self.on_frame(frame).await?),
            Pause::Foreign(len, name) => {
                let flow = self.pass_foreign(&name, &Taken::Front(len)).await?;
                (len, flow)
            }
            Pause::Filters(len, id, flight) => {
                let flow = self.pass(id, &Taken::Front(len), flight).await?;
                (len, flow)
            }
            Pause::Blocked(len, id, flight) => {
                let flow = self.settled(id, &Taken::Front(len), flight).await?;
                (len, flow)
            }
        };
        spare::advance(&mut self.input, len);
        Ok(flow)
    }

    /// A frame that may have to wait.
    async fn on_frame(&mut self, frame: CommandFrame) -> Result<Flow, &'static str> {
        match frame {
            CommandFrame::Whole { len } => self.whole(&Taken::Front(len)).await,
            CommandFrame::Begin {
                len,
                declared,
                partial,
            } => self.begin(len, Large { declared, partial }).await,
            CommandFrame::More { len, last } => self.more(len, last).await,
            CommandFrame::Inline { len } => self.inline(len).await,
            CommandFrame::Blank { .. } => Ok(Flow::Next),
        }
    }

    /// A whole command, which may have to wait.
    async fn whole(&mut self, taken: &Taken) -> Result<Flow, &'static str> {
        self.room().await?;
        match self.admit(taken) {
            Ok(Admitted::Yes(id, flight)) => self.pass(id, taken, flight).await,
            Ok(Admitted::No) => Ok(Flow::Next),
            Ok(Admitted::Foreign(name)) => self.pass_foreign(&name, taken).await,
            Err(error) => Err(self.protocol_error(error).await),
        }
    }

    /// A command that is not in the table.
    async fn pass_foreign(&mut self, name: &str, taken: &Taken) -> Result<Flow, &'static str> {
        match self.foreign(name, taken, None).await? {
            Some((id, flight)) => self.pass(id, taken, flight).await,
            None => Ok(Flow::Next),
        }
    }

    /// What has to be known of a command if it turns out to be slow.
    #[inline]
    fn note(&self, call: &Call<'_>) -> Option<Noted> {
        let machine = &self.cell.state.borrow().machine;
        let slow = &self.cell.server.slow;
        slow.note(call, machine, &self.connection)
    }

    /// What the command is that is being carried out, if it is not in the table.
    #[inline]
    fn foreign_of(&self, id: CommandId) -> Option<Arc<Foreign>> {
        self.foreign
            .as_ref()
            .filter(|_| id == CommandId::FOREIGN)
            .cloned()
    }

    /// Looks whether a command may be carried out at all.
    #[inline]
    fn admit(&mut self, taken: &Taken) -> Result<Admitted, RequestError> {
        let command = taken.command(&self.scanner, &self.input);
        let admitted = self.cell.state.borrow().machine.admit(&command);
        let id = match admitted {
            Ok(id) => id,
            // Redis closes on these in any form.
            Err(_) if command.is_cross_protocol() => return Err(RequestError::CrossProtocol),
            Err((refusal, text)) => {
                if let Some(name) = self.foreign_name(command) {
                    return Ok(Admitted::Foreign(name));
                }
                let id = CommandId::resolve(&command).ok();
                self.not_admitted(id, command.len(), taken.len(), refusal, &text);
                return Ok(Admitted::No);
            }
        };
        let mut flight = Flight::new(Some(id), taken.len(), clock::now());
        let sampled = self.cell.server.keys.sample(id, &command, taken.len());
        flight.keep(sampled, self.note(&Call::new(id, command)));
        Ok(Admitted::Yes(id, flight))
    }

    /// Carries a command out, if the filters let it pass.
    async fn pass(
        &mut self,
        id: CommandId,
        taken: &Taken,
        mut flight: Flight,
    ) -> Result<Flow, &'static str> {
        if self.cell.server.rights.is_filtered() {
            match self.filter(id, taken, None).await? {
                Ok(held) => flight.held = held,
                Err((refusal, text)) => {
                    self.turn_away(id, taken.len(), refusal, &text);
                    return Ok(Flow::Next);
                }
            }
        }
        self.carry_out(id, taken, flight).await
    }

    /// Carries a command out, now or when what is under way is over.
    async fn carry_out(
        &mut self,
        id: CommandId,
        taken: &Taken,
        flight: Flight,
    ) -> Result<Flow, &'static str> {
        match self.execute(id, taken, flight) {
            Ok(flow) => Ok(flow),
            Err(flight) => self.settled(id, taken, flight).await,
        }
    }

    /// Carries a command out when what is under way is over, if it may be by then.
    async fn settled(
        &mut self,
        id: CommandId,
        taken: &Taken,
        mut flight: Flight,
    ) -> Result<Flow, &'static str> {
        loop {
            let renewals = self.renewals;
            self.wait(Need::Settled).await?;
            if self.renewals != renewals
                && let Err((refusal, text)) = self.admit_again(id, taken)
            {
                let arguments = taken.command(&self.scanner, &self.input).len();
                self.not_admitted(Some(id), arguments, taken.len(), refusal, &text);
                return Ok(Flow::Next);
            }
            match self.execute(id, taken, flight) {
                Ok(flow) => return Ok(flow),
                Err(back) => flight = back,
            }
        }
    }

    /// Looks whether a command may still be carried out.
    #[cold]
    fn admit_again(&self, id: CommandId, taken: &Taken) -> Result<(), (Refusal, Vec<u8>)> {
        let command = taken.command(&self.scanner, &self.input);
        let machine = &self.cell.state.borrow().machine;
        match self.foreign_of(id) {
            Some(foreign) => machine.admit_foreign(&foreign, &command),
            None => machine.admit(&command).map(|_| ()),
        }
    }

    /// Whether the client may have one more command under way.
    #[inline]
    fn has_room(&self) -> bool {
        let state = self.cell.state.borrow();
        state.has(Need::Capacity, &self.cell.server)
    }

    /// Waits until the client has not too much under way.
    async fn room(&mut self) -> Result<(), &'static str> {
        if !self.has_room() {
            self.wait(Need::Capacity).await?;
        }
        Ok(())
    }

    /// Carries a command out, unless it has to wait.
    #[inline]
    fn execute(&mut self, id: CommandId, taken: &Taken, flight: Flight) -> Result<Flow, Flight> {
        let foreign = self.foreign_of(id);
        let call = Call {
            id,
            command: taken.command(&self.scanner, &self.input),
            foreign: foreign.as_deref(),
        };
        let (is_queued, is_settled) = {
            let machine = &self.cell.state.borrow().machine;
            (machine.is_in_transaction(), machine.is_settled())
        };
        let scripts = &self.cell.server.scripts;
        let script = scripts.on_command(id, call.command, is_queued);
        if is_settled {
            self.busy_since = flight.started;
            self.pins.forget_chosen();
        }
        let mut asking = asking(&self.connection, self.busy_since);
        asking.is_read = id.is_replicas();
        asking.is_write = id.may_write();
        let flow = act(&self.cell, &mut self.pins, asking, |machine, reach| {
            reach.script = script;
            let flow = machine.execute(call, flight, reach)?;
            Ok((flow, machine.is_known()))
        });
        let (flow, is_known) = flow?;
        self.scanner.set_known(is_known);
        if id == CommandId::SUBSCRIBE {
            self.open_mailbox();
        }
        Ok(flow)
    }

    /// Answers a command with an error that was not admitted.
    #[cold]
    fn deny(&mut self, id: Option<CommandId>, len: usize, refusal: Refusal, text: &[u8]) {
        self.refuse(id, len, refusal, |machine, flight, reach| {
            machine.deny(id, text, flight, reach);
        });
    }

    /// Answers a command that filters refused.
    #[cold]
    fn turn_away(&mut self, id: CommandId, len: usize, refusal: Refusal, text: &[u8]) {
        let id = Some(id);
        self.refuse(id, len, refusal, |machine, flight, reach| {
            machine.turn_away(id, text, flight, reach);
        });
    }

    fn refuse(
        &mut self,
        id: Option<CommandId>,
        len: usize,
        refusal: Refusal,
        answer: impl FnOnce(&mut Client<Flight>, Flight, &mut Reach<'_>),
    ) {
        self.cell.server.stats.on_rejected(refusal.reason);
        let flight = Flight::new(id, len, clock::now());
        let asking = asking(&self.connection, self.busy_since);
        act(&self.cell, &mut self.pins, asking, |machine, reach| {
            answer(machine, flight, reach);
        });
    }

    /// A line of words: it becomes a command.
    async fn inline(&mut self, len: usize) -> Result<Flow, &'static str> {
        let line = self.input.get(..len).unwrap_or_default();
        match self.scanner.inline_command(line) {
            Ok(command) => self.whole(&Taken::Own(command)).await,
            Err(error) => Err(self.protocol_error(error).await),
        }
    }

    /// Gives back what the machine needs no more.
    fn settle(&mut self) {
        if self.cell.state.borrow().machine.wants_settling() {
            let asking = asking(&self.connection, self.busy_since);
            act(&self.cell, &mut self.pins, asking, |machine, reach| {
                machine.settle(reach);
            });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.mailbox.is_some() {
            self.cell.server.mailboxes.close(self.connection.id);
        }
        let asking = asking(&self.connection, self.busy_since);
        let left = act(&self.cell, &mut self.pins, asking, |machine, reach| {
            machine.leave(reach)
        });
        // Permits that filters hold for commands under way end with them.
        drop(left);
        self.cell.server.stats.on_end(self.reason);
    }
}
