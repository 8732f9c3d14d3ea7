//! `test` and `replay`: build everything once, run it, add it up.

use std::io::{IsTerminal, stderr};

use anyhow::Result;

use crate::counts::Counts;
use crate::run::{run as run_shown, run_counted, succeeds};
use crate::workspace::Workspace;

/// Builds and runs the unit, integration and end-to-end tests, the corpus replay among them, and the doc tests.
///
/// With a `filter` only the first group runs, and only what matches.
pub(crate) fn run(workspace: &Workspace, filter: &[String]) -> Result<Counts> {
    // One build of all packages together, with the same features as the tests: the end-to-end tests then
    // find a gateway that is up to date instead of building it again by itself.
    let mut build = workspace.cargo();
    build.args(["build", "--workspace", "--lib", "--bins", "--tests"]);
    if !run_shown(&mut build)? {
        return Ok(Counts::one(false));
    }
    let mut counts = unit_and_end_to_end(workspace, filter)?;
    if filter.is_empty() {
        let mut documents = workspace.cargo();
        documents.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        counts += run_counted(&mut documents)?;
    }
    Ok(counts)
}

fn unit_and_end_to_end(workspace: &Workspace, filter: &[String]) -> Result<Counts> {
    let mut tests = workspace.cargo();
    if has_nextest(workspace) {
        let color = if stderr().is_terminal() {
            "always"
        } else {
            "never"
        };
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        tests.args(["--color", color, "--config-file", ".ci/nextest.toml"]);
        // A workspace that is still all doc comments has no test, and that is not a failure.
        tests.args(["--no-tests", "warn"]);
    } else {
        tests.args(["test", "--workspace", "--no-fail-fast"]);
        tests.args(["--lib", "--bins", "--tests"]);
    }
    tests.args(filter);
    tests.env("PORTCULLIS_BIN", workspace.target.join("debug/portcullis"));
    run_counted(&mut tests)
}

fn has_nextest(workspace: &Workspace) -> bool {
    succeeds(workspace.cargo().args(["nextest", "--version"]))
}

/// Runs every corpus file through its fuzz body.
pub(crate) fn replay(workspace: &Workspace) -> Result<Counts> {
    let mut replay = workspace.cargo();
    replay.args(["test", "--package", "portcullis-tests", "--test", "replay"]);
    replay.args(["--", "--nocapture"]);
    run_counted(&mut replay)
}
