//! Why somebody got no connection, why one could not be opened, and why one was closed: the labels of the pool's counters.
//!
//! How they are told to a client (which SQLSTATE, which words) is the session's business. Start at [`Refusal`].

use thiserror::Error;

/// Why a pool gave no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// As many wait already as may.
    #[error("too many clients wait for a server connection")]
    QueueFull,
    /// None became free in time.
    #[error("no server connection became free in time")]
    WaitTimeout,
    /// The pool was paused for longer than one may wait.
    #[error("the pool is paused")]
    Paused,
    /// An administrator ended everything that waited.
    #[error("the pool was killed by an administrator")]
    Killed,
    /// The pool is no more: its endpoint or database left the configuration, or the process drains.
    #[error("the pool is closed")]
    Closed,
    /// No connection could be opened, and this is how the last attempt failed.
    #[error("no server connection can be opened: {0}")]
    Unreachable(OpenFailure),
}

impl Refusal {
    /// One of each, in the order of [`Self::index`].
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::WaitTimeout,
        Self::Paused,
        Self::Killed,
        Self::Closed,
        Self::Unreachable(OpenFailure::Connect),
    ];

    /// The value of the `reason` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::WaitTimeout => "wait_timeout",
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::Closed => "closed",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Its place in [`Self::ALL`] and in [`Totals::refused`](super::Totals::refused).
    pub const fn index(self) -> usize {
        match self {
            Self::QueueFull => 0,
            Self::WaitTimeout => 1,
            Self::Paused => 2,
            Self::Killed => 3,
            Self::Closed => 4,
            Self::Unreachable(_) => 5,
        }
    }
}

/// Why a connection could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum OpenFailure {
    /// The endpoint refused, was unreachable, or closed at once.
    #[error("connection failed")]
    Connect,
    /// It did not answer in time.
    #[error("connection timed out")]
    Timeout,
    /// No TLS where it is required, or a certificate that is not trusted.
    #[error("TLS failed")]
    Tls,
    /// The server did not accept the credentials, or they do not fit what it asks for.
    #[error("authentication failed")]
    Authentication,
    /// It spoke something that is no Postgres.
    #[error("protocol error")]
    Protocol,
    /// It answered with an error of this SQLSTATE.
    #[error("the server refused with SQLSTATE {}", sqlstate.escape_ascii())]
    Server {
        /// The five characters, as the server sent them.
        sqlstate: [u8; 5],
    },
}

impl OpenFailure {
    /// The value of the `reason` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Authentication => "authentication",
            Self::Protocol => "protocol",
            Self::Server { .. } => "server",
        }
    }

    /// Whether the next attempt will fail likewise unless somebody changes something. Those who wait are then told at
    /// once, if there is no connection to wait for.
    ///
    /// Of the server's errors these are: class 28 (invalid authorisation), 3D000 (no such database), 42501 (no
    /// privilege) and 42704 (no such role or setting). 53300 (too many connections) and 57P03 (starting up) pass.
    pub const fn is_definite(self) -> bool {
        match self {
            Self::Connect | Self::Timeout => false,
            Self::Tls | Self::Authentication | Self::Protocol => true,
            Self::Server { sqlstate } => {
                matches!(&sqlstate, [b'2', b'8', ..] | b"3D000" | b"42501" | b"42704")
            }
        }
    }
}

/// Why a connection was closed: by the pool (the first eight) or by whoever held it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Idle for too long.
    IdleTimeout,
    /// Too old.
    Lifetime,
    /// Opened before the last `RECONNECT`.
    Reconnect,
    /// The pool has become smaller.
    Shrunk,
    /// Beyond `size`, and the need for the reserve is over.
    Reserve,
    /// The pool is paused.
    Paused,
    /// An administrator said so.
    Killed,
    /// The pool is closed.
    Closed,
    /// The server ended it, or it was found dead while idle.
    ServerGone,
    /// The server sent what it must not, or what nobody waited for.
    ServerProtocol,
    /// The client left it in a state that cannot be proved clean in time.
    Unclean,
    /// Replies were still due when a query timeout, a cancel or a failover ended the exchange.
    OutOfSync,
    /// The endpoint has changed its role or is no longer healthy.
    Demoted,
    /// Whoever held it is gone without a word.
    Dropped,
}

impl CloseReason {
    /// All of them, in the order of their discriminants and of [`Totals::closed`](super::Totals::closed).
    pub const ALL: [Self; 14] = [
        Self::IdleTimeout,
        Self::Lifetime,
        Self::Reconnect,
        Self::Shrunk,
        Self::Reserve,
        Self::Paused,
        Self::Killed,
        Self::Closed,
        Self::ServerGone,
        Self::ServerProtocol,
        Self::Unclean,
        Self::OutOfSync,
        Self::Demoted,
        Self::Dropped,
    ];

    /// The value of the `reason` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::Lifetime => "lifetime",
            Self::Reconnect => "reconnect",
            Self::Shrunk => "shrunk",
            Self::Reserve => "reserve",
            Self::Paused => "paused",
            Self::Killed => "killed",
            Self::Closed => "closed",
            Self::ServerGone => "server_gone",
            Self::ServerProtocol => "server_protocol",
            Self::Unclean => "unclean",
            Self::OutOfSync => "out_of_sync",
            Self::Demoted => "demoted",
            Self::Dropped => "dropped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_labels_agree() {
        for (place, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{}", reason.label());
        }
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), place, "{}", refusal.label());
        }
    }

    #[test]
    fn definite_failures() {
        let server = |sqlstate: &[u8; 5]| OpenFailure::Server {
            sqlstate: *sqlstate,
        };
        let table = [
            ("refused", OpenFailure::Connect, false),
            ("timeout", OpenFailure::Timeout, false),
            ("TLS", OpenFailure::Tls, true),
            ("authentication", OpenFailure::Authentication, true),
            ("not Postgres", OpenFailure::Protocol, true),
            ("wrong password", server(b"28P01"), true),
            ("no pg_hba.conf entry", server(b"28000"), true),
            ("no database", server(b"3D000"), true),
            ("too many connections", server(b"53300"), false),
            ("starting up", server(b"57P03"), false),
        ];
        for (name, failure, definite) in table {
            assert_eq!(failure.is_definite(), definite, "{name}");
        }
        assert_eq!(
            Refusal::Unreachable(server(b"53\x00\xff0")).to_string(),
            r"no server connection can be opened: the server refused with SQLSTATE 53\x00\xff0"
        );
    }
}
