//! A client's task: its commands are taken in, pass the filters, and are carried out.
//!
//! Replies are mostly written by the links that read them (see [`super::cell`]); this task writes what is left, and waits for
//! what the machine has to wait for. Start at [`serve`].

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf as _, BytesMut};
use portcullis_codec::{Decoder as _, WireError as _};
use portcullis_filter::{Connection, Context, Interest, RejectionKind, Stop};
use portcullis_net::drain::DrainListener;
use portcullis_net::{ConnectionGuard, Downstream, SessionTimer, Timer, clock};

use super::cell::{Cell, Flight, Held, Need, State};
use super::reach::{Pins, Reach};
use super::server::RedisServer;
use crate::chain::{CommandRequest, Record, RedisMessages};
use crate::command::CommandId;
use crate::encoder;
use crate::error::RequestError;
use crate::machine::{Call, Client, Flow, Front, PinId, Refusal};
use crate::request::{CommandFrame, CommandScanner, Request, RequestDecoder};

/// Bytes of a large command that may wait for the server before more are read.
pub(super) const STREAMED: usize = 256 << 10;

/// How long a client that is closed may take to read what it was told.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one client until it is gone.
pub(super) async fn serve(server: Rc<RedisServer>, downstream: Downstream) {
    let mut session = Session::new(server, downstream);
    let reason = session.converse().await;
    session.reason = reason;
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
    address: IpAddr,
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
            address: cx.client_ip,
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
        loop {
            let frame = match self.scanner.next(&self.input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(Flow::Next),
                Err(error) => return Err(self.protocol_error(error).await),
            };
            let flow = match frame {
                CommandFrame::Whole { len } => self.whole(len).await?,
                CommandFrame::Begin { len, declared, .. } => self.begin(len, declared).await?,
                CommandFrame::More { len, last } => self.more(len, last).await?,
                CommandFrame::Inline { len } => self.inline(len).await?,
                CommandFrame::Blank { .. } => Flow::Next,
            };
            if !matches!(frame, CommandFrame::Inline { .. }) {
                self.input.advance(frame.len());
            }
            if flow == Flow::Close {
                return Ok(flow);
            }
        }
    }

    /// A whole command at the front of the buffer.
    async fn whole(&mut self, len: usize) -> Result<Flow, &'static str> {
        self.room().await?;
        let wire = self.input.get(..len).unwrap_or_default();
        let command = self.scanner.command(wire);
        let server = Rc::clone(&self.cell.server);
        let admitted = self.cell.state.borrow().machine.admit(&command);
        let id = match admitted {
            Ok(id) => id,
            Err((refusal, text)) => {
                let id = CommandId::resolve(&command).ok();
                self.refuse(id, len, refusal, &text);
                return Ok(Flow::Next);
            }
        };
        let mut flight = Flight {
            command: Some(id),
            started: clock::now(),
            bytes: len as u32,
            held: None,
        };
        if !server.chain.is_empty() {
            match self.filter(id, len).await? {
                Ok(held) => flight.held = held,
                Err((refusal, text)) => {
                    self.refuse(Some(id), len, refusal, &text);
                    return Ok(Flow::Next);
                }
            }
        }
        loop {
            match self.execute(id, len, flight) {
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
    fn execute(&mut self, id: CommandId, len: usize, flight: Flight) -> Result<Flow, Flight> {
        let wire = self.input.get(..len).unwrap_or_default();
        let call = Call {
            id,
            command: self.scanner.command(wire),
        };
        let mut state = self.cell.state.borrow_mut();
        let state = &mut *state;
        let user = state.machine.user_name().clone();
        let mut reach = Reach {
            cell: &self.cell,
            pins: &mut self.pins,
            client: self.connection.id,
            address: self.address,
            user: &user,
            database: state.machine.database(),
        };
        let flow = state.machine.execute(call, flight, &mut reach)?;
        self.cell.count(state);
        self.scanner.set_known(state.machine.is_known());
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
            held: None,
        };
        state.machine.refuse(text, flight);
        self.cell.count(&mut state);
    }

    /// Asks the filters. What they hold until the command is over, or the refusal.
    async fn filter(
        &mut self,
        id: CommandId,
        len: usize,
    ) -> Result<Result<Option<Box<Held>>, (Refusal, Vec<u8>)>, &'static str> {
        let server = Rc::clone(&self.cell.server);
        let wire = self.input.get(..len).unwrap_or_default();
        let (user, database) = {
            let state = self.cell.state.borrow();
            (state.machine.user_name().clone(), state.machine.database())
        };
        let command = self.scanner.command(wire);
        let arguments = command.len();
        let mut request = CommandRequest::new(id, command, &user, database);
        let mut cx = Context::new(Rc::clone(&self.connection), clock::now());
        cx.route = self.route(&request);
        let asked = server
            .chain
            .on_request(&mut request, &mut cx, &SessionTimer);
        let stop = asked.await.err();
        let wants_record = server.chain.interest().includes(Interest::COMPLETE);
        let record = Record {
            started_at: if wants_record {
                clock::wall()
            } else {
                SystemTime::UNIX_EPOCH
            },
            started: cx.now,
            duration: Duration::ZERO,
            command: Some(id),
            arguments,
            user,
            database,
            bytes_up: len as u64,
            bytes_down: 0,
            error: None,
            reason: None,
        };
        let Some(stop) = stop else {
            return Ok(Ok(Some(Box::new(Held { cx, record }))));
        };
        let (reason, text) = words(stop).ok_or("filter_closed")?;
        if wants_record {
            let record = Record {
                reason: Some(reason),
                ..record
            };
            server.chain.on_complete(&record, &cx);
        }
        Ok(Err((Refusal { reason }, text)))
    }

    /// The name of the rule that takes the command's first key.
    fn route(&self, request: &CommandRequest) -> Option<std::sync::Arc<str>> {
        let asked = crate::route::Asked {
            command: request.command,
            key: request.keys().next(),
            database: request.database,
            user: &request.user,
            address: self.address,
        };
        let mut rules = self.cell.server.rules.iter();
        rules
            .find(|rule| rule.condition.takes(&asked))?
            .name
            .clone()
    }

    /// A command begins that is too large to be held.
    async fn begin(&mut self, len: usize, declared: u32) -> Result<Flow, &'static str> {
        self.rest = Rest::Dropped;
        let wire = self.input.get(..len).unwrap_or_default();
        let command = self.scanner.command(wire);
        let front = Front {
            command,
            declared: declared as usize,
        };
        let admitted = self.cell.state.borrow().machine.admit(&front);
        let id = match admitted {
            Ok(id) => id,
            Err((refusal, text)) => {
                let id = CommandId::resolve(&command).ok();
                self.refuse(id, len, refusal, &text);
                return Ok(Flow::Next);
            }
        };
        let mut held = None;
        if !self.cell.server.chain.is_empty() {
            match self.filter(id, len).await? {
                Ok(kept) => held = kept,
                Err((refusal, text)) => {
                    self.refuse(Some(id), len, refusal, &text);
                    return Ok(Flow::Next);
                }
            }
        }
        let mut flight = Flight {
            command: Some(id),
            started: clock::now(),
            bytes: len as u32,
            held,
        };
        loop {
            match self.execute_large(id, len, declared, flight) {
                Ok(pin) => {
                    self.rest = pin.map_or(Rest::Dropped, Rest::Sent);
                    return Ok(Flow::Next);
                }
                Err(back) => flight = back,
            }
            self.wait(Need::Settled).await?;
        }
    }

    fn execute_large(
        &mut self,
        id: CommandId,
        len: usize,
        declared: u32,
        flight: Flight,
    ) -> Result<Option<PinId>, Flight> {
        let wire = self.input.get(..len).unwrap_or_default();
        let call = Call {
            id,
            command: self.scanner.command(wire),
        };
        let mut state = self.cell.state.borrow_mut();
        let state = &mut *state;
        let user = state.machine.user_name().clone();
        let mut reach = Reach {
            cell: &self.cell,
            pins: &mut self.pins,
            client: self.connection.id,
            address: self.address,
            user: &user,
            database: state.machine.database(),
        };
        let pin = state
            .machine
            .begin_large(call, declared, flight, &mut reach)?;
        self.cell.count(state);
        Ok(pin)
    }

    /// More of a large command.
    async fn more(&mut self, len: usize, last: bool) -> Result<Flow, &'static str> {
        let Rest::Sent(pin) = self.rest else {
            return Ok(Flow::Next);
        };
        let Some(link) = self.pins.find(pin).cloned() else {
            self.rest = Rest::Dropped;
            return Ok(Flow::Next);
        };
        while link.unsent() > STREAMED {
            self.wait(Need::Drained).await?;
        }
        let bytes = self.input.get(..len).unwrap_or_default();
        // If the connection is gone, the client has its error already.
        if link.push(bytes, None).is_err() {
            self.rest = Rest::Dropped;
        } else if last {
            self.rest = Rest::Dropped;
            self.cell.state.borrow_mut().machine.end_large(pin);
        }
        Ok(Flow::Next)
    }

    /// A line of words: it becomes a command, which takes its place in the buffer.
    async fn inline(&mut self, len: usize) -> Result<Flow, &'static str> {
        let mut decoder = RequestDecoder::new(self.cell.server.config.limits.request());
        decoder.set_known(self.cell.state.borrow().machine.is_known());
        let mut line = self.input.split_to(len);
        let command = match decoder.decode(&mut line) {
            Ok(Some(Request::Command(command))) => command,
            Ok(_) => return Ok(Flow::Next),
            Err(error) => return Err(self.protocol_error(error).await),
        };
        let rest = std::mem::take(&mut self.input);
        self.input.extend_from_slice(command.wire());
        self.input.extend_from_slice(&rest);
        Ok(Flow::Next)
    }

    /// Gives back what the machine needs no more.
    fn settle(&mut self) {
        let mut state = self.cell.state.borrow_mut();
        let state = &mut *state;
        if state.machine.wants_settling() {
            let mut reach = Reach {
                cell: &self.cell,
                pins: &mut self.pins,
                client: self.connection.id,
                address: self.address,
                user: b"",
                database: 0,
            };
            state.machine.settle(&mut reach);
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

    /// Sends what is left, and gives the client a while to read it: closing with its bytes unread would destroy what is on
    /// its way.
    async fn part(&mut self) {
        let deadline = clock::now().checked_add(LINGER);
        let mut is_said = false;
        let mut unread = BytesMut::new();
        poll_fn(|task| {
            let mut state = self.cell.state.borrow_mut();
            let state = &mut *state;
            if poll_write(state, task).is_err() {
                return Poll::Ready(());
            }
            if !state.machine.out().is_empty() {
                return self.timer.poll_expired(task, deadline);
            }
            if !is_said {
                match state.stream.poll_shutdown(task) {
                    Poll::Ready(Ok(())) => is_said = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll_expired(task, deadline),
                }
            }
            loop {
                unread.clear();
                match state.stream.poll_read(task, &mut unread) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll_expired(task, deadline),
                }
            }
        })
        .await;
    }

    /// Waits for what is needed, reading and writing meanwhile. The error is why the client is gone.
    async fn wait(&mut self, need: Need) -> Result<(), &'static str> {
        poll_fn(|task| self.poll(need, task)).await
    }

    fn poll(&mut self, need: Need, task: &mut Task<'_>) -> Poll<Result<(), &'static str>> {
        let mut state = self.cell.state.borrow_mut();
        let state = &mut *state;
        if let Some(reason) = state.ended {
            return Poll::Ready(Err(reason));
        }
        if poll_write(state, task).is_err() {
            return Poll::Ready(Err("downstream_io"));
        }
        let limits = &self.cell.server.config.limits;
        let is_met = match need {
            Need::Input => state.machine.wants_settling(),
            Need::Settled => state.machine.is_settled(),
            Need::Capacity => state.machine.owed() < limits.pipeline.get() as usize,
            Need::Drained => match self.rest {
                Rest::Sent(pin) => {
                    let link = self.pins.find(pin);
                    link.is_none_or(|link| link.unsent() <= STREAMED)
                }
                Rest::Dropped => true,
            },
        };
        if is_met {
            return Poll::Ready(Ok(()));
        }
        // Whoever takes no replies gets no more of them.
        let is_behind = state.machine.out().len() > STREAMED;
        while self.input.len() <= STREAMED && !is_behind {
            match state.stream.poll_read(task, &mut self.input) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err("closed")),
                Poll::Ready(Err(_)) => return Poll::Ready(Err("downstream_io")),
                Poll::Ready(Ok(_)) => {
                    self.heard = clock::now();
                    if need == Need::Input {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending => break,
            }
        }
        state.need = need;
        if !state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(task.waker()))
        {
            state.waker = Some(task.waker().clone());
        }
        let deadline = deadline(&self.cell.server, state, self.heard, &self.connection);
        if let Some((at, reason)) = deadline
            && self.timer.poll_expired(task, Some(at)).is_ready()
        {
            self.cell.server.stats.on_rejected(reason);
            return Poll::Ready(Err(reason));
        }
        let is_between = need == Need::Input && state.machine.is_between_commands();
        if self.drain.poll_draining(task).is_ready() && is_between && self.input.is_empty() {
            let random = self.connection.id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let at = self.cell.server.drain.close_at(random);
            if self.timer.poll_expired(task, at).is_ready() {
                return Poll::Ready(Err("drained"));
            }
        }
        Poll::Pending
    }
}

/// Until when a client has to say something.
fn deadline(
    server: &RedisServer,
    state: &State,
    heard: Instant,
    connection: &Connection,
) -> Option<(Instant, &'static str)> {
    let timeouts = &server.config.timeouts;
    if !state.machine.is_known() {
        let at = connection
            .accepted_at
            .checked_add(timeouts.authentication.get()?)?;
        return Some((at, "authentication_timeout"));
    }
    if state.machine.owed() > 0 || state.machine.is_subscribed() {
        return None;
    }
    let at = heard.checked_add(timeouts.idle.get()?)?;
    Some((at, "idle_timeout"))
}

/// Writes what there is for the client.
fn poll_write(state: &mut State, task: &mut Task<'_>) -> Result<(), ()> {
    while !state.machine.out().is_empty() {
        match state.stream.poll_write(task, state.machine.out()) {
            Poll::Ready(Ok(0) | Err(_)) => return Err(()),
            Poll::Ready(Ok(count)) => state.machine.out().advance(count),
            Poll::Pending => return Ok(()),
        }
    }
    state.trim();
    Ok(())
}

/// A refusal in Redis's words. `None`: the connection is to be closed without one.
fn words(stop: Stop<RedisMessages>) -> Option<(&'static str, Vec<u8>)> {
    let rejection = match stop {
        Stop::Reply(text) => return Some(("fault", text.0.into_bytes())),
        Stop::Close(_) => return None,
        Stop::Reject(rejection) => rejection,
    };
    let text = match rejection.kind {
        RejectionKind::Denied => "ERR command is not allowed by the gateway".to_owned(),
        RejectionKind::RateLimited { retry_after, .. } => {
            let seconds = retry_after.as_secs_f64();
            format!("ERR rate limit exceeded, try again in {seconds:.3} seconds")
        }
        RejectionKind::Overloaded => "ERR too many commands under way, try again later".to_owned(),
    };
    Some((rejection.reason, text.into_bytes()))
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.cell.state.borrow_mut();
        let user = state.machine.user_name().clone();
        let mut reach = Reach {
            cell: &self.cell,
            pins: &mut self.pins,
            client: self.connection.id,
            address: self.address,
            user: &user,
            database: 0,
        };
        let left = state.machine.leave(&mut reach);
        // Permits that filters hold for commands under way end with them.
        drop(left);
        self.cell.server.stats.on_end(self.reason);
    }
}
