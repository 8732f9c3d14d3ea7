//! Clients in Python: an environment with the packages that a test needs, made once for all tests.
//!
//! Start at [`Python::with`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::tool;

/// A Python that has packages.
pub(crate) struct Python {
    program: PathBuf,
}

/// Written last, so that half an installation is none.
const COMPLETE: &str = "complete";

impl Python {
    /// Makes the environment of this name below the target directory, if it is not there. `None` is to skip the test.
    #[track_caller]
    pub(crate) fn with(name: &str, packages: &[&str]) -> Option<Self> {
        let program = tool("python3")?;
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let environment = shared.join(format!("python-{name}"));
        fs::create_dir_all(shared).unwrap();
        let lock = File::create(shared.join(format!("python-{name}.lock"))).unwrap();
        lock.lock().unwrap();
        if !environment.join(COMPLETE).is_file() && !install(&program, &environment, packages) {
            let skip = std::env::var_os("PORTCULLIS_SKIP_TOOLS").is_some_and(|value| value == "1");
            assert!(
                skip,
                "pip cannot install {packages:?}; PORTCULLIS_SKIP_TOOLS=1 skips this test"
            );
            return None;
        }
        Some(Self {
            program: environment.join("bin/python"),
        })
    }

    /// A program that a package has brought.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.program.with_file_name(name)
    }

    /// The command that runs a script, its output piped.
    pub(crate) fn run(&self, script: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("-c")
            .arg(script)
            .env("GRPC_VERBOSITY", "NONE")
            .stdout(Stdio::piped());
        command
    }
}

fn install(program: &Path, environment: &Path, packages: &[&str]) -> bool {
    let succeeds = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    succeeds(
        Command::new(program)
            .args(["-m", "venv", "--clear"])
            .arg(environment),
    ) && succeeds(
        Command::new(environment.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(packages),
    ) && fs::write(environment.join(COMPLETE), "").is_ok()
}
