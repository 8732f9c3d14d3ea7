//! Chores, one verb each: `cargo xtask test`, `ci`, `fuzz`, `replay`, `bench`, `release`, `new-protocol`.
//!
//! Not a build system: every verb runs cargo, or an ordinary program, in the way that a person would, and
//! says what it runs. Start at [`Verb`].

// This is a command line program: its output is what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod ci;
mod counts;
mod fuzz;
mod new_protocol;
mod packages;
mod release;
mod run;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::counts::Counts;
use crate::workspace::Workspace;

/// Chores of the Portcullis workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what the tests need where that is possible, then build and run every test
    Test {
        /// Passed on to the test runner, such as a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Everything that a change must pass: formatting, lints, documents, layering, tests, fuzz replay
    Ci,
    /// Fuzz one target with libFuzzer on nightly
    Fuzz {
        /// The target; --list shows them
        #[arg(required_unless_present = "list")]
        target: Option<String>,
        /// Stop after this many seconds instead of running until interrupted
        #[arg(long)]
        seconds: Option<u64>,
        /// List the targets
        #[arg(long)]
        list: bool,
    },
    /// Run every corpus file through its fuzz body on stable
    Replay,
    /// Run the benchmarks
    Bench {
        /// Passed on to the benchmarks, such as a part of a name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Build the gateway by what it does under load: cheaper for each request than a plain release build
    Release {
        /// Build without the default features
        #[arg(long)]
        no_default_features: bool,
        /// Features to build with, such as `mimalloc,redis`
        #[arg(long)]
        features: Option<String>,
    },
    /// Make the crate of a new protocol from the template
    NewProtocol {
        /// Lower case letters, digits and underscores, such as `memcached`
        name: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one verb: whether it succeeded.
fn run(verb: Verb) -> Result<bool> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Test { filter } => {
            packages::install(packages::NEEDED);
            let counts = test::run(&workspace, &filter)?;
            Ok(finish(counts))
        }
        Verb::Ci => Ok(finish(ci::run(&workspace))),
        Verb::Replay => Ok(finish(test::replay(&workspace)?)),
        Verb::Fuzz { list: true, .. } => fuzz::list(&workspace),
        Verb::Fuzz {
            target, seconds, ..
        } => fuzz::run(&workspace, &target.unwrap_or_default(), seconds),
        Verb::Bench { filter } => bench::run(&workspace, &filter),
        Verb::Release {
            no_default_features,
            features,
        } => {
            packages::install(packages::NEEDED);
            let mut flags = Vec::new();
            if no_default_features {
                flags.push("--no-default-features".to_owned());
            }
            flags.extend(features.map(|features| format!("--features={features}")));
            release::run(&workspace, &flags)
        }
        Verb::NewProtocol { name } => new_protocol::run(&workspace, &name),
    }
}

/// Prints the totals as the last line: whether there was no failure.
fn finish(counts: Counts) -> bool {
    println!("portcullis: {counts}");
    counts.failed == 0
}
