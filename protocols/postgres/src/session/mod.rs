//! The session over real sockets: the only room of this crate that waits.
//!
//! ```text
//! server ─▶ startup ─▶ login ─▶ welcome ─▶ run ◀─▶ pump          (one task for each client)
//!                                           │
//!                                        attach ◀─▶ pools ─▶ open (server connections, common to all workers)
//! ```
//!
//! What is said and owed is [`crate::machine`]'s, who gets a connection [`crate::pool`]'s. Start at [`Postgres`].

mod attach;
mod cancel;
mod connection;
mod console;
mod control;
mod deadline;
mod judge;
mod login;
mod names;
mod open;
mod pools;
mod pump;
mod records;
mod release;
mod replication;
mod roles;
mod route;
mod run;
mod search;
mod served;
mod server;
mod startup;
mod stats;
mod users;
mod welcome;

use crate::encoder;
use crate::reject::ErrorReply;

pub use server::{Postgres, PostgresServer};

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_net::{Stream, Timer, clock, within};

/// A random number that nobody can guess.
fn secret() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness there are no secrets; a fixed one would be worse than an end.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    u64::from_be_bytes(bytes)
}

/// A refusal as a whole ErrorResponse.
fn error_message(reply: &ErrorReply) -> Bytes {
    let mut message = BytesMut::new();
    let fields = [
        (b'S', b"ERROR".as_slice()),
        (b'V', b"ERROR"),
        (b'C', reply.sqlstate.as_bytes()),
        (b'M', reply.message.as_bytes()),
    ];
    let hint = reply.hint.as_ref().map(|hint| (b'H', hint.as_bytes()));
    encoder::error_response(fields.into_iter().chain(hint), &mut message);
    message.freeze()
}

/// Random bytes that nobody can guess, for the exchanges of authentication.
fn nonce() -> [u8; 18] {
    let mut bytes = [0; 18];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

/// Four of them, for MD5.
fn salt() -> [u8; 4] {
    let mut salt = [0; 4];
    for (to, from) in salt.iter_mut().zip(nonce()) {
        *to = from;
    }
    salt
}

/// Says a last thing and closes.
async fn goodbye(mut stream: Stream, message: &[u8], timer: &mut Timer) {
    say(&mut stream, message, timer).await;
}

/// Says a last thing and gives the peer a while to read it: closing with its bytes unread would destroy what is on its way.
async fn say(stream: &mut Stream, message: &[u8], timer: &mut Timer) {
    let deadline: Option<Instant> = clock::now().checked_add(server::LINGER);
    let mut unread = BytesMut::new();
    let mut rest = message;
    let mut said = false;
    poll_fn(|task| {
        while !rest.is_empty() {
            match stream.poll_write(task, rest) {
                Poll::Ready(Ok(count @ 1..)) => rest = rest.get(count..).unwrap_or_default(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll_expired(task, deadline),
            }
        }
        if !said {
            match stream.poll_shutdown(task) {
                Poll::Ready(Ok(())) => said = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return timer.poll_expired(task, deadline),
            }
        }
        loop {
            unread.clear();
            match stream.poll_read(task, &mut unread) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll_expired(task, deadline),
            }
        }
    })
    .await;
}
