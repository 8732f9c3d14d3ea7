//! The administrators' console: PgBouncer's commands, and answers in its columns.
//!
//! Pure: it understands a text, says who may ask for it, and writes results; what there is to show and to do comes from the
//! session. A console speaks the simple query protocol only. Columns are those of PgBouncer 1.22, so that its exporters work;
//! what has no meaning here is 0 or empty.
//!
//! Start at [`Command::parse`], then [`Privilege::permits`], then the row types and [`write_rows`].

mod command;
mod rows;
mod table;

use bytes::BytesMut;

pub use self::command::{Command, CommandError, Show};
pub use self::rows::{
    ClientRow, ConfigRow, DatabaseRow, ListRow, PoolRow, ServerRow, StateRow, StatementRow,
    StatsAveragesRow, StatsRow, StatsTotalsRow, TotalsRow, UserRow, VersionRow,
};
pub use self::table::{Cell, Column, Kind, Row, Timestamp, write_done, write_rows};

use crate::config::ConsoleConfig;
use crate::encoder;
use crate::reject::ErrorReply;
use crate::sqlstate::SqlState;

/// What a user may do in the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// To look.
    View,
    /// Everything.
    Admin,
}

impl Privilege {
    /// What a user may do; `None`: not even come in.
    #[must_use]
    pub fn of(user: &str, config: &ConsoleConfig) -> Option<Self> {
        let is_listed = |names: &[portcullis_config::Located<String>]| {
            names.iter().any(|name| name.value == user)
        };
        if is_listed(&config.admins) {
            Some(Self::Admin)
        } else if is_listed(&config.viewers) {
            Some(Self::View)
        } else {
            None
        }
    }

    /// Whether a command is for whoever has this privilege. It is asked for each command (CVE-2026-6667).
    ///
    /// # Errors
    /// What the client is told.
    pub fn permits(self, command: &Command) -> Result<(), ErrorReply> {
        if self >= command.needs() {
            return Ok(());
        }
        Err(ErrorReply::new(
            "console_denied",
            SqlState::INSUFFICIENT_PRIVILEGE,
            "this command is for administrators",
        )
        .hint("Users listed as \"console.viewers\" may only SHOW."))
    }
}

/// The answer to SHOW HELP: a notice, and the end of the command.
pub fn write_help(dst: &mut BytesMut) {
    let notice = encoder::notice_message(SqlState::SUCCESSFUL_COMPLETION, command::HELP);
    dst.extend_from_slice(&notice);
    write_done("SHOW", dst);
}

#[cfg(test)]
mod tests;
