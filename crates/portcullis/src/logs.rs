//! What the process says about itself: its log, in text or JSON, with levels that can change while it runs.
//!
//! Not the access log, which sessions write line by line; that is [`access`]. What can be set is in [`config`], where
//! lines go in `writer`. Start at [`ProcessLog`].

pub mod access;
pub mod config;
mod writer;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

pub use config::{LevelError, LogFormat, LogLevels, LogTarget, LogsConfig};
use writer::LogWriter;

/// What the command line and the environment say about the log. It goes before the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOverrides {
    /// The levels.
    pub level: Option<LogLevels>,
    /// How lines are written.
    pub format: Option<LogFormat>,
    /// Where they go.
    pub to: Option<LogTarget>,
}

/// The log of the process. Clones are the same log.
#[derive(Debug, Clone)]
pub struct ProcessLog(Arc<Log>);

#[derive(Debug)]
struct Log {
    overrides: LogOverrides,
    running: OnceLock<Running>,
}

/// A log that was started.
#[derive(Debug)]
struct Running {
    /// What was set last, by the configuration and the command line.
    config: Mutex<LogsConfig>,
    /// `None` where somebody else logs for the process already.
    levels: Option<reload::Handle<Targets, Registry>>,
    writer: LogWriter,
}

impl ProcessLog {
    /// A log that says nothing yet: it starts once the configuration is known.
    #[must_use]
    pub fn new(overrides: LogOverrides) -> Self {
        Self(Arc::new(Log {
            overrides,
            running: OnceLock::new(),
        }))
    }

    /// A log that never starts, for tests.
    #[must_use]
    pub fn none() -> Self {
        Self::new(LogOverrides::default())
    }

    /// Starts logging as the configuration and the command line say. The second log to start in one process logs
    /// where the first does, and its levels cannot be changed; starting the same one twice does nothing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn start(&self, config: &LogsConfig) -> io::Result<()> {
        if self.0.running.get().is_some() {
            return Ok(());
        }
        let config = self.0.overrides.over(config);
        let writer = LogWriter::open(&config.to)?;
        let levels = subscribe(&config, &writer);
        let _ = self.0.running.set(Running {
            config: Mutex::new(config),
            levels,
            writer,
        });
        Ok(())
    }

    /// The settings in which `config` differs from what runs and that cannot change while it does. What the command
    /// line says stays as it is and is no difference.
    #[must_use]
    pub fn unchangeable(&self, config: &LogsConfig) -> Vec<&'static str> {
        let Some(running) = self.0.running.get() else {
            return Vec::new();
        };
        let wanted = self.0.overrides.over(config);
        let current = running.config();
        [
            ("logs.format", current.format != wanted.format),
            ("logs.to", current.to != wanted.to),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// Takes over the levels of a new configuration. Whether that changes anything: levels that the command line
    /// sets do not change, and levels that were set with [`ProcessLog::set_levels`] last until the configured ones do.
    pub fn configure(&self, config: &LogsConfig) -> bool {
        let Some(running) = self.0.running.get() else {
            return false;
        };
        let wanted = self.0.overrides.over(config).level;
        let mut current = running.config();
        if current.level == wanted {
            return false;
        }
        running.set_levels(&wanted);
        current.level = wanted;
        true
    }

    /// Changes the levels: one for the gateway's own modules, or a list by module.
    ///
    /// # Errors
    /// The levels make no sense; nothing changes.
    pub fn set_levels(&self, levels: &str) -> Result<(), LevelError> {
        let levels = levels.parse()?;
        if let Some(running) = self.0.running.get() {
            running.set_levels(&levels);
        }
        Ok(())
    }

    /// Opens the file again, for whoever has just moved it away. A file that cannot be opened any more is written to
    /// where it is now.
    pub fn reopen(&self) {
        if let Some(running) = self.0.running.get()
            && let Err(error) = running.writer.reopen()
        {
            tracing::error!(%error, "cannot open the log again");
        }
    }
}

impl Running {
    fn config(&self) -> MutexGuard<'_, LogsConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_levels(&self, levels: &LogLevels) {
        if let Some(handle) = &self.levels {
            // Fails only when the subscriber is gone, and then there is nothing to log to.
            let _ = handle.reload(levels.targets());
        }
    }
}

impl LogOverrides {
    fn over(&self, config: &LogsConfig) -> LogsConfig {
        let own = self.clone();
        LogsConfig {
            level: own.level.unwrap_or_else(|| config.level.clone()),
            format: own.format.unwrap_or(config.format),
            to: own.to.unwrap_or_else(|| config.to.clone()),
        }
    }
}

/// Makes this the process's log, unless there is one.
fn subscribe(config: &LogsConfig, writer: &LogWriter) -> Option<reload::Handle<Targets, Registry>> {
    let (levels, handle) = reload::Layer::new(config.level.targets());
    let writer = writer.clone();
    let lines = fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(false);
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(lines.with_filter(levels))
        .try_init();
    started.is_ok().then_some(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(level: &str, format: LogFormat, to: &str) -> LogsConfig {
        LogsConfig {
            level: level.parse().unwrap(),
            format,
            to: to.parse().unwrap(),
        }
    }

    /// A log that runs as told, without touching the process's subscriber.
    fn running(overrides: LogOverrides, configured: &LogsConfig) -> ProcessLog {
        let log = ProcessLog::new(overrides);
        let config = log.0.overrides.over(configured);
        let running = Running {
            writer: LogWriter::open(&config.to).unwrap(),
            config: Mutex::new(config),
            levels: None,
        };
        log.0.running.set(running).unwrap();
        log
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let configured = config("debug", LogFormat::Json, "/a");
        let rows = [
            ("nothing", LogOverrides::default(), configured.clone()),
            (
                "level",
                LogOverrides {
                    level: Some("warn".parse().unwrap()),
                    ..LogOverrides::default()
                },
                config("warn", LogFormat::Json, "/a"),
            ),
            (
                "the rest",
                LogOverrides {
                    level: None,
                    format: Some(LogFormat::Text),
                    to: Some(LogTarget::Stderr),
                },
                config("debug", LogFormat::Text, "stderr"),
            ),
        ];
        for (name, overrides, expected) in rows {
            assert_eq!(overrides.over(&configured), expected, "{name}");
        }
    }

    #[test]
    fn a_new_configuration_changes_levels_and_nothing_else() {
        let first = config("info", LogFormat::Text, "stderr");
        let fixed = LogOverrides {
            level: Some("warn".parse().unwrap()),
            format: Some(LogFormat::Text),
            to: Some(LogTarget::Stderr),
        };
        let rows: [(&str, &LogOverrides, LogsConfig, &[&str], bool); 5] = [
            (
                "the same",
                &LogOverrides::default(),
                first.clone(),
                &[],
                false,
            ),
            (
                "levels",
                &LogOverrides::default(),
                config("debug", LogFormat::Text, "stderr"),
                &[],
                true,
            ),
            (
                "format",
                &LogOverrides::default(),
                config("info", LogFormat::Json, "stderr"),
                &["logs.format"],
                false,
            ),
            (
                "place",
                &LogOverrides::default(),
                config("info", LogFormat::Text, "/var/log/a"),
                &["logs.to"],
                false,
            ),
            (
                "all of it, with a command line that says otherwise",
                &fixed,
                config("debug", LogFormat::Json, "/var/log/a"),
                &[],
                false,
            ),
        ];
        for (name, overrides, next, unchangeable, changes) in rows {
            let log = running(overrides.clone(), &first);
            assert_eq!(log.unchangeable(&next), unchangeable, "{name}");
            assert_eq!(log.configure(&next), changes, "{name}");
            assert!(!log.configure(&next), "{name}: once");
        }
    }

    #[test]
    fn a_log_that_does_not_run_changes_nothing() {
        let log = ProcessLog::none();
        let config = config("debug", LogFormat::Json, "/a");
        assert_eq!(log.unchangeable(&config), Vec::<&str>::new());
        assert!(!log.configure(&config));
        assert_eq!(log.set_levels("debug"), Ok(()));
        assert!(log.set_levels("loud").is_err());
    }
}
