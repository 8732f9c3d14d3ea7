//! A private PostgreSQL for the demo, where one is installed: made at start, gone with the demo.
//!
//! It listens on the loopback only and trusts whoever comes from there, with nothing in it that anybody would want. Start at
//! [`Postgres::start`].

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A running server. It is stopped and its directory removed with this.
pub(crate) struct Postgres {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Postgres {
    /// Makes and starts one. `None`: there is no PostgreSQL on this machine, or it does not start.
    pub(super) fn start() -> Option<Self> {
        let programs = programs()?;
        let directory = tempfile::Builder::new()
            .prefix("portcullis-demo-postgres-")
            .tempdir()
            .ok()?;
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(directory.path(), Some(user), Some(group)).ok()?;
        }
        let data = directory.path().join("data");
        let made = command(&programs.join("initdb"), owner)
            .args([
                "--username=postgres",
                "--auth=trust",
                "--no-sync",
                "--pgdata",
            ])
            .arg(&data)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let address = super::free_address(5433).ok()?;
        let child = command(&programs.join("postgres"), owner)
            .arg("-D")
            .arg(&data)
            .args(["-p", &address.port().to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .spawn()
            .ok()?;
        Some(Self {
            child,
            address,
            _directory: directory,
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, with all its processes: there is nothing to keep.
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
    }
}

/// Where the server's programs are: distributions keep them out of the path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    found
        .into_iter()
        .rev()
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// The user and group that it has to run as: PostgreSQL refuses to be root, and its package brings a user. `None`: whoever
/// runs the demo.
#[allow(clippy::option_option)]
fn owner() -> Option<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Some(None);
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut ids = line.split(':').skip(2).map(str::parse);
    Some(Some((ids.next()?.ok()?, ids.next()?.ok()?)))
}

fn command(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
