//! Ending a connection so that the last response is seen.
//!
//! Closing a socket with unread bytes resets it, and a reset can destroy the response on its way. So what the
//! peer still sends is read and dropped for a while, within bounds. Start at [`linger`].

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use portcullis_net::{Timer, clock};

use super::connection::{Connection, Shutdown};
use super::downstream::Downstream;
use portcullis_http::stream::DownstreamStream;

/// The bytes of an unread body that are worth reading to keep a connection: one large form, not an upload.
const DRAIN_BYTES: u64 = 256 * 1024;

/// How long an unread body may take before the connection is given up.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How long the peer may take to see a last response before the connection is closed under it.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Bytes that are read and dropped while lingering.
const LINGER_BYTES: usize = 1024 * 1024;

/// Reads what is left of a request's body, within bounds. The answer is whether its end was reached.
pub(super) async fn drain_body(downstream: &mut Downstream<'_>) -> bool {
    let mut bound = DRAIN_BYTES;
    let deadline = clock::now().checked_add(DRAIN_TIME);
    poll_fn(|task| match downstream.poll_drain(&mut bound, task) {
        Poll::Ready(drained) => Poll::Ready(drained),
        Poll::Pending => downstream.poll_deadline(task, deadline).map(|()| false),
    })
    .await
}

/// Writes what waits, ends our direction, and reads until the peer ends its own, within bounds.
pub(super) async fn linger(connection: &mut Connection, timer: &mut Timer) {
    connection.shutdown = Shutdown::Wanted;
    let deadline = clock::now().checked_add(LINGER_TIME);
    let mut dropped = connection.input.len();
    connection.input.clear();
    poll_fn(|task| {
        match connection.poll_flush(task) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => return timer.poll_expired(task, deadline),
        }
        while let Poll::Ready(more) = connection.poll_fill(task) {
            dropped += connection.input.len();
            connection.input.clear();
            if !matches!(more, Ok(true)) || dropped > LINGER_BYTES {
                return Poll::Ready(());
            }
        }
        timer.poll_expired(task, deadline)
    })
    .await;
}
