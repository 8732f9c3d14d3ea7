//! What each verb of the command line does, and the exit code it ends with.
//!
//! Everything printed for the person at the terminal is printed here. Start at [`main_with_args`].

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use serde_json::json;

use crate::cli::{Cli, Command, Output, Quick, ReportFormat};
#[cfg(feature = "demo")]
use crate::demo;
use crate::gateway::{self, RunError};
use crate::load::{self, ConfigSource};
use crate::logs::ProcessLog;
use crate::protocols::registry;
use crate::schema;

/// Ended with an error.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;
/// The configuration is wrong (`EX_CONFIG`).
const BAD_CONFIGURATION: u8 = 78;

/// Runs the binary with these arguments, the program's name first, and returns its exit code: 0 done or drained,
/// 1 failed, 2 usage, 78 bad configuration.
pub fn main_with_args(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Also for `--help`, which is not an error: it says which stream and which code.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Run(config) => run(ConfigSource::File(config.path), &cli.output),
        Command::Check { config, format } => check(&ConfigSource::File(config.path), format),
        Command::Quick(quick) => run(quick_source(&quick), &cli.output),
        #[cfg(feature = "demo")]
        Command::Demo => run_demo(&cli.output),
        Command::Schema => print(&format!("{:#}\n", schema::document(&registry()))),
        Command::Version => print(&format!("portcullis {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

fn run(source: ConfigSource, output: &Output) -> ExitCode {
    let log = ProcessLog::new(output.log_overrides());
    match gateway::run(source, registry(), log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Configuration(report)) => {
            let _ = io::stderr().write_all(report.text(colours(&io::stderr())).as_bytes());
            ExitCode::from(BAD_CONFIGURATION)
        }
        Err(RunError::Failed(error)) => {
            complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

#[cfg(feature = "demo")]
fn run_demo(output: &Output) -> ExitCode {
    match demo::prepare(&mut io::stdout()) {
        Ok(demo) => {
            let name = "demo".to_owned();
            let text = demo.configuration.clone();
            run(ConfigSource::Text { name, text }, output)
        }
        Err(error) => {
            complain(&format!("cannot start the demo: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn check(source: &ConfigSource, format: ReportFormat) -> ExitCode {
    let (model, report) = load::load(source, &registry()).into_parts();
    let code = if model.is_some() {
        0
    } else {
        BAD_CONFIGURATION
    };
    match format {
        ReportFormat::Json => {
            let answer = json!({ "ok": model.is_some(), "diagnostics": report.json() });
            let _ = writeln!(io::stdout(), "{answer:#}");
        }
        ReportFormat::Text => {
            let _ = io::stderr().write_all(report.text(colours(&io::stderr())).as_bytes());
            if let Some(model) = model {
                let _ = writeln!(
                    io::stdout(),
                    "{}: ok, listeners: {}, clusters: {}",
                    source.name(),
                    model.listeners.len(),
                    model.clusters.len()
                );
            }
        }
    }
    ExitCode::from(code)
}

/// One listener in front of one target. The values are quoted: nothing in them is taken for YAML.
fn quick_source(quick: &Quick) -> ConfigSource {
    let text = format!(
        "admin: {{ listen: \"127.0.0.1:0\" }}\n\
         listeners:\n  quick: {{ listen: {listen}, protocol: {protocol}, cluster: target }}\n\
         clusters:\n  target: {{ endpoints: [{target}] }}\n",
        listen = json!(quick.listen),
        protocol = json!(quick.protocol),
        target = json!(quick.target),
    );
    ConfigSource::Text {
        name: "quick".to_owned(),
        text,
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "portcullis: {message}");
}

/// Whether to write colours to a stream: only to people, and only to those who want them (`NO_COLOR`).
fn colours(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
