//! What CopyData carries while CopyBoth lasts ("Streaming Replication Protocol").
//!
//! Only told apart, as far as a gateway may want to count and to know how far a standby is; WAL itself stays bytes. What
//! BASE_BACKUP sends by way of CopyOut is not here. Start at [`FromServer`] and [`FromStandby`].

use nom::Parser;
use nom::number::complete::{be_i64, be_u8, be_u32, be_u64};

use super::grammar;
use crate::error::MessageError;

/// A place in the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// From the server that streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromServer<'a> {
    /// `w`: a piece of the log.
    XLogData {
        /// Where it begins.
        start: Lsn,
        /// The end of the log on the server.
        end: Lsn,
        /// Microseconds since the year 2000.
        clock: i64,
        /// The piece.
        data: &'a [u8],
    },
    /// `k`: nothing new.
    Keepalive {
        /// The end of the log on the server.
        end: Lsn,
        /// Microseconds since the year 2000.
        clock: i64,
        /// Whether the server wants an answer at once.
        reply: bool,
    },
    /// A message of no meaning here.
    Other {
        /// Its first byte.
        kind: u8,
        /// What comes behind it.
        data: &'a [u8],
    },
}

impl<'a> FromServer<'a> {
    /// Reads what one CopyData carries.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(data: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, data) = data.split_first().ok_or(MessageError::Truncated)?;
        match *kind {
            b'w' => {
                let fields = (be_u64, be_u64, be_i64, grammar::rest);
                let build = |(start, end, clock, data)| Self::XLogData {
                    start: Lsn(start),
                    end: Lsn(end),
                    clock,
                    data,
                };
                grammar::whole(data, fields.map(build))
            }
            b'k' => {
                let fields = (be_u64, be_i64, be_u8);
                let build = |(end, clock, reply)| Self::Keepalive {
                    end: Lsn(end),
                    clock,
                    reply: reply != 0,
                };
                grammar::whole(data, fields.map(build))
            }
            kind => Ok(Self::Other { kind, data }),
        }
    }
}

/// From the standby that is streamed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromStandby<'a> {
    /// `r`: how far it is.
    Status {
        /// Written.
        written: Lsn,
        /// On disk.
        flushed: Lsn,
        /// Replayed.
        applied: Lsn,
        /// Microseconds since the year 2000.
        clock: i64,
        /// Whether it wants an answer at once.
        reply: bool,
    },
    /// `h`: the oldest transactions that it still needs.
    HotFeedback {
        /// Microseconds since the year 2000.
        clock: i64,
        /// The oldest.
        xmin: u32,
        /// Its epoch.
        xmin_epoch: u32,
        /// The oldest that its replication slots need of the catalogs.
        catalog_xmin: u32,
        /// Its epoch.
        catalog_xmin_epoch: u32,
    },
    /// A message of no meaning here.
    Other {
        /// Its first byte.
        kind: u8,
        /// What comes behind it.
        data: &'a [u8],
    },
}

impl<'a> FromStandby<'a> {
    /// Reads what one CopyData carries.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(data: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, data) = data.split_first().ok_or(MessageError::Truncated)?;
        match *kind {
            b'r' => {
                let fields = (be_u64, be_u64, be_u64, be_i64, be_u8);
                let build = |(written, flushed, applied, clock, reply)| Self::Status {
                    written: Lsn(written),
                    flushed: Lsn(flushed),
                    applied: Lsn(applied),
                    clock,
                    reply: reply != 0,
                };
                grammar::whole(data, fields.map(build))
            }
            b'h' => {
                let fields = (be_i64, be_u32, be_u32, be_u32, be_u32);
                let build = |(clock, xmin, xmin_epoch, catalog_xmin, catalog_xmin_epoch)| {
                    Self::HotFeedback {
                        clock,
                        xmin,
                        xmin_epoch,
                        catalog_xmin,
                        catalog_xmin_epoch,
                    }
                };
                grammar::whole(data, fields.map(build))
            }
            kind => Ok(Self::Other { kind, data }),
        }
    }
}
