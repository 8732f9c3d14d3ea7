//! Access logs: every request has its line, no peer writes one of its own, and rotated files are let go
//! (tests/ATTACKS.md F11).

use std::fs;
use std::path::{Path, PathBuf};

use harness::{H2Client, Origin, Reply, Scratch, Signal, eventually};
use serde_json::Value;

use crate::support::{Running, Site};

fn start(origin: &Origin, path: &Path, form: &str) -> Running {
    let path = path.display();
    Site::new(origin)
        .routes(&format!("- match: {{ path: /deny }}\n  respond: {{ status: 403, body: x }}\n  filters: [{{ access_log: {{ path: \"{path}\", {form} }} }}]\n\
            - name: main\n  cluster: site\n  filters:\n    - access_log: {{ path: \"{path}\", {form} }}"))
        .start()
}

/// Waits until the file has so many lines.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let mut text = String::new();
    eventually(&format!("{count} lines in {}", path.display()), || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.matches('\n').count() >= count
    });
    text.lines().map(str::to_owned).collect()
}

fn file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("access.log")
}

#[test]
fn envoy_format() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let origin = Origin::http(|_| Reply::ok("hello"));
    let site = start(&origin, &path, "format: envoy");
    let mut client = site.client();
    client.send("POST /x?y=z HTTP/1.1\r\nhost: a.test\r\nuser-agent: curl/8\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.read_response().status, 200);
    let line = &lines(&path, 1)[0];
    assert!(line.starts_with("[20"), "{line}");
    let rest = line.split_once("] ").unwrap().1;
    assert!(
        rest.starts_with("\"POST /x?y=z HTTP/1.1\" 200 - 3 5 "),
        "{line}"
    );
    assert!(
        rest.contains("\"curl/8\"") && rest.contains("\"a.test\""),
        "{line}"
    );
    assert!(
        rest.ends_with(&format!("\"{}\"", origin.address())),
        "{line}"
    );
}

#[test]
fn combined_format() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let origin = Origin::http(|_| Reply::ok("hello"));
    let site = start(&origin, &path, "format: combined");
    let mut client = site.client();
    client.send("GET /x HTTP/1.1\r\nhost: a\r\nreferer: http://b/\r\nuser-agent: me\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    let line = &lines(&path, 1)[0];
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.ends_with("] \"GET /x HTTP/1.1\" 200 5 \"http://b/\" \"me\""),
        "{line}"
    );
}

#[test]
fn json_format() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let origin = Origin::http(|_| Reply::ok("hello"));
    let site = start(&origin, &path, "format: json");
    let mut client = site.client();
    assert_eq!(client.get("/x", "a.test").status, 200);
    assert_eq!(client.get("/deny", "a.test").status, 403);
    let lines = lines(&path, 2);
    // Two filters with a file in common keep no order between them.
    let of = |path: &str| -> Value {
        let entries = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        let mut entries = entries.filter(|entry: &Value| entry["path"] == path);
        entries.next().unwrap()
    };
    let entry = of("/x");
    let expected: [(&str, Value); 11] = [
        ("method", "GET".into()),
        ("host", "a.test".into()),
        ("path", "/x".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes_sent", 5.into()),
        ("route", "main".into()),
        ("cluster", "site".into()),
        ("attempts", 1.into()),
        ("client", "127.0.0.1".into()),
        ("endpoint", origin.address().to_string().into()),
    ];
    for (key, value) in expected {
        assert_eq!(entry[key], value, "{key}");
    }
    let denied = of("/deny");
    assert_eq!(
        (&denied["status"], &denied["endpoint"]),
        (&403.into(), &Value::Null)
    );
}

#[test]
fn operators() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let origin = Origin::http(|_| {
        Reply::bytes("HTTP/1.1 201 Made\r\ncontent-length: 0\r\nx-id: 17\r\n\r\n")
    });
    let site = start(
        &origin,
        &path,
        "text: \"%REQ(X-LONG?X-SHORT):4% %RESP(X-ID)% %RESP(X-NONE)% %LISTENER_NAME% 100%%\"",
    );
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-short: abcdefgh\r\n\r\n");
    assert_eq!(client.read_response().status, 201);
    assert_eq!(lines(&path, 1)[0], "abcd 17 - web 100%");
}

/// F11: one request, one line, whatever bytes it holds.
#[test]
fn f11_log_injection() {
    let origin = Origin::http(|_| Reply::ok("x"));
    for form in ["format: envoy", "format: combined", "format: json"] {
        let scratch = Scratch::new();
        let path = file(&scratch);
        let site = start(&origin, &path, form);
        let mut client = site.client();
        let hostile: [&[u8]; 5] = [
            b"quote \" and backslash \\",
            b"escape \xe2\x80\xa8 line separator",
            b"high \xff\xfe bytes",
            b"tab \t inside",
            b"%REQ(X)% ${jndi:ldap://x} %0a%0d",
        ];
        for value in hostile {
            client.send(
                [
                    b"GET /a%0aGET%20/fake HTTP/1.1\r\nhost: a\r\nuser-agent: ",
                    value,
                    b"\r\n\r\n",
                ]
                .concat(),
            );
            assert_eq!(client.read_response().status, 200, "{form}");
        }
        let lines = lines(&path, hostile.len());
        assert_eq!(lines.len(), hostile.len(), "{form}: {lines:#?}");
        for line in &lines {
            if form.contains("json") {
                assert!(!line.contains(char::is_control), "{form}: {line:?}");
                let entry: Value = serde_json::from_str(line).unwrap();
                assert_eq!(entry["path"], "/a%0aGET%20/fake", "{line}");
            } else {
                let printable = |byte: u8| (0x20..0x7f).contains(&byte);
                assert!(line.bytes().all(printable), "{form}: {line:?}");
                // Quotes are only the format's own.
                let bare = line.replace("\\\\", "").replace("\\\"", "");
                assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
            }
        }
        site.neighbour_is_well();
    }
}

/// Waits until the file has this line, among those of requests that were made before.
fn wait_line(path: &Path, expected: &str) {
    let mut count = 1;
    while !lines(path, count).contains(&expected.to_owned()) {
        count = lines(path, count).len() + 1;
    }
}

/// What never became a request leaves its line as well: the listener's logs are told.
#[test]
fn what_is_refused_before_routing_is_logged() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .listener(&format!(
            "filters: [{{ access_log: {{ path: \"{}\", text: '%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%' }} }}]",
            path.display()
        ))
        .start();
    for (request, expected) in [
        (
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET HTTP/1.1 400 space_before_colon DPE",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            "GET HTTP/1.1 400 invalid_host DPE",
        ),
    ] {
        let mut client = site.client();
        client.send(request);
        assert_eq!(client.read_response().status, 400, "{expected}");
        wait_line(&path, expected);
    }
    let client = H2Client::connect(site.addr("web"));
    assert_eq!(
        client.get(&format!("/{}", "a".repeat(9000)), "a").status,
        414
    );
    wait_line(&path, "GET HTTP/2 414 uri_too_long DPE");
    site.neighbour_is_well();
}

/// F11: what a peer chooses never becomes a label.
#[test]
fn f11_labels_are_bounded() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    let _ = client.get("/first", "a");
    let before = site.stats().series.len();
    for number in 0..300 {
        client.send(format!("M{number} /path-{number}?q={number} HTTP/1.1\r\nhost: host-{number}.test\r\nx-{number}: y\r\n\r\n"));
        assert_eq!(client.read_response().status, 200);
    }
    let stats = site.stats();
    assert!(
        stats.series.len() <= before + 5,
        "{} series became {}",
        before,
        stats.series.len()
    );
    let labels = stats.series.iter().flat_map(|series| &series.labels);
    for (name, value) in labels {
        assert!(
            !value.contains("path-") && !value.contains("host-"),
            "{name}={value}"
        );
    }
    site.neighbour_is_well();
}

/// USR1: the moved file gets no more lines, the new one does.
#[test]
fn usr1_reopens() {
    let scratch = Scratch::new();
    let path = file(&scratch);
    let moved = scratch.path().join("access.log.1");
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = start(&origin, &path, "text: \"%REQ(:PATH)%\"");
    let mut client = site.client();
    let _ = client.get("/before", "a");
    assert_eq!(lines(&path, 1), ["/before"]);
    fs::rename(&path, &moved).unwrap();
    let _ = client.get("/between", "a");
    assert_eq!(lines(&moved, 2), ["/before", "/between"]);
    site.signal(Signal::USR1);
    site.wait_log("opening the log files again");
    // The writer takes the wish up with its next line at the latest.
    let mut number = 0;
    while !path.exists() {
        number += 1;
        let _ = client.get(&format!("/after-{number}"), "a");
        let _ = site.stats();
        assert!(number < 3000, "the log is not reopened");
    }
    let _ = client.get("/last", "a");
    let mut count = 1;
    while !lines(&path, count).contains(&"/last".to_owned()) {
        count += 1;
    }
    let old = fs::read_to_string(&moved).unwrap();
    assert!(!old.contains("/last"), "{old}");
    let _ = &site;
}

/// A log that cannot be opened is a start-up error.
#[test]
fn unwritable_log_is_refused() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let beside = Origin::http(|_| Reply::ok("x"));
    let config = Site::new(&origin)
        .listener("filters:\n  - access_log: { path: /nonexistent/folder/access.log }")
        .yaml(&beside);
    let exit = harness::Gateway::run(&config);
    assert!(matches!(exit.code(), Some(1 | 78)), "{:?}", exit.code());
    assert!(
        exit.stderr
            .iter()
            .any(|line| line.contains("/nonexistent/folder/access.log")),
        "{:?}",
        exit.stderr
    );
}
