//! The bounds of a pool, and why they are what they are.
//!
//! Not where they are read from a file: that is the listener's configuration. Start at [`PoolLimits`].

use std::time::Duration;

/// Bounds of one pool. Every number is for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Connections at a time, those being opened included. With 0 nobody is ever served.
    pub size: u32,
    /// Connections kept open even when nobody needs them; what exceeds `size` is ignored.
    pub min: u32,
    /// Connections beyond `size` for when somebody has waited for `reserve_after`.
    pub reserve: u32,
    /// How long somebody waits before the reserve is touched, and how long a connection beyond `size` may then be idle.
    pub reserve_after: Duration,
    /// How many may wait, those for whom a connection is being opened not counted.
    pub max_waiting: usize,
    /// How long one may wait.
    pub wait_timeout: Duration,
    /// How long attempts to open may fail, with no connection there, before those who wait are told; after that, whoever comes
    /// between two attempts is told at once. `None`: they wait on.
    pub unreachable_after: Option<Duration>,
    /// How long a connection beyond `min` may be idle. `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become, give or take 10 % so that those opened together do not end together; one in use is
    /// closed when it comes back. `None`: any age.
    pub max_lifetime: Option<Duration>,
    /// Connections being opened at a time. After a failure it is one, until one succeeds.
    pub max_opening: u32,
    /// How long nothing is opened after a failure.
    pub connect_backoff: ConnectBackoff,
    /// A connection idle for longer is counted as `used`: a session looks whether it still works before it takes it.
    pub check_after: Duration,
}

/// The pause after a connection could not be opened. It doubles with every failure in a row, and each is shortened by up
/// to half at random, so that the pools of many processes do not return at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectBackoff {
    /// After the first failure.
    pub first: Duration,
    /// After many.
    pub max: Duration,
}

/// The defaults of a listener's `pool`, too.
impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            // A few times the cores of a usual server: more connections make it slower, not faster.
            size: 20,
            min: 0,
            reserve: 0,
            // As PgBouncer's `reserve_pool_timeout`.
            reserve_after: Duration::from_secs(5),
            // A place costs about 100 bytes; more than this many would not be served within the timeout.
            max_waiting: 10_000,
            // As PgBouncer's `query_wait_timeout`.
            wait_timeout: Duration::from_mins(2),
            // Longer than a server takes to restart after a change of its settings, or a failover to be seen; shorter than
            // people and health checks wait.
            unreachable_after: Some(Duration::from_secs(5)),
            // A quiet pool gives its memory on the server back, but not between two peaks of a minute.
            idle_timeout: Some(Duration::from_mins(10)),
            // A server process grows with the relations it has seen; a fresh one an hour costs nothing.
            max_lifetime: Some(Duration::from_hours(1)),
            // Fills the default pool in three rounds, yet a restarted server does not meet all at once.
            max_opening: 8,
            connect_backoff: ConnectBackoff::default(),
            // As PgBouncer's `server_check_delay`.
            check_after: Duration::from_secs(30),
        }
    }
}

impl Default for ConnectBackoff {
    fn default() -> Self {
        Self {
            // A failover or restart is often over in less than a second.
            first: Duration::from_millis(100),
            // Short beside `unreachable_after`, so that nobody is told of a server that is back for long.
            max: Duration::from_secs(1),
        }
    }
}

impl PoolLimits {
    /// Connections at a time when the reserve is used up, too.
    pub fn ceiling(&self) -> u32 {
        self.size.saturating_add(self.reserve)
    }

    /// The part of `min` that `size` has room for.
    pub fn floor(&self) -> u32 {
        self.min.min(self.size)
    }
}
