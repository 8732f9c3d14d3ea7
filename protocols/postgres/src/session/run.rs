//! The life of a client after its start-up: what it says, what it waits for, how it ends.
//!
//! The relay decides, `pump` moves bytes, `attach` gets server connections and gives them back; here they are joined. Start at
//! [`Session::run`].

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use portcullis_cluster::Picked;
use portcullis_filter::Context;
use portcullis_net::{ConnectionGuard, Stream, Timer, clock};
use portcullis_stats::GaugeGuard;

use super::cancel::Registered;
use super::connection::{Lost, Parameters, Pooled};
use super::deadline::{Pace, drained};
use super::pools::PoolHandle;
use super::pump::{Came, Until};
use super::records::{Judged, Progress, Spares};
use super::route::Way;
use super::served::Served;
use super::server::PostgresServer;
use crate::encoder;
use crate::machine::relay::Router as _;
use crate::machine::{Flight, Relay, RelayError, Target, Turn, Want, unknown_demand};
use crate::pool::Held;
use crate::request::Record;
use crate::sql::Class;
use crate::sqlstate::SqlState;
use crate::stats::{Call, WorkerStatements};

/// One client with its conversation.
pub(super) struct Session {
    pub(super) server: Rc<PostgresServer>,
    pub(super) stream: Stream,
    /// The runtime knows that this task waits for the client: see [`Stream::poll_read_again`].
    pub(super) waits: bool,
    /// The signal to drain knows this task.
    pub(super) listens: bool,
    /// What the client has sent and nobody has taken.
    pub(super) input: BytesMut,
    /// What the client is to get.
    pub(super) output: BytesMut,
    pub(super) relay: Relay,
    /// Where this client's statements may go.
    pub(super) way: Way,
    pub(super) lease: Option<Lease>,
    /// The parameters as the client was last told.
    pub(super) told: Arc<Parameters>,
    pub(super) cancel: Registered,
    pub(super) cx: Context,
    /// Records that are used again.
    pub(super) spare: Spares,
    /// What they have let pass and has not come to its end, by the relay's numbers.
    pub(super) judged: VecDeque<Judged>,
    pub(super) _active: GaugeGuard,
    pub(super) timer: Timer,
    /// When the client last said something.
    pub(super) last_heard: Instant,
    /// When a statement that took too long was cancelled.
    pub(super) cancelled: Option<Instant>,
    /// When the last statement came to its end, and the next one's turn came.
    pub(super) turned: Instant,
    /// What the client has to go on with.
    pub(super) pace: Pace,
    pub(super) close_at: Option<Instant>,
    pub(super) _guard: ConnectionGuard,
}

/// A server connection while a client has it.
pub(super) struct Lease {
    pub(super) held: Held<Pooled>,
    /// What the server is to get.
    pub(super) upstream: BytesMut,
    /// Keeps the endpoint's load counted.
    pub(super) _picked: Picked,
    pub(super) since: Instant,
    /// The pool that it is of.
    pub(super) pool: Rc<PoolHandle>,
    /// What the client has had on it.
    pub(super) served: Served,
}

/// How a session ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client said goodbye.
    Goodbye,
    /// It is gone without.
    ClientGone,
    /// It is told this, and why it is counted.
    Told(Bytes, &'static str),
    /// It was told why already.
    Closed(&'static str),
}

impl Session {
    /// Serves the client until it leaves or has to.
    pub(super) async fn run(mut self: Box<Self>) {
        let task = std::future::poll_fn(|task| Poll::Ready(task.waker().clone())).await;
        self.cancel.on_session(&task);
        let ended = match self.converse().await {
            Err(ended) => ended,
            Ok(never) => match never {},
        };
        // What is rare has a box of its own, here and below, so that clients that wait are small.
        Box::pin(self.on_ended(ended)).await;
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut draining = self.server.drain.listen();
        loop {
            let came = match self.take_input()? {
                Want::Input => self.pump(Until::Input, &mut draining).await?,
                Want::Replies => self.pump(Until::Replies, &mut draining).await?,
                Want::Server(target) => {
                    self.attach(target).await?;
                    continue;
                }
                Want::Statement => {
                    let record = self.begin();
                    if self.is_let_pass(&record) {
                        self.admit(record);
                    } else {
                        Box::pin(self.judge(record)).await?;
                    }
                    continue;
                }
                Want::Goodbye => return Err(Ended::Goodbye),
            };
            match came {
                Came::It => {}
                Came::Reapply => Box::pin(self.reapply()).await?,
                Came::Lost(lost) => self.on_lost(&lost)?,
                Came::Deadline => self.on_deadline()?,
            }
        }
    }

    /// Lets the relay take what it can of the client's bytes.
    fn take_input(&mut self) -> Result<Want, Ended> {
        // What a server would get that is not there: always empty.
        let mut nowhere = BytesMut::new();
        let (link, upstream) = match &mut self.lease {
            Some(lease) => (Some(&mut lease.held.connection.link), &mut lease.upstream),
            None => (None, &mut nowhere),
        };
        let (now, before) = (clock::now(), self.input.len());
        let mut turn = Turn {
            now,
            link,
            upstream,
            downstream: &mut self.output,
            setup: &self.server.setup,
            router: &self.way,
        };
        self.relay.take_room(&self.server.rooms);
        let want = self.relay.handle_client(&mut self.input, &mut turn);
        let stats = &self.server.stats;
        self.relay.take_refusals(|reason| stats.on_rejected(reason));
        // A name that is closed takes no server.
        self.cancel.on_prepared(self.relay.names());
        debug_assert!(nowhere.is_empty(), "bytes for a server that is not there");
        if self.input.len() < before {
            self.last_heard = now;
        }
        let is_partial = matches!(want, Ok(Want::Input)) && !self.input.is_empty();
        self.pace
            .on_taken(is_partial || self.relay.is_in_message(), now);
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.input = BytesMut::new();
        }
        want.map_err(|error| self.on_relay_error(error))
    }

    fn on_relay_error(&self, error: RelayError) -> Ended {
        self.server.stats.on_client_error(error.label());
        let message = encoder::fatal_message(SqlState::PROTOCOL_VIOLATION, &error.to_string());
        Ended::Told(message, error.label())
    }

    /// The client's parameters are set again after a statement that has reset them.
    async fn reapply(&mut self) -> Result<(), Ended> {
        let sql = self.relay.take_due();
        let shape = Arc::clone(self.relay.shape());
        if let (Some(lease), Some(sql)) = (&mut self.lease, sql) {
            let connection = &mut lease.held.connection;
            // Nothing that is to be answered stands there.
            let before = lease.upstream.split();
            if connection.stream.write_all(&before).await.is_err() {
                return self.on_lost(&Lost::Gone);
            }
            let applied = connection.execute_inside(&sql, self.relay.status()).await;
            match applied {
                Ok(Ok(())) => connection.link.shape = shape,
                // Values that were good once.
                Ok(Err(_)) => connection.link.tainted = true,
                Err(lost) => return self.on_lost(&lost),
            }
        }
        // Whoever waits for ReadyForQuery looks at the parameters then.
        self.tell_parameters();
        self.relay.on_applied(&mut self.output);
        if self.relay.is_quiet() {
            self.on_quiet();
        }
        Ok(())
    }

    /// The server connection is gone. A client that loses nothing by it goes on.
    pub(super) fn on_lost(&mut self, lost: &Lost) -> Result<(), Ended> {
        self.server.stats.on_server_lost(lost.label());
        self.drop_lease(lost);
        // It may have heard of parameters that went with the connection.
        self.told = Arc::default();
        let error = match lost {
            Lost::Said(error) => error.clone(),
            Lost::Gone | Lost::Protocol(_) => encoder::error_message(
                SqlState::CONNECTION_FAILURE,
                "the server closed the connection unexpectedly",
            ),
        };
        let waiting = self.relay.is_waiting();
        if self.relay.on_link_lost(&error, &mut self.output) {
            self.settle_done();
            return Ok(());
        }
        let last = if waiting {
            Bytes::new()
        } else {
            encoder::fatal_message(
                SqlState::CONNECTION_FAILURE,
                "the server connection with this session's state was lost",
            )
        };
        Err(Ended::Told(last, lost.label()))
    }

    /// Counts what has come to its end.
    pub(super) fn settle_done(&mut self) {
        let Self {
            relay,
            server,
            judged,
            cx,
            lease,
            way,
            spare,
            turned,
            cancelled,
            ..
        } = self;
        let now = clock::now();
        relay.take_done(|flight| {
            (*turned, *cancelled) = (now, None);
            let took = now.saturating_duration_since(flight.started);
            server.stats.on_statement(flight, took);
            if let Some(statements) = &server.counted
                && !flight.refused
            {
                count(statements, flight, took, now);
            }
            if let Some(lease) = lease {
                lease.served.queries += 1;
                lease.served.sent += flight.bytes;
                lease.served.query_micros += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            }
            if flight.class != Class::Read && !flight.refused {
                way.on_write(now);
            }
            // Those before it were bound and never executed.
            while judged
                .front()
                .is_some_and(|front| front.number < flight.judged)
            {
                if let Some(judged) = judged.pop_front() {
                    spare.keep(judged.record);
                }
            }
            let Some(front) = judged
                .front_mut()
                .filter(|front| front.number == flight.judged)
            else {
                return;
            };
            front.progress = if flight.suspended {
                Progress::Suspended
            } else {
                Progress::Ended
            };
            let record = &mut front.record;
            record.duration = now.saturating_duration_since(record.started);
            record.server = took;
            record.rows = flight.rows;
            record.bytes_down = flight.bytes;
            record.sqlstate = flight.error;
            record.reason = if flight.error.is_some() {
                Record::SERVER_ERROR
            } else {
                Record::COMPLETED
            };
            if let Some(lease) = lease
                && !server.chain.is_empty()
            {
                let at = &lease.held.connection.server;
                record.cluster = Some(Arc::clone(at.cluster.name()));
                record.endpoint = Some(Arc::clone(at.endpoint.label()));
            }
            cx.now = now;
            server.on_record(record, cx);
        });
        relay.take_refusals(|reason| server.stats.on_rejected(reason));
        self.let_go();
    }

    /// Gives back what filters hold for statements that are over, and the records of those that cannot be executed again.
    pub(super) fn let_go(&mut self) {
        if self.relay.is_at_rest() {
            while let Some(judged) = self.judged.pop_front() {
                self.spare.keep(judged.record);
            }
            self.relay.leave_room(&self.server.rooms);
        }
        let is_over = |judged: &Judged| judged.progress == Progress::Ended;
        if self.judged.iter().all(is_over) {
            self.cx.release();
        }
    }

    /// Tells the client of parameters that are others on this server connection than on the last.
    pub(super) fn tell_parameters(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let parameters = &mut lease.held.connection.parameters;
        if Arc::ptr_eq(parameters, &self.told) {
            return;
        }
        if **parameters == *self.told {
            // Shared from now on, so that the next time nothing is compared.
            *parameters = Arc::clone(&self.told);
            return;
        }
        for (name, value) in parameters.iter() {
            if self.told.find(name) != Some(value) {
                encoder::parameter_status(name, value, &mut self.output);
                self.relay.on_reported(name, value);
            }
        }
        self.told = Arc::clone(parameters);
    }

    /// A drain has begun: between transactions the client is told, at a point of the drain's time that is its own.
    pub(super) fn on_draining(&mut self, task: &mut Task<'_>) -> Option<Ended> {
        if !self.is_closable() {
            return None;
        }
        let random = self.server.random.next();
        let close_at = match self.close_at {
            Some(at) => at,
            None => *self.close_at.insert(self.server.drain.close_at(random)?),
        };
        // Whatever else is waited for, this comes first.
        let expired = self.timer.poll_expired(task, Some(close_at));
        expired.is_ready().then(drained)
    }

    /// The target of something of which nothing is known.
    pub(super) fn any_target(&self) -> Target {
        self.way.target(unknown_demand())
    }

    /// The last words, and everything that the client leaves behind.
    pub(super) async fn on_ended(mut self: Box<Self>, ended: Ended) {
        let (reason, message) = match ended {
            Ended::Goodbye => ("closed", None),
            Ended::ClientGone => ("client_gone", None),
            Ended::Told(message, reason) => (reason, Some(message)),
            Ended::Closed(reason) => (reason, Some(Bytes::new())),
        };
        self.server.stats.on_ended(reason);
        self.abandon();
        self.settle_done();
        if let Some(message) = message {
            if !self.relay.is_mid_message() {
                self.output.extend_from_slice(&message);
            }
            let Self {
                stream,
                output,
                timer,
                ..
            } = &mut *self;
            super::say(stream, output, timer).await;
        }
    }
}

/// Counts a statement that is over by its fingerprint.
fn count(statements: &WorkerStatements, flight: &Flight, took: Duration, now: Instant) {
    let duration = if flight.arrived == flight.started {
        took
    } else {
        now.saturating_duration_since(flight.arrived)
    };
    let text = flight.text.as_deref();
    let (fingerprint, verb, class) = match text {
        Some(text) => (text.fingerprint(), text.verb(), text.class()),
        None => (flight.fingerprint, flight.verb, flight.class),
    };
    let wall = clock::wall();
    let call = Call {
        fingerprint,
        verb,
        class,
        is_error: flight.error.is_some(),
        is_rejected: false,
        rows: flight.rows,
        bytes_up: 0,
        bytes_down: flight.bytes,
        duration,
        waited: Duration::ZERO,
        started_at: wall.checked_sub(duration).unwrap_or(wall),
    };
    statements.add(&call, text, now);
}
