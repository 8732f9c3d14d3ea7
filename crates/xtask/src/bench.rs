//! `bench`: the benchmarks of every package that has some.

use std::fs;

use anyhow::Result;

use crate::run::run as run_shown;
use crate::workspace::Workspace;

/// Runs them all, or those that match.
pub(crate) fn run(workspace: &Workspace, filter: &[String]) -> Result<bool> {
    if !any(workspace) {
        println!("no package has a benchmark");
        return Ok(true);
    }
    let mut bench = workspace.cargo();
    // Benchmark targets alone: unit tests have nothing to measure.
    bench.args(["bench", "--workspace", "--bench", "*", "--"]);
    run_shown(bench.args(filter))
}

fn any(workspace: &Workspace) -> bool {
    let groups = ["crates", "protocols"].map(|group| fs::read_dir(workspace.root.join(group)));
    let mut packages = groups.into_iter().flatten().flatten().flatten();
    packages.any(|package| package.path().join("benches").is_dir())
}
