//! The smallest sign of life: the binary starts, says so, carries a request, and stops.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use harness::{Client, Origin, Reply, Tool};

use crate::support::Site;

#[test]
fn starts_proxies_and_stops() {
    let origin =
        Origin::http(|request| Reply::ok(format!("{} {}", request.method, request.target)));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    let response = client.get("/a?b=c", "site.test");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "GET /a?b=c")
    );
    assert_eq!(origin.next_request().header("host"), Some("site.test"));

    let exit = site.gateway.stop();
    assert_eq!(exit.code(), Some(0), "{:?}", exit.stderr);
}

#[test]
fn says_that_it_is_ready() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    for target in ["/ready", "/readyz", "/livez"] {
        assert_eq!(site.admin_get(target).status, 200, "{target}");
    }
    let stats = site.stats();
    assert_eq!(stats.gauge("portcullis_ready", &[]), 1);
    assert_eq!(stats.value("portcullis_build_info", &[]), Some(1.0));
}

#[test]
fn version_and_schema_are_printed() {
    let version = harness::portcullis().arg("version").output().unwrap();
    assert!(version.status.success());
    assert!(version.stdout.starts_with(b"portcullis "), "{version:?}");
    let schema = harness::portcullis().arg("schema").output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema.get("properties").is_some());
}

/// The one-line form: no file, the same gateway.
#[test]
fn quick_needs_no_file() {
    let origin = Origin::http(|_| Reply::ok("quick"));
    let mut command = harness::portcullis();
    command
        .args(["quick", "http", "127.0.0.1:0"])
        .arg(origin.address().to_string());
    let mut tool = Tool::start(command.stderr(Stdio::piped()));
    let errors = BufReader::new(tool.child().stderr.take().unwrap());
    let mut lines = errors.lines().map_while(Result::ok);
    let line = lines
        .find(|line| line.starts_with("portcullis: listening "))
        .unwrap();
    let address = line.rsplit_once("address=").unwrap().1.parse().unwrap();
    assert!(lines.any(|line| line.starts_with("portcullis: ready ")));
    assert_eq!(Client::connect(address).get("/", "a").text(), "quick");
}

/// Usage errors are 2, whatever else is wrong.
#[test]
fn usage_errors_exit_with_2() {
    for arguments in [
        &["run"][..],
        &["nonsense"],
        &["check", "--format", "xml", "-c", "x"],
    ] {
        let output = harness::portcullis().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
