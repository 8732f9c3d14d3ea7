//! The gateway as a child process: started on a configuration, asked through its admin address, killed on drop.
//!
//! The binary announces itself on standard error, and this is the whole contract:
//!
//! ```text
//! portcullis: listening name=<listener> address=<address>
//! portcullis: ready admin=<address>
//! ```

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::binary::portcullis;
use crate::client::Client;
use crate::http::RawResponse;
use crate::matrix;
use crate::scratch::Scratch;
use crate::stats::Stats;
use crate::watched::Watched;
use crate::{CEILING, PAUSE};

/// A running gateway.
///
/// Listeners in a test's configuration listen on `127.0.0.1:0`; [`Gateway::addr`] says where that came to
/// be. When a test fails, what the gateway printed is printed with it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    output: Arc<Watched<Output>>,
    config: PathBuf,
    scratch: Scratch,
}

/// How a gateway ended and all it printed.
#[derive(Debug, Clone)]
pub struct Exit {
    /// The exit status.
    pub status: ExitStatus,
    /// Standard output, line by line.
    pub stdout: Vec<String>,
    /// Standard error, line by line.
    pub stderr: Vec<String>,
}

impl Exit {
    /// The exit code; `None` when a signal ended the process.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

#[derive(Debug, Default)]
struct Output {
    stdout: Vec<String>,
    stderr: Vec<String>,
    addresses: HashMap<String, String>,
    admin: Option<String>,
    ready: bool,
    ended_pipes: usize,
}

impl Gateway {
    /// Starts a gateway on this configuration and waits until it is ready.
    ///
    /// A configuration without an `admin` block gets one on a free loopback port.
    #[track_caller]
    #[must_use]
    pub fn start(config: &str) -> Self {
        Self::start_with(config, |_| {})
    }

    /// As [`Gateway::start`], with a chance to add flags and environment to the command.
    #[track_caller]
    #[must_use]
    pub fn start_with(config: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut gateway = Self::spawn(config, prepare);
        let waited = gateway.output.wait_for(|output| {
            let over = output.ready || output.ended();
            over.then_some(output.ready)
        });
        match waited {
            Some(true) => gateway,
            Some(false) => panic!(
                "the gateway ended before it was ready: {:?}",
                gateway.child.wait()
            ),
            None => panic!("the gateway is not ready"),
        }
    }

    /// Runs a gateway that is expected to end by itself, for a configuration that it must refuse.
    #[track_caller]
    #[must_use]
    pub fn run(config: &str) -> Exit {
        Self::spawn(config, |_| {}).wait_exit()
    }

    #[track_caller]
    fn spawn(config: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let scratch = Scratch::new();
        let config = scratch.write(
            "portcullis.yaml",
            with_admin(&matrix::configuration(config, &scratch)),
        );
        let mut command = portcullis();
        command.arg("run").arg("-c").arg(&config);
        prepare(&mut command);
        Self::launch(command, config, scratch)
    }

    #[track_caller]
    pub(crate) fn launch(mut command: Command, config: PathBuf, scratch: Scratch) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the portcullis binary");
        let output: Arc<Watched<Output>> = Arc::default();
        let stdout = child.stdout.take().expect("a piped standard output");
        let stderr = child.stderr.take().expect("a piped standard error");
        follow(stdout, &output, |output, line| output.stdout.push(line));
        follow(stderr, &output, Output::on_stderr);
        Self {
            child,
            output,
            config,
            scratch,
        }
    }

    /// Where a listener accepts; waits for it to be announced. A wildcard address comes back as loopback.
    #[track_caller]
    #[must_use]
    pub fn addr(&self, listener: &str) -> SocketAddr {
        let found = self.output.wait_for(|output| {
            let address = output.addresses.get(listener)?;
            reachable(address)
        });
        found.unwrap_or_else(|| panic!("no listener {listener:?} was announced"))
    }

    /// The admin address.
    #[track_caller]
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        let found = self
            .output
            .update(|output| reachable(output.admin.as_deref()?));
        found.expect("an admin address")
    }

    /// Connects a client to a listener.
    #[track_caller]
    #[must_use]
    pub fn connect(&self, listener: &str) -> Client {
        Client::connect(matrix::listener(self.addr(listener)))
    }

    /// As [`Gateway::connect`], from a chosen local address. It speaks HTTP/1 whatever the matrix says.
    #[track_caller]
    #[must_use]
    pub fn connect_from(&self, local: IpAddr, listener: &str) -> Client {
        Client::connect_here(local, self.addr(listener))
    }

    /// `GET` on the admin address.
    #[track_caller]
    #[must_use]
    pub fn admin_get(&self, target: &str) -> RawResponse {
        self.ask("GET", target)
    }

    /// `POST` on the admin address, without a body.
    #[track_caller]
    pub fn admin_post(&self, target: &str) -> RawResponse {
        self.ask("POST", target)
    }

    #[track_caller]
    fn ask(&self, method: &str, target: &str) -> RawResponse {
        let mut client = Client::connect(self.admin());
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ));
        client.read_response()
    }

    /// Replaces the configuration file and nothing else; then a signal, or the file watch, makes it count.
    pub fn rewrite(&self, config: &str) {
        let config = matrix::configuration(config, &self.scratch);
        self.scratch.write("portcullis.yaml", with_admin(&config));
    }

    /// Replaces the configuration file and asks the admin endpoint to reload: its answer.
    #[track_caller]
    pub fn reload(&self, config: &str) -> RawResponse {
        self.rewrite(config);
        self.admin_post("/reload")
    }

    /// The configuration file.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// The directory of the configuration file, for logs and certificates; gone with the gateway.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// What the gateway counts at this moment.
    #[track_caller]
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::parse(&self.admin_get("/metrics").text())
    }

    /// Asks until the sum of a counter satisfies `wanted`, and returns it.
    ///
    /// For what the gateway counts after the bytes that a test can see. Fails with the last value.
    #[track_caller]
    pub fn wait_stat(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        wanted: impl Fn(u64) -> bool,
    ) -> u64 {
        let mut last = Stats::default();
        for _ in 0..CEILING.as_millis() / PAUSE.as_millis() {
            last = self.stats();
            let value = last.counter(name, labels);
            if wanted(value) {
                return value;
            }
            thread::park_timeout(PAUSE);
        }
        panic!(
            "{name}{labels:?} stays at {:#?}",
            last.matching(name, labels)
        );
    }

    /// Waits for a line of standard error (where the log goes) that contains `text`, and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        let line = self
            .output
            .wait_for(|output| line_with(&output.stderr, text));
        line.unwrap_or_else(|| panic!("no line with {text:?} on standard error"))
    }

    /// Waits for a line of standard output that contains `text`, and returns it.
    #[track_caller]
    pub fn wait_stdout(&self, text: &str) -> String {
        let line = self
            .output
            .wait_for(|output| line_with(&output.stdout, text));
        line.unwrap_or_else(|| panic!("no line with {text:?} on standard output"))
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal the gateway");
    }

    /// How many file descriptors it holds.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// How many it may hold from now on.
    #[track_caller]
    pub fn limit_descriptors(&self, limit: u64) {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        let pid = Some(Pid::from_child(&self.child));
        prlimit(pid, Resource::Nofile, limit).expect("set a limit");
    }

    /// Its resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// Sends TERM and waits for the end of the drain.
    #[track_caller]
    pub fn stop(self) -> Exit {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Waits until the gateway has ended by itself.
    #[track_caller]
    #[must_use]
    pub fn wait_exit(mut self) -> Exit {
        let ended = self.output.wait_for(|output| output.ended().then_some(()));
        assert!(ended.is_some(), "the gateway does not end");
        let status = self.child.wait().expect("wait for the gateway");
        self.output.update(|output| Exit {
            status,
            stdout: output.stdout.clone(),
            stderr: output.stderr.clone(),
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.output.update(|output| {
                eprintln!(
                    "--- the gateway's standard output\n{}",
                    output.stdout.join("\n")
                );
                eprintln!(
                    "--- the gateway's standard error\n{}",
                    output.stderr.join("\n")
                );
            });
        }
    }
}

impl Output {
    fn on_stderr(&mut self, line: String) {
        if let Some(listening) = line.strip_prefix("portcullis: listening name=") {
            if let Some((name, address)) = listening.rsplit_once(" address=") {
                self.addresses
                    .insert(name.to_owned(), address.trim().to_owned());
            }
        } else if let Some(admin) = line.strip_prefix("portcullis: ready admin=") {
            self.admin = Some(admin.trim().to_owned());
            self.ready = true;
        }
        self.stderr.push(line);
    }

    /// Both pipes are closed: the process is gone.
    fn ended(&self) -> bool {
        self.ended_pipes == 2
    }
}

/// Reads a pipe line by line into the output, until it ends.
fn follow(
    pipe: impl Read + Send + 'static,
    output: &Arc<Watched<Output>>,
    on_line: fn(&mut Output, String),
) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            output.update(|output| on_line(output, line));
        }
        output.update(|output| output.ended_pipes += 1);
    });
}

fn line_with(lines: &[String], text: &str) -> Option<String> {
    lines.iter().find(|line| line.contains(text)).cloned()
}

/// Adds an admin block to a configuration without one, at its end so that its lines keep their numbers.
fn with_admin(config: &str) -> String {
    if config.lines().any(|line| line.starts_with("admin:")) {
        return config.to_owned();
    }
    format!("{}\nadmin: {{ listen: 127.0.0.1:0 }}\n", config.trim_end())
}

/// The address that a client on this machine connects to.
fn reachable(address: &str) -> Option<SocketAddr> {
    let address = address.strip_prefix("udp://").unwrap_or(address);
    let mut address: SocketAddr = address.parse().ok()?;
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(address)
}
