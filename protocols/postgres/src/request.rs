//! What Postgres filters see: a text of statements as one request, its result as pieces, and the record of how it went.
//!
//! No row and no parameter is ever shown: pieces are counted, not opened. Start at [`PostgresMessages`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_filter::{Fact, Facts, Messages};

use crate::reject::ErrorReply;
use crate::sql::{Analysis, Class, Fingerprint, Options, StatementInfo, Verb, normalise};
use crate::sqlstate::SqlState;

/// The messages of Postgres.
#[derive(Debug, Clone, Copy)]
pub struct PostgresMessages;

impl Messages for PostgresMessages {
    type Request = StatementRequest;
    type Response = ErrorReply;
    type Data = ResultPiece;
    type Record = Record;
}

/// A text that several sessions share: that of a prepared statement.
pub trait SharedText: std::fmt::Debug + Send + Sync {
    /// The text.
    fn sql(&self) -> &[u8];

    /// What it does.
    fn analysis(&self) -> &Analysis;
}

/// The settings of a session that decide how the same bytes are read as SQL. The default is the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// `standard_conforming_strings` is off: a backslash escapes in any literal.
    pub backslash_escapes: bool,
    /// In `client_encoding`, an ASCII byte can be part of another character.
    pub multibyte: bool,
}

/// A client asks for a text to be carried out: by a Query, or by the Execute of what was prepared or bound before.
///
/// Made once for each place in a pipeline and used again: its buffers keep their room.
#[derive(Debug, Clone, Default)]
pub struct StatementRequest {
    /// The client's user.
    pub user: Arc<str>,
    /// The database that it asked for.
    pub database: Arc<str>,
    /// Its `application_name`.
    pub application: Arc<str>,
    /// Whether it comes inside a transaction.
    pub in_transaction: bool,
    /// Whether it comes by the extended protocol.
    pub prepared: bool,
    /// How the server reads the text, for whoever writes it down without its values.
    pub reading: Reading,
    text: Vec<u8>,
    analysis: Rc<Analysis>,
    shared: Option<Arc<dyn SharedText>>,
}

impl StatementRequest {
    /// A request of this client, with no text yet.
    #[must_use]
    pub fn new(user: &Arc<str>, database: &Arc<str>, application: &Arc<str>) -> Self {
        Self {
            user: Arc::clone(user),
            database: Arc::clone(database),
            application: Arc::clone(application),
            ..Self::default()
        }
    }

    /// Takes a text; `analyse` writes what it does. Of a text that is too long, give its front: the analysis must then say
    /// that it is incomplete.
    pub fn set_text(&mut self, sql: &[u8], analyse: impl FnOnce(&[u8], &mut Analysis)) {
        let mut analysis = Analysis::default();
        analyse(sql, &mut analysis);
        self.set_analysed(sql, Rc::new(analysis));
    }

    /// Takes a text with what it does.
    pub fn set_analysed(&mut self, sql: &[u8], analysis: Rc<Analysis>) {
        self.shared = None;
        self.text.clear();
        self.text.extend_from_slice(sql);
        self.analysis = analysis;
    }

    /// Takes a text that was analysed before.
    pub fn set_shared(&mut self, text: Arc<dyn SharedText>) {
        self.shared = Some(text);
        self.text.clear();
    }

    /// Nothing is known of what is asked: a FunctionCall, which names a function by its number.
    pub fn set_unknown(&mut self) {
        self.shared = None;
        self.text.clear();
        self.analysis = Rc::default();
    }

    /// Whether nothing is known of it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.shared.is_none() && self.text.is_empty() && !self.analysis.complete
    }

    /// The text, or its front.
    #[must_use]
    pub fn sql(&self) -> &[u8] {
        match &self.shared {
            Some(shared) => shared.sql(),
            None => &self.text,
        }
    }

    /// What it does.
    #[must_use]
    pub fn analysis(&self) -> &Analysis {
        match &self.shared {
            Some(shared) => shared.analysis(),
            None => &self.analysis,
        }
    }

    /// The statements, as far as the text could be read.
    #[must_use]
    pub fn statements(&self) -> &[StatementInfo] {
        &self.analysis().statements
    }

    /// What the first statement is called; [`Verb::Other`] if there is none.
    #[must_use]
    pub fn verb(&self) -> Verb {
        let first = self.statements().first();
        first.map_or(Verb::Other, |statement| statement.verb)
    }

    /// Of all statements together.
    #[must_use]
    pub fn class(&self) -> Class {
        self.analysis().class()
    }

    /// Appends the text without its values and comments, at most `longest` bytes of it. Of a text that cannot be read to its
    /// end only what stands before its first quote: behind that, nobody can tell a name from a piece of a value.
    pub fn write_sanitised(&self, out: &mut Vec<u8>, longest: usize) {
        let complete = self.analysis().complete;
        let mut sql = self.sql();
        if !complete && let Some(quote) = memchr::memchr3(b'\'', b'"', b'$', sql) {
            sql = sql.get(..quote).unwrap_or_default();
        }
        let options = Options {
            standard_conforming_strings: !self.reading.backslash_escapes,
            ascii_safe: !self.reading.multibyte,
            truncated: !complete,
            ..Options::default()
        };
        normalise(sql, &options, out, longest);
    }

    /// Of the whole text.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.analysis().fingerprint
    }
}

/// A piece of a result on its way downstream, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResultPiece {
    /// Rows in it (DataRow), or pieces of COPY.
    pub rows: u64,
    /// Its bytes on the wire.
    pub bytes: u64,
    /// Rows of the whole request so far, these included.
    pub total_rows: u64,
    /// Bytes of the whole request so far, these included.
    pub total_bytes: u64,
}

impl Facts for PostgresMessages {
    const FACTS: &'static [&'static str] = &[
        "postgres.user",
        "postgres.database",
        "postgres.application",
        "postgres.statement",
        "postgres.fingerprint",
        "postgres.class",
        "postgres.tls",
    ];

    fn fact(name: &str) -> Option<Fact<Self>> {
        Some(match name {
            "postgres.user" => Box::new(|request, _, key| key.write(request.user.as_bytes())),
            "postgres.database" => {
                Box::new(|request, _, key| key.write(request.database.as_bytes()))
            }
            "postgres.application" => {
                Box::new(|request, _, key| match request.application.as_bytes() {
                    [] => key.absent(),
                    name => key.write(name),
                })
            }
            "postgres.statement" => {
                Box::new(|request, _, key| key.write(request.verb().label().as_bytes()))
            }
            "postgres.fingerprint" => {
                Box::new(|request, _, key| key.write(&request.fingerprint().0.to_be_bytes()))
            }
            "postgres.class" => {
                Box::new(|request, _, key| key.write(request.class().label().as_bytes()))
            }
            "postgres.tls" => Box::new(|_, cx, key| key.write(&[u8::from(cx.connection.secure)])),
            _ => return None,
        })
    }
}

/// What is known about a request when it is over. The access log, the table of statements and the counters are written from
/// it. Its route is in the filter context.
#[derive(Debug, Clone)]
pub struct Record {
    /// What was asked. It is the value that the filters saw.
    pub request: StatementRequest,
    /// Wall-clock time at which it had arrived.
    pub started_at: SystemTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// From then until its end was written.
    pub duration: Duration,
    /// How long of that it waited for a server connection.
    pub waited: Duration,
    /// How long of that the server had it: from the last byte sent to the last byte received.
    pub server: Duration,
    /// Rows of its results, those of COPY and those changed included.
    pub rows: u64,
    /// Bytes from downstream to upstream.
    pub bytes_up: u64,
    /// Bytes from upstream to downstream.
    pub bytes_down: u64,
    /// The SQLSTATE of the error that it was answered with.
    pub sqlstate: Option<SqlState>,
    /// The cluster's name, once one was chosen.
    pub cluster: Option<Arc<str>>,
    /// The endpoint that had it.
    pub endpoint: Option<Arc<str>>,
    /// How it ended: [`Record::COMPLETED`], [`Record::SERVER_ERROR`], or the `reason` label of what ended it.
    pub reason: &'static str,
}

impl Record {
    /// The reason of what ended without an error.
    pub const COMPLETED: &'static str = "completed";
    /// The reason of what a server answered with an error.
    pub const SERVER_ERROR: &'static str = "server_error";

    /// A request that has just arrived. Until somebody knows better, it ended because the gateway stopped.
    #[must_use]
    pub const fn new(request: StatementRequest, started_at: SystemTime, started: Instant) -> Self {
        Self {
            request,
            started_at,
            started,
            duration: Duration::ZERO,
            waited: Duration::ZERO,
            server: Duration::ZERO,
            rows: 0,
            bytes_up: 0,
            bytes_down: 0,
            sqlstate: None,
            cluster: None,
            endpoint: None,
            reason: "stopped",
        }
    }

    /// The record of another request, which is to be put in next.
    pub fn begin(&mut self, started_at: SystemTime, started: Instant) {
        self.started_at = started_at;
        self.started = started;
        self.duration = Duration::ZERO;
        self.waited = Duration::ZERO;
        self.server = Duration::ZERO;
        (self.rows, self.bytes_up, self.bytes_down) = (0, 0, 0);
        (self.sqlstate, self.cluster, self.endpoint) = (None, None, None);
        self.reason = "stopped";
    }

    /// Whether the gateway refused it or ended it, rather than a server.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.reason != Self::COMPLETED && self.reason != Self::SERVER_ERROR
    }
}

#[cfg(test)]
mod tests;
