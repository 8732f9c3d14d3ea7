//! Load of every protocol on a gateway that counts where it passes.
//!
//! Its HTTP is answered by itself. Databases are those of a demo, which is a gateway that counts, too. Start at [`train`].

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::gateway::Gateway;
use super::load;
use crate::run::{run as run_shown, succeeds};

const TEMPLATE: &str = include_str!("training.yaml");

/// Long enough for each way to outweigh what runs once.
const SECONDS: &str = "3";

/// Puts load on this gateway; it leaves its counts behind.
pub(super) fn train(gateway: &Path) -> Result<()> {
    let folder = gateway.with_file_name("training");
    fs::create_dir_all(&folder)?;
    certify(&folder)?;
    let demo = Gateway::start(Command::new(gateway).arg("demo"))?;
    let configuration = folder.join("training.yaml");
    fs::write(&configuration, fill(&folder, &demo)?)?;
    let trained = Gateway::start(
        Command::new(gateway)
            .arg("run")
            .arg("-c")
            .arg(configuration),
    )?;
    let script = folder.join("post.lua");
    fs::write(&script, POST)?;
    load_http(&trained, &script)?;
    load_databases(&trained)?;
    let datagrams = listener(&trained, "datagrams")?;
    load::exchange(datagrams.trim_start_matches("udp://"))?;
    trained.end()?;
    demo.end()
}

/// Says to wrk that requests have bodies.
const POST: &str = "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 1000)\n";

fn load_http(gateway: &Gateway, script: &Path) -> Result<()> {
    let web = format!("http://{}", listener(gateway, "web")?);
    let stream = format!("http://{}", listener(gateway, "stream")?);
    let secure = format!("https://{}", listener(gateway, "secure")?);
    let wrk = |arguments: &[&str], url: String| {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c64", &format!("-d{SECONDS}s")]);
        complete(command.args(arguments).arg(url))
    };
    for path in ["", "filtered", "large", "http2", "tls", "http3", "quic"] {
        // The name in the certificate, which is what some of them are asked for.
        wrk(&["-H", "Host: localhost"], format!("{web}/{path}"))?;
    }
    wrk(&["-s", &script.to_string_lossy()], format!("{web}/post"))?;
    for url in [&web, &secure] {
        wrk(&["-H", "Connection: close"], format!("{url}/"))?;
    }
    wrk(&[], format!("{secure}/"))?;
    wrk(&[], format!("{stream}/large"))?;
    for url in [
        format!("{web}/"),
        format!("{web}/http2"),
        format!("{secure}/"),
    ] {
        let mut command = Command::new("h2load");
        command.args(["-c16", "-m8", "-D", SECONDS, "--warm-up-time", "0"]);
        complete(command.arg(url))?;
    }
    Ok(())
}

fn load_databases(gateway: &Gateway) -> Result<()> {
    let port = |name: &str| {
        let address = gateway.address(name).context("a listener is missing")?;
        address
            .rsplit(':')
            .next()
            .context("an address without port")
    };
    let cache = port("cache")?;
    for (pipeline, requests) in [("1", "150000"), ("16", "600000")] {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", cache, "-c", "50", "-t", "set,get,incr,lpush,mset"]);
        complete(command.args(["-q", "-n", requests, "-r", "1000", "-P", pipeline]))?;
    }
    let pgbench = |arguments: &[&str]| {
        let mut command = Command::new("pgbench");
        command.args(["-h", "127.0.0.1", "-p", port("db")?, "-U", "postgres"]);
        complete(command.args(arguments).arg("postgres"))
    };
    pgbench(&["-i", "-q"])?;
    for protocol in ["simple", "extended", "prepared"] {
        pgbench(&["-n", "-c", "16", "-T", SECONDS, "-S", "-M", protocol])?;
    }
    pgbench(&["-n", "-c", "16", "-T", SECONDS])
}

fn listener<'g>(gateway: &'g Gateway, name: &str) -> Result<&'g str> {
    let address = gateway.address(name);
    address.with_context(|| format!("the gateway has no listener {name}"))
}

fn complete(command: &mut Command) -> Result<()> {
    ensure!(run_shown(command)?, "the load was not carried out");
    Ok(())
}

/// The configuration, with what the machine has put in.
fn fill(folder: &Path, demo: &Gateway) -> Result<String> {
    let database = |name: &str, what: &str| {
        let address = demo.address(name).map(str::to_owned);
        address.with_context(|| format!("the demo has found no {what}: is it installed?"))
    };
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let marks = [
        ("@ORIGIN@", free_port()?),
        ("@SECURE@", free_port()?),
        ("@QUIC@", free_port()?),
        ("@LARGE@", "x".repeat(64 * 1024)),
        ("@CERTIFICATE@", path("leaf.pem")),
        ("@KEY@", path("leaf.key")),
        ("@ROOTS@", path("root.pem")),
        ("@ECHO@", load::echo()?),
        ("@CACHE@", database("cache", "Redis")?),
        ("@DB@", database("db", "PostgreSQL")?),
    ];
    let fill = |text: String, (mark, value): &(&str, String)| text.replace(mark, value);
    Ok(marks.iter().fold(TEMPLATE.to_owned(), fill))
}

/// A port that nobody has. Somebody may take it until it is used: then the gateway does not start, and says why.
fn free_port() -> Result<String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
    Ok(socket.local_addr()?.port().to_string())
}

/// A certificate for `localhost`, and the one that has signed it.
fn certify(folder: &Path) -> Result<()> {
    let file = |name: &str| -> PathBuf { folder.join(name) };
    fs::write(file("names"), "subjectAltName=DNS:localhost\n")?;
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let command = command.current_dir(folder).args(arguments.split(' '));
        ensure!(succeeds(command), "openssl {arguments} has failed");
        Ok(())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout root.key -out root.pem -days 2 -subj /CN=training"
    ))?;
    openssl(&format!(
        "req {key} -keyout leaf.key -out leaf.request -subj /CN=localhost"
    ))?;
    openssl(
        "x509 -req -in leaf.request -CA root.pem -CAkey root.key -out leaf.pem -days 2 -extfile names",
    )
}
