//! A connection between its handshake and its end: what must happen next, and when.
//!
//! It drives `h2`, hands out the streams that come, and ends the connection: kindly, with two GOAWAYs and time for what
//! is open (RFC 9113 section 6.8), or at once, with the code that says why. Not the streams themselves. Start at
//! [`Life::poll_turn`].

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream};
use portcullis_http::service::HttpService;
use portcullis_net::drain::DrainListener;
use portcullis_net::{Timer, clock};

use super::common::Common;
use super::io::GuardedIo;
use super::stats::{self, reason};
use portcullis_http::pace::Pace;

/// What came of a turn. It lives no longer than it takes to look at it, so its size costs nothing.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Turn {
    /// The peer has opened a stream.
    Stream(http::Request<RecvStream>, SendResponse<Bytes>),
    /// The connection has ended.
    Over,
}

/// A connection that streams may come on.
pub(crate) struct Life {
    common: Rc<Common>,
    h2: h2::server::Connection<GuardedIo, Bytes>,
    timer: Timer,
    draining: DrainListener,
    /// Where in the spread of a drain this connection says goodbye.
    random: u64,
    accepted: Instant,
    phase: Phase,
    opened: u64,
    /// Since when there has been no stream.
    idle_since: Instant,
    pings: Option<PingPong>,
    /// When a PING was sent that has not been answered by anything.
    pinged: Option<Instant>,
    pace: Pace,
    /// Whether the peer still takes what there is once nothing more comes.
    farewell: Pace,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer was told to open no more streams.
    Leaving,
    /// The last GOAWAY is on its way.
    Closing {
        deadline: Option<Instant>,
    },
}

/// What is due when a time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A header block was not finished in time.
    HeadLate,
    /// Nothing more should come on this connection.
    Leave,
    /// The peer does not answer our goodbye.
    GiveUp,
    /// The peer has been silent: is it there?
    Ping,
    /// It is not.
    PingLate,
    /// It takes too little of what waits for it.
    Stalled,
    /// The last GOAWAY could not be written, or was not answered.
    Closed,
}

/// How long a peer that has no stream open may take to answer our goodbye.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last GOAWAY may take to be written.
const CLOSE_TIME: Duration = Duration::from_secs(2);

impl Life {
    pub(crate) fn new(
        common: Rc<Common>,
        mut h2: h2::server::Connection<GuardedIo, Bytes>,
        timer: Timer,
        accepted: Instant,
    ) -> Self {
        let service = common.session.service.current();
        Self {
            pings: h2.ping_pong(),
            h2,
            timer,
            draining: common.session.drain.listen(),
            random: service.environment.random.next(),
            accepted,
            phase: Phase::Open,
            opened: 0,
            idle_since: clock::now(),
            pinged: None,
            pace: Pace::default(),
            farewell: Pace::default(),
            common,
        }
    }

    /// Drives the connection until a stream comes or it has ended. `idle` says that no stream is being served.
    pub(crate) fn poll_turn(&mut self, task: &mut Context<'_>, idle: bool) -> Poll<Turn> {
        loop {
            match self.h2.poll_accept(task) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    if let Some(turn) = self.on_stream(task, request, respond) {
                        return Poll::Ready(turn);
                    }
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.on_error(&error);
                    return Poll::Ready(Turn::Over);
                }
                Poll::Ready(None) => return Poll::Ready(Turn::Over),
                Poll::Pending => {}
            }
            if self.check_guard() {
                continue;
            }
            let draining = self.draining.poll_draining(task).is_ready();
            self.check_pong(task);
            let Some((at, due)) = self.next_due(clock::now(), idle, draining) else {
                return Poll::Pending;
            };
            if self.timer.poll_expired(task, Some(at)).is_pending() {
                return Poll::Pending;
            }
            if !self.on_due(due) {
                return Poll::Ready(Turn::Over);
            }
        }
    }

    /// A stream has ended; `idle` says that it was the last.
    pub(crate) fn on_stream_ended(&mut self, idle: bool) {
        if idle {
            self.idle_since = clock::now();
            self.count_frames();
        }
    }

    /// Gives the connection up. Streams that are still there learn it.
    pub(crate) fn end(self) -> Timer {
        self.timer
    }

    /// A stream that the peer has reset already is not served: no filter and no upstream hears of it.
    fn on_stream(
        &mut self,
        task: &mut Context<'_>,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Option<Turn> {
        self.opened += 1;
        self.common.session.stats.streams.inc();
        let most = self.common.session.config.max_requests;
        if most.is_some_and(|most| self.opened >= most.get()) {
            self.leave();
        }
        if respond.poll_reset(task).is_ready() {
            return None;
        }
        Some(Turn::Stream(request, respond))
    }

    /// Ends the connection if the guard has refused something. The answer is whether `h2` has something to write.
    fn check_guard(&mut self) -> bool {
        if matches!(self.phase, Phase::Closing { .. }) {
            return false;
        }
        let Some(error) = self.common.wire.failed() else {
            return false;
        };
        self.close(error.label(), Reason::from(error.error_code().0));
        true
    }

    /// Says goodbye at once, and why.
    fn close(&mut self, label: &'static str, code: Reason) {
        self.common.session.stats.on_refused(label);
        self.count_frames();
        self.shut(code);
    }

    fn shut(&mut self, code: Reason) {
        self.h2.abrupt_shutdown(code);
        self.phase = Phase::Closing {
            deadline: clock::now().checked_add(CLOSE_TIME),
        };
    }

    /// Tells the peer to open no more streams here.
    fn leave(&mut self) {
        if self.phase == Phase::Open {
            self.h2.graceful_shutdown();
            self.phase = Phase::Leaving;
        }
    }

    fn on_error(&self, error: &h2::Error) {
        let stats = &self.common.session.stats;
        if error.is_io() {
            let service = self.common.session.service.current();
            service
                .stats
                .on_downstream_error(super::downstream::failure(error).label());
        } else if error.is_library()
            && let Some(code) = error.reason()
        {
            stats.on_refused(stats::error_label(code));
        }
    }

    fn check_pong(&mut self, task: &mut Context<'_>) {
        if self.pinged.is_none() {
            return;
        }
        if let Some(pings) = &mut self.pings
            && pings.poll_pong(task).is_ready()
        {
            self.pinged = None;
        }
    }

    /// What is due first, and when.
    fn next_due(&mut self, now: Instant, idle: bool, draining: bool) -> Option<(Instant, Due)> {
        if let Phase::Closing { deadline } = self.phase {
            return deadline.map(|deadline| (deadline, Due::Closed));
        }
        let service = self.common.session.service.current();
        let timeouts = service.timeouts();
        let head = self
            .common
            .wire
            .block_open_since()
            .and_then(|since| since.checked_add(timeouts.head()));
        let stalled = self.pace.deadline(
            now,
            self.common.wire.progress().sent,
            self.common.is_waiting(),
            self.common.pace,
        );
        let candidates = [
            head.map(|at| (at, Due::HeadLate)),
            stalled.map(|at| (at, Due::Stalled)),
            self.goodbye_due(now, &service, idle, draining),
            (!idle).then(|| self.ping_due()).flatten(),
        ];
        candidates.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// When the connection should end by itself.
    fn goodbye_due(
        &mut self,
        now: Instant,
        service: &HttpService,
        idle: bool,
        draining: bool,
    ) -> Option<(Instant, Due)> {
        let timeouts = service.timeouts();
        if self.phase == Phase::Leaving {
            // What the last streams have said may still be on its way to a slow peer: whoever reads is waited for.
            let sent = self.common.wire.progress().sent;
            let rule = if self.common.is_unwritten() {
                self.common.pace
            } else {
                self.common.pace.within(PATIENCE)
            };
            let at = self.farewell.deadline(now, sent, idle, rule)?;
            return Some((at, Due::GiveUp));
        }
        // Until it has asked for anything, a new connection is held to the shorter deadline of a head.
        let patience = if self.opened == 0 {
            timeouts.head()
        } else {
            timeouts.idle()
        };
        // A stream that is being opened has the deadline of its head instead.
        let is_unused = idle && self.common.wire.block_open_since().is_none();
        let unused = is_unused
            .then(|| self.idle_since.checked_add(patience))
            .flatten();
        let old = HttpService::deadline(self.accepted, timeouts.max_connection_age());
        // Connections say goodbye over the whole drain window, so that their clients do not all come back at once.
        let drained = draining
            .then(|| self.common.session.drain.close_at(self.random))
            .flatten();
        let at = [unused, old, drained].into_iter().flatten().min()?;
        Some((at, Due::Leave))
    }

    /// When a silent peer is asked whether it is there, or given up.
    fn ping_due(&self) -> Option<(Instant, Due)> {
        let config = self.common.session.config.keep_alive;
        let heard = self.common.wire.read_at();
        match self.pinged.filter(|&pinged| pinged >= heard) {
            Some(pinged) => Some((pinged.checked_add(config.timeout.get())?, Due::PingLate)),
            None => Some((heard.checked_add(config.interval.get()?)?, Due::Ping)),
        }
    }

    /// Does what is due. The answer is whether the connection goes on for now.
    fn on_due(&mut self, due: Due) -> bool {
        match due {
            Due::HeadLate => self.close(reason::HEAD_TIMEOUT, Reason::ENHANCE_YOUR_CALM),
            Due::Leave => self.leave(),
            Due::GiveUp => self.shut(Reason::NO_ERROR),
            Due::Ping => self.ping(),
            Due::PingLate => self.close(reason::KEEP_ALIVE, Reason::NO_ERROR),
            Due::Stalled => self.close(reason::STALLED, Reason::ENHANCE_YOUR_CALM),
            Due::Closed => {
                self.common.session.stats.on_refused(reason::UNFINISHED);
                self.common.wire.reset_on_close();
                return false;
            }
        }
        true
    }

    fn ping(&mut self) {
        self.pinged = Some(clock::now());
        if let Some(pings) = &mut self.pings {
            // One that is still under way asks the same question.
            let _ = pings.send_ping(Ping::opaque());
        }
        self.count_frames();
    }

    fn count_frames(&self) {
        let counts = self.common.wire.take_frames();
        self.common.session.stats.on_frames(&counts);
    }
}
