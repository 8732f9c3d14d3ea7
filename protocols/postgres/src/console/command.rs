//! What an administrator has typed.
//!
//! One command in a text, with or without a semicolon, in any case; names in double quotes keep theirs. Start at
//! [`Command::parse`].

use std::borrow::Cow;

use super::Privilege;
use crate::reject::ErrorReply;
use crate::sqlstate::SqlState;

/// What SHOW HELP says.
pub(super) const HELP: &str = "\
Console usage
\tSHOW HELP|VERSION|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|LISTS|STATE
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS|STATEMENTS
\tPAUSE [db]
\tRESUME [db]
\tRECONNECT [db]
\tKILL db
\tRELOAD";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// SHOW of something.
    Show(Show),
    /// PAUSE: lend no server connection, of one database or of all, and answer when none is out.
    Pause(Option<String>),
    /// RESUME: the end of PAUSE and KILL.
    Resume(Option<String>),
    /// RECONNECT: close every server connection when it comes back.
    Reconnect(Option<String>),
    /// KILL: drop the clients and servers of a database at once.
    Kill(String),
    /// RELOAD: read the configuration again.
    Reload,
}

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as they are called
pub enum Show {
    Help,
    Version,
    Config,
    Databases,
    Pools,
    Clients,
    Servers,
    Users,
    Lists,
    State,
    Stats,
    StatsTotals,
    StatsAverages,
    Totals,
    Statements,
}

const SHOWS: [(&str, Show); 16] = [
    ("help", Show::Help),
    ("version", Show::Version),
    ("config", Show::Config),
    ("databases", Show::Databases),
    ("pools", Show::Pools),
    ("clients", Show::Clients),
    ("servers", Show::Servers),
    ("users", Show::Users),
    ("lists", Show::Lists),
    ("state", Show::State),
    ("stats", Show::Stats),
    ("stats_totals", Show::StatsTotals),
    ("stats_averages", Show::StatsAverages),
    ("totals", Show::Totals),
    ("stats_total", Show::StatsTotals),
    ("statements", Show::Statements),
];

/// Commands of PgBouncer that there are not, with what to do instead.
const ELSEWHERE: [(&str, &str); 7] = [
    ("set", "Change the configuration, then RELOAD."),
    (
        "shutdown",
        "Send the process a TERM signal, or POST /quitquitquit to its admin address.",
    ),
    ("suspend", "PAUSE holds statements back."),
    (
        "disable",
        "PAUSE holds statements back; a \"deny\" filter refuses them.",
    ),
    ("enable", "RESUME ends a PAUSE."),
    (
        "wait_close",
        "SHOW SERVERS tells which connections are still to be closed.",
    ),
    ("kill_client", "KILL drops all clients of a database."),
];

/// Why a text is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such command.
    #[error("invalid command, use SHOW HELP")]
    Unknown,
    /// There is no such thing to show.
    #[error("there is nothing of that name to show, use SHOW HELP")]
    UnknownShow,
    /// A command of PgBouncer's that this console does not have. The hint says what to do instead.
    #[error("this console has no such command")]
    Elsewhere(&'static str),
    /// The command needs the name of a database.
    #[error("a database is required")]
    NoDatabase,
    /// Something stands behind the command.
    #[error("unexpected words behind the command")]
    TooMuch,
    /// More than one command.
    #[error("one command at a time")]
    Several,
    /// The text is no UTF-8, or a quoted name has no end.
    #[error("malformed command")]
    Malformed,
}

impl CommandError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "console_unknown",
            Self::UnknownShow => "console_unknown_show",
            Self::Elsewhere(_) => "console_unsupported",
            Self::NoDatabase => "console_no_database",
            Self::TooMuch => "console_too_much",
            Self::Several => "console_several",
            Self::Malformed => "console_malformed",
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> ErrorReply {
        let state = match self {
            Self::Elsewhere(_) => SqlState::FEATURE_NOT_SUPPORTED,
            _ => SqlState::SYNTAX_ERROR,
        };
        let reply = ErrorReply {
            reason: self.label(),
            sqlstate: state,
            message: Cow::Owned(self.to_string()),
            hint: None,
        };
        match self {
            Self::Elsewhere(hint) => reply.hint(hint),
            _ => reply,
        }
    }
}

impl Command {
    /// Understands a text; `None` if it is empty.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn parse(text: &[u8]) -> Result<Option<Self>, CommandError> {
        let text = std::str::from_utf8(text).map_err(|_| CommandError::Malformed)?;
        let words = split(text)?;
        let mut words = words.iter();
        let Some(first) = words.next() else {
            return Ok(None);
        };
        let argument = words.next();
        let more = words.next().is_some();
        let database = || argument.map(Word::name);
        let command = match first.keyword().as_str() {
            "show" => Self::Show(show(argument)?),
            "pause" => Self::Pause(database()),
            "resume" => Self::Resume(database()),
            "reconnect" => Self::Reconnect(database()),
            "kill" => Self::Kill(database().ok_or(CommandError::NoDatabase)?),
            "reload" if argument.is_some() => return Err(CommandError::TooMuch),
            "reload" => Self::Reload,
            other => {
                let found = ELSEWHERE.iter().find(|(name, _)| *name == other);
                return Err(found.map_or(CommandError::Unknown, |(_, hint)| {
                    CommandError::Elsewhere(hint)
                }));
            }
        };
        if more {
            return Err(CommandError::TooMuch);
        }
        Ok(Some(command))
    }

    /// What whoever asks must be.
    #[must_use]
    pub const fn needs(&self) -> Privilege {
        match self {
            Self::Show(_) => Privilege::View,
            Self::Pause(_)
            | Self::Resume(_)
            | Self::Reconnect(_)
            | Self::Kill(_)
            | Self::Reload => Privilege::Admin,
        }
    }

    /// The tag of its CommandComplete.
    #[must_use]
    pub const fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) => "SHOW",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Reconnect(_) => "RECONNECT",
            Self::Kill(_) => "KILL",
            Self::Reload => "RELOAD",
        }
    }
}

fn show(argument: Option<&Word>) -> Result<Show, CommandError> {
    let Some(argument) = argument else {
        return Ok(Show::Help);
    };
    let keyword = argument.keyword();
    let found = SHOWS.iter().find(|(name, _)| *name == keyword);
    found
        .map(|(_, show)| *show)
        .ok_or(CommandError::UnknownShow)
}

/// A word, or a name in quotes.
enum Word {
    Plain(String),
    Quoted(String),
}

impl Word {
    /// As a keyword, in lower case; what was quoted is none.
    fn keyword(&self) -> String {
        match self {
            Self::Plain(text) => text.to_ascii_lowercase(),
            Self::Quoted(_) => String::new(),
        }
    }

    /// As a name: in the case in which it stands, as PgBouncer has it.
    fn name(&self) -> String {
        match self {
            Self::Plain(text) | Self::Quoted(text) => text.clone(),
        }
    }
}

/// Takes a text apart. A semicolon ends the command, and nothing may follow.
fn split(text: &str) -> Result<Vec<Word>, CommandError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            ';' => {
                let is_end = |found: char| found == ';' || found.is_whitespace();
                let is_over = rest.chars().all(is_end);
                return is_over.then_some(words).ok_or(CommandError::Several);
            }
            '"' => {
                let (name, behind) = quoted(rest).ok_or(CommandError::Malformed)?;
                words.push(Word::Quoted(name));
                behind
            }
            _ => {
                let ends = |found: char| found.is_whitespace() || matches!(found, ';' | '"');
                let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                words.push(Word::Plain(word.to_owned()));
                behind
            }
        }
        .trim_start();
    }
    Ok(words)
}

/// A name in double quotes off the front of `text`; two of them inside are one.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut name = String::new();
    loop {
        let (part, behind) = rest.split_at(rest.find('"')?);
        name.push_str(part);
        rest = behind.strip_prefix('"')?;
        match rest.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return Some((name, rest)),
        }
    }
}
