//! The life of one downstream connection: handshake, streams, a goodbye.
//!
//! One task holds the connection and all of its streams, so whatever ends the session ends them. Deadlines are those
//! of the connection as a whole; a stream's own are its exchange's. Not the frames: `h2` reads and writes those, and the
//! guard has seen them before. Start at [`serve`].

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use portcullis_filter::Connection as Facts;
use portcullis_net::{ConnectionGuard, Downstream, Timer, clock};

use super::Session;
use super::common::Common;
use super::io::{GuardedIo, Wire};
use super::life::{Life, Turn};
use super::request::serve_stream;
use super::stats::reason;
use crate::guard::{Guard, Role};

type H2 = h2::server::Connection<GuardedIo, Bytes>;

/// Serves one connection until it ends.
///
/// Its state is boxed once: a future that owned it would hold it twice, as an argument and as a variable.
#[allow(clippy::needless_pass_by_value)] // the shape that every version's `serve` has
pub fn serve(
    session: Rc<Session>,
    downstream: Downstream,
    facts: Rc<Facts>,
) -> impl Future<Output = ()> + 'static {
    let guard = Guard::new(Role::Server, &session.config.guard, clock::now());
    let wire = Wire::new(downstream.stream, downstream.prefix, guard);
    let start = Start {
        common: Common::new(&session, facts, &wire),
        accepted: downstream.accepted_at,
        _guard: downstream.guard,
    };
    Box::pin(start.run())
}

/// A connection that has been accepted.
struct Start {
    common: Rc<Common>,
    accepted: Instant,
    _guard: ConnectionGuard,
}

impl Start {
    async fn run(self) {
        let stats = &self.common.session.stats;
        let _active = stats.connections_active.guard();
        let mut timer = Timer::new();
        if let Some(h2) = handshake(&self.common, &mut timer).await {
            converse(&self.common, h2, timer, self.accepted).await;
        }
        stats.on_frames(&self.common.wire.take_frames());
    }
}

/// Writes our SETTINGS and reads the preface, within the deadline of a head. `None` if the connection is of no use.
async fn handshake(common: &Common, timer: &mut Timer) -> Option<H2> {
    let service = common.session.service.current();
    let deadline = clock::now().checked_add(service.timeouts().head());
    let mut handshake = builder(common, service.head_bounds().bytes).handshake(common.wire.io());
    poll_fn(|task| {
        if let Poll::Ready(result) = Pin::new(&mut handshake).poll(task) {
            return Poll::Ready(result.ok());
        }
        if let Some(error) = common.wire.failed() {
            common.session.stats.on_refused(error.label());
            return Poll::Ready(None);
        }
        timer.poll_expired(task, deadline).map(|()| {
            common.session.stats.on_refused(reason::HEAD_TIMEOUT);
            None
        })
    })
    .await
}

fn builder(common: &Common, head_bytes: usize) -> h2::server::Builder {
    let config = &common.session.config;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(config.max_streams.get())
        .initial_window_size(config.stream_window())
        .initial_connection_window_size(config.connection_window())
        .max_frame_size(config.guard.max_frame_bytes())
        // Twice what is allowed, so that a head that is a little too large gets our answer, with its reason.
        .max_header_list_size(u32::try_from(head_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
        .max_send_buffer_size(config.send_buffer())
        // The guard bounds resets over time; this would end a connection over one burst of them.
        .max_pending_accept_reset_streams(config.guard.resets_received.burst as usize * 2)
        .enable_connect_protocol();
    builder
}

/// Serves streams until the connection ends, then lets those that are left come to their end.
async fn converse(common: &Rc<Common>, h2: H2, timer: Timer, accepted: Instant) {
    let mut life = Life::new(Rc::clone(common), h2, timer, accepted);
    let mut streams = FuturesUnordered::new();
    loop {
        let turn = poll_fn(|task| {
            while let Poll::Ready(Some(())) = Pin::new(&mut streams).poll_next(task) {
                life.on_stream_ended(streams.is_empty());
            }
            life.poll_turn(task, streams.is_empty())
        });
        match turn.await {
            Turn::Stream(request, respond) => {
                streams.push(serve_stream(Rc::clone(common), request, respond));
            }
            Turn::Over => break,
        }
    }
    // Tells the streams that are left that nobody is there any more.
    let timer = life.end();
    farewell(&common.wire, timer, streams).await;
}

/// How long the peer may take to see our last words before the connection is closed under it.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Bytes that are read and dropped meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// Reads what the peer still sends, within bounds, and lets the streams write their ledgers.
async fn farewell<F>(wire: &Wire, mut timer: Timer, mut streams: FuturesUnordered<F>)
where
    F: Future<Output = ()>,
{
    let deadline = clock::now().checked_add(LINGER_TIME);
    let mut bound = LINGER_BYTES;
    let mut reading = true;
    poll_fn(|task: &mut Context<'_>| {
        while let Poll::Ready(Some(())) = Pin::new(&mut streams).poll_next(task) {}
        reading = reading
            && wire.poll_discard(task, &mut bound).is_pending()
            && timer.poll_expired(task, deadline).is_pending();
        if reading || !streams.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}
