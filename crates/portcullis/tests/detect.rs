//! A listener that finds out which protocol its clients speak, with the real binary.

// Helpers of a test fail as loudly as the test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, process, thread};

/// A failure's ceiling, not a wait.
const PATIENCE: Duration = Duration::from_secs(30);

struct Gateway {
    child: Child,
    listener: String,
}

impl Gateway {
    fn start(name: &str, config: &str) -> Self {
        let path = env::temp_dir().join(format!("portcullis-{name}-{}.yaml", process::id()));
        fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "-c"])
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut listener = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening name=any address=") {
                address.clone_into(&mut listener);
            }
            if line.contains("ready admin=") {
                break;
            }
        }
        thread::spawn(move || lines.for_each(drop));
        let _ = fs::remove_file(path);
        Self { child, listener }
    }

    fn exchange(&self, sent: &[u8]) -> String {
        let mut client = TcpStream::connect(&self.listener).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(sent).unwrap();
        if !sent.is_empty() {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Greets, as servers that speak first do, then says what it got and closes.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                client.write_all(b"220 hello\n").unwrap();
                let mut got = [0; 64];
                client
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .unwrap();
                let length = client.read(&mut got).unwrap_or(0);
                client.write_all(&got[..length]).unwrap();
            });
        }
    });
    port
}

#[test]
fn each_client_reaches_its_protocol() {
    let upstream = greeter();
    let gateway = Gateway::start(
        "detect",
        &format!(
            "admin: {{ listen: 127.0.0.1:0 }}
listeners:
  any:
    listen: 127.0.0.1:0
    protocol: detect
    detect:
      timeout: 100ms
      protocols:
        - protocol: http
          routes: [{{ match: {{ path: / }}, respond: {{ status: 200, body: over http }} }}]
        - {{ protocol: tcp, cluster: greeter }}
clusters: {{ greeter: {{ endpoints: [127.0.0.1:{upstream}] }} }}
"
        ),
    );
    let answer = gateway.exchange(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("over http"),
        "{answer}"
    );
    assert_eq!(
        gateway.exchange(b"EHLO me\n"),
        "220 hello\nEHLO me\n",
        "all bytes are passed on"
    );
    assert_eq!(
        gateway.exchange(b""),
        "220 hello\n",
        "whoever waits reaches the fall-back"
    );
}

#[test]
fn without_a_fallback_what_is_not_recognised_is_closed() {
    let gateway = Gateway::start(
        "detect-only",
        "admin: { listen: 127.0.0.1:0 }
listeners:
  any:
    listen: 127.0.0.1:0
    protocol: detect
    detect: { timeout: 100ms, protocols: [{ protocol: http, routes: [{ match: { path: / }, respond: { status: 200 } }] }] }
",
    );
    let answer = gateway.exchange(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for sent in [&b"\x16\x03\x01\x02\x00"[..], b""] {
        assert_eq!(gateway.exchange(sent), "", "{sent:?}");
    }
}
