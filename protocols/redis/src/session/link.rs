//! One connection to a server: commands of clients go out together, replies find their clients.
//!
//! Shared by many clients, or one client's own; the difference is only who puts commands in. One task reads and writes it.
//! Start at [`Link::push`] and [`run`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_net::{Stream, Timer, clock};
use smallvec::SmallVec;

use super::cell::Cell;
use super::followed::Followed;
use super::judge::{Aside, judge, look};
use super::members::Members;
pub(super) use super::pending::{Pending, Replay};
use super::receiver::Receiver;
use super::scripts::{self, Sent};
use super::shard::{Home, Of, Shard};
use super::spare;
use super::tally::Tally;
use crate::limits::ReplyLimits;
use crate::machine::{Delivery, Lost, PinId, Pipeline, Speaks};

/// Bytes that wait for a server before commands for it are refused.
const MOST_OUT: usize = 64 << 20;

/// Commands that wait for their replies before more are refused.
const MOST_PENDING: usize = 1 << 20;

/// How long in all a large reply may wait for its client to read: long for one that reads as fast as it can, and not for those
/// whose commands are behind it. Then it is read on, and `limits.output` counts.
const HELD: Duration = Duration::from_secs(2);

/// Room that is kept for the next replies.
const KEPT_INPUT: usize = 16 << 10;

/// Room that is kept for the next commands.
const KEPT: usize = 64 << 10;

/// A connection to a server, from before it is open until after it is closed.
pub(super) struct Link {
    state: RefCell<State>,
    speaks: Speaks,
    /// Where the server was found.
    home: Option<Home>,
}

/// Whether commands can go over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// They are written at once.
    Open,
    /// They wait until it is open.
    Opening,
    /// Not any more.
    Closed,
}

struct State {
    out: BytesMut,
    pipeline: Pipeline<Pending>,
    /// Commands may be written.
    is_open: bool,
    closed: Option<Lost>,
    /// Bytes of commands that may have to be sent again.
    kept: usize,
    /// To be closed when nothing is under way.
    is_retiring: bool,
    waker: Option<Waker>,
    /// Whose own it is.
    owner: Option<(Rc<Cell>, PinId)>,
    /// Scripts that it was given.
    scripts: Option<Box<Sent>>,
    /// The connection to another node that the owner's command went on over.
    successor: Option<Rc<Link>>,
    /// How long the server may say nothing. `None`: for ever.
    patience: Option<Duration>,
    /// When it last said something, or was first asked.
    since: Instant,
    /// The client that has yet to read of a large reply before more of it is read.
    behind: Option<Rc<Cell>>,
    /// Until when that may be waited for.
    held_until: Option<Instant>,
}

impl Link {
    /// A connection that is going to be opened.
    pub(super) fn new(patience: Option<Duration>, speaks: Speaks, home: Option<Home>) -> Rc<Self> {
        Rc::new(Self {
            speaks,
            home,
            state: RefCell::new(State {
                out: BytesMut::new(),
                pipeline: Pipeline::new(ReplyLimits::default()),
                is_open: false,
                closed: None,
                kept: 0,
                is_retiring: false,
                waker: None,
                owner: None,
                scripts: None,
                successor: None,
                patience,
                since: clock::now(),
                behind: None,
                held_until: None,
            }),
        })
    }

    /// Sends bytes; with `pending` they begin a command, or are a run of them.
    #[inline]
    pub(super) fn push(&self, wire: &[u8], mut pending: Option<Pending>) -> Result<(), Lost> {
        let mut state = self.state.borrow_mut();
        if let Some(lost) = state.closed {
            return Err(lost);
        }
        if state.out.len() + state.kept > MOST_OUT || state.pipeline.len() >= MOST_PENDING {
            return Err(Lost::Overflow);
        }
        let in_full = pending.as_mut().and_then(|pending| {
            pending.script.as_ref()?;
            let sent = state.scripts.get_or_insert_default();
            sent.prepare(pending, wire)
        });
        state
            .out
            .extend_from_slice(in_full.as_deref().unwrap_or(wire));
        if let Some(pending) = pending {
            if state.pipeline.is_empty() {
                state.since = clock::now();
                state.held_until = None;
            }
            state.kept += pending.kept();
            state.pipeline.expect(pending);
        }
        state.wake();
        Ok(())
    }

    /// Bytes that the server has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.state.borrow().out.len()
    }

    /// Whether commands can go over it.
    #[inline]
    pub(super) fn condition(&self) -> Condition {
        let state = self.state.borrow();
        match () {
            () if state.closed.is_some() || state.is_retiring => Condition::Closed,
            () if state.is_open => Condition::Open,
            () => Condition::Opening,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.condition() == Condition::Closed
    }

    /// Whether it is closed, and nothing that was put in waits any more.
    pub(super) fn is_over(&self) -> bool {
        self.state.borrow().closed.is_some()
    }

    /// Whether nothing is under way and it could be somebody else's.
    pub(super) fn is_clean(&self) -> bool {
        let state = self.state.borrow();
        let is_idle = state.pipeline.is_empty() && state.out.is_empty();
        is_idle && state.closed.is_none() && state.is_open && state.successor.is_none()
    }

    /// What it was brought to.
    pub(super) const fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// Where its server was found, if it was.
    pub(super) const fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    /// The server that it leads to, if that was found.
    pub(super) fn node(&self) -> Option<Rc<Shard>> {
        self.home.as_ref()?.node.upgrade()
    }

    /// The Redis Cluster that it leads into.
    pub(super) fn members(&self) -> Option<Rc<Members>> {
        match &self.home.as_ref()?.of {
            Of::Cluster(members) => members.upgrade(),
            Of::Sentinels(_) => None,
        }
    }

    /// What sentinels watch over that it leads into.
    pub(super) fn followed(&self) -> Option<Rc<Followed>> {
        match &self.home.as_ref()?.of {
            Of::Sentinels(followed) => followed.upgrade(),
            Of::Cluster(_) => None,
        }
    }

    /// Whether it leads into a Redis Cluster.
    pub(super) const fn is_clustered(&self) -> bool {
        matches!(
            &self.home,
            Some(Home {
                of: Of::Cluster(_),
                ..
            })
        )
    }

    /// Opens the connection that its owner's command goes on over, and that ends with this one.
    pub(super) fn succeed(
        &self,
        open: impl FnOnce(Option<Duration>) -> Result<Rc<Self>, Lost>,
    ) -> Result<Rc<Self>, Lost> {
        let mut state = self.state.borrow_mut();
        let owner = state.owner.clone().ok_or(Lost::Closed)?;
        let next = open(state.patience)?;
        next.set_owner(Some(owner));
        state.successor = Some(Rc::clone(&next));
        Ok(next)
    }

    /// Replies that nobody asked for are what the owner wants to hear.
    pub(super) fn listen(&self) {
        self.state.borrow_mut().pipeline.listen();
    }

    /// Makes it one client's own, or nobody's.
    pub(super) fn set_owner(&self, owner: Option<(Rc<Cell>, PinId)>) {
        self.state.borrow_mut().owner = owner;
    }

    /// How long the server may say nothing from now on.
    pub(super) fn set_patience(&self, patience: Option<Duration>) {
        let mut state = self.state.borrow_mut();
        state.patience = patience;
        state.wake();
    }

    /// Closes it at once. Whoever waits is told.
    pub(super) fn close(&self, lost: Lost) {
        let pending = {
            let mut state = self.state.borrow_mut();
            state.closed.get_or_insert(lost);
            state.out = BytesMut::new();
            state.wake();
            let owner = state.owner.take();
            (state.pipeline.take_pending(), owner, state.is_open)
        };
        let (pending, owner, was_open) = pending;
        let mut dirty: SmallVec<[Receiver; 8]> = SmallVec::new();
        for pending in pending {
            let Err(pending) = pending.ask_again(lost.label(), self.speaks) else {
                continue;
            };
            let pending = match pending {
                // Nothing was sent.
                pending if !was_open => match pending.go_elsewhere(self.speaks) {
                    Ok(()) => continue,
                    Err(pending) => pending,
                },
                pending => pending,
            };
            pending.tell(lost);
            note(&mut dirty, pending.client);
        }
        if let Some((client, pin)) = owner {
            client.on_pin_lost(pin);
        }
        dirty.iter().for_each(Receiver::flush);
    }

    /// Whether no more is read for now, because a client has much of a large reply to read. Who comes from then on has another
    /// connection: this one is retired.
    #[inline]
    fn is_held_back(&self, task: &Context<'_>) -> bool {
        self.state.borrow_mut().holds_back(task)
    }

    /// Closes it at once; nobody is told, since whoever waited is gone.
    pub(super) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.closed.get_or_insert(Lost::Closed);
        state.out = BytesMut::new();
        state.owner = None;
        drop(state.pipeline.take_pending());
        state.wake();
        let successor = state.successor.take();
        drop(state);
        if let Some(successor) = successor {
            successor.abandon();
        }
    }

    /// Closes it when nothing is under way any more.
    pub(super) fn retire(&self) {
        let mut state = self.state.borrow_mut();
        state.is_retiring = true;
        state.wake();
    }
}

impl State {
    #[inline]
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Looks whether the client that a large reply is for has read enough, or was waited for long enough.
    fn holds_back(&mut self, task: &Context<'_>) -> bool {
        let Some(client) = self.behind.take() else {
            return false;
        };
        let now = clock::now();
        let was_held = self.held_until.is_some();
        if client.is_behind(task.waker()) {
            let until = *self.held_until.get_or_insert(now + HELD);
            if now < until && self.closed.is_none() {
                self.behind = Some(client);
                self.is_retiring |= self.owner.is_none();
                return true;
            }
        }
        if was_held {
            self.since = now;
        }
        false
    }

    /// When the server will have said nothing for too long.
    fn deadline(&self, idle: Option<Duration>) -> Option<Instant> {
        let patience = match &self.owner {
            _ if !self.pipeline.is_empty() => self.patience,
            None => idle,
            // It is the client's for as long as the client is there.
            Some(_) => None,
        };
        self.since.checked_add(patience?)
    }
}

/// Remembers a client that has something to send, once in a row.
#[inline]
fn note(dirty: &mut SmallVec<[Receiver; 8]>, client: Receiver) {
    if !dirty.last().is_some_and(|last| last.is(&client)) {
        dirty.push(client);
    }
}

/// Reads and writes an open connection until it ends, for the reason that is returned.
pub(super) async fn run(link: &Rc<Link>, stream: &mut Stream, idle: Option<Duration>) -> Lost {
    {
        let mut state = link.state.borrow_mut();
        state.is_open = true;
        state.since = clock::now();
    }
    let mut input = BytesMut::new();
    let mut timer = Timer::new();
    poll_fn(|task| poll(link, stream, &mut input, &mut timer, idle, task)).await
}

fn poll(
    link: &Rc<Link>,
    stream: &mut Stream,
    input: &mut BytesMut,
    timer: &mut Timer,
    idle: Option<Duration>,
    task: &mut Context<'_>,
) -> Poll<Lost> {
    loop {
        if let Some(lost) = write(link, stream, task) {
            return Poll::Ready(lost);
        }
        if link.is_held_back(task) {
            break;
        }
        match stream.poll_read(task, input) {
            Poll::Ready(Ok(1..)) => {
                if let Some(lost) = deliver(link, input) {
                    return Poll::Ready(lost);
                }
                if input.is_empty() && input.capacity() > KEPT_INPUT {
                    // The worker's own, which the next read may use again.
                    *input = BytesMut::new();
                }
            }
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Lost::Closed),
            Poll::Pending => break,
        }
    }
    let mut state = link.state.borrow_mut();
    if let Some(lost) = state.closed {
        return Poll::Ready(lost);
    }
    if state.is_retiring && state.pipeline.is_empty() && state.out.is_empty() {
        return Poll::Ready(Lost::Closed);
    }
    if !state.out.is_empty() && state.waker.is_none() {
        // Pushed while replies were handed out: there is more to write.
        task.waker().wake_by_ref();
    }
    let held = state.held_until.filter(|_| state.behind.is_some());
    let deadline = held.or_else(|| state.deadline(idle));
    if timer.poll_expired(task, deadline).is_ready() {
        if held.is_some() {
            // It is read on, whatever the client does.
            state.behind = None;
            state.since = clock::now();
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let lost = if state.pipeline.is_empty() {
            Lost::Closed
        } else {
            Lost::Timeout
        };
        return Poll::Ready(lost);
    }
    if !state
        .waker
        .as_ref()
        .is_some_and(|waker| waker.will_wake(task.waker()))
    {
        state.waker = Some(task.waker().clone());
    }
    Poll::Pending
}

/// Writes what clients have put in since the last turn, in one.
fn write(link: &Link, stream: &mut Stream, task: &mut Context<'_>) -> Option<Lost> {
    let mut state = link.state.borrow_mut();
    let state = &mut *state;
    while !state.out.is_empty() {
        match stream.poll_write(task, &state.out) {
            Poll::Ready(Ok(0) | Err(_)) => return Some(Lost::Closed),
            Poll::Ready(Ok(count)) => spare::advance(&mut state.out, count),
            Poll::Pending => break,
        }
    }
    if state.out.is_empty() && state.out.capacity() > KEPT {
        state.out = BytesMut::new();
    }
    if let Some((owner, _)) = &state.owner
        && state.out.len() < super::client::STREAMED
    {
        // It may wait to send the rest of a large command.
        owner.wake_streaming();
    }
    None
}

/// Hands out the replies that are here, and sends them to their clients.
fn deliver(link: &Rc<Link>, input: &mut BytesMut) -> Option<Lost> {
    let mut dirty: SmallVec<[Receiver; 8]> = SmallVec::new();
    let mut aside = Aside::default();
    let mut lacking = Vec::new();
    let now = clock::now();
    let mut tally = Tally::new(now);
    let result = {
        let mut state = link.state.borrow_mut();
        let state = &mut *state;
        state.since = now;
        let owner = state.owner.as_ref();
        state.pipeline.on_bytes(input, |delivery| match delivery {
            Delivery::Last(pending, piece) => {
                let pending = if link.home.is_none() && pending.replay.is_none() {
                    Some(pending)
                } else {
                    state.kept = state.kept.saturating_sub(pending.kept());
                    judge(link.home.as_ref(), pending, link.speaks, piece, &mut aside)
                };
                let pending = pending.and_then(|pending| {
                    scripts::judge(pending, piece, &mut state.scripts, &mut lacking)
                });
                if let Some(Pending { client, ticket, .. }) = pending {
                    client.on_piece(ticket, piece);
                    note(&mut dirty, client);
                }
            }
            Delivery::Run(Pending { client, ticket, .. }, replies, bytes) => {
                client.on_run(*ticket, replies, bytes, &mut tally);
                if !dirty.last().is_some_and(|last| last.is(client)) {
                    dirty.push(client.clone());
                }
            }
            Delivery::Part(pending, piece) => {
                let Pending {
                    client,
                    ticket,
                    replay,
                    ..
                } = pending;
                if let Some(replay) = replay {
                    replay.is_begun.set(true);
                }
                client.on_piece(*ticket, piece);
                if let Receiver::Client(cell) = client {
                    state.behind = Some(Rc::clone(cell));
                }
                note(&mut dirty, client.clone());
            }
            Delivery::Push(piece) => {
                look(link.home.as_ref(), piece);
                if let Some((client, pin)) = owner {
                    client.on_push(*pin, piece);
                    note(&mut dirty, Receiver::Client(Rc::clone(client)));
                }
            }
        })
    };
    tally.finish();
    dirty.iter().for_each(Receiver::flush);
    aside.send_on(link);
    if !lacking.is_empty() {
        scripts::send_again(link, lacking);
    }
    match result {
        Ok(()) => None,
        Err(error) => {
            tracing::warn!(reason = error.label(), "a Redis server does not speak RESP");
            Some(Lost::Protocol)
        }
    }
}
