//! Running other programs: say what is run, let it be seen, and read along where totals are wanted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::counts::Counts;

/// Runs a command with our own input and output: whether it succeeded.
pub(crate) fn run(command: &mut Command) -> Result<bool> {
    announce(command);
    let status = command.status();
    let status = status.with_context(|| format!("cannot run {}", words(command)))?;
    Ok(status.success())
}

/// Runs a test runner, shows what it prints, and adds up its totals.
///
/// A runner that fails without naming a failed test (it did not build, it crashed) counts as one failure.
pub(crate) fn run_counted(command: &mut Command) -> Result<Counts> {
    announce(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", words(command)))?;
    let counts = Mutex::new(Counts::default());
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(anyhow!("a piped child has pipes"));
    };
    thread::scope(|scope| {
        scope.spawn(|| follow(stdout, io::stdout(), &counts));
        scope.spawn(|| follow(stderr, io::stderr(), &counts));
    });
    let success = child.wait()?.success();
    let mut counts = counts.into_inner().unwrap_or_default();
    if !success && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// Runs a command quietly: its standard output when it succeeded.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Whether a command can be run and succeeds, seen by nobody.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output_of(command).is_some()
}

fn announce(command: &Command) {
    eprintln!("==> {}", words(command));
}

/// The command as one would type it: without the folders of its program, with the environment it adds.
fn words(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        Some(format!("{}={value:?}", name.to_string_lossy()))
    });
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let arguments = command.get_args().map(|word| word.to_string_lossy().into());
    let words = environment.chain([program]).chain(arguments);
    words.collect::<Vec<_>>().join(" ")
}

fn follow(from: impl Read, mut to: impl Write, counts: &Mutex<Counts>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        if let Ok(mut counts) = counts.lock() {
            counts.read_line(&text);
        }
        // Nobody reads us any more: go on, the result still counts.
        let _ = writeln!(to, "{text}");
    }
}
