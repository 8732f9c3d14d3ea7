//! A gateway that runs beside: started, waited for, told to end.
//!
//! Start at [`Gateway::start`].

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::run::succeeds;

/// A running gateway. It is killed with this, unless it has ended before.
pub(super) struct Gateway {
    child: Child,
    /// Where it listens, by name of the listener: address and port.
    addresses: HashMap<String, String>,
}

impl Gateway {
    /// Starts one and waits until it is ready.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn();
        let mut gateway = Self {
            child: child.context("the gateway cannot be started")?,
            addresses: HashMap::new(),
        };
        let output = gateway.child.stderr.take();
        let output = output.context("a piped child has a pipe")?;
        let mut lines = BufReader::new(output).lines();
        gateway.wait(&mut lines)?;
        // It would wait for whoever reads.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(gateway)
    }

    fn wait(&mut self, lines: &mut Lines<BufReader<ChildStderr>>) -> Result<()> {
        let mut said = Vec::new();
        for line in lines.map_while(Result::ok) {
            if line.starts_with("portcullis: ready") {
                return Ok(());
            }
            if let Some(rest) = line.strip_prefix("portcullis: listening name=")
                && let Some((name, address)) = rest.split_once(" address=")
            {
                self.addresses.insert(name.to_owned(), address.to_owned());
            }
            said.push(line);
        }
        bail!("the gateway is not ready: {}", said.join("\n"))
    }

    /// Where a listener is, if there is one of this name.
    pub(super) fn address(&self, name: &str) -> Option<&str> {
        self.addresses.get(name).map(String::as_str)
    }

    /// Tells it to end, and waits until it has: only then has it left what it counted.
    pub(super) fn end(mut self) -> Result<()> {
        let mut kill = Command::new("kill");
        let told = succeeds(kill.args(["-TERM", &self.child.id().to_string()]));
        ensure!(told, "the gateway has ended by itself");
        let status = self.child.wait()?;
        ensure!(status.success(), "the gateway has ended with {status}");
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail where it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
