//! Moving bytes: between the client and the server connection that it has, until the conversation wants something else.
//!
//! One task carries both directions, so that a query costs no wake-up but those of its two sockets. Whatever one side does not
//! take holds the other back. Start at [`Session::pump`].

use std::future::poll_fn;
use std::io;
use std::task::{Context as Task, Poll};

use bytes::{Buf as _, BytesMut};
use portcullis_filter::Interest;
use portcullis_net::Stream;
use portcullis_net::drain::DrainListener;

use super::connection::Lost;
use super::run::{Ended, Session};
use crate::machine::Event;
use crate::reject::ErrorReply;
use crate::request::ResultPiece;

/// Bytes towards one side that are waited for before more are read from the other.
const HIGH: usize = 64 * 1024;

/// Bytes that are read at once.
const MOST: usize = 80 * 1024;

/// Reads before other sessions get their turn.
const READS: usize = 16;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Bytes from the client.
    Input,
    /// Replies from the server.
    Replies,
    /// Everything that is for the client has been sent.
    Flushed,
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// What was waited for.
    It,
    /// The client's parameters are due again.
    Reapply,
    /// The server connection cannot go on.
    Lost(Lost),
    /// A time has passed.
    Deadline,
}

impl Session {
    /// Moves bytes until what is waited for has come.
    pub(super) async fn pump(
        &mut self,
        until: Until,
        draining: &mut DrainListener,
    ) -> Result<Came, Ended> {
        poll_fn(|task| {
            let polled = self.poll_pump(task, until);
            // The signal is told once whom to wake: one task serves a client for all its life.
            if polled.is_pending()
                && (!self.listens || self.server.drain.is_draining())
                && draining.poll_draining(task).is_ready()
                && let Some(ended) = self.on_draining(task)
            {
                return Poll::Ready(Err(ended));
            }
            self.listens |= polled.is_pending();
            polled
        })
        .await
    }

    fn poll_pump(&mut self, task: &mut Task<'_>, until: Until) -> Poll<Result<Came, Ended>> {
        let mut reads = 0;
        loop {
            if self.has_unsent()
                && let Err(ended) = self.flush(task)
            {
                return Poll::Ready(match ended {
                    Broken::Client => Err(Ended::ClientGone),
                    Broken::Server => Ok(Came::Lost(Lost::Gone)),
                });
            }
            if until == Until::Flushed && self.output.is_empty() {
                return Poll::Ready(Ok(Came::It));
            }
            let moved = match self.poll_server(task) {
                Poll::Ready(Ok(Some(came))) => return Poll::Ready(Ok(came)),
                // What came is sent on with the next call at the latest.
                Poll::Ready(Ok(None)) if until == Until::Replies => {
                    return Poll::Ready(Ok(Came::It));
                }
                Poll::Ready(Ok(None)) => true,
                Poll::Ready(Err(lost)) => return Poll::Ready(Ok(Came::Lost(lost))),
                Poll::Pending => false,
            };
            reads += usize::from(moved);
            if moved && reads < READS {
                // The client's turn comes when the server has nothing more, or has had its share.
                continue;
            }
            if until == Until::Input {
                match self.poll_client(task) {
                    Poll::Ready(Ok(())) => {
                        return Poll::Ready(Ok(Came::It));
                    }
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                    Poll::Pending => {}
                }
            }
            if moved {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.is_killed() {
                return Poll::Ready(Ok(Came::Deadline));
            }
            let deadline = self.deadline();
            return self
                .timer
                .poll_expired(task, deadline)
                .map(|()| Ok(Came::Deadline));
        }
    }

    /// Reads from the server and hands on what it says. `None`: something was moved.
    fn poll_server(&mut self, task: &mut Task<'_>) -> Poll<Result<Option<Came>, Lost>> {
        if self.output.len() >= HIGH {
            return Poll::Pending;
        }
        let Some(lease) = &mut self.lease else {
            return Poll::Pending;
        };
        let connection = &mut lease.held.connection;
        let (stream, input) = (&mut connection.stream, &mut connection.input);
        match stream.poll_read_again(task, input, MOST, &mut connection.waits) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Lost::Gone)),
            Poll::Ready(Ok(_)) => {}
        }
        self.on_server_bytes()
    }

    /// Shows the relay what the server has sent.
    fn on_server_bytes(&mut self) -> Poll<Result<Option<Came>, Lost>> {
        loop {
            let Some(lease) = &mut self.lease else {
                return Poll::Ready(Ok(None));
            };
            let connection = &mut lease.held.connection;
            let chain = &self.server.chain;
            let cx = &mut self.cx;
            let stats = &self.server.stats;
            let mut judge = |mut piece: ResultPiece| {
                let stop = chain.hold_response_data(&mut piece, false, cx).err()?;
                let reply = ErrorReply::of(stop)?;
                stats.on_rejected(reply.reason);
                Some(super::error_message(&reply))
            };
            let judges = chain.interest().includes(Interest::RESPONSE_DATA);
            let event = self.relay.handle_server(
                &mut connection.input,
                &mut connection.link,
                &mut self.output,
                judges.then_some(&mut judge),
            );
            connection.follow_parameters(&mut self.told);
            if self.relay.take_cut() {
                self.cancel_statement();
            }
            self.settle_done();
            match event {
                Err(error) => {
                    self.server.stats.on_server_error(error.label());
                    return Poll::Ready(Err(Lost::Protocol(error.label())));
                }
                Ok(Event::Nothing) => {
                    connection_shrink(&mut self.lease);
                    return Poll::Ready(Ok(None));
                }
                Ok(Event::Reapply) => return Poll::Ready(Ok(Some(Came::Reapply))),
                Ok(Event::Ready) => {
                    self.on_quiet();
                    let more = self
                        .lease
                        .as_ref()
                        .is_some_and(|lease| !lease.held.connection.input.is_empty());
                    if !more {
                        return Poll::Ready(Ok(None));
                    }
                }
            }
        }
    }

    fn poll_client(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Ended>> {
        let waiting = self.lease.as_ref().map_or(0, |lease| lease.upstream.len());
        if waiting >= HIGH {
            return Poll::Pending;
        }
        let (stream, input) = (&mut self.stream, &mut self.input);
        match stream.poll_read_again(task, input, MOST, &mut self.waits) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(Ended::ClientGone)),
            Poll::Ready(Ok(count)) => {
                self.pace.on_bytes(count);
                self.server.stats.on_bytes_from_client(count as u64);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether there is anything to send.
    fn has_unsent(&self) -> bool {
        let lease = self.lease.as_ref();
        !self.output.is_empty() || lease.is_some_and(|lease| !lease.upstream.is_empty())
    }

    /// Sends what there is, as far as both sides take it now.
    fn flush(&mut self, task: &mut Task<'_>) -> Result<(), Broken> {
        if !self.output.is_empty() {
            let sent =
                write(&mut self.stream, task, &mut self.output).map_err(|_| Broken::Client)?;
            self.server.stats.on_bytes_to_client(sent);
            self.pace.on_sent(sent, self.output.len());
        }
        if let Some(lease) = &mut self.lease
            && !lease.upstream.is_empty()
        {
            let stream = &mut lease.held.connection.stream;
            let sent = write(stream, task, &mut lease.upstream).map_err(|_| Broken::Server)?;
            lease.served.received += sent;
        }
        Ok(())
    }
}

/// Which side does not take bytes any more.
enum Broken {
    Client,
    Server,
}

fn connection_shrink(lease: &mut Option<super::run::Lease>) {
    if let Some(lease) = lease {
        lease.held.connection.shrink();
    }
}

/// Writes as much as the kernel takes; how much that was.
fn write(stream: &mut Stream, task: &mut Task<'_>, buffer: &mut BytesMut) -> io::Result<u64> {
    let mut sent = 0;
    while !buffer.is_empty() {
        match stream.poll_write(task, buffer) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) if count >= buffer.len() => {
                // The memory is not needed until there is something again.
                *buffer = BytesMut::new();
                return Ok(sent + count as u64);
            }
            Poll::Ready(Ok(count)) => {
                sent += count as u64;
                buffer.advance(count);
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(sent),
        }
    }
    Ok(sent)
}
