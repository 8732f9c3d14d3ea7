//! A connection between its handshake and its end: what must happen next, and when.
//!
//! It drives `h3`, hands out the streams that come, and ends the connection: kindly, with two GOAWAYs and time for what is open
//! (RFC 9114 section 5.2), or at once, with the code that says why. Not the streams themselves. Start at [`Life::poll_turn`].

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h3::error::{Code, ConnectionError, LocalError};
use h3::server::RequestResolver;
use portcullis_http::pace::Pace;
use portcullis_http::service::HttpService;
use portcullis_net::drain::DrainListener;
use portcullis_net::{DrainSignal, Timer, clock};

use super::client::Client;
use super::stats::{error_label, reason};
use super::wire::{Halves, QuicConnection};

/// What came of a turn. It lives no longer than it takes to look at it, so its size costs nothing.
#[allow(clippy::large_enum_variant)]
pub(super) enum Turn {
    /// The client has begun a request.
    Stream(RequestResolver<QuicConnection, Bytes>, Halves),
    /// The connection has ended.
    Over,
}

/// A connection that streams may come on.
pub(super) struct Life {
    client: Rc<Client>,
    h3: h3::server::Connection<QuicConnection, Bytes>,
    timer: Timer,
    stop: DrainSignal,
    draining: DrainListener,
    /// Where in the spread of a drain this connection says goodbye.
    random: u64,
    accepted: Instant,
    phase: Phase,
    opened: u64,
    /// Since when there has been no stream.
    idle_since: Instant,
    pace: Pace,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The client was told to begin no more requests, while some may be on their way.
    Leaving {
        /// When the last one that is served is named.
        until: Option<Instant>,
    },
    /// It was named.
    Left,
}

/// What is due when a time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing more should come on this connection.
    Leave,
    /// What is on its way has come.
    Name,
    /// Nothing is left to be done.
    Close,
    /// The client takes too little of what waits for it.
    Stalled,
}

/// Requests that may still come after the first goodbye: more than a client has on its way.
const GRACE: usize = 1 << 20;

/// How long requests that were sent before a goodbye came may take, at least and at most; between, it is the path's time.
const ON_ITS_WAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

impl Life {
    /// Says what is to be said first. `None` if the client takes none of it in time.
    pub(super) async fn open(
        client: &Rc<Client>,
        stop: &DrainSignal,
        mut timer: Timer,
        accepted: Instant,
    ) -> Option<Self> {
        let service = client.session.service.current();
        let now = clock::now();
        let deadline = now.checked_add(service.timeouts().head());
        // Twice what is allowed, so that a head that is a little too large gets our answer, with its reason.
        let section = service.head_bounds().bytes.saturating_mul(2);
        let mut builder = h3::server::builder();
        builder
            .max_field_section_size(u64::try_from(section).unwrap_or(u64::MAX))
            .send_grease(false);
        let h3 = tokio::select! {
            biased;
            h3 = builder.build(client.wire.transport()) => h3.ok()?,
            () = timer.expired(deadline) => {
                client.session.stats.on_refused(reason::HEAD_TIMEOUT);
                return None;
            }
        };
        Some(Self {
            draining: stop.listen(),
            random: service.environment.random.next(),
            client: Rc::clone(client),
            h3,
            timer,
            stop: stop.clone(),
            accepted,
            phase: Phase::Open,
            opened: 0,
            idle_since: now,
            pace: Pace::default(),
        })
    }

    /// Drives the connection until a stream comes or it has ended. `idle` says that no stream is being served.
    pub(super) fn poll_turn(&mut self, task: &mut Context<'_>, idle: bool) -> Poll<Turn> {
        loop {
            // What is not over leaves nothing behind: all of its state is the connection's.
            let accepted = pin!(self.h3.accept()).poll(task);
            match accepted {
                Poll::Ready(Ok(Some(resolver))) => return Poll::Ready(self.on_stream(resolver)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Turn::Over),
                Poll::Ready(Err(error)) => {
                    self.on_error(&error);
                    return Poll::Ready(Turn::Over);
                }
                Poll::Pending => {}
            }
            if self.client.wire.poll_control(task).is_err() {
                self.close(reason::CONTROL_CLOSED, Code::H3_CLOSED_CRITICAL_STREAM);
                return Poll::Ready(Turn::Over);
            }
            let draining = self.draining.poll_draining(task).is_ready();
            let Some((at, due)) = self.next_due(clock::now(), idle, draining) else {
                return Poll::Pending;
            };
            if self.timer.poll_expired(task, Some(at)).is_pending() {
                return Poll::Pending;
            }
            if !self.on_due(task, due) {
                return Poll::Ready(Turn::Over);
            }
        }
    }

    /// A stream has ended.
    pub(super) fn on_stream_ended(&mut self) {
        self.idle_since = clock::now();
    }

    fn on_stream(&mut self, resolver: RequestResolver<QuicConnection, Bytes>) -> Turn {
        self.opened += 1;
        self.client.session.stats.streams.inc();
        match self.client.wire.take_accepted() {
            Some(halves) => Turn::Stream(resolver, halves),
            // It has been put there just now.
            None => Turn::Over,
        }
    }

    fn on_error(&self, error: &ConnectionError) {
        let session = &self.client.session;
        if let Some(label) = self.client.wire.failed() {
            session.stats.on_refused(label);
            return;
        }
        let closed = self.client.wire.quic().close_reason();
        if let ConnectionError::Local {
            error: LocalError::Application { code, .. },
            ..
        } = error
        {
            session.stats.on_refused(error_label(*code));
        } else if matches!(closed, Some(quinn::ConnectionError::TimedOut)) {
            session.stats.on_refused(reason::SILENT);
        }
    }

    /// Ends the connection at once, and says why.
    fn close(&self, label: &'static str, code: Code) {
        self.client.session.stats.on_refused(label);
        self.client.wire.close(code);
    }

    /// What is due first, and when.
    fn next_due(&mut self, now: Instant, idle: bool, draining: bool) -> Option<(Instant, Due)> {
        let wire = &self.client.wire;
        let stalled = self
            .pace
            .deadline(now, wire.sent(), wire.is_waiting(), self.client.pace)
            .map(|at| (at, Due::Stalled));
        let goodbye = match self.phase {
            Phase::Open => self.leave_due(idle, draining).map(|at| (at, Due::Leave)),
            Phase::Leaving { until } => until.map(|at| (at, Due::Name)),
            Phase::Left => idle.then_some((now, Due::Close)),
        };
        [stalled, goodbye]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// When the connection should end by itself.
    fn leave_due(&self, idle: bool, draining: bool) -> Option<Instant> {
        let service = self.client.session.service.current();
        let timeouts = service.timeouts();
        // Until it has asked for anything, a new connection is held to the shorter deadline of a head.
        let patience = if self.opened == 0 {
            timeouts.head()
        } else {
            timeouts.idle()
        };
        let unused = idle
            .then(|| self.idle_since.checked_add(patience))
            .flatten();
        let old = HttpService::deadline(self.accepted, timeouts.max_connection_age());
        let most = self.client.settings.max_requests;
        let used_up = most
            .is_some_and(|most| self.opened >= most.get())
            .then_some(self.accepted);
        // Connections say goodbye over the whole drain window, so that their clients do not all come back at once.
        let drained = draining.then(|| self.stop.close_at(self.random)).flatten();
        [unused, old, used_up, drained].into_iter().flatten().min()
    }

    /// Does what is due. The answer is whether the connection goes on for now.
    fn on_due(&mut self, task: &mut Context<'_>, due: Due) -> bool {
        match due {
            Due::Leave => {
                let (least, most) = ON_ITS_WAY;
                let wait = self.client.wire.quic().rtt().saturating_mul(2);
                let until = clock::now().checked_add(wait.clamp(least, most));
                self.phase = Phase::Leaving { until };
                self.say_goodbye(task, GRACE)
            }
            Due::Name => {
                self.phase = Phase::Left;
                self.say_goodbye(task, 0)
            }
            Due::Close => false,
            Due::Stalled => {
                self.close(reason::STALLED, Code::H3_EXCESSIVE_LOAD);
                false
            }
        }
    }

    /// GOAWAY (RFC 9114 section 5.2), with so many requests that may still come.
    fn say_goodbye(&mut self, task: &mut Context<'_>, requests: usize) -> bool {
        // It is queued and never waits.
        let said = pin!(self.h3.shutdown(requests)).poll(task);
        matches!(said, Poll::Ready(Ok(())))
    }
}
