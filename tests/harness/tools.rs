//! Real servers and clients from outside: found on the path, started, and killed with the test.

use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Finds an external program.
///
/// A test that needs one fails when it is missing. `PORTCULLIS_SKIP_TOOLS=1` turns that into `None`, on
/// which the test returns early: an explicit choice of whoever runs the tests, never a silent one.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        let skip = env::var_os("PORTCULLIS_SKIP_TOOLS").is_some_and(|value| value == "1");
        assert!(
            skip,
            "this test needs `{name}`: run `cargo xtask test`, which installs it, or set PORTCULLIS_SKIP_TOOLS=1"
        );
        eprintln!("skipped: `{name}` is not installed and PORTCULLIS_SKIP_TOOLS=1 is set");
    }
    found
}

/// Looks along the path, then where distributions keep servers.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = env::split_paths(&path).chain(servers);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

/// A running external program, killed on drop.
#[derive(Debug)]
pub struct Tool {
    child: Child,
}

impl Tool {
    /// Starts `command` with nothing on its standard input.
    #[track_caller]
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("start {command:?}: {error}")),
        }
    }

    /// The child process, for its pipes and its id.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
