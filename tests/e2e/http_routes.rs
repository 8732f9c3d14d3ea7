//! Which route takes a request, and what it does with it (tests/ATTACKS.md F12).

use std::collections::BTreeMap;

use harness::{Gateway, Origin, Reply, Versions};

use crate::support::{Running, Site};

/// A request line's target, a host, more fields, and the body of the answer expected.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

const ROUTED: &str = "portcullis_http_route_responses_total";

/// Waits until the route of this name has given so many responses of this class.
#[track_caller]
fn wait_routed(site: &Running, route: &str, class: &str, count: u64) {
    let labels = [("route", route), ("code_class", class)];
    site.wait_stat(ROUTED, &labels, |value| value == count);
}

/// Routes that answer with their own names.
#[track_caller]
fn answers(routes: &str, rows: &[Row<'_>]) {
    let origin = Origin::http(|_| Reply::ok("site"));
    let site = Site::new(&origin).routes(routes).start();
    let mut client = site.client();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (method, target, host, fields, expected) in rows {
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n"
        ));
        let response = client.read_response();
        assert_eq!(
            response.text(),
            *expected,
            "{method} {target} {host} {fields}"
        );
        *counts.entry(expected).or_default() += 1;
    }
    for (route, count) in &counts {
        wait_routed(&site, route, "2xx", *count);
    }
    assert_eq!(origin.requests() as u64, counts["site"]);
    site.neighbour_is_well();
}

#[test]
fn matches_of_every_kind() {
    answers(
        r"
- name: host and path
  match: { host: exact.test, path: /only }
  respond: { status: 200, body: host and path }
- name: exact host
  match: { host: exact.test }
  respond: { status: 200, body: exact host }
- name: wildcard host
  match: { host: '*.wild.test' }
  respond: { status: 200, body: wildcard host }
- name: exact path
  match: { path: /exact }
  respond: { status: 200, body: exact path }
- name: prefix
  match: { path: /tree/* }
  respond: { status: 200, body: prefix }
- name: glob
  match: { path: '/glob/*/end' }
  respond: { status: 200, body: glob }
- name: regex
  match: { path: '~^/item/[0-9]+$' }
  respond: { status: 200, body: regex }
- name: list
  match: { path: [/one, /two] }
  respond: { status: 200, body: list }
- name: method
  match: { method: DELETE }
  respond: { status: 200, body: method }
- name: field
  match: { headers: { x-key: value } }
  respond: { status: 200, body: field }
- name: field present
  match: { headers: { x-any: '*' } }
  respond: { status: 200, body: field present }
- name: query
  match: { query: { debug: '1' } }
  respond: { status: 200, body: query }
- name: both
  match: { path: /both, method: [PUT, PATCH] }
  respond: { status: 200, body: both }
- name: site
  cluster: site
",
        &[
            ("GET", "/only", "exact.test", "", "host and path"),
            ("GET", "/only", "EXACT.test:8080", "", "host and path"),
            ("GET", "/", "exact.test", "", "exact host"),
            ("GET", "/", "a.wild.test", "", "wildcard host"),
            ("GET", "/", "a.b.wild.test", "", "wildcard host"),
            ("GET", "/", "wild.test", "", "site"),
            ("GET", "/", "evilwild.test", "", "site"),
            ("GET", "/exact?x", "a", "", "exact path"),
            ("GET", "/exact/", "a", "", "site"),
            ("GET", "/tree", "a", "", "prefix"),
            ("GET", "/tree/a/b", "a", "", "prefix"),
            ("GET", "/treehouse", "a", "", "site"),
            ("GET", "/glob/x/end", "a", "", "glob"),
            ("GET", "/item/42", "a", "", "regex"),
            ("GET", "/item/x", "a", "", "site"),
            ("GET", "/two", "a", "", "list"),
            ("DELETE", "/x", "a", "", "method"),
            ("GET", "/", "a", "x-key: value\r\n", "field"),
            ("GET", "/", "a", "X-KEY: value\r\n", "field"),
            ("GET", "/", "a", "x-key: Value\r\n", "site"),
            ("GET", "/", "a", "x-any: thing\r\n", "field present"),
            ("GET", "/?debug=1", "a", "", "query"),
            ("GET", "/?a=b&debug=%31", "a", "", "query"),
            ("GET", "/?debug=2", "a", "", "site"),
            ("PATCH", "/both", "a", "", "both"),
            ("GET", "/both", "a", "", "site"),
        ],
    );
}

#[test]
fn no_route_is_404() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .routes("- match: { path: /x }\n  cluster: site")
        .start();
    let response = site.client().get("/y", "a");
    assert_eq!(
        (response.status, response.header("x-portcullis-reason")),
        (404, Some("no_route"))
    );
    site.wait_local_replies("no_route", 1);
    wait_routed(&site, "no_route", "4xx", 1);
    assert_eq!(origin.requests(), 0);
    site.neighbour_is_well();
}

#[test]
fn redirects() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .routes(
            r"
- match: { path: /whole }
  redirect: { status: 301, to: 'https://other.test/x' }
- match: { path: /secure/* }
  redirect: { scheme: https }
- match: { path: /old/* }
  redirect: { status: 308, prefix: /new }
- match: { path: /host }
  redirect: { host: other.test, port: 8443, strip_query: true }
- cluster: site
",
        )
        .start();
    let mut client = site.client();
    let scheme = Versions::chosen().scheme();
    let rows = [
        ("/whole?a=b", 301, "https://other.test/x"),
        ("/secure/a?b=c", 302, "https://a.test/secure/a?b=c"),
        ("/old/a/b?c", 308, &*format!("{scheme}://a.test/new/a/b?c")),
        (
            "/host?secret",
            302,
            &*format!("{scheme}://other.test:8443/host"),
        ),
    ];
    for (target, status, location) in rows {
        let response = client.get(target, "a.test");
        assert_eq!(
            (response.status, response.header("location")),
            (status, Some(location)),
            "{target}"
        );
    }
    assert_eq!(origin.requests(), 0);
    for position in 1..=4 {
        wait_routed(&site, &format!("routes[{position}]"), "3xx", 1);
    }
    site.neighbour_is_well();
}

#[test]
fn direct_responses() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .routes(
            r#"
- match: { path: /json }
  respond: { status: 418, body: '{"tea":true}', content_type: application/json, headers: { x-pot: short } }
- match: { path: /empty }
  respond: { status: 204 }
- cluster: site
"#,
        )
        .start();
    let mut client = site.client();
    let tea = client.get("/json", "a");
    assert_eq!((tea.status, tea.text().as_str()), (418, "{\"tea\":true}"));
    assert_eq!(
        (tea.header("content-type"), tea.header("x-pot")),
        (Some("application/json"), Some("short"))
    );
    let empty = client.get("/empty", "a");
    assert_eq!((empty.status, empty.header("content-length")), (204, None));
    assert_eq!(client.get("/", "a").text(), "x");
    for (position, class) in [(1, "4xx"), (2, "2xx"), (3, "2xx")] {
        wait_routed(&site, &format!("routes[{position}]"), class, 1);
    }
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

#[test]
fn rewrites() {
    let origin = Origin::http(|request| {
        Reply::ok(format!(
            "{} {}",
            request.target,
            request.header("host").unwrap_or("-")
        ))
    });
    let site = Site::new(&origin)
        .routes(
            r"
- match: { path: /v1/* }
  cluster: site
  rewrite: { prefix: / }
- match: { path: /fixed }
  cluster: site
  rewrite: { path: /elsewhere, host: inner.test }
- match: { path: /user/* }
  cluster: site
  rewrite: { regex: '^/user/([0-9]+)', replacement: '/u/$1/profile' }
- cluster: site
",
        )
        .start();
    let mut client = site.client();
    let rows = [
        ("/v1/a/b?c=d", "/a/b?c=d a.test"),
        ("/v1", "/ a.test"),
        ("/fixed?q", "/elsewhere?q inner.test"),
        ("/user/42/x", "/u/42/profile/x a.test"),
        ("/user/joe", "/user/joe a.test"),
    ];
    for (target, expected) in rows {
        assert_eq!(client.get(target, "a.test").text(), expected, "{target}");
    }
    for (position, count) in [(1, 2), (2, 1), (3, 2)] {
        wait_routed(&site, &format!("routes[{position}]"), "2xx", count);
    }
    site.neighbour_is_well();
}

#[test]
fn weighted_clusters() {
    let heavy = Origin::http(|_| Reply::ok("heavy"));
    let light = Origin::http(|_| Reply::ok("light"));
    let never = Origin::http(|_| Reply::ok("never"));
    let site = Site::new(&heavy)
        .clusters(&format!(
            "light: {{ endpoints: [{}] }}\nnever: {{ endpoints: [{}] }}",
            light.address(),
            never.address()
        ))
        .routes("- clusters: [{ cluster: site, weight: 80 }, { cluster: light, weight: 20 }, { cluster: never, weight: 0 }]")
        .start();
    let mut client = site.client();
    let mut counts = BTreeMap::new();
    for _ in 0..500 {
        *counts.entry(client.get("/", "a").text()).or_insert(0) += 1;
    }
    // Ten standard deviations around 100 of 500.
    assert!((10..190).contains(&counts["light"]), "{counts:?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
    wait_routed(&site, "routes[1]", "2xx", 500);
    for (cluster, count) in [
        ("site", counts["heavy"]),
        ("light", counts["light"]),
        ("never", 0),
    ] {
        let labels = [("cluster", cluster)];
        site.wait_stat("portcullis_endpoint_requests_total", &labels, |value| {
            value == count
        });
    }
    assert_eq!(never.connections(), 0);
    site.neighbour_is_well();
}

#[test]
fn field_edits() {
    let origin = Origin::http(|_| {
        Reply::bytes(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-drop: 1\r\nx-set: theirs\r\nset-cookie: a=1\r\n\r\n",
        )
    });
    let site = Site::new(&origin)
        .routes(
            r"
- cluster: site
  request_headers: { set: { x-set: ours }, add: { x-add: [one, two] }, remove: [x-drop] }
  response_headers: { set: { x-set: ours }, add: { set-cookie: b=2 }, remove: [x-drop] }
",
        )
        .start();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-set: theirs\r\nx-set: again\r\nx-add: zero\r\nx-drop: 1\r\n\r\n");
    let response = client.read_response();
    assert_eq!(response.header_all("x-set"), ["ours"]);
    assert_eq!(response.header_all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("x-drop"), None);
    let request = origin.next_request();
    assert_eq!(request.header_all("x-set"), ["ours"]);
    assert_eq!(request.header_all("x-add"), ["zero", "one", "two"]);
    assert_eq!(request.header("x-drop"), None);
    wait_routed(&site, "routes[1]", "2xx", 1);
    site.neighbour_is_well();
}

/// A route adds filters of its own and switches off those of its listener.
#[test]
fn filters_by_route() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin)
        .listener("filters:\n  - headers: { response: { set: { x-listener: on-all } } }")
        .routes(
            r"
- match: { path: /more }
  cluster: site
  filters:
    - headers: { response: { set: { x-route: here } } }
- match: { path: /less }
  cluster: site
  without: [headers]
- cluster: site
",
        )
        .start();
    let mut client = site.client();
    for (target, listener, route) in [
        ("/", true, false),
        ("/more", true, true),
        ("/less", false, false),
    ] {
        let response = client.get(target, "a");
        let has = |name| response.header(name).is_some();
        assert_eq!(
            (has("x-listener"), has("x-route")),
            (listener, route),
            "{target}"
        );
    }
    for position in 1..=3 {
        wait_routed(&site, &format!("routes[{position}]"), "2xx", 1);
    }
    site.neighbour_is_well();
}

/// F12: an expression that takes exponential time elsewhere takes linear time here.
#[test]
fn f12_hostile_regex_and_path() {
    let origin = Origin::http(|_| Reply::ok("no match"));
    let site = Site::new(&origin)
        .routes("- match: { path: '~^/(a+)+$' }\n  respond: { status: 200, body: match }\n- cluster: site")
        .start();
    let mut client = site.client();
    let long = "a".repeat(7000);
    assert_eq!(client.get(&format!("/{long}!"), "a").text(), "no match");
    assert_eq!(client.get(&format!("/{long}"), "a").text(), "match");
    wait_routed(&site, "routes[1]", "2xx", 1);
    wait_routed(&site, "routes[2]", "2xx", 1);
    site.neighbour_is_well();
}

/// F12: an expression that would compile to megabytes is refused before anything starts.
#[test]
fn f12_huge_regex_is_refused() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let beside = Origin::http(|_| Reply::ok("x"));
    let config = Site::new(&origin)
        .routes("- match: { path: '~^/(((a{100}){100}){100})$' }\n  cluster: site\n- cluster: site")
        .yaml(&beside);
    let exit = Gateway::run(&config);
    assert_eq!(exit.code(), Some(78), "{:?}", exit.stderr);
}

/// A CONNECT is taken only by routes that are for it, so that a catch-all opens nothing.
#[test]
fn catch_all_is_not_for_connect() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n");
    assert_eq!(client.read_response().status, 404);
    assert_eq!(origin.connections(), 0);
    site.wait_local_replies("no_route", 1);
    site.neighbour_is_well();
}
