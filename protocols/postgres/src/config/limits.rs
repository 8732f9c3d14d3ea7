//! How long things may take, and how much a client may send or keep; the console; the table of statements.
//!
//! Bounds of results and of single statements are filters. Start at [`LimitsConfig`] and [`TimeoutsConfig`].

use portcullis_config::{ByteSize, Diagnostics, Duration, Located, Timeout};
use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;

/// How long things may take. How long a connect may take is the cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// From accept until the client is authenticated. Default 10s: several lost packets, and a short wait for a person's
    /// password manager.
    pub startup: Duration,
    /// How long a client outside a transaction may be silent. Default `off`: pools of applications are silent for hours.
    pub idle: Timeout,
    /// How long one statement may take; then it is cancelled. Default `off`: the server has `statement_timeout`.
    pub query: Timeout,
    /// How long a client inside a transaction, or behind a message that no Sync has followed, may be silent, holding locks and a server connection. Default `off`: the
    /// server has `idle_in_transaction_session_timeout`.
    pub transaction_idle: Timeout,
    /// How long a client that has begun a message may take for the rest, or for each further 64 KiB of it: what has come is held
    /// in memory, or nobody else has its server connection. Default 1m: a slow line brings more than that.
    pub message: Timeout,
    /// How long a client may take nothing of a result that there is for it, and keep its server connection. Default `off`: some
    /// programs work for long on each row.
    pub unread: Timeout,
}

impl TimeoutsConfig {
    /// Whether anything but the start-up and half messages has a time.
    #[cfg(feature = "session")]
    pub(crate) fn are_any_for_statements(&self) -> bool {
        let timeouts = [self.idle, self.query, self.transaction_idle, self.unread];
        timeouts.iter().any(|timeout| timeout.get().is_some())
    }
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            startup: seconds(10),
            idle: Timeout::Off,
            query: Timeout::Off,
            transaction_idle: Timeout::Off,
            message: Timeout::from_secs(60),
            unread: Timeout::Off,
        }
    }
}

/// How much a client may send or keep.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Bytes of a start-up packet. Default 10000B: PostgreSQL's own bound.
    pub startup: Located<ByteSize>,
    /// Bytes of a statement that are looked into. A longer one streams through and counts as unparsable. Default 256KiB:
    /// people and most programs write less, and it is held in memory while it is read.
    pub statement: Located<ByteSize>,
    /// Prepared statements that a client may hold. Default 1000: drivers keep a few hundred.
    pub client_statements: Located<usize>,
    /// Bytes of those. Default 1MiB.
    pub client_statement_bytes: Located<ByteSize>,
    /// Messages of a client that may be in flight before it is read again. Default 256: a pipeline longer than that gains
    /// nothing.
    pub pipeline: Located<usize>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            startup: ByteSize(10_000).into(),
            statement: ByteSize::kib(256).into(),
            client_statements: 1000.into(),
            client_statement_bytes: ByteSize::mib(1).into(),
            pipeline: 256.into(),
        }
    }
}

/// PostgreSQL's bound of a message.
const LARGEST: ByteSize = ByteSize(1 << 30);

impl LimitsConfig {
    pub(super) fn check(&self, diagnostics: &mut Diagnostics) {
        // user, database and application_name of 63 bytes each fit below that.
        let smallest = ByteSize(256);
        let sizes = [
            (&self.startup, smallest),
            (&self.statement, ByteSize(64)),
            (&self.client_statement_bytes, ByteSize(64)),
        ];
        for (size, smallest) in sizes {
            if !(smallest..=LARGEST).contains(&size.value) {
                diagnostics
                    .error(size.span, format!("{} is no sensible bound", size.value))
                    .expected(format!("{smallest} to {LARGEST}"));
            }
        }
        for count in [&self.client_statements, &self.pipeline] {
            if count.value == 0 {
                diagnostics
                    .error(count.span, "a limit of 0 refuses everything")
                    .expected("at least 1");
            }
        }
    }
}

/// What becomes of a text that cannot be read to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnparsable {
    /// It is refused.
    #[default]
    Deny,
    /// It passes.
    Allow,
}

/// The administrators' console: a virtual database that understands PgBouncer's commands.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Users who may do everything there. Default: none, which closes the console.
    pub admins: Vec<Located<String>>,
    /// Users who may only look (`SHOW`). Default: none.
    pub viewers: Vec<Located<String>>,
    /// The name of the database. Default `portcullis`. `pgbouncer` is understood as well, for programs made for that.
    pub database: Located<String>,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            admins: Vec::new(),
            viewers: Vec::new(),
            database: "portcullis".to_owned().into(),
        }
    }
}

/// The other name of the console.
pub(crate) const CONSOLE_ALIAS: &str = "pgbouncer";

impl ConsoleConfig {
    /// Whether anybody may enter.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.admins.is_empty() || !self.viewers.is_empty()
    }

    /// Whether this database is the console, if there is one.
    #[must_use]
    pub fn is_console(&self, database: &str) -> bool {
        self.is_open() && (database == self.database.value || database == CONSOLE_ALIAS)
    }

    pub(super) fn check(&self, diagnostics: &mut Diagnostics) {
        if self.database.is_empty() {
            diagnostics
                .error(self.database.span, "the console's database has no name")
                .expected("a name such as `portcullis`");
        }
        for viewer in &self.viewers {
            if let Some(admin) = self.admins.iter().find(|admin| admin.value == viewer.value) {
                diagnostics
                    .error(viewer.span, format!("'{viewer}' may do everything already"))
                    .also(admin.span, "an administrator");
            }
        }
    }
}

/// The table of statements.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StatementsConfig {
    /// How many statements are kept, those that are called most; 0 keeps none. Default 1000: about 2 MB for each worker, and
    /// more different statements than most applications have.
    pub top: Located<usize>,
    /// Bytes of a statement's text that are kept, without its values. Default 1KiB.
    pub text: Located<ByteSize>,
}

impl Default for StatementsConfig {
    fn default() -> Self {
        Self {
            top: 1000.into(),
            text: ByteSize::kib(1).into(),
        }
    }
}

impl StatementsConfig {
    pub(super) fn check(&self, diagnostics: &mut Diagnostics) {
        if self.top.value > 100_000 {
            diagnostics
                .error(
                    self.top.span,
                    "so many statements would take hundreds of megabytes",
                )
                .expected("at most 100000");
        }
        if self.text.value > ByteSize::kib(64) {
            diagnostics
                .error(
                    self.text.span,
                    format!("{} of each text is too much", self.text.value),
                )
                .expected("at most 64KiB");
        }
    }
}
