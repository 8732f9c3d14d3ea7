//! A real PostgreSQL server for one test: its own data directory, its own port, killed with the test.
//!
//! Making a data directory takes seconds, so one is made for all tests and copied. PostgreSQL refuses to run as root; then it
//! runs as the user that its package brings. Start at [`Postgres::start`].

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use crate::scratch::Scratch;
use crate::tools::tool;
use crate::watched::Watched;

/// The superuser of every server, who needs no password on loopback unless a test says otherwise.
pub const SUPERUSER: &str = "postgres";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    scratch: Arc<Scratch>,
    port: u16,
    options: Vec<String>,
    log: Arc<Watched<Vec<String>>>,
}

/// The programs of the server, which distributions keep out of the path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.join("initdb").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .or_else(|| Some(tool("initdb")?.parent()?.to_path_buf()))
}

/// A command of the server's, run as somebody whom it accepts.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        let (user, group) = package_user();
        command.uid(user).gid(group);
    }
    // The directory of whoever runs the tests may be closed to that user.
    command.current_dir("/");
    command
}

/// The user and group that the package made.
fn package_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("the user `postgres`, which the package makes");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

/// The data directory that is copied for each server.
fn template(programs: &Path) -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp");
    fs::create_dir_all(&shared).unwrap();
    let lock = File::create(shared.join("postgres-template.lock")).unwrap();
    lock.lock().unwrap();
    let template = std::env::temp_dir().join(format!(
        "portcullis-postgres-template-{}",
        version(programs)
    ));
    if template.join("complete").is_file() {
        return template;
    }
    let _ = fs::remove_dir_all(&template);
    make_folder(&template);
    let data = template.join("data");
    let made = as_server(&programs.join("initdb"))
        .args([
            "--username",
            SUPERUSER,
            "--auth=trust",
            "--no-sync",
            "--no-instructions",
        ])
        .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
        .arg(&data)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "initdb failed");
    fs::write(template.join("complete"), "").unwrap();
    template
}

fn version(programs: &Path) -> String {
    let output = Command::new(programs.join("postgres"))
        .arg("--version")
        .output();
    let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    text.split_whitespace()
        .last()
        .unwrap_or("0")
        .replace(|c: char| !c.is_ascii_digit(), "-")
}

/// A folder that the server may use.
fn make_folder(path: &Path) {
    fs::create_dir_all(path).unwrap();
    if rustix::process::geteuid().is_root() {
        let (user, group) = package_user();
        std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
    }
}

impl Postgres {
    /// Starts a server. `None` is to skip the test, as [`tool`] says.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with(&[], "")
    }

    /// Starts a server with settings (`name=value`) and, unless empty, its own `pg_hba.conf`.
    #[must_use]
    pub fn with(settings: &[&str], hba: &str) -> Option<Self> {
        let programs = programs()?;
        let scratch = Scratch::new();
        make_folder(scratch.path());
        let data = scratch.path().join("data");
        let copied = as_server(Path::new("/bin/cp"))
            .arg("-a")
            .arg(template(&programs).join("data"))
            .arg(&data)
            .status();
        assert!(copied.unwrap().success(), "copy a data directory");
        if !hba.is_empty() {
            fs::write(data.join("pg_hba.conf"), hba).unwrap();
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned());
        let mut server = Self {
            child: None,
            scratch: Arc::new(scratch),
            port: 0,
            options: settings.collect(),
            log: Arc::default(),
        };
        server.run_anywhere();
        Some(server)
    }

    /// A streaming replica of this server, from a base backup.
    #[must_use]
    pub fn replica(&self) -> Self {
        let programs = programs().unwrap();
        let scratch = Scratch::new();
        make_folder(scratch.path());
        let copied = as_server(&programs.join("pg_basebackup"))
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--wal-method=stream",
            ])
            .args(["--host=127.0.0.1", "--username", SUPERUSER])
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(scratch.path().join("data"))
            .status();
        assert!(copied.unwrap().success(), "pg_basebackup failed");
        let mut server = Self {
            child: None,
            scratch: Arc::new(scratch),
            port: 0,
            options: self.options.clone(),
            log: Arc::default(),
        };
        server.run_anywhere();
        server
    }

    /// Starts it on a free port. Another process may take the port first: then on the next.
    fn run_anywhere(&mut self) {
        for _ in 0..10 {
            let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            self.port = probe.local_addr().unwrap().port();
            drop(probe);
            if self.try_run() {
                return;
            }
        }
        panic!(
            "PostgreSQL does not start: {:#?}",
            self.log.update(|lines| lines.clone())
        );
    }

    fn try_run(&mut self) -> bool {
        let programs = programs().unwrap();
        let mut command = as_server(&programs.join("postgres"));
        command.arg("-D").arg(self.scratch.path().join("data"));
        command.arg("-p").arg(self.port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=60",
            "shared_buffers=16MB",
            "max_wal_senders=4",
            "log_min_messages=warning",
            "lc_messages=C",
        ] {
            command.arg("-c").arg(setting);
        }
        for setting in &self.options {
            command.arg("-c").arg(setting);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Watched::<Vec<String>>::default());
        self.log = Arc::clone(&log);
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                writer.update(|lines| lines.push(line));
            }
            writer.update(|lines| lines.push("(the end)".to_owned()));
        });
        let ready = log.wait_for(|lines| {
            let has = |text: &str| lines.iter().any(|line| line.contains(text));
            if has("ready to accept") {
                Some(true)
            } else if has("(the end)") {
                Some(false)
            } else {
                None
            }
        });
        if ready == Some(true) {
            self.child = Some(child);
        } else {
            let _ = child.kill();
            let _ = child.wait();
        }
        ready == Some(true)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.update(|lines| lines.clone())
    }

    /// Carries out SQL as the superuser, directly; the answer is what psql prints, unaligned.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        psql(self.address(), SUPERUSER, "postgres", sql).expect("psql on the server itself")
    }

    /// The process, for signals.
    #[must_use]
    pub fn process(&self) -> rustix::process::Pid {
        let child = self.child.as_ref().expect("a running server");
        rustix::process::Pid::from_child(child)
    }

    /// Kills it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The postmaster's children notice that it is gone and end themselves.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        // Its shared memory is released when its last process has ended, and until then it does not start.
        for _ in 0..200 {
            let _ = fs::remove_file(self.data().join("postmaster.pid"));
            if self.try_run() {
                return;
            }
        }
        panic!("PostgreSQL does not start again: {:#?}", self.log());
    }

    /// Makes a replica a primary.
    pub fn promote(&self) {
        let promoted = as_server(&programs().unwrap().join("pg_ctl"))
            .args(["promote", "--wait", "--silent", "--pgdata"])
            .arg(self.data())
            .status();
        assert!(promoted.unwrap().success(), "pg_ctl promote failed");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // At once, and with all its children: QUIT is the server's own "immediate".
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(child),
            rustix::process::Signal::QUIT,
        );
        let _ = child.wait();
    }
}

/// Runs `psql` with one text; what it printed, or what it said went wrong.
///
/// # Errors
/// What it wrote to standard error.
pub fn psql(address: SocketAddr, user: &str, database: &str, sql: &str) -> Result<String, String> {
    let mut command = psql_command(address, user, database);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("start psql");
    let mut input = child.stdin.take().unwrap();
    input.write_all(sql.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned())
    }
}

/// `psql` that reads from its standard input, prints rows only, and stops at the first error.
#[must_use]
pub fn psql_command(address: SocketAddr, user: &str, database: &str) -> Command {
    let mut command = Command::new("psql");
    command
        .args([
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--set=ON_ERROR_STOP=1",
        ])
        .arg("--host")
        .arg(address.ip().to_string())
        .arg("--port")
        .arg(address.port().to_string())
        .args(["--username", user, "--dbname", database])
        .env("PGSSLMODE", "disable")
        .env("PGCONNECT_TIMEOUT", "30")
        .env("LC_ALL", "C");
    command
}
