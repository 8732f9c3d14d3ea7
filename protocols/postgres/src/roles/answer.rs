//! The question that servers are asked, and how an answer is read.
//!
//! Start at [`QUESTION`].

use std::time::Duration;

/// What a server is asked: whether it is in recovery, where in the log it is, in which timeline, and how old the last
/// transaction is that it has replayed. Every function of it may be called by everybody; who may not see
/// `pg_stat_wal_receiver` gets no current timeline of a replica.
///
/// A primary is asked for where it inserts, not for what it has written: a transaction that was committed without waiting for
/// the disk lies before that, too.
pub const QUESTION: &[u8] = b"\
SELECT pg_catalog.pg_is_in_recovery(), \
CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
ELSE pg_catalog.pg_current_wal_insert_lsn() END OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn, \
CASE WHEN pg_catalog.pg_is_in_recovery() \
THEN (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver LIMIT 1) \
ELSE ('x' OPERATOR(pg_catalog.||) pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))\
::pg_catalog.bit(32)::pg_catalog.int4 END, \
(SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()), \
CASE WHEN pg_catalog.pg_is_in_recovery() THEN (1000 OPERATOR(pg_catalog.*) extract(epoch FROM \
pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()))::pg_catalog.int8 END";

/// What a server is asked that does not understand [`QUESTION`].
pub const SHORT_QUESTION: &[u8] = b"SELECT pg_catalog.pg_is_in_recovery()";

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// It replays somebody else's log.
    pub recovering: bool,
    /// Where it is in the log: what it has inserted, or replayed.
    pub position: Option<u64>,
    /// Its history.
    pub timeline: Option<Timeline>,
    /// How long ago the last transaction was committed that it has replayed.
    pub replayed: Option<Duration>,
}

/// A history: its number grows whenever a replica becomes the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// The number.
    pub number: u32,
    /// Whether it is the one that is written or received now. If not, it is that of the last checkpoint.
    pub current: bool,
}

impl Answer {
    /// Reads the columns of the one row that answers one of the two questions. `None`: that is no answer.
    pub fn read<'a>(mut columns: impl Iterator<Item = Option<&'a [u8]>>) -> Option<Self> {
        let recovering = match columns.next()?? {
            b"t" => true,
            b"f" => false,
            _ => return None,
        };
        let mut number = || -> Option<i64> {
            let text = columns.next()??;
            std::str::from_utf8(text).ok()?.parse().ok()
        };
        let position = number().and_then(|position| u64::try_from(position).ok());
        let timeline = |number: i64, current| {
            let number = u32::try_from(number).ok().filter(|number| *number > 0)?;
            Some(Timeline { number, current })
        };
        let current = number().and_then(|number| timeline(number, true));
        let checkpoint = number().and_then(|number| timeline(number, false));
        // Clocks may differ.
        let replayed = number().map(|millis| Duration::from_millis(millis.max(0).unsigned_abs()));
        Some(Self {
            recovering,
            position,
            timeline: current.or(checkpoint),
            replayed,
        })
    }
}
