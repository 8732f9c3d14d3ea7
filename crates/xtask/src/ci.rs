//! `ci`: every check in turn, none hidden by an earlier failure, and a table at the end.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::counts::Counts;
use crate::packages;
use crate::run::{output_of, run as run_shown, run_counted, succeeds};
use crate::test;
use crate::workspace::Workspace;

/// What came of one step.
#[derive(Debug)]
enum Outcome {
    /// It ran: what it counted, one for a step that is a check by itself.
    Ran(Counts),
    /// It could not run here, and why that is no failure.
    Skipped(String),
}

/// The checks in order: quick ones first.
type Step = (&'static str, fn(&Workspace) -> Result<Outcome>);
const STEPS: &[Step] = &[
    ("format", format),
    ("clippy", clippy),
    ("layering", layering),
    ("pure protocols", pure_protocols),
    ("fuzz package", fuzz_package),
    ("documents", documents),
    ("oldest rust", oldest_rust),
    ("dependencies", dependencies),
    ("tests and replay", tests),
];

/// Runs every step: the totals of all of them.
pub(crate) fn run(workspace: &Workspace) -> Counts {
    let mut totals = Counts::default();
    let mut table = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\n### {name}");
        let began = now();
        let outcome = step(workspace).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Outcome::Ran(Counts::one(false))
        });
        let seconds = began.elapsed().as_secs_f32();
        let (word, detail) = match &outcome {
            Outcome::Ran(counts) if counts.failed > 0 => ("FAILED", counts.to_string()),
            Outcome::Ran(counts) => ("ok", counts.to_string()),
            Outcome::Skipped(why) => ("skipped", why.clone()),
        };
        if let Outcome::Ran(counts) = outcome {
            totals += counts;
        }
        table.push(format!("{name:<18}{word:<9}{seconds:>7.1} s  {detail}"));
    }
    println!("\n{}\n", table.join("\n"));
    totals
}

/// The clock on the wall, for the table; nothing depends on it.
#[allow(clippy::disallowed_methods)] // a chore has no worker whose clock it could ask
fn now() -> Instant {
    Instant::now()
}

fn check(command: &mut Command) -> Result<Outcome> {
    let passed = run_shown(command)?;
    Ok(Outcome::Ran(Counts::one(passed)))
}

fn format(workspace: &Workspace) -> Result<Outcome> {
    check(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo();
    command.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    check(&mut command)
}

fn layering(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo();
    // The whole workspace, so that the dependencies are built with the features that the tests use too.
    command.args(["test", "--workspace", "--test", "layering"]);
    Ok(Outcome::Ran(run_counted(&mut command)?))
}

/// A codec that reaches for a socket fails to compile here: none of these packages has its default features, so none brings
/// another one what it lacks. In one command, because each one more would build the dependencies again with other features.
fn pure_protocols(workspace: &Workspace) -> Result<Outcome> {
    let mut packages = workspace.protocols()?;
    packages.push("portcullis-net".to_owned());
    let mut command = workspace.cargo();
    command.args(["check", "--no-default-features"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    let passed = run_shown(&mut command)?;
    Ok(Outcome::Ran(Counts::several(packages.len(), passed)))
}

/// The bodies and the wrappers compile. Running them is `fuzz`, replaying the corpus is among the tests.
fn fuzz_package(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo();
    command.args([
        "clippy",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--all-targets",
    ]);
    command.arg("--target-dir").arg(&workspace.target);
    command.args(["--", "-D", "warnings"]);
    // Nothing is linked, so libFuzzer itself (two dozen C++ files) need not be built.
    let unused = workspace.target.join("libfuzzer.a");
    check(command.env("CUSTOM_LIBFUZZER_PATH", unused))
}

fn documents(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo();
    command.args(["doc", "--workspace", "--no-deps"]);
    check(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Builds with the oldest Rust that the manifest promises, where that is another one and is installed.
fn oldest_rust(workspace: &Workspace) -> Result<Outcome> {
    let oldest = &workspace.rust_version;
    let version = output_of(Command::new("rustc").arg("--version")).unwrap_or_default();
    if version.starts_with(&format!("rustc {oldest}.")) {
        return Ok(Outcome::Skipped(format!(
            "the toolchain is {oldest} itself"
        )));
    }
    let list = output_of(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let is_oldest = |line: &&str| line.starts_with(oldest.as_str());
    let Some(toolchain) = list.lines().find(is_oldest) else {
        return Ok(Outcome::Skipped(format!("{oldest} is not installed")));
    };
    let toolchain = toolchain.split_whitespace().next().unwrap_or_default();
    let mut command = Command::new("rustup");
    command.current_dir(&workspace.root);
    command.args(["run", toolchain, "cargo", "check", "--workspace"]);
    check(&mut command)
}

fn dependencies(workspace: &Workspace) -> Result<Outcome> {
    if !succeeds(workspace.cargo().args(["deny", "--version"])) {
        return Ok(Outcome::Skipped("cargo-deny is not installed".to_owned()));
    }
    let mut command = workspace.cargo();
    // Not `advisories`: its database comes from the network at every run.
    command.args(["deny", "check", "licenses", "bans", "sources"]);
    check(&mut command)
}

fn tests(workspace: &Workspace) -> Result<Outcome> {
    packages::install(packages::NEEDED);
    Ok(Outcome::Ran(test::run(workspace, &[])?))
}
