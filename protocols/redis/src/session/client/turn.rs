//! One turn of a client's task: what is to be written, what is to be read, and until when.
//!
//! Start at [`Session::wait`].

use std::future::poll_fn;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_filter::Connection;
use portcullis_net::clock;

use super::{Rest, STREAMED, Session};
use crate::session::cell::{Need, State};
use crate::session::server::RedisServer;
use crate::session::spare;

/// How long a client that is closed may take to read what it was told.
const LINGER: Duration = Duration::from_secs(2);

/// How often a client is read from in one turn of its task.
const READS: u8 = 64;

impl Session {
    /// Sends what is left, and gives the client a while to read it: closing with its bytes unread would destroy what is on
    /// its way.
    pub(super) async fn part(&mut self) {
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
    pub(super) async fn wait(&mut self, need: Need) -> Result<(), &'static str> {
        poll_fn(|task| {
            if !self.renew() {
                return Poll::Ready(Err("rights_revoked"));
            }
            self.send_turned();
            self.read_mailbox(task.waker());
            self.poll(need, task)
        })
        .await
    }

    /// Takes up what a reload has changed of what the client may do. False: it may not stay.
    #[inline]
    fn renew(&mut self) -> bool {
        let mut state = self.cell.state.borrow_mut();
        if self.cell.server.rights.is_policy(state.machine.policy()) {
            return true;
        }
        // What was known of commands was so by the rules of before.
        self.known = None;
        self.renewals = self.renewals.wrapping_add(1);
        let may_stay = state.renew(&self.cell.server);
        self.scanner.set_known(state.machine.is_known());
        may_stay
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
        let is_met = match need {
            Need::Drained => match self.rest {
                Rest::Sent(pin) => {
                    let link = self.pins.find(pin);
                    link.is_none_or(|link| link.unsent() <= STREAMED)
                }
                Rest::Dropped => true,
            },
            Need::Nodes => !self.cell.server.is_awaiting_nodes(),
            _ => state.has(need, &self.cell.server),
        };
        if is_met {
            return Poll::Ready(Ok(()));
        }
        // Whoever takes no replies gets no more of them.
        let is_behind = state.machine.out().len() > STREAMED;
        while self.input.len() <= STREAMED && !is_behind && !self.has_ended {
            if self.input.capacity() == 0 {
                self.input = spare::take();
            }
            if self.reads == READS {
                // Who sends without end lets others have their turn.
                task.waker().wake_by_ref();
                break;
            }
            let stream = &mut state.stream;
            match stream.poll_read_again(task, &mut self.input, usize::MAX, &mut self.waits) {
                Poll::Ready(Ok(0)) => {
                    self.has_ended = true;
                    if need == Need::Input {
                        return Poll::Ready(Ok(()));
                    }
                    break;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err("downstream_io")),
                Poll::Ready(Ok(_)) => {
                    self.reads += 1;
                    self.heard = clock::now();
                    if need == Need::Input {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending => break,
            }
        }
        if self.has_ended && state.machine.awaits_others() {
            // Nobody may be there any more, and what it would be given is others'.
            return Poll::Ready(Err("closed"));
        }
        if self.input.is_empty() {
            spare::put(&mut self.input);
        }
        self.reads = 0;
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

/// Writes what there is for the client, which mostly is nothing: links write replies.
#[inline]
fn poll_write(state: &mut State, task: &mut Task<'_>) -> Result<(), ()> {
    if state.machine.out().capacity() == 0 {
        return Ok(());
    }
    poll_write_out(state, task)
}

fn poll_write_out(state: &mut State, task: &mut Task<'_>) -> Result<(), ()> {
    while !state.machine.out().is_empty() {
        match state.stream.poll_write(task, state.machine.out()) {
            Poll::Ready(Ok(0) | Err(_)) => return Err(()),
            Poll::Ready(Ok(count)) => spare::advance(state.machine.out(), count),
            Poll::Pending => return Ok(()),
        }
    }
    state.trim();
    Ok(())
}
