//! How server connections are shared.
//!
//! What the bounds mean is [`crate::pool`]'s. One pool is for one endpoint, database and user. Start at [`PoolConfig`].

use portcullis_config::{Diagnostics, Duration, Span, Timeout};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pool::{ConnectBackoff, PoolLimits};

/// How server connections are shared. Every number is for the whole process.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// When a client gives its server connection back. Default `session`, the only mode in which every client works as with
    /// the server itself; `transaction` is what saves connections.
    pub mode: PoolMode,
    /// Connections for each endpoint, database and user. Default 20: a few times the cores of a usual server, beyond which it
    /// gets slower.
    pub size: u32,
    /// Connections kept open even when nobody needs them. Default 0.
    pub min: u32,
    /// Connections beyond `size` for when somebody has waited for `reserve_after`. Default 0.
    pub reserve: u32,
    /// How long somebody waits before the reserve is touched. Default 5s, as PgBouncer.
    pub reserve_after: Duration,
    /// How many clients may wait. Default 10000: a place costs little, and more would not be served in time.
    pub max_waiting: usize,
    /// How long a client may wait for a server connection. Default 120s, as PgBouncer's `query_wait_timeout`.
    pub wait_timeout: Duration,
    /// How long attempts to open a connection may fail, while there is none, before clients that wait are told; or `off`, and
    /// they wait for `wait_timeout`. Default 5s: a server that restarts is waited for, one that is away is not.
    pub unreachable_after: Timeout,
    /// How long a connection beyond `min` may be idle. Default 10m: memory on the server is given back between peaks.
    pub idle_timeout: Timeout,
    /// How old a connection may become, give or take 10 %. Default 1h: a server process grows with what it has seen.
    pub max_lifetime: Timeout,
    /// Connections being opened at a time. Default 8: a server that was restarted does not meet all at once.
    pub max_opening: u32,
    /// How long nothing is opened after a first failure; it doubles up to `connect_backoff_max`. Default 100ms: a failover is
    /// often over in less than a second.
    pub connect_backoff: Duration,
    /// The longest such pause. Default 1s: a server that is back is found before clients are told that it is away.
    pub connect_backoff_max: Duration,
    /// A connection idle for longer is checked before it is used. Default 30s, as PgBouncer's `server_check_delay`.
    pub check_after: Duration,
    /// What becomes of state that outlives a transaction (SET, temporary tables, LISTEN, locks) in the modes `transaction`
    /// and `statement`. Default `pin`: the client keeps its connection until the state is gone, so that it works.
    pub state: StatePolicy,
    /// Prepared statements kept on each server connection. Default 200, as PgBouncer; 0: clients' names go as they are, which
    /// only `session` mode bears.
    pub prepared_statements: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let limits = PoolLimits::default();
        Self {
            mode: PoolMode::Session,
            size: limits.size,
            min: limits.min,
            reserve: limits.reserve,
            reserve_after: written(limits.reserve_after),
            max_waiting: limits.max_waiting,
            wait_timeout: written(limits.wait_timeout),
            unreachable_after: timeout(limits.unreachable_after),
            idle_timeout: timeout(limits.idle_timeout),
            max_lifetime: timeout(limits.max_lifetime),
            max_opening: limits.max_opening,
            connect_backoff: written(limits.connect_backoff.first),
            connect_backoff_max: written(limits.connect_backoff.max),
            check_after: written(limits.check_after),
            state: StatePolicy::Pin,
            prepared_statements: 200,
        }
    }
}

/// A time as it is written.
fn written(time: std::time::Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn timeout(time: Option<std::time::Duration>) -> Timeout {
    time.map_or(Timeout::Off, |time| written(time).into())
}

impl PoolConfig {
    /// The bounds as the pool wants them; `size` is replaced where a user has its own.
    #[must_use]
    pub fn limits(&self, size: Option<u32>) -> PoolLimits {
        PoolLimits {
            size: size.unwrap_or(self.size),
            min: self.min,
            reserve: self.reserve,
            reserve_after: self.reserve_after.get(),
            max_waiting: self.max_waiting,
            wait_timeout: self.wait_timeout.get(),
            unreachable_after: self.unreachable_after.get(),
            idle_timeout: self.idle_timeout.get(),
            max_lifetime: self.max_lifetime.get(),
            max_opening: self.max_opening,
            connect_backoff: ConnectBackoff {
                first: self.connect_backoff.get(),
                max: self.connect_backoff_max.get(),
            },
            check_after: self.check_after.get(),
        }
    }

    pub(super) fn check(&self, span: Span, diagnostics: &mut Diagnostics) {
        let mut wrong = |bad: bool, message: &str, expected: &str| {
            if bad {
                diagnostics.error(span, message).expected(expected);
            }
        };
        wrong(
            self.size == 0,
            "with a `size` of 0 nobody is served",
            "at least 1",
        );
        wrong(
            self.max_opening == 0,
            "with `max_opening: 0` no connection is ever opened",
            "at least 1",
        );
        wrong(
            self.min > self.size,
            "`min` is larger than `size`",
            "at most `size`",
        );
        wrong(
            self.connect_backoff > self.connect_backoff_max,
            "`connect_backoff` is longer than `connect_backoff_max`",
            "the first pause to be the shorter one",
        );
        wrong(
            self.reserve > 0 && self.reserve_after >= self.wait_timeout,
            "`reserve_after` is not before `wait_timeout`",
            "a reserve that is touched before clients give up",
        );
    }
}

/// When a client gives its server connection back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolMode {
    /// When it leaves.
    Session,
    /// When its transaction is over.
    Transaction,
    /// After each statement; transactions of several are refused.
    Statement,
}

impl PoolMode {
    /// The word in the configuration and the console.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

/// What becomes of state that outlives a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatePolicy {
    /// The client keeps its server connection until the state is gone.
    Pin,
    /// Parameters are set again on the next connection; other state pins.
    Replay,
    /// The statement is refused.
    Refuse,
}
