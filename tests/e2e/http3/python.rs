//! aioquic, a QUIC of its own: as a client that keeps to the rules, and as one that does not.

use std::process::Command;

use harness::{Origin, Reply};

use super::{others_are_well, site};
use crate::python::Python;
use crate::tls::Running;

fn origin() -> Origin {
    Origin::http(|request| match &*request.target {
        "/echo" => Reply::ok(&request.body),
        "/trailers" => Reply::bytes(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{}\r\n0\r\nx-sum: {}\r\n\r\n",
            String::from_utf8_lossy(&request.body),
            request.trailers.len()
        )),
        _ => Reply::ok("well"),
    })
}

/// What the client says in this case. `None` is to skip the test.
#[track_caller]
fn seen(site: &Running, case: &str) -> Option<String> {
    let python = Python::with("http3", &["aioquic"])?;
    let roots = site
        .scratch()
        .write("authority.pem", site.authority().pem());
    let mut command: Command = python.run(include_str!("client.py"));
    let port = site.addr("web").port().to_string();
    let output = command.arg(port).arg(roots).arg(case).output().unwrap();
    assert!(output.status.success(), "{case}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn aioquic_gets_what_it_asks_for() {
    let rows = [
        ("kinds", "true", "200 b'well' []\n200 b'sent' []\n"),
        ("large", "true", "200 2048000 True\n"),
        ("many", "{ max_streams: 20 }", "300 {'200'}\n"),
        ("trailers", "true", "200 b'body' [('x-sum', '1')]\n"),
        (
            "keys",
            "true",
            "200 key 0\n200 key 1\n200 key 2\n200 key 3\n200 key 4\n",
        ),
        ("move", "true", &*"200 b'well' []\n".repeat(7)),
        (
            "early",
            "{ early_data: true }",
            "200 b'well' []\nGET 200 True\nPOST 425 True\n",
        ),
        (
            "early",
            "{ retry: always }",
            "200 b'well' []\nGET 200 False\nPOST 200 False\n",
        ),
    ];
    for (case, http3, expected) in rows {
        let site = site(http3, origin());
        let Some(seen) = seen(&site, case) else {
            return;
        };
        assert_eq!(seen, expected, "{case}");
    }
}

/// Q3, Q5: quinn ends connections that acknowledge what was not sent (0xa, PROTOCOL_VIOLATION), or bring too many names (0x9,
/// CONNECTION_ID_LIMIT_ERROR); and bodies in crumbs take no more than their window.
#[test]
fn q3_q5_aioquic_does_what_it_must_not() {
    let site = site("true", origin());
    let before = site.resident_bytes();
    for (case, expected) in [("acknowledge", "0xa\n"), ("names", "0x9\n")] {
        let Some(seen) = seen(&site, case) else {
            return;
        };
        assert_eq!(seen, expected, "{case}");
        others_are_well(&site);
    }
    let seen = seen(&site, "fragments").unwrap();
    assert!(seen.starts_with("sent"), "{seen}");
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(grown < 60_000_000, "{grown}");
    others_are_well(&site);
}
