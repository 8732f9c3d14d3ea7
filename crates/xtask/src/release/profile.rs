//! The program that puts counts together, which must be of the compiler's own LLVM.
//!
//! Start at [`Tool::find`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::run::{output_of, run as run_shown, succeeds};

/// `llvm-profdata`, and the machine that the compiler builds for.
pub(super) struct Tool {
    program: PathBuf,
    /// The compiler's host, such as `x86_64-unknown-linux-gnu`.
    pub(super) host: String,
}

impl Tool {
    /// Finds the toolchain's own, which rustup is asked for, or the system's of the same LLVM.
    pub(super) fn find() -> Result<Self> {
        let version = output_of(Command::new("rustc").arg("-vV")).context("no rustc")?;
        let line = |name: &str| {
            let value = version.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::trim).map(str::to_owned)
        };
        let host = line("host:").context("rustc does not name its host")?;
        let llvm = line("LLVM version:").context("rustc does not name its LLVM")?;
        let major = llvm.split('.').next().unwrap_or_default();
        let sysroot = output_of(Command::new("rustc").args(["--print", "sysroot"]));
        let sysroot = PathBuf::from(sysroot.context("rustc has no sysroot")?.trim());
        let own = sysroot.join(format!("lib/rustlib/{host}/bin/llvm-profdata"));
        let candidates = [
            own.clone(),
            format!("llvm-profdata-{major}").into(),
            format!("/usr/lib/llvm-{major}/bin/llvm-profdata").into(),
        ];
        let found = || candidates.iter().find(|program| is_there(program)).cloned();
        let program = found().or_else(|| {
            let mut rustup = Command::new("rustup");
            // It may not be reachable: what is missing is said below.
            let _ = run_shown(rustup.args(["component", "add", "llvm-tools"]));
            found()
        });
        let Some(program) = program else {
            bail!(
                "no llvm-profdata of LLVM {major}: add rustup's component `llvm-tools`, or the system's package `llvm-{major}`"
            );
        };
        Ok(Self { program, host })
    }

    /// Puts the counts in a folder together.
    pub(super) fn merge(&self, counts: &Path, merged: &Path) -> Result<()> {
        let any = fs::read_dir(counts).is_ok_and(|mut files| files.next().is_some());
        ensure!(any, "the gateway has left no counts");
        let mut command = Command::new(&self.program);
        command.arg("merge").arg("--output").arg(merged).arg(counts);
        ensure!(run_shown(&mut command)?, "the counts cannot be merged");
        Ok(())
    }
}

fn is_there(program: &Path) -> bool {
    succeeds(Command::new(program).args(["merge", "--help"]))
}
