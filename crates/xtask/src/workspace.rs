//! Where things are, and the commands that work on them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::output_of;

/// The checked-out workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its root.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The oldest Rust that it promises to build with, such as `1.95`.
    pub(crate) rust_version: String,
}

impl Workspace {
    /// Finds the workspace that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().context("the workspace is gone")?;
        let mut metadata = cargo_in(&root);
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata = output_of(&mut metadata).context("cargo metadata failed")?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let text = |pointer: &str| Some(metadata.pointer(pointer)?.as_str()?.to_owned());
        let target = text("/target_directory").context("no target directory")?;
        let rust_version = text("/packages/0/rust_version").context("no rust-version")?;
        Ok(Self {
            root,
            target: target.into(),
            rust_version,
        })
    }

    /// Cargo, in the root.
    pub(crate) fn cargo(&self) -> Command {
        cargo_in(&self.root)
    }

    /// The packages under `protocols/`, by name.
    pub(crate) fn protocols(&self) -> Result<Vec<String>> {
        let folder = self.root.join("protocols");
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).context("no protocols/")? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                let name = entry.file_name();
                names.push(format!("portcullis-{}", name.to_string_lossy()));
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Cargo, in a folder.
fn cargo_in(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    // What `cargo run` tells us about ourselves is not true of what we run.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
    ] {
        command.env_remove(name);
    }
    command
}
