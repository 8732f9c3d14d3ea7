//! A real browser, made to use QUIC: a page, and a request with a body from it.

use std::process::Command;

use harness::{Origin, Reply, Scratch, tool};

use super::{others_are_well, site};

/// Calls the gateway it came from, and shows what it got by what.
const PAGE: &str = "<!doctype html><title>call</title><body>not yet<script>(async () => {
  const answer = await fetch('/echo', { method: 'POST', body: 'x'.repeat(100000) });
  const text = await answer.text();
  const page = performance.getEntriesByType('navigation')[0].nextHopProtocol;
  document.body.textContent = ['seen', page, answer.status, text.length].join(' ');
})().catch(error => { document.body.textContent = 'failed ' + error; })</script>";

#[test]
fn chromium_comes_by_quic() {
    let Some(chromium) = tool("chromium") else {
        return;
    };
    let origin = Origin::http(|request| match &*request.target {
        "/page" => Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{PAGE}",
            PAGE.len()
        )),
        "/echo" => Reply::ok(&request.body),
        _ => Reply::ok("well"),
    });
    let site = site("true", origin);
    let profile = Scratch::new();
    let port = site.addr("web").port();
    let certificate = std::fs::read_to_string(site.scratch().path().join("a.pem")).unwrap();
    let key = spki_hash(&certificate);
    // As root, which is who tests run as in a container, it has no sandbox of its own to offer.
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--enable-quic",
        ])
        .arg(format!("--origin-to-force-quic-on=a.test:{port}"))
        .arg(format!("--ignore-certificate-errors-spki-list={key}"))
        .args(["--host-resolver-rules=MAP a.test 127.0.0.1"])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("https://a.test:{port}/page"))
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(
        seen.contains("seen h3 200 100000"),
        "{seen:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let labels = [("listener", "web"), ("version", "http3")];
    site.wait_stat("portcullis_http_connections_total", &labels, |count| {
        count > 0
    });
    others_are_well(&site);
}

/// The hash of a certificate's key as Chromium wants it, by a program that is not ours.
fn spki_hash(certificate: &str) -> String {
    let script = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, certificate.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
