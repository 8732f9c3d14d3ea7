//! A client's task: its commands are taken in, pass the filters, and are carried out.
//!
//! Replies are mostly written by the links that read them (see [`super::cell`]); this task writes what is left, and waits for
//! what the machine has to wait for. Start at [`serve`].

mod filter;
mod large;
mod turn;

use std::rc::Rc;
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use portcullis_codec::WireError as _;
use portcullis_filter::Connection;
use portcullis_net::drain::DrainListener;
use portcullis_net::{ConnectionGuard, Downstream, Timer, clock};

use super::cell::{Cell, Flight, Need, State};
use super::reach::{Asking, Pins, act};
use super::server::RedisServer;
use crate::command::CommandId;
use crate::encoder;
use crate::error::RequestError;
use crate::machine::{Call, Client, Flow, PinId, Refusal};
use crate::request::{Command, CommandFrame, CommandRef, CommandScanner};

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

/// What becomes of the rest of a large command.
#[derive(Debug, Clone, Copy)]
enum Rest {
    Sent(PinId),
    Dropped,
}

/// One client.
struct Session {
    cell: Rc<Cell>,
    pins: Pins,
    scanner: CommandScanner,
    input: BytesMut,
    rest: Rest,
    connection: Rc<Connection>,
    asking: Asking,
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
        let machine = Client::new(server.policy.clone(), id, peer.unwrap_or_default());
        let mut scanner = CommandScanner::new(server.config.limits.request());
        scanner.set_known(machine.is_known());
        server.stats.on_start();
        Self {
            pins: Pins::default(),
            scanner,
            input: downstream.prefix,
            rest: Rest::Dropped,
            asking: Asking {
                client: id,
                busy_since: downstream.accepted_at,
                address: cx.client_ip,
            },
            connection: cx.connection,
            timer: Timer::new(),
            drain: server.drain.listen(),
            heard: downstream.accepted_at,
            reason: "stopped",
            _guard: downstream.guard,
            cell: Rc::new(Cell {
                server,
                state: std::cell::RefCell::new(State {
                    stream: downstream.stream,
                    machine,
                    need: Need::Input,
                    waker: None,
                    ended: None,
                }),
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
            match self.take_in().await {
                Ok(Flow::Next) => {}
                Ok(Flow::Close) => {
                    let _ = self.wait(Need::Settled).await;
                    self.part().await;
                    return "quit";
                }
                Err(reason) => return reason,
            }
            if let Err(reason) = self.wait(Need::Input).await {
                return reason;
            }
        }
    }

    /// Carries out what is whole in the buffer.
    async fn take_in(&mut self) -> Result<Flow, &'static str> {
        self.settle();
        if self.cell.server.awaits_nodes(&self.cell) {
            Box::pin(self.wait(Need::Nodes)).await?;
        }
        loop {
            let frame = match self.scanner.next(&self.input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(Flow::Next),
                Err(error) => return Err(Box::pin(self.protocol_error(error)).await),
            };
            let flow = match frame {
                CommandFrame::Whole { len } => self.whole(&Taken::Front(len)).await?,
                // What is rare is in a box, so that an idle client is small.
                CommandFrame::Begin { len, declared, .. } => {
                    Box::pin(self.begin(len, declared)).await?
                }
                CommandFrame::More { len, last } => self.more(len, last).await?,
                CommandFrame::Inline { len } => Box::pin(self.inline(len)).await?,
                CommandFrame::Blank { .. } => Flow::Next,
            };
            self.input.advance(frame.len());
            if flow == Flow::Close {
                return Ok(flow);
            }
        }
    }

    /// A whole command.
    async fn whole(&mut self, taken: &Taken) -> Result<Flow, &'static str> {
        self.room().await?;
        let command = taken.command(&self.scanner, &self.input);
        let admitted = self.cell.state.borrow().machine.admit(&command);
        let id = match admitted {
            Ok(id) => id,
            // Redis closes on these in any form.
            Err(_) if command.is_cross_protocol() => {
                return Err(Box::pin(self.protocol_error(RequestError::CrossProtocol)).await);
            }
            Err((refusal, text)) => {
                let id = CommandId::resolve(&command).ok();
                self.refuse(id, taken.len(), refusal, &text);
                return Ok(Flow::Next);
            }
        };
        let mut flight = Flight {
            command: Some(id),
            started: clock::now(),
            bytes: taken.len() as u32,
            sampled: self.cell.server.keys.sample(id, command, taken.len()),
            held: None,
        };
        if !self.cell.server.chain.is_empty() {
            match Box::pin(self.filter(id, taken)).await? {
                Ok(held) => flight.held = held,
                Err((refusal, text)) => {
                    self.refuse(Some(id), taken.len(), refusal, &text);
                    return Ok(Flow::Next);
                }
            }
        }
        loop {
            match self.execute(id, taken, flight) {
                Ok(flow) => return Ok(flow),
                Err(back) => flight = back,
            }
            self.wait(Need::Settled).await?;
        }
    }

    /// Waits until the client has not too much under way.
    async fn room(&mut self) -> Result<(), &'static str> {
        let limit = self.cell.server.config.limits.pipeline.get() as usize;
        let owed = self.cell.state.borrow().machine.owed();
        if owed >= limit {
            self.wait(Need::Capacity).await?;
        }
        Ok(())
    }

    /// Carries a command out, unless it has to wait.
    #[inline]
    fn execute(&mut self, id: CommandId, taken: &Taken, flight: Flight) -> Result<Flow, Flight> {
        let call = Call {
            id,
            command: taken.command(&self.scanner, &self.input),
        };
        let asking = &mut self.asking;
        if self.cell.state.borrow().machine.is_settled() {
            asking.busy_since = flight.started;
        }
        let flow = act(&self.cell, &mut self.pins, *asking, |machine, reach| {
            let flow = machine.execute(call, flight, reach)?;
            Ok((flow, machine.is_known()))
        });
        let (flow, is_known) = flow?;
        self.scanner.set_known(is_known);
        Ok(flow)
    }

    /// Answers a command with an error.
    #[cold]
    fn refuse(&mut self, id: Option<CommandId>, len: usize, refusal: Refusal, text: &[u8]) {
        self.cell.server.stats.on_rejected(refusal.reason);
        let mut state = self.cell.state.borrow_mut();
        let flight = Flight {
            command: id,
            started: clock::now(),
            bytes: len as u32,
            sampled: None,
            held: None,
        };
        state.machine.refuse(text, flight);
        self.cell.count(&mut state);
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
            act(&self.cell, &mut self.pins, self.asking, |machine, reach| {
                machine.settle(reach);
            });
        }
    }

    /// What the client said is no command: it is told so behind the replies that it is owed.
    #[cold]
    async fn protocol_error(&mut self, error: RequestError) -> &'static str {
        let reason = error.label();
        self.cell.server.stats.on_rejected(reason);
        let owed = self.wait(Need::Settled).await;
        // As Redis does with a browser that was made to send commands.
        let says_nothing = matches!(error, RequestError::CrossProtocol | RequestError::Truncated);
        if owed.is_ok() && !says_nothing {
            encoder::protocol_error(error, self.cell.state.borrow_mut().machine.out());
            self.part().await;
        }
        reason
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let left = act(&self.cell, &mut self.pins, self.asking, |machine, reach| {
            machine.leave(reach)
        });
        // Permits that filters hold for commands under way end with them.
        drop(left);
        self.cell.server.stats.on_end(self.reason);
    }
}
