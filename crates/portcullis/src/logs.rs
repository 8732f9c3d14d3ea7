//! What the process says on standard error: its log, in text or JSON, with levels that can change while it runs.
//!
//! Not the access log, which sessions write line by line; that is [`access`]. Start at [`ProcessLog::start`].

pub mod access;

use std::io::stderr;
use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::cli::{LogFormat, Output};

/// The log of the process. Clones change the same levels.
#[derive(Debug, Clone)]
pub struct ProcessLog {
    levels: Option<reload::Handle<Targets, Registry>>,
}

/// Levels that nobody can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no log level; expected off, error, warn, info, debug or trace, or such levels by module"
)]
pub struct LevelError(String);

impl ProcessLog {
    /// Starts logging as the command line says. The second start in one process logs where the first does, and
    /// its levels cannot be changed.
    ///
    /// # Errors
    /// The levels given with `--log` make no sense.
    pub fn start(output: &Output) -> Result<Self, LevelError> {
        let levels = match &output.log {
            Some(levels) => parse_levels(levels)?,
            None => own_level(output.level()),
        };
        let (levels, handle) = reload::Layer::new(levels);
        let lines = fmt::layer().with_writer(stderr).with_ansi(false);
        let lines = match output.log_format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let started = tracing_subscriber::registry()
            .with(lines.with_filter(levels))
            .try_init();
        Ok(Self {
            levels: started.is_ok().then_some(handle),
        })
    }

    /// A log whose levels cannot be changed, for tests.
    #[must_use]
    pub const fn none() -> Self {
        Self { levels: None }
    }

    /// Changes the levels: one for the gateway's own modules, or a list by module.
    ///
    /// # Errors
    /// The levels make no sense; nothing changes.
    pub fn set_levels(&self, levels: &str) -> Result<(), LevelError> {
        let levels = parse_levels(levels)?;
        if let Some(handle) = &self.levels {
            // Fails only when the subscriber is gone, and then there is nothing to log to.
            let _ = handle.reload(levels);
        }
        Ok(())
    }
}

/// Libraries speak when something is wrong, however much the gateway itself says.
fn own_level(level: Level) -> Targets {
    Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("portcullis", level)
}

fn parse_levels(text: &str) -> Result<Targets, LevelError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(LevelError(text.to_owned()));
    }
    if let Ok(level) = Level::from_str(text) {
        return Ok(own_level(level));
    }
    if !text.contains('=') && !text.contains(',') && text != "off" {
        // `Targets` would take a lone word for a module to log everything of.
        return Err(LevelError(text.to_owned()));
    }
    Targets::from_str(text).map_err(|_| LevelError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_or_lists() {
        for (text, module, level, logged) in [
            ("info", "portcullis_net", Level::INFO, true),
            ("info", "portcullis_net", Level::DEBUG, false),
            ("debug", "hyper", Level::INFO, false),
            ("debug", "hyper", Level::WARN, true),
            ("off", "portcullis", Level::ERROR, false),
            (
                "warn,portcullis_net=trace",
                "portcullis_net::accept",
                Level::TRACE,
                true,
            ),
            (
                "warn,portcullis_net=trace",
                "portcullis_http",
                Level::INFO,
                false,
            ),
        ] {
            let levels = parse_levels(text).unwrap();
            assert_eq!(
                levels.would_enable(module, &level),
                logged,
                "{text} {module} {level}"
            );
        }
        for text in ["", "loud", "portcullis=loud"] {
            assert!(parse_levels(text).is_err(), "{text:?}");
        }
    }
}
