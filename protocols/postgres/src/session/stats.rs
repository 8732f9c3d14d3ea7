//! The counters of one Postgres listener on one worker.
//!
//! Names that peers choose are never labels: verbs, classes of SQLSTATE and reasons are words of the code. Start at
//! [`PostgresStats`].

use std::cell::RefCell;
use std::time::Duration;

use portcullis_stats::{ByLabel, Counter, Gauge, GaugeGuard, Histogram, Shard, Unit};

use crate::machine::Flight;
use crate::sqlstate::SqlState;

/// Counters that are made when something first happens, by the label that tells them apart.
/// The counters of one Postgres listener on one worker.
pub(super) struct PostgresStats {
    shard: Shard,
    active: Gauge,
    waiting: Gauge,
    connections: Counter,
    bytes_up: Counter,
    bytes_down: Counter,
    transactions: Counter,
    rows: Counter,
    duration: Histogram,
    wait: Histogram,
    held: Histogram,
    statements: ByLabel,
    errors: RefCell<Vec<([u8; 2], Counter)>>,
    rejected: ByLabel,
    ended: ByLabel,
    lost: ByLabel,
    protocol: ByLabel,
    server_protocol: ByLabel,
    cancels: ByLabel,
    logins: ByLabel,
}

impl PostgresStats {
    pub(super) fn new(shard: &Shard) -> Self {
        let bytes = |direction| {
            shard.counter(
                "portcullis_postgres_bytes_total",
                "Bytes of clients, by direction.",
                &[("direction", direction)],
            )
        };
        let time = |name, help| shard.histogram(name, help, Unit::Microseconds, &[]);
        Self {
            active: shard.gauge(
                "portcullis_postgres_clients_active",
                "Clients that are logged in.",
                &[],
            ),
            waiting: shard.gauge(
                "portcullis_postgres_clients_waiting",
                "Clients that wait for a server connection.",
                &[],
            ),
            connections: shard.counter(
                "portcullis_postgres_connections_total",
                "Connections that were accepted.",
                &[],
            ),
            bytes_up: bytes("up"),
            bytes_down: bytes("down"),
            transactions: shard.counter(
                "portcullis_postgres_transactions_total",
                "Times that a server connection was given back, or was free to be.",
                &[],
            ),
            rows: shard.counter(
                "portcullis_postgres_rows_total",
                "Rows of results, those changed included.",
                &[],
            ),
            duration: time(
                "portcullis_postgres_statement_duration_seconds",
                "From a statement's way to the server to the end of its results.",
            ),
            wait: time(
                "portcullis_postgres_wait_duration_seconds",
                "How long clients waited for a server connection.",
            ),
            held: time(
                "portcullis_postgres_lease_duration_seconds",
                "How long clients had a server connection.",
            ),
            statements: ByLabel::default(),
            errors: RefCell::default(),
            rejected: ByLabel::default(),
            ended: ByLabel::default(),
            lost: ByLabel::default(),
            protocol: ByLabel::default(),
            server_protocol: ByLabel::default(),
            cancels: ByLabel::default(),
            logins: ByLabel::default(),
            shard: shard.clone(),
        }
    }

    pub(super) fn on_connection(&self) {
        self.connections.inc();
    }

    /// A client is logged in while the guard lives.
    pub(super) fn begin_client(&self) -> GaugeGuard {
        self.active.guard()
    }

    pub(super) fn begin_waiting(&self) -> GaugeGuard {
        self.waiting.guard()
    }

    pub(super) fn on_bytes_from_client(&self, bytes: u64) {
        self.bytes_up.add(bytes);
    }

    pub(super) fn on_bytes_to_client(&self, bytes: u64) {
        self.bytes_down.add(bytes);
    }

    /// A client has got a server connection.
    pub(super) fn on_attached(&self, waited: Duration) {
        self.wait.record(micros(waited));
    }

    /// It has given it back.
    pub(super) fn on_released(&self, held: Duration) {
        self.held.record(micros(held));
    }

    pub(super) fn on_transaction(&self) {
        self.transactions.inc();
    }

    /// A statement has come to its end.
    pub(super) fn on_statement(&self, flight: &Flight, took: Duration) {
        self.duration.record(micros(took));
        if flight.rows > 0 {
            self.rows.add(flight.rows);
        }
        let label = flight.verb.label();
        self.statements.inc(label, || {
            self.shard.counter(
                "portcullis_postgres_statements_total",
                "Statements that were carried out, by the first verb of their text.",
                &[("statement", label)],
            )
        });
        if let Some(state) = flight.error.filter(|_| !flight.refused) {
            self.on_error(state);
        }
    }

    /// The server has answered with an error.
    fn on_error(&self, state: SqlState) {
        let class = state.class();
        let mut known = self.errors.borrow_mut();
        if let Some((_, counter)) = known.iter().find(|(known, _)| *known == class) {
            return counter.inc();
        }
        // A server sends what it likes: what is no class of the standard or of PostgreSQL is one label together.
        let text = String::from_utf8_lossy(&class).into_owned();
        let is_class = class.iter().all(u8::is_ascii_alphanumeric) && known.len() < 64;
        let label = if is_class { text.as_str() } else { "other" };
        let counter = self.shard.counter(
            "portcullis_postgres_errors_total",
            "Errors of servers, by the class of their SQLSTATE.",
            &[("class", label)],
        );
        counter.inc();
        known.push((class, counter));
    }

    /// The gateway has refused a statement or a client.
    pub(super) fn on_rejected(&self, reason: &'static str) {
        self.by_reason(
            &self.rejected,
            "portcullis_postgres_rejections_total",
            "Statements and clients that were refused, by reason.",
            reason,
        );
    }

    /// A client's session is over.
    pub(super) fn on_ended(&self, reason: &'static str) {
        self.by_reason(
            &self.ended,
            "portcullis_postgres_clients_ended_total",
            "Sessions of clients that ended, by reason.",
            reason,
        );
    }

    /// A server connection was closed before its time.
    pub(super) fn on_server_lost(&self, reason: &'static str) {
        self.by_reason(
            &self.lost,
            "portcullis_postgres_servers_lost_total",
            "Server connections that were closed before their time, by reason.",
            reason,
        );
    }

    /// Somebody has broken the protocol.
    pub(super) fn on_client_error(&self, reason: &'static str) {
        self.by_reason(
            &self.protocol,
            "portcullis_postgres_protocol_errors_total",
            "Clients that broke the protocol, by reason.",
            reason,
        );
    }

    /// A server has broken the protocol.
    pub(super) fn on_server_error(&self, reason: &'static str) {
        self.by_reason(
            &self.server_protocol,
            "portcullis_postgres_server_protocol_errors_total",
            "Server connections that broke the protocol, by reason.",
            reason,
        );
    }

    pub(super) fn on_cancel(&self, outcome: &'static str) {
        self.by_reason(
            &self.cancels,
            "portcullis_postgres_cancels_total",
            "Cancel requests, by what became of them.",
            outcome,
        );
    }

    /// A client has logged in (`ok`), or why not.
    pub(super) fn on_login(&self, outcome: &'static str) {
        self.by_reason(
            &self.logins,
            "portcullis_postgres_logins_total",
            "Clients that have said who they are, by what came of it.",
            outcome,
        );
    }

    fn by_reason(
        &self,
        known: &ByLabel,
        name: &'static str,
        help: &'static str,
        reason: &'static str,
    ) {
        known.inc(reason, || {
            self.shard.counter(name, help, &[("reason", reason)])
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
