//! `release`: the gateway as it is given to users, built twice.
//!
//! First so that it counts where it passes, then, after some load of every protocol, again with those counts: the compiler then
//! lays out together what runs for each request and calls what is called often in place. Not how one builds while working:
//! `cargo build --release` does that in a third of the time. Start at [`run`].

mod gateway;
mod load;
mod profile;
mod training;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::run::run as run_shown;
use crate::workspace::Workspace;

/// Where a build goes, below the target directory.
const FOLDER: &str = "guided";

/// Builds the gateway by what it does under load, and says where it is. `features` choose what the binary is to have; load is put
/// on one that has everything, since what they share is what is counted.
pub(crate) fn run(workspace: &Workspace, features: &[String]) -> Result<bool> {
    // Asked first: it would be a pity to learn after ten minutes that it is missing.
    let tool = profile::Tool::find()?;
    let folder = workspace.target.join(FOLDER);
    let counts = folder.join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts).context("old counts cannot be removed")?;
    }
    let build = Build {
        workspace,
        folder: &folder,
        host: &tool.host,
    };
    let flag = format!("-Cprofile-generate={}", text(&counts)?);
    let counting = build.make("counting", &flag, &[])?;
    training::train(&counting)?;
    let merged = folder.join("merged.profdata");
    tool.merge(&counts, &merged)?;
    let flag = format!("-Cprofile-use={}", text(&merged)?);
    let guided = build.make("final", &flag, features)?;
    let place = folder.join("portcullis");
    fs::copy(&guided, &place).context("the binary cannot be copied")?;
    let size = fs::metadata(&place)?.len();
    println!("portcullis: {} ({size} bytes)", place.display());
    Ok(true)
}

/// How the gateway is built here.
struct Build<'w> {
    workspace: &'w Workspace,
    folder: &'w Path,
    host: &'w str,
}

impl Build<'_> {
    /// Builds with one more flag: where the binary is.
    fn make(&self, name: &str, flag: &str, features: &[String]) -> Result<PathBuf> {
        let target = self.folder.join(name);
        let mut cargo = self.workspace.cargo();
        cargo.args(["build", "--release", "--package", "portcullis"]);
        // Named, so that build scripts and macros, which run here and now, are built without the flag.
        cargo.args(["--target", self.host, "--target-dir"]);
        cargo.arg(&target).args(features);
        let flags = env::var("RUSTFLAGS").unwrap_or_default();
        cargo.env("RUSTFLAGS", format!("{flags} {flag}").trim_start());
        ensure!(run_shown(&mut cargo)?, "the gateway does not build");
        Ok(target.join(self.host).join("release/portcullis"))
    }
}

/// A path that can stand among flags, which are told apart by spaces.
fn text(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|text| !text.contains(' '));
    text.with_context(|| format!("{} has spaces or is no text", path.display()))
}
