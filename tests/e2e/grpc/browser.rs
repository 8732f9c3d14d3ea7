//! A real browser: a page over TLS and HTTP/2 that makes a gRPC-Web call.

use std::process::Command;

use harness::{Origin, Reply, Scratch, tool};

use super::{answer, message};
use crate::tls::Tls;

/// Calls the gateway it came from, and shows what it got: status, version, bytes.
const PAGE: &str = "<!doctype html><title>call</title><body>not yet<script>(async () => {
  const answer = await fetch('/a.B/Echo', {
    method: 'POST',
    headers: { 'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1' },
    body: new Uint8Array([0, 0, 0, 0, 2, 104, 105]),
  });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const page = performance.getEntriesByType('navigation')[0].nextHopProtocol;
  document.body.textContent = ['seen', page, answer.status, bytes.join(',')].join(' ');
})().catch(error => { document.body.textContent = 'failed ' + error; })</script>";

#[test]
fn chromium_loads_a_page_and_makes_a_call() {
    let Some(chromium) = tool("chromium") else {
        return;
    };
    let origin = Origin::http(|request| match &*request.target {
        "/page" => Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{PAGE}",
            PAGE.len()
        )),
        "/a.B/Echo" => answer(
            &[&request.body[..], &message(b"!")].concat(),
            "grpc-status: 0\r\n",
        ),
        "/" => Reply::ok("well"),
        _ => Reply::status(404, ""),
    });
    let site = Tls::new()
        .listener("filters: [grpc_web, grpc: {}]")
        .start_with(origin);
    let profile = Scratch::new();
    // As root, which is who tests run as in a container, it has no sandbox of its own to offer.
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
        .args(["--host-resolver-rules=MAP a.test 127.0.0.1"])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("https://a.test:{}/page", site.addr("web").port()))
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    // The message that was sent, the one behind it, and the frame of trailers that ends a gRPC-Web body.
    let trailers = b"grpc-status: 0\r\n";
    let frame = [&[0x80, 0, 0, 0, trailers.len() as u8], &trailers[..]].concat();
    let body = [message(b"hi"), message(b"!"), frame].concat();
    let body: Vec<String> = body.iter().map(u8::to_string).collect();
    let expected = format!("seen h2 200 {}", body.join(","));
    assert!(
        seen.contains(&expected),
        "{expected:?} is not in {seen:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let labels = [("status", "ok"), ("service", "other")];
    site.wait_stat("portcullis_grpc_calls_total", &labels, |count| count == 1);
    site.neighbour_is_well();
}
