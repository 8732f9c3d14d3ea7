//! `fuzz`: one libFuzzer target on nightly, its progress in view.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{run as run_shown, succeeds};
use crate::workspace::Workspace;

/// Prints the names of the targets.
pub(crate) fn list(workspace: &Workspace) -> Result<bool> {
    for target in targets(workspace)? {
        println!("{target}");
    }
    Ok(true)
}

/// Fuzzes one target for so many seconds, or until interrupted: whether nothing was found.
pub(crate) fn run(workspace: &Workspace, target: &str, seconds: Option<u64>) -> Result<bool> {
    let targets = targets(workspace)?;
    if !targets.iter().any(|known| known == target) {
        bail!(
            "no fuzz target {target:?}; there are: {}",
            targets.join(", ")
        );
    }
    prepare()?;
    // libFuzzer writes what it learns into the first folder, so the seeds in the repository stay readable.
    let learnt = workspace.target.join("fuzz-corpus").join(target);
    fs::create_dir_all(&learnt)?;
    let mut fuzz = nightly_cargo();
    fuzz.current_dir(&workspace.root);
    fuzz.args(["fuzz", "run", "--fuzz-dir", "fuzz", target])
        .arg(learnt);
    fuzz.arg(format!("fuzz/corpus/{target}"));
    // One input must never take as long as a person notices.
    fuzz.args(["--", "-timeout=10", "-print_final_stats=1"]);
    if let Some(seconds) = seconds {
        fuzz.arg(format!("-max_total_time={seconds}"));
    }
    run_shown(&mut fuzz)
}

fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(names);
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Cargo of the nightly toolchain. Not `cargo +nightly`: what runs us is cargo itself, not rustup's proxy.
fn nightly_cargo() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    command
}

fn prepare() -> Result<()> {
    if !succeeds(nightly_cargo().arg("--version")) {
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        needed(&mut install, "the nightly toolchain")?;
    }
    if !succeeds(nightly_cargo().args(["fuzz", "--version"])) {
        let mut install = nightly_cargo();
        install.args(["install", "cargo-fuzz", "--locked"]);
        needed(&mut install, "cargo-fuzz")?;
    }
    Ok(())
}

fn needed(install: &mut Command, what: &str) -> Result<()> {
    let installed = run_shown(install)?;
    installed
        .then_some(())
        .with_context(|| format!("fuzzing needs {what}, which cannot be installed here"))
}
