//! Access logs: one line for each record, in a format that is compiled once.
//!
//! The words of a format are Envoy's command operators (`%DURATION%`). Those about the connection are common to
//! all protocols; those about a record come from the protocol through [`LogRecords`]. Where lines go is up to the
//! process: it provides [`LogSinks`]. Nothing here opens a file. Start at [`AccessLog`], the filter, or [`Format`].

mod filter;
mod format;
mod operator;
mod template;
mod time;
mod value;

use std::io;
use std::sync::Arc;

pub use self::filter::{AccessLog, AccessLogConfig};
pub use self::format::{Format, FormatError};
pub use self::operator::{LogRecords, Operator, OperatorError, Preset};
pub use self::time::{TimeFormat, TimeFormatError};
pub use self::value::ValueWriter;

/// Takes whole lines. Never waits: what cannot be taken is dropped and counted.
pub trait LogSink: Send + Sync {
    /// Takes a line, which ends with a line feed.
    fn write(&self, line: &[u8]);
}

/// Opens sinks: a service of the process, provided as `Arc<dyn LogSinks>`.
pub trait LogSinks: Send + Sync {
    /// A sink for `stdout`, `stderr` or a file that is appended to.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn open(&self, target: &str) -> io::Result<Arc<dyn LogSink>>;
}

#[cfg(test)]
mod tests;
