//! The real thing on both sides: nginx and Python behind, curl and wrk in front.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::{Client, ClosedPort, Connection, Gateway, Origin, Scratch, Tool, eventually, tool};

use crate::support::{checksum, noise};

/// A port that is free now. Servers that cannot be given port 0 take it over.
fn free_port() -> SocketAddr {
    ClosedPort::new().address()
}

/// Waits until somebody listens there.
#[track_caller]
fn wait_listening(address: SocketAddr) {
    eventually("somebody listens", || Connection::connect(address).is_ok());
}

/// An nginx that serves a directory.
struct Nginx {
    address: SocketAddr,
    scratch: Scratch,
    tool: Tool,
}

fn nginx(program: &PathBuf) -> Nginx {
    let scratch = Scratch::new();
    let folder = scratch.path().display().to_string();
    let address = free_port();
    scratch.write("small.txt", "from nginx\n");
    scratch.write("large.bin", noise(3 * 1024 * 1024));
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
         events {{ worker_connections 512; }}
         http {{
             access_log off; keepalive_requests 1000000;
             client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
             uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
             server {{ listen {address}; root {folder}; location /echo {{ return 200 \"$request_method $http_host $http_x_forwarded_for\\n\"; }} }}
         }}"
    );
    let file = scratch.write("nginx.conf", config);
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).arg("-p").arg(scratch.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let tool = Tool::start(&mut command);
    wait_listening(address);
    Nginx {
        address,
        scratch,
        tool,
    }
}

fn gateway(endpoints: &[SocketAddr], more: &str) -> Gateway {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    Gateway::start(&format!(
        "listeners:\n  web: {{ listen: 127.0.0.1:0, protocol: http, cluster: site }}\n{more}clusters:\n  site: {{ endpoints: [{}] }}\n",
        endpoints.join(", ")
    ))
}

fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text.into_owned()
}

#[test]
fn curl_through_to_nginx() {
    let (Some(server), Some(curl)) = (tool("nginx"), tool("curl")) else {
        return;
    };
    let nginx = nginx(&server);
    let gateway = gateway(&[nginx.address], "");
    let url = format!("http://{}", gateway.addr("web"));
    let curl = |arguments: &[&str]| {
        run(Command::new(&curl)
            .args(["-sS", "--max-time", "30"])
            .args(arguments))
    };

    assert_eq!(curl(&[&format!("{url}/small.txt")]), "from nginx\n");
    assert!(
        curl(&[&format!("{url}/echo"), "-H", "host: shop.test"])
            .starts_with("GET shop.test 127.0.0.1")
    );
    assert_eq!(
        curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("{url}/missing")
        ]),
        "404"
    );
    assert!(curl(&["-I", &format!("{url}/small.txt")]).starts_with("HTTP/1.1 200"));
    assert_eq!(
        curl(&["--http1.0", &format!("{url}/small.txt")]),
        "from nginx\n"
    );
    assert_eq!(curl(&["-r", "5-9", &format!("{url}/small.txt")]), "nginx");
    let copy = nginx.scratch.path().join("copy.bin");
    curl(&["-o", copy.to_str().unwrap(), &format!("{url}/large.bin")]);
    let original = fs::read(nginx.scratch.path().join("large.bin")).unwrap();
    assert_eq!(checksum(&fs::read(&copy).unwrap()), checksum(&original));
    // Two transfers on one connection.
    let twice = format!("{url}/small.txt");
    assert_eq!(
        curl(&["-w", "%{num_connects} ", &twice, &twice]),
        "from nginx\n1 from nginx\n0 "
    );
}

const PYTHON: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[2]
    def do_GET(self):
        body = ("python %s %s\n" % (self.command, self.path)).encode()
        self.send_response(200)
        if self.path != "/close":
            self.send_header("content-length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"#;

#[test]
fn curl_through_to_python() {
    let (Some(python), Some(curl)) = (tool("python3"), tool("curl")) else {
        return;
    };
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let address = free_port();
        let mut command = Command::new(&python);
        command
            .args(["-c", PYTHON, &address.port().to_string(), version])
            .stderr(Stdio::null());
        let _server = Tool::start(&mut command);
        wait_listening(address);
        let gateway = gateway(&[address], "");
        let url = format!("http://{}", gateway.addr("web"));
        let curl = |arguments: &[&str]| {
            run(Command::new(&curl)
                .args(["-sS", "--max-time", "30"])
                .args(arguments))
        };
        assert_eq!(
            curl(&[&format!("{url}/a?b")]),
            "python GET /a?b\n",
            "{version}"
        );
        if version == "HTTP/1.0" {
            assert_eq!(curl(&[&format!("{url}/close")]), "python GET /close\n");
        }
        assert_eq!(
            curl(&["-d", "some form", &format!("{url}/post")]),
            "some form",
            "{version}"
        );
        // More than curl sends without asking: it waits for a 100 first.
        let large = "x".repeat(200_000);
        let scratch = Scratch::new();
        let file = scratch.write("form", &large);
        let data = format!("@{}", file.display());
        let echoed = curl(&[
            "-H",
            "expect: 100-continue",
            "--data-binary",
            &data,
            &format!("{url}/post"),
        ]);
        assert_eq!(
            checksum(echoed.as_bytes()),
            checksum(large.as_bytes()),
            "{version}"
        );
    }
}

/// What wrk says about a run.
#[derive(Debug)]
struct Load {
    requests: u64,
    /// Answers that are not 2xx or 3xx.
    errors: u64,
    /// Broken or refused connections and timeouts.
    broken: u64,
}

fn wrk(program: &PathBuf, address: SocketAddr, seconds: u32) -> std::process::Child {
    Command::new(program)
        .args([
            "-t",
            "2",
            "-c",
            "16",
            "-d",
            &format!("{seconds}s"),
            &format!("http://{address}/small.txt"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn finish(mut child: std::process::Child) -> Load {
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    child.wait().unwrap();
    let number = |line: &str| {
        line.split_whitespace()
            .find_map(|word| word.trim_end_matches(',').parse::<u64>().ok())
    };
    let find = |part: &str| text.lines().find(|line| line.contains(part));
    let sum = |line: &str| {
        let words = line.split_whitespace();
        words
            .filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok())
            .sum()
    };
    Load {
        requests: find("requests in")
            .and_then(number)
            .unwrap_or_else(|| panic!("wrk said: {text}")),
        errors: find("Non-2xx").map_or(0, sum),
        broken: find("Socket errors").map_or(0, sum),
    }
}

/// `kill -9` of one of two origins under load loses at most what was in flight there.
#[test]
fn origin_killed_under_load() {
    let (Some(server), Some(load)) = (tool("nginx"), tool("wrk")) else {
        return;
    };
    let (mut first, second) = (nginx(&server), nginx(&server));
    let gateway = gateway(&[first.address, second.address], "");
    let running = wrk(&load, gateway.addr("web"), 3);
    let name = first.address.to_string();
    let labels = [("endpoint", name.as_str())];
    gateway.wait_stat("portcullis_endpoint_requests_total", &labels, |count| {
        count > 200
    });
    first.tool.child().kill().unwrap();
    let load = finish(running);
    assert!(load.requests > 500, "{load:?}");
    // wrk has 16 connections: no more than that was in flight.
    assert!(load.errors + load.broken <= 16, "{load:?}");
    assert_eq!(
        gateway.connect("web").get("/small.txt", "a").text(),
        "from nginx\n"
    );
}

/// Reloads under load lose nothing, and a WebSocket on another listener never notices.
#[test]
fn reloads_under_load() {
    let (Some(server), Some(load)) = (tool("nginx"), tool("wrk")) else {
        return;
    };
    reloads_for(&server, &load, 4);
}

/// The long version, for a quiet machine.
#[test]
#[ignore = "takes a minute"]
fn reloads_under_load_for_a_minute() {
    let (Some(server), Some(load)) = (tool("nginx"), tool("wrk")) else {
        return;
    };
    reloads_for(&server, &load, 60);
}

fn reloads_for(server: &PathBuf, load: &PathBuf, seconds: u32) {
    let nginx = nginx(server);
    let echo = Origin::raw(|connection| {
        connection.read_head()?;
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        )?;
        while connection.fill()? > 0 {
            let bytes = connection.read_exact(connection.buffered().len())?;
            connection.send(bytes)?;
        }
        Ok(())
    });
    let config = |number: u32| {
        format!(
            "listeners:\n  web:\n    listen: 127.0.0.1:0\n    protocol: http\n    routes:\n      - match: {{ path: /number-{number} }}\n        \
             respond: {{ status: 200 }}\n      - cluster: site\n  chat: {{ listen: 127.0.0.1:0, protocol: http, cluster: echo }}\n\
             clusters:\n  site: {{ endpoints: [{}] }}\n  echo: {{ endpoints: [{}] }}\n",
            nginx.address,
            echo.address()
        )
    };
    let gateway = Gateway::start(&config(0));
    let mut chat = gateway.connect("chat");
    chat.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(chat.read_response().status, 101);
    let mut running = wrk(load, gateway.addr("web"), seconds);
    let mut reloads = 0;
    while running.try_wait().unwrap().is_none() {
        reloads += 1;
        assert_eq!(gateway.reload(&config(reloads)).status, 200);
        let path = format!("/number-{reloads}");
        assert_eq!(
            Client::connect(gateway.addr("web")).get(&path, "a").status,
            200
        );
        chat.send("still here");
        assert_eq!(chat.read_exact(10), b"still here");
        // One each second.
        std::thread::park_timeout(std::time::Duration::from_secs(1));
    }
    let load = finish(running);
    assert!(reloads >= seconds / 2, "{reloads} reloads");
    assert_eq!(
        (load.errors, load.broken),
        (0, 0),
        "{load:?} with {reloads} reloads"
    );
    assert_eq!(echo.connections(), 1);
}
