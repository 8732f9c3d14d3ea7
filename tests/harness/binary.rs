//! Finding the `portcullis` binary that belongs to the running test, and building it when it is stale.
//!
//! Cargo tells a test where the binaries of its own package are, and the gateway is another package. The
//! variable `PORTCULLIS_BIN` names a binary outright (`cargo xtask test` sets it, having just built it).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;
use std::{env, fs};

/// A command that runs the gateway's binary, with nothing on its standard input and no arguments yet.
#[must_use]
pub fn portcullis() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BINARY.get_or_init(find));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

fn find() -> PathBuf {
    if let Some(named) = env::var_os("PORTCULLIS_BIN") {
        return named.into();
    }
    // target/<profile>/deps/<test>-<hash>
    let test = env::current_exe().expect("a test knows its own path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests run from a target directory");
    let binary = profile.join("portcullis");
    if is_stale(&binary) {
        build(profile);
    }
    binary
}

/// Whether a source that went into the binary is newer than the binary, by the list that cargo keeps beside it.
fn is_stale(binary: &Path) -> bool {
    let Some(built) = modified(binary) else {
        return true;
    };
    let Ok(list) = fs::read_to_string(binary.with_extension("d")) else {
        return true;
    };
    let (_, sources) = list.split_once(':').unwrap_or_default();
    let newer = |source: &str| modified(Path::new(source)).is_none_or(|time| time > built);
    sources.split_whitespace().any(newer)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn build(profile: &Path) {
    let name = profile.file_name().and_then(OsStr::to_str);
    let name = match name {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = profile.parent().expect("a profile has a target directory");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "portcullis",
            "--bin",
            "portcullis",
        ])
        .args(["--profile", name, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status();
    let built = status.expect("run cargo").success();
    assert!(built, "the portcullis binary does not build");
}
