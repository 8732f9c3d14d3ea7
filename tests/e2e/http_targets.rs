//! Who and what a request is for, settled once; and how large its head may be (tests/ATTACKS.md H10, H11).

use harness::{Origin, Reply};

use crate::support::{Site, assert_local, row};

/// H10: the value that a route matched is the value that goes upstream.
#[test]
fn h10_same_path_for_match_and_forward() {
    let origin = Origin::http(|request| Reply::ok(&request.target));
    let site = Site::new(&origin)
        .routes(
            "- match: { path: /admin/* }\n  respond: { status: 403, body: admin }\n\
             - cluster: site",
        )
        .start();
    let mut client = site.client();
    let rows = [
        ("plain", "/a/b", 200, "/a/b"),
        ("query untouched", "/a?x=../%41//", 200, "/a?x=../%41//"),
        ("dots", "/a/../b/./c", 200, "/b/c"),
        ("escaped dots", "/a/%2e%2e/b", 200, "/b"),
        ("double slashes kept", "//a//b", 200, "//a//b"),
        ("escaped slash kept", "/a%2fb", 200, "/a%2Fb"),
        ("unreserved escape", "/%61bc", 200, "/abc"),
        ("denied plainly", "/admin/x", 403, "admin"),
        ("denied through dots", "/public/../admin/x", 403, "admin"),
        (
            "denied through escaped dots",
            "/public/%2E%2e/admin/x",
            403,
            "admin",
        ),
        ("denied through an escape", "/%61dmin", 403, "admin"),
        ("denied through a dot", "/./admin", 403, "admin"),
    ];
    for (name, target, status, text) in rows {
        let response = client.get(target, "a.test");
        assert_eq!(
            (response.status, response.text().as_str()),
            (status, text),
            "{name}"
        );
    }
    site.neighbour_is_well();
}

/// H10.
#[test]
fn h10_targets_that_are_refused() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin).start();
    let rows = [
        ("above the root", "/../a", "path_above_root"),
        (
            "above the root, escaped",
            "/a/%2e%2e/%2e%2e/b",
            "path_above_root",
        ),
        ("escaped NUL", "/a%00b", "escaped_nul"),
        ("escape of one digit", "/a%2", "bad_escape"),
        ("escape of letters", "/%zz", "bad_escape"),
        ("fragment", "/a#b", "fragment_in_target"),
    ];
    for (name, target, reason) in rows {
        let bytes = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        site.refuses(&row(name, &bytes, 400, reason));
    }
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

/// H10: slashes, where the configuration is stricter than the default.
#[test]
fn h10_slashes_by_configuration() {
    let origin = Origin::http(|request| Reply::ok(&request.target));
    let site = Site::new(&origin)
        .listener("normalize: { escaped_slashes: reject, merge_slashes: true }")
        .start();
    assert_eq!(site.client().get("//a///b", "a.test").text(), "/a/b");
    for target in ["/a%2fb", "/a%5Cb", "/a\\b"] {
        let bytes = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        site.refuses(&row(target, &bytes, 400, "escaped_slash"));
    }
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

/// H10.
#[test]
fn h10_hosts_that_are_refused() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin).start();
    let rows = [
        ("missing", "GET / HTTP/1.1\r\n\r\n", "missing_host"),
        (
            "two",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "several_hosts",
        ),
        (
            "two alike",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "several_hosts",
        ),
        (
            "listed",
            "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
            "invalid_host",
        ),
        (
            "space",
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            "invalid_host",
        ),
        (
            "slash",
            "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
            "invalid_host",
        ),
        (
            "userinfo",
            "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n",
            "userinfo",
        ),
        (
            "port of letters",
            "GET / HTTP/1.1\r\nhost: a:http\r\n\r\n",
            "invalid_port",
        ),
        (
            "port too large",
            "GET / HTTP/1.1\r\nhost: a:65536\r\n\r\n",
            "invalid_port",
        ),
        (
            "absolute, and another host",
            "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "host_mismatch",
        ),
        (
            "absolute, and another port",
            "GET http://a:81/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "host_mismatch",
        ),
        (
            "absolute with userinfo",
            "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "invalid_target",
        ),
        (
            "absolute without a host",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "missing_host",
        ),
        (
            "asterisk for GET",
            "GET * HTTP/1.1\r\nhost: a\r\n\r\n",
            "invalid_target",
        ),
        (
            "authority for GET",
            "GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
            "invalid_target",
        ),
    ];
    for (name, bytes, reason) in rows {
        site.refuses(&row(name, bytes, 400, reason));
    }
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

/// H10: a route for one host is not reached by another spelling of a target.
#[test]
fn h10_absolute_form_is_settled() {
    let origin = Origin::http(|request| {
        Reply::ok(format!(
            "{} {}",
            request.target,
            request.header("host").unwrap_or("-")
        ))
    });
    let site = Site::new(&origin)
        .routes("- match: { host: a.test }\n  cluster: site")
        .start();
    let mut client = site.client();
    client.send("GET http://A.test/x?y HTTP/1.1\r\nhost: a.TEST\r\n\r\n");
    assert_eq!(client.read_response().text(), "/x?y a.test");
    client.send("GET http://a.test HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(client.read_response().text(), "/ a.test");
    client.send("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(client.read_response().text(), "* a.test");
    assert_local("another host", &client.get("/", "b.test"), 404, "no_route");
    site.wait_local_replies("no_route", 1);
    site.neighbour_is_well();
}

/// H11.
#[test]
fn h11_head_bombs() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin).start();
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(101)
    );
    let long_value = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "v".repeat(40_000)
    );
    let long_name = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}: v\r\n\r\n",
        "n".repeat(40_000)
    );
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "t".repeat(9_000));
    let endless_target = format!("GET /{}", "t".repeat(60_000));
    let empty_lines = "\r\n".repeat(6);
    let rows = [
        row("fields", &many, 431, "too_many_fields"),
        row("long value", &long_value, 431, "head_too_large"),
        row("long name", &long_name, 431, "head_too_large"),
        row("long target", &long_target, 414, "uri_too_long"),
        row(
            "target without an end",
            &endless_target,
            414,
            "uri_too_long",
        ),
        row("empty lines", &empty_lines, 400, "too_many_empty_lines"),
    ];
    for row in &rows {
        site.refuses(row);
    }
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

/// H11: each limit of the configuration trips one past it and not at it.
#[test]
fn h11_limits_are_exact() {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin)
        .listener("limits: { head: 1KiB, uri: 100, fields: 10 }")
        .start();
    let head = |target: usize, fields: usize, filler: usize| {
        let target = "t".repeat(target - 1);
        let fields = "x: y\r\n".repeat(fields - 1);
        format!("GET /{target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n").replacen(
            "x: y",
            &format!("x: y{}", "z".repeat(filler)),
            1,
        )
    };
    let padded = |size: usize| head(1, 2, size - head(1, 2, 0).len());
    let rows = [
        (
            "target",
            head(100, 1, 0),
            head(101, 1, 0),
            414,
            "uri_too_long",
        ),
        (
            "fields",
            head(1, 10, 0),
            head(1, 11, 0),
            431,
            "too_many_fields",
        ),
        ("head", padded(1024), padded(1025), 431, "head_too_large"),
    ];
    for (name, within, beyond, status, reason) in rows {
        let mut client = site.client();
        client.send(within);
        assert_eq!(client.read_response().status, 200, "{name}");
        site.refuses(&row(name, &beyond, status, reason));
    }
    site.neighbour_is_well();
}
