//! Opens a connection to an endpoint and moves its bytes until it ends.
//!
//! One task for each connection, since its streams belong to many sessions. It knows no request: those are
//! [streams](super::upstream). Start at [`open`] and [`drive`].

use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, Connection};
use portcullis_cluster::{
    Cluster, ConnectionPermit, Endpoint, FrameBudget, SharedLink, UpstreamHttp,
};
use portcullis_http::stream::ConnectFailure;
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, Stream, Timer, clock};

use super::io::{GuardedIo, Wire};
use super::link::{Link, Terms, UNSAID};
use super::pool::Pool;
use crate::guard::{BudgetConfig, Guard, GuardLimits, Role};

/// Bytes of a response's fields, counted as `h2` does: twice what is passed on, so that a head that is somewhat too large
/// gets its own reason.
const FIELD_BYTES: u32 = 64 * 1024;

/// Bytes of one stream that wait to be written.
const SEND_BUFFER: usize = 64 * 1024;

/// What is needed to open a connection.
pub(super) struct Opening {
    pub(super) pool: Weak<Pool>,
    pub(super) terms: Terms,
    pub(super) permit: ConnectionPermit,
    pub(super) deadline: Option<Instant>,
}

/// A connection and what moves its bytes.
pub(super) struct Opened {
    pub(super) link: Rc<Link>,
    connection: Connection<GuardedIo, Bytes>,
    permit: ConnectionPermit,
}

impl Opening {
    /// Begins HTTP/2 on a stream. Done when the peer's SETTINGS have arrived: from then on it is known how many requests it takes,
    /// and that it speaks HTTP/2 at all, before any request was risked.
    pub(super) async fn begin(
        self,
        stream: Stream,
        http: &UpstreamHttp,
    ) -> Result<Opened, ConnectFailure> {
        let limits = guard_limits(http);
        let guard = Guard::new(Role::Client, &limits, clock::now());
        let wire = Wire::new(stream, BytesMut::new(), guard);
        let mut timer = Timer::new();
        let handshake = builder(http, &limits).handshake(wire.io());
        let mut handshake = std::pin::pin!(handshake);
        let (sender, mut connection) = poll_fn(|task| {
            if timer.poll_expired(task, self.deadline).is_ready() {
                return Poll::Ready(Err(ConnectFailure::TimedOut));
            }
            handshake
                .as_mut()
                .poll(task)
                .map_err(|_| ConnectFailure::Unreachable)
        })
        .await?;
        poll_fn(|task| {
            let ended = std::pin::Pin::new(&mut connection).poll(task).is_ready();
            if ended || wire.failed().is_some() {
                return Poll::Ready(Err(ConnectFailure::Mismatch));
            }
            if sender.current_max_send_streams() != UNSAID {
                return Poll::Ready(Ok(()));
            }
            timer
                .poll_expired(task, self.deadline)
                .map(|()| Err(ConnectFailure::TimedOut))
        })
        .await?;
        let pings = connection.ping_pong();
        let link = Link::new(self.terms, self.pool, sender, pings, wire, clock::now());
        Ok(Opened {
            link,
            connection,
            permit: self.permit,
        })
    }
}

/// Moves a connection's bytes until it ends, and says why it did.
pub(super) async fn drive(opened: Opened) {
    let Opened {
        link,
        mut connection,
        permit,
    } = opened;
    let ended = poll_fn(|task| {
        let ended = std::pin::Pin::new(&mut connection).poll(task);
        if let Some(refused) = link.wire().failed() {
            link.cut(refused.label());
        }
        if link.poll_cut(task).is_ready() {
            return Poll::Ready(None);
        }
        ended.map(Some)
    })
    .await;
    if let Some(Err(error)) = &ended
        && let Some(reason) = reason_of(error)
    {
        link.state().blame(reason);
    }
    if ended.is_none() {
        // Nobody reads what is left, and nobody waits for it.
        link.wire().reset_on_close();
    }
    // Streams hear of the end from here on.
    drop(connection);
    drop(permit);
    link.on_ended();
}

/// Why `h2` ended a connection, where that was for what the peer did wrong.
fn reason_of(error: &h2::Error) -> Option<&'static str> {
    use h2::Reason as R;
    if !error.is_library() {
        return None;
    }
    Some(match error.reason()? {
        R::NO_ERROR => return None,
        R::ENHANCE_YOUR_CALM => "h2_enhance_your_calm",
        R::FLOW_CONTROL_ERROR => "h2_flow_control",
        R::FRAME_SIZE_ERROR => "h2_frame_size",
        R::COMPRESSION_ERROR => "h2_broken_compression",
        R::STREAM_CLOSED => "h2_stream_closed",
        _ => "h2_protocol_error",
    })
}

/// Connects to an endpoint within the cluster's connect timeout.
pub(super) async fn connect(
    cluster: &Cluster,
    endpoint: &Endpoint,
    offer: AlpnOffer,
    client: Option<&portcullis_filter::Connection>,
) -> Result<Stream, ConnectFailure> {
    portcullis_net::connect::to_endpoint(cluster, endpoint, offer, client)
        .await
        .map_err(failure)
}

const fn failure(error: ConnectError) -> ConnectFailure {
    match error {
        ConnectError::Refused => ConnectFailure::Refused,
        ConnectError::TimedOut => ConnectFailure::TimedOut,
        error if error.is_tls() => ConnectFailure::Tls(error.label()),
        error if error.is_local() => ConnectFailure::Exhausted,
        _ => ConnectFailure::Unreachable,
    }
}

fn builder(http: &UpstreamHttp, limits: &GuardLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNSAID)
        .initial_window_size(http.stream_window())
        .initial_connection_window_size(http.connection_window())
        .max_frame_size(limits.max_frame_bytes())
        .max_header_list_size(FIELD_BYTES)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// The guard's own limits, where the cluster says nothing else.
fn guard_limits(http: &UpstreamHttp) -> GuardLimits {
    let said = &http.guard;
    let own = GuardLimits::default();
    let budget = |said: Option<FrameBudget>, own: BudgetConfig| {
        said.map_or(own, |FrameBudget { rate, burst }| BudgetConfig {
            rate,
            burst,
        })
    };
    GuardLimits {
        max_frame: said.max_frame.unwrap_or(own.max_frame),
        header_block: said.header_block.unwrap_or(own.header_block),
        header_fields: said.header_fields.unwrap_or(own.header_fields),
        continuations: said.continuations.unwrap_or(own.continuations),
        resets_received: budget(said.resets_received, own.resets_received),
        resets_sent: budget(said.resets_sent, own.resets_sent),
        settings: budget(said.settings, own.settings),
        ping: budget(said.ping, own.ping),
        window_update: budget(said.window_update, own.window_update),
        empty_data: budget(said.empty_data, own.empty_data),
        tiny_data: budget(said.tiny_data, own.tiny_data),
        unknown: budget(said.unknown, own.unknown),
        ..own
    }
}
