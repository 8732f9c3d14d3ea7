//! The `logs` block: what the process says of itself, how, and where.
//!
//! The command line and the environment go before it; [`super::ProcessLog`] puts both together. Access logs are
//! filters of listeners and not configured here. Start at [`LogsConfig`].

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use tracing::Level;
use tracing_subscriber::filter::Targets;

/// What the process says of itself. Access logs are filters of listeners: `access_log`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// The level: `off`, `error`, `warn`, `info`, `debug` or `trace`, or such levels by module, as
    /// `info,portcullis_net=debug`. Default `info`: what an operator wants to know and no line per request. `--log`,
    /// `PORTCULLIS_LOG`, `-v` and `-q` go before it.
    pub level: LogLevels,
    /// How each line is written. Default `text`, which people read; `--log-format` and `PORTCULLIS_LOG_FORMAT` go
    /// before it. It cannot change while the gateway runs.
    pub format: LogFormat,
    /// `stderr` or the absolute path of a file, which is appended to, made if needed, and opened again after USR1.
    /// Default `stderr`, which whoever starts the process collects anyway; `--log-to` and `PORTCULLIS_LOG_TO` go before
    /// it. It cannot change while the gateway runs.
    pub to: LogTarget,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// Levels as they were written, known to make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevels(String);

/// Levels that nobody can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no log level, expected {LEVELS}")]
pub struct LevelError(String);

/// Where the log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    #[default]
    Stderr,
    /// This file. The path is absolute: a relative one would mean another file wherever the process is started.
    File(PathBuf),
}

/// A place that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no place for a log, expected {TARGETS}")]
pub struct TargetError(String);

const LEVELS: &str = "off, error, warn, info, debug or trace, or such levels by module";
const TARGETS: &str = "stderr or the absolute path of a file";

impl LogLevels {
    /// As a filter of the subscriber.
    pub(super) fn targets(&self) -> Targets {
        // Checked when the text became a `LogLevels`.
        parse(&self.0).unwrap_or_default()
    }
}

impl Default for LogLevels {
    fn default() -> Self {
        Level::INFO.into()
    }
}

impl From<Level> for LogLevels {
    fn from(level: Level) -> Self {
        Self(level.as_str().to_ascii_lowercase())
    }
}

impl FromStr for LogLevels {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let text = text.trim();
        match parse(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(LevelError(text.to_owned())),
        }
    }
}

fn parse(text: &str) -> Option<Targets> {
    if text.is_empty() {
        return None;
    }
    if let Ok(level) = Level::from_str(text) {
        return Some(own_level(level));
    }
    if !text.contains('=') && !text.contains(',') && text != "off" {
        // `Targets` would take a lone word for a module to log everything of.
        return None;
    }
    Targets::from_str(text).ok()
}

/// Libraries speak when something is wrong, however much the gateway itself says.
fn own_level(level: Level) -> Targets {
    Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("portcullis", level)
}

impl FromStr for LogTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text {
            "stderr" => Ok(Self::Stderr),
            path if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            other => Err(TargetError(other.to_owned())),
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => formatter.write_str("stderr"),
            Self::File(path) => path.display().fmt(formatter),
        }
    }
}

/// Reads a text as a value; an error says what was written and what is expected.
fn read<'de, T: FromStr, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    expected: &'static str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let found = format!("'{text}' is no {what}");
        D::Error::invalid_value(Unexpected::Other(&found), &expected)
    })
}

impl<'de> Deserialize<'de> for LogLevels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "log level", LEVELS)
    }
}

impl<'de> Deserialize<'de> for LogTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "place for a log", TARGETS)
    }
}

impl JsonSchema for LogLevels {
    fn schema_name() -> Cow<'static, str> {
        "LogLevels".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(off|error|warn|info|debug|trace|.*[=,].*)$",
            "examples": ["info", "info,portcullis_net=debug"],
        })
    }
}

impl JsonSchema for LogTarget {
    fn schema_name() -> Cow<'static, str> {
        "LogTarget".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(stderr|/.+)$",
            "examples": ["stderr", "/var/log/portcullis.log"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_or_lists() {
        let list = "warn,portcullis_net=trace";
        for (text, module, level, logged) in [
            ("info", "portcullis_net", Level::INFO, true),
            ("info", "portcullis_net", Level::DEBUG, false),
            ("debug", "hyper", Level::INFO, false),
            ("debug", "hyper", Level::WARN, true),
            ("off", "portcullis", Level::ERROR, false),
            (list, "portcullis_net::accept", Level::TRACE, true),
            (list, "portcullis_http", Level::INFO, false),
        ] {
            let levels: LogLevels = text.parse().unwrap();
            let enabled = levels.targets().would_enable(module, &level);
            assert_eq!(enabled, logged, "{text} {module} {level}");
        }
        for text in ["", "loud", "portcullis=loud"] {
            assert!(text.parse::<LogLevels>().is_err(), "{text:?}");
        }
        assert_eq!(LogLevels::default(), "info".parse().unwrap());
    }

    #[test]
    fn targets_are_stderr_or_absolute() {
        for (text, target) in [
            ("stderr", Some(LogTarget::Stderr)),
            ("/var/log/a", Some(LogTarget::File("/var/log/a".into()))),
            ("stdout", None),
            ("stder", None),
            ("log/a", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), target, "{text:?}");
        }
    }
}
