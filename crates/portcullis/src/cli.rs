//! The command line: what can be asked of the binary, and the environment variables that say the same.
//!
//! Nothing happens here; `commands` carries out what was asked. Start at [`Command`].

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tracing::Level;

use crate::logs::{LogFormat, LogLevels, LogOverrides, LogTarget};

/// A memory-safe gateway for TCP, UDP, TLS, QUIC, HTTP, gRPC, Postgres and Redis.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    disable_version_flag = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How it talks about it.
    #[command(flatten)]
    pub output: Output,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Run(ConfigFile),
    /// Check a configuration, report all its mistakes, and do nothing else.
    Check {
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
        /// How mistakes are printed.
        #[arg(long, value_enum, default_value_t, env = "PORTCULLIS_CHECK_FORMAT")]
        format: ReportFormat,
    },
    /// Run one listener in front of one target, without a file.
    #[command(after_help = "Example: portcullis quick http :8080 localhost:3000")]
    Quick(Quick),
    /// Run against built-in upstreams, with traffic, to look at.
    #[cfg(feature = "demo")]
    Demo,
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the version.
    Version,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG"
    )]
    pub path: PathBuf,
}

/// What `quick` runs.
#[derive(Debug, Args)]
pub struct Quick {
    /// The protocol, such as `http`.
    pub protocol: String,
    /// Where to listen, such as `:8080` or `127.0.0.1:8080`.
    pub listen: String,
    /// Where to send it, such as `localhost:3000`.
    pub target: String,
}

/// How the binary talks about what it does.
#[derive(Debug, Args)]
pub struct Output {
    /// Log more; twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log less; twice for errors only.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
    /// The log level, or levels by module: `info`, `info,portcullis_net=debug`. Goes before `-v` and `-q`, and they
    /// before `logs.level`.
    #[arg(long, global = true, value_name = "LEVELS", env = "PORTCULLIS_LOG")]
    pub log: Option<LogLevels>,
    /// How the log is written. Goes before `logs.format`, which is text unless said otherwise.
    #[arg(long, global = true, value_enum, env = "PORTCULLIS_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Where the log goes: `stderr` or the absolute path of a file. Goes before `logs.to`, which is stderr unless said
    /// otherwise.
    #[arg(long, global = true, value_name = "PLACE", env = "PORTCULLIS_LOG_TO")]
    pub log_to: Option<LogTarget>,
}

/// How mistakes are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people: a picture of each line.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// What is said here about the log; it goes before the configuration.
    #[must_use]
    pub fn log_overrides(&self) -> LogOverrides {
        LogOverrides {
            level: self
                .log
                .clone()
                .or_else(|| self.level().map(LogLevels::from)),
            format: self.log_format,
            to: self.log_to.clone(),
        }
    }

    /// The level that `-v` and `-q` ask for.
    const fn level(&self) -> Option<Level> {
        match (self.quiet, self.verbose) {
            (0, 0) => None,
            (0, 1) => Some(Level::DEBUG),
            (0, _) => Some(Level::TRACE),
            (1, _) => Some(Level::WARN),
            _ => Some(Level::ERROR),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_has_a_short_flag() {
        for line in [
            &["portcullis", "run", "-c", "a.yaml"],
            &["portcullis", "check", "--config", "a.yaml"],
        ] {
            assert!(Cli::try_parse_from(line).is_ok(), "{line:?}");
        }
    }

    #[test]
    fn levels_follow_the_flags() {
        for (flags, level) in [
            (&[][..], None),
            (&["-v"], Some("debug")),
            (&["-vv"], Some("trace")),
            (&["-q"], Some("warn")),
            (&["-qq"], Some("error")),
            (&["-v", "--log", "warn,a=debug"], Some("warn,a=debug")),
        ] {
            let line = ["portcullis", "version"].iter().chain(flags);
            let cli = Cli::try_parse_from(line).unwrap();
            let level = level.map(|level| level.parse().unwrap());
            assert_eq!(cli.output.log_overrides().level, level, "{flags:?}");
        }
    }

    #[test]
    fn mistakes_about_the_log_are_usage_errors() {
        for flags in [
            ["--log", "loud"],
            ["--log-format", "xml"],
            ["--log-to", "log/portcullis.log"],
        ] {
            let line = ["portcullis", "version"].iter().chain(&flags);
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{flags:?}");
        }
    }
}
