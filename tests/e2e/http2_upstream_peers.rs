//! The real thing behind: nghttpd and nginx, by prior knowledge and by ALPN.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::tls::Authority;
use harness::{ClosedPort, Connection, Gateway, Scratch, Stats, Tool, eventually, tool};

use crate::support::{checksum, noise};

/// A server of files that speaks HTTP/2 itself.
struct Peer {
    address: SocketAddr,
    folder: Scratch,
    _tool: Tool,
}

/// A folder with a small file, a large one, a certificate and who signed it.
fn folder() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("small.txt", "from the peer\n");
    scratch.write("large.bin", noise(3 << 20));
    let authority = Authority::new("peers");
    let issued = authority.issue(&["localhost", "127.0.0.1"]);
    scratch.write("ca.pem", authority.pem());
    scratch.write("cert.pem", &issued.cert);
    scratch.write("key.pem", &issued.key);
    scratch
}

fn free_port() -> SocketAddr {
    ClosedPort::new().address()
}

fn start(folder: Scratch, address: SocketAddr, mut command: Command) -> Peer {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let tool = Tool::start(&mut command);
    eventually("the peer listens", || Connection::connect(address).is_ok());
    Peer {
        address,
        folder,
        _tool: tool,
    }
}

fn nghttpd(tls: bool) -> Option<Peer> {
    let program = tool("nghttpd")?;
    let (folder, address) = (folder(), free_port());
    let mut command = Command::new(program);
    command.args(["--address=127.0.0.1", "--trailer=x-end: 1", "-d"]);
    command.arg(folder.path());
    if tls {
        command.arg(address.port().to_string());
        command.args([
            folder.path().join("key.pem"),
            folder.path().join("cert.pem"),
        ]);
    } else {
        command.arg("--no-tls").arg(address.port().to_string());
    }
    Some(start(folder, address, command))
}

fn nginx(listen: &str) -> Option<Peer> {
    let program = tool("nginx")?;
    let (folder, address) = (folder(), free_port());
    let place = folder.path().display().to_string();
    let config = format!(
        "daemon off; master_process off; pid {place}/nginx.pid; error_log {place}/error.log;
         events {{ worker_connections 512; }}
         http {{
             access_log off;
             client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
             uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
             server {{
                 listen {address} {listen}; root {place};
                 ssl_certificate {place}/cert.pem; ssl_certificate_key {place}/key.pem;
                 location /version {{ return 200 \"$server_protocol $http_host\\n\"; }}
             }}
         }}"
    );
    let file = folder.write("nginx.conf", config);
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).arg("-p").arg(folder.path());
    Some(start(folder, address, command))
}

fn gateway(peer: &Peer, keys: &str) -> Gateway {
    let keys = keys.replace("DIR", &peer.folder.path().display().to_string());
    Gateway::start(&format!(
        "listeners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }}\n\
         runtime: {{ workers: {{ count: 1 }} }}\n\
         clusters:\n  site:\n    endpoints: [\"{}\"]\n    {keys}\n",
        peer.address
    ))
}

fn connections(stats: &Stats) -> u64 {
    stats.counter(
        "portcullis_http2_upstream_connections_total",
        &[("cluster", "site")],
    )
}

/// Files, large ones too, many at once; all of it on one connection.
fn serves(gateway: &Gateway, folder: &Path) {
    let mut client = gateway.connect("web");
    assert_eq!(
        client.get("/small.txt", "localhost").text(),
        "from the peer\n"
    );
    let large = std::fs::read(folder.join("large.bin")).unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect("web")).collect();
    for client in &mut clients {
        client.send("GET /large.bin HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(checksum(&client.read_response().body), checksum(&large));
    }
    assert_eq!(client.get("/missing", "localhost").status, 404);
}

#[test]
fn nghttpd_by_prior_knowledge() {
    let Some(peer) = nghttpd(false) else { return };
    let gateway = gateway(&peer, "http: { version: http2 }");
    serves(&gateway, peer.folder.path());
    assert_eq!(connections(&gateway.stats()), 1);
    let mut client = gateway.connect("web");
    client.send("HEAD /large.bin HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let response = client.read_head_response();
    assert_eq!(response.header("content-length"), Some("3145728"));
}

#[test]
fn nghttpd_by_alpn() {
    let Some(peer) = nghttpd(true) else { return };
    let gateway = gateway(&peer, "tls: { roots: DIR/ca.pem, sni: localhost }");
    serves(&gateway, peer.folder.path());
    assert_eq!(connections(&gateway.stats()), 1);
}

#[test]
fn nginx_by_prior_knowledge() {
    let Some(peer) = nginx("http2") else { return };
    let gateway = gateway(&peer, "http: { version: http2 }");
    serves(&gateway, peer.folder.path());
    let mut client = gateway.connect("web");
    let version = client.get("/version", "a.test");
    assert_eq!(version.text(), "HTTP/2.0 a.test\n");
}

/// By ALPN the endpoint chooses, and what it chose is kept.
#[test]
fn nginx_chooses() {
    let rows = [
        ("both", "ssl http2", "", "HTTP/2.0", 1),
        ("only HTTP/1", "ssl", "", "HTTP/1.1", 0),
        (
            "we want HTTP/1",
            "ssl http2",
            "http: { version: http1 }",
            "HTTP/1.1",
            0,
        ),
        (
            "we want HTTP/2",
            "ssl http2",
            "http: { version: http2 }",
            "HTTP/2.0",
            1,
        ),
    ];
    for (name, listen, http, version, opened) in rows {
        let Some(peer) = nginx(listen) else { return };
        let keys = format!("tls: {{ roots: DIR/ca.pem, sni: localhost }}\n    {http}");
        let gateway = gateway(&peer, &keys);
        serves(&gateway, peer.folder.path());
        let mut client = gateway.connect("web");
        for _ in 0..3 {
            let said = client.get("/version", "a.test").text();
            assert_eq!(said, format!("{version} a.test\n"), "{name}");
        }
        assert_eq!(connections(&gateway.stats()), opened, "{name}");
    }
}

/// HTTP/2 alone is offered, and the endpoint knows only HTTP/1.
#[test]
fn no_agreement_is_no_connection() {
    let Some(peer) = nginx("ssl") else { return };
    let keys = "tls: { roots: DIR/ca.pem, sni: localhost }\n    http: { version: http2 }";
    let gateway = gateway(&peer, keys);
    let response = gateway.connect("web").get("/small.txt", "localhost");
    assert_eq!(
        (response.status, response.header("x-portcullis-reason")),
        (503, Some("tls_alpn"))
    );
}
