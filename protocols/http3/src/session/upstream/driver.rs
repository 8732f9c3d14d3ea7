//! Begins HTTP/3 on a connection and serves what belongs to no request until it ends.
//!
//! One task for each connection: `h3` reads the control stream in it. Datagrams are moved by `quinn`, in tasks of its own.
//! Start at [`Opening::begin`] and [`drive`].

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use bytes::Bytes;
use h3::error::Code;
use h3::error::{ConnectionError, LocalError};
use portcullis_cluster::{ConnectionPermit, SharedLink};
use portcullis_http::stream::ConnectFailure;
use portcullis_net::{Timer, clock};

use super::super::quic::{Quic, Signals};
use super::dial::{Dialled, NO_ERROR, failure_of};
use super::link::{Base, Link, Terms};
use super::pool::Pool;

/// Bytes of a response's fields, counted as `h3` does: twice what is passed on, so that a head that is somewhat too large
/// gets its own reason.
const FIELD_BYTES: u64 = 64 * 1024;

/// `h3`'s side of a connection.
pub(super) type Connection = h3::client::Connection<Quic, Bytes>;

/// What is needed to open a connection.
pub(super) struct Opening {
    pub(super) pool: Weak<Pool>,
    pub(super) terms: Terms,
    pub(super) permit: ConnectionPermit,
}

/// A connection and what serves it.
pub(super) struct Opened {
    pub(super) link: Rc<Link>,
    connection: Connection,
    permit: ConnectionPermit,
}

impl Opening {
    /// Begins HTTP/3: done when our SETTINGS are on their way. Those of the peer need not be awaited (RFC 9114 section
    /// 7.2.4.2), since ALPN has said what it speaks.
    pub(super) async fn begin(self, dialled: Dialled) -> Result<Opened, ConnectFailure> {
        let (connection, base) = begin(dialled).await?;
        let link = Link::new(self.terms, self.pool, base, clock::now());
        Ok(Opened {
            link,
            connection,
            permit: self.permit,
        })
    }
}

/// Begins HTTP/3 on a connection.
///
/// # Errors
/// The peer does not let us, or not in time.
pub(super) async fn begin(dialled: Dialled) -> Result<(Connection, Base), ConnectFailure> {
    let Dialled {
        connection,
        socket,
        deadline,
    } = dialled;
    let signals = Rc::<Signals>::default();
    let quic = Quic::new(connection.clone(), super::role(), Rc::clone(&signals));
    let mut builder = h3::client::builder();
    builder
        .max_field_section_size(FIELD_BYTES)
        .send_grease(false);
    let mut building = pin!(builder.build::<_, _, Bytes>(quic));
    let mut timer = Timer::new();
    let (driven, requests) = poll_fn(|task| {
        if let Poll::Ready(built) = building.as_mut().poll(task) {
            return Poll::Ready(built.map_err(|_| {
                let reason = connection.close_reason();
                reason.map_or(ConnectFailure::Mismatch, |reason| failure_of(&reason))
            }));
        }
        timer
            .poll_expired(task, deadline)
            .map(|()| Err(ConnectFailure::TimedOut))
    })
    .await?;
    let base = Base {
        connection,
        socket,
        signals,
        requests,
    };
    Ok((driven, base))
}

/// Serves a connection until it ends, and says why it did.
pub(super) async fn drive(opened: Opened) {
    let Opened {
        link,
        mut connection,
        permit,
    } = opened;
    let mut opening = None;
    let mut told = None;
    let ended = poll_fn(|task| {
        let ended = connection.poll_close(task);
        if let Some(breach) = link.signals().breach() {
            link.cut(breach.label(), breach.code());
        }
        let goaway = link.signals().goaway();
        if goaway != told
            && let Some(id) = goaway
        {
            told = goaway;
            link.on_goaway(id);
        }
        if let Poll::Ready(code) = link.poll_cut(task) {
            return Poll::Ready(Err(code));
        }
        if link.poll_stream(task, &mut opening).is_ready() {
            link.on_room();
        }
        ended.map(Ok)
    })
    .await;
    match ended {
        Ok(error) => {
            let reason = link.connection().close_reason();
            if let Some(reason) = fault_of(reason.as_ref()).or_else(|| reason_of(&error)) {
                link.state().blame(reason);
            }
            // Where `h3` found the fault, the peer has heard which it was.
            link.connection().close(NO_ERROR, b"");
        }
        Err(code) => {
            let code = quinn::VarInt::from_u64(code).unwrap_or(NO_ERROR);
            link.connection().close(code, b"");
        }
    }
    drop(permit);
    // Streams hear of the end from here on.
    link.on_ended();
    drop(connection);
}

/// Why QUIC ended a connection, where that was for what the peer did wrong, or did not do.
fn fault_of(reason: Option<&quinn::ConnectionError>) -> Option<&'static str> {
    match reason? {
        quinn::ConnectionError::TimedOut => Some("upstream_ping_timeout"),
        quinn::ConnectionError::TransportError(_) => Some("quic_protocol_error"),
        _ => None,
    }
}

/// Why `h3` did.
fn reason_of(error: &ConnectionError) -> Option<&'static str> {
    let ConnectionError::Local {
        error: LocalError::Application { code, .. },
        ..
    } = error
    else {
        return None;
    };
    Some(match *code {
        Code::H3_NO_ERROR => return None,
        Code::QPACK_DECOMPRESSION_FAILED => "h3_broken_compression",
        Code::H3_FRAME_ERROR => "h3_malformed_frame",
        Code::H3_FRAME_UNEXPECTED => "h3_frame_unexpected",
        Code::H3_CLOSED_CRITICAL_STREAM => "h3_closed_critical_stream",
        Code::H3_MISSING_SETTINGS | Code::H3_SETTINGS_ERROR => "h3_settings",
        Code::H3_ID_ERROR => "h3_id",
        _ => "h3_protocol_error",
    })
}
