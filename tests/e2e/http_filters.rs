//! The filters of HTTP over real connections, each with what it answers and what it counts.

use harness::{Client, Gate, Origin, RawResponse, Reply, Step};

use crate::support::{Site, assert_local};

fn site(origin: &Origin, filters: &str) -> Site {
    let filters = filters.replace('\n', "\n    ");
    Site::new(origin).routes(&format!("- cluster: site\n  filters:\n    {filters}"))
}

fn ok() -> Origin {
    Origin::http(|_| Reply::ok("passed"))
}

/// A limit is exact for the process, on however many workers its connections are.
#[test]
fn rate_limit_is_exact_across_workers() {
    let origin = ok();
    let site = site(&origin, "- rate_limit: { rate: 30/h }").start();
    let mut clients: Vec<Client> = (0..12).map(|_| site.client()).collect();
    let mut passed = 0;
    for _ in 0..5 {
        for client in &mut clients {
            let response = client.get("/", "a");
            match response.status {
                200 => passed += 1,
                _ => assert_local("limited", &response, 429, "rate_limited"),
            }
        }
    }
    assert_eq!((passed, origin.requests()), (30, 30));
    site.wait_stat(
        "portcullis_rate_limit_total",
        &[("outcome", "refused")],
        |count| count == 30,
    );
    site.wait_local_replies("rate_limited", 30);
    site.neighbour_is_well();
}

/// What a client needs to come back in time.
#[test]
fn rate_limit_fields() {
    let origin = ok();
    let site = site(&origin, "- rate_limit: { rate: 2/m }").start();
    let mut client = site.client();
    let responses: Vec<RawResponse> = (0..3).map(|_| client.get("/", "a")).collect();
    assert_eq!(
        responses
            .iter()
            .map(|response| response.status)
            .collect::<Vec<_>>(),
        [200, 200, 429]
    );
    let wait: u64 = responses[2].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let policy = responses[2].header("ratelimit-policy").unwrap();
    assert!(
        policy.contains("q=2") && policy.contains("w=60"),
        "{policy}"
    );
    let limit = responses[2].header("ratelimit").unwrap();
    assert!(
        limit.contains("r=0") && limit.contains(&format!("t={wait}")),
        "{limit}"
    );
    // The connection goes on.
    assert_eq!(client.get("/well", "neighbour.test").status, 200);
}

/// Every descriptor has a bucket of its own.
#[test]
fn rate_limit_by_facts() {
    let origin = ok();
    let site = site(
        &origin,
        "- rate_limit: { per: [client.ip, http.header.x-tenant, http.path], rate: 1/h }",
    )
    .start();
    let rows = [
        ("127.0.0.2", "a", "/x", 200),
        ("127.0.0.2", "a", "/x", 429),
        ("127.0.0.2", "a", "/%78", 429),
        ("127.0.0.3", "a", "/x", 200),
        ("127.0.0.2", "b", "/x", 200),
        ("127.0.0.2", "a", "/y", 200),
        ("127.0.0.2", "a", "/y?q", 429),
    ];
    for (number, (ip, tenant, target, status)) in rows.into_iter().enumerate() {
        let mut client = site.connect_from(ip.parse().unwrap(), "web");
        client.send(format!(
            "GET {target} HTTP/1.1\r\nhost: a\r\nx-tenant: {tenant}\r\n\r\n"
        ));
        assert_eq!(client.read_response().status, status, "row {number}");
    }
    site.neighbour_is_well();
}

#[test]
fn rate_limit_cost_and_burst() {
    let origin = ok();
    let site = site(&origin, "- rate_limit: { rate: 10/h, burst: 5, cost: 2 }").start();
    let mut client = site.client();
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/", "a").status).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
}

#[test]
fn rate_limit_in_shadow() {
    let origin = ok();
    let site = site(&origin, "- rate_limit: { rate: 1/h, shadow: true }").start();
    let mut client = site.client();
    for _ in 0..5 {
        assert_eq!(client.get("/", "a").status, 200);
    }
    site.wait_stat(
        "portcullis_rate_limit_total",
        &[("outcome", "shadow")],
        |count| count == 4,
    );
    assert_eq!(site.local_replies("rate_limited"), 0);
}

#[test]
fn concurrency_limit() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |_| {
        Reply::steps([Step::Wait(held.clone())])
            .then(Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    });
    let site = site(&origin, "- concurrency: { max: 3 }").start();
    let mut clients: Vec<Client> = (0..3).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    origin.wait_connections(3);
    assert_local("fourth", &site.client().get("/", "a"), 503, "concurrency");
    site.wait_stat(
        "portcullis_concurrency_total",
        &[("outcome", "refused")],
        |count| count == 1,
    );
    site.wait_local_replies("concurrency", 1);
    site.neighbour_is_well();
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    assert_eq!(site.client().get("/", "a").status, 200, "permits come back");
    // One that goes away gives its permit back as well.
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |active| active == 0,
    );
}

#[test]
fn allow_and_deny_by_network() {
    let origin = ok();
    let site = site(
        &origin,
        "- allow: { client: [127.0.0.0/24] }\n- deny: { client: [127.0.0.66] }",
    )
    .start();
    let rows = [("127.0.0.1", 200), ("127.0.0.66", 403), ("127.0.1.1", 403)];
    for (ip, status) in rows {
        let mut client = site.connect_from(ip.parse().unwrap(), "web");
        assert_eq!(client.get("/", "a").status, status, "{ip}");
    }
    site.wait_local_replies("denied", 2);
    for rule in ["allow", "deny"] {
        site.wait_stat(
            "portcullis_access_denied_total",
            &[("rule", rule)],
            |count| count == 1,
        );
    }
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

#[test]
fn deny_by_request() {
    let origin = ok();
    let site = site(
        &origin,
        "- deny: { match: { path: /internal/*, method: [GET, POST] }, status: 404 }",
    )
    .start();
    let mut client = site.client();
    assert_eq!(client.get("/public", "a").status, 200);
    assert_local("plain", &client.get("/internal/x", "a"), 404, "denied");
    assert_local(
        "disguised",
        &client.get("/public/../%69nternal/x", "a"),
        404,
        "denied",
    );
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

#[test]
fn faults_on_purpose() {
    let origin = ok();
    let site = Site::new(&origin)
        .routes(
            r"
- match: { path: /abort }
  cluster: site
  filters:
    - fault: { abort: { status: 503 } }
- match: { path: /delay }
  cluster: site
  filters:
    - fault: { delay: { time: 100ms } }
- match: { path: /never }
  cluster: site
  filters:
    - fault: { abort: { status: 500, percent: 0% } }
- cluster: site
",
        )
        .start();
    let mut client = site.client();
    assert_local("abort", &client.get("/abort", "a"), 503, "fault_abort");
    site.wait_local_replies("fault_abort", 1);
    assert_eq!(client.get("/delay", "a").text(), "passed");
    assert_eq!(client.get("/never", "a").text(), "passed");
    for kind in ["abort", "delay"] {
        site.wait_stat("portcullis_http_faults_total", &[("kind", kind)], |count| {
            count == 1
        });
    }
    site.neighbour_is_well();
}

#[test]
fn cors() {
    let origin = Origin::http(|_| Reply::ok("read me"));
    let site = site(
        &origin,
        "- cors: { origins: ['https://app.test', 'https://*.apps.test'], methods: [GET, PUT], headers: [x-token], expose: [x-total], credentials: true, max_age: 1h }",
    )
    .start();
    let mut client = site.client();
    let preflight = |client: &mut Client, page: &str| {
        client.send(format!(
            "OPTIONS /x HTTP/1.1\r\nhost: a\r\norigin: {page}\r\naccess-control-request-method: PUT\r\n\
             access-control-request-headers: x-token\r\n\r\n"
        ));
        client.read_response()
    };
    for page in ["https://app.test", "https://one.apps.test"] {
        let response = preflight(&mut client, page);
        assert!(
            matches!(response.status, 200 | 204),
            "{page}: {}",
            response.status
        );
        assert_eq!(response.header("access-control-allow-origin"), Some(page));
        assert_eq!(
            response.header("access-control-allow-methods"),
            Some("GET, PUT")
        );
        assert_eq!(
            response.header("access-control-allow-headers"),
            Some("x-token")
        );
        assert_eq!(
            response.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(response.header("access-control-max-age"), Some("3600"));
        assert!(
            response
                .header("vary")
                .is_some_and(|vary| vary.to_ascii_lowercase().contains("origin"))
        );
    }
    for page in [
        "https://evil.test",
        "http://app.test",
        "https://app.test.evil.test",
        "null",
    ] {
        let response = preflight(&mut client, page);
        assert_eq!(
            response.header("access-control-allow-origin"),
            None,
            "{page}"
        );
    }
    assert_eq!(origin.requests(), 0, "preflights are answered here");
    client.send("GET / HTTP/1.1\r\nhost: a\r\norigin: https://app.test\r\n\r\n");
    let response = client.read_response();
    assert_eq!(response.text(), "read me");
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some("https://app.test")
    );
    assert_eq!(
        response.header("access-control-expose-headers"),
        Some("x-total")
    );
    client.send("GET / HTTP/1.1\r\nhost: a\r\norigin: https://evil.test\r\n\r\n");
    let response = client.read_response();
    assert_eq!(
        (
            response.status,
            response.header("access-control-allow-origin")
        ),
        (200, None)
    );
    // OPTIONS without CORS is the origin's.
    client.send("OPTIONS / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "read me");
    site.neighbour_is_well();
}

/// With `buffer`, an origin sees a request when it is whole, and it can be sent again.
#[test]
fn buffer() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = site(&origin, "- buffer: { max: 1KiB }").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    site.neighbour_is_well();
    assert_eq!(origin.connections(), 0, "nothing goes up before the end");
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(client.read_response().text(), "abcdef");
    assert_eq!(origin.next_request().header("content-length"), Some("6"));

    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n{}",
        "x".repeat(1025)
    ));
    assert_local("told", &client.read_response(), 413, "body_too_large");
    let mut client = site.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1025)
    ));
    assert_local("found out", &client.read_response(), 413, "body_too_large");
    site.wait_local_replies("body_too_large", 2);
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

/// A buffered body is whole, so an idempotent request with one can be sent again.
#[test]
fn buffered_body_is_retried() {
    let bad = Origin::http(|_| Reply::status(503, "no"));
    let good = Origin::http(|request| Reply::ok(&request.body));
    let site = Site::new(&bad)
        .endpoint(good.address())
        .cluster("ejection: { max_ejected: 0% }")
        .routes("- cluster: site\n  retry: { attempts: 1, on: [503] }\n  filters:\n    - buffer: { max: 1KiB }")
        .start();
    let mut client = site.client();
    for _ in 0..4 {
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
        assert_eq!(client.read_response().text(), "body");
    }
    assert!(
        bad.take_requests()
            .iter()
            .all(|request| request.body == b"body")
    );
    site.neighbour_is_well();
}

/// A buffered body tells a client that waits for it to go on.
#[test]
fn buffer_answers_expect() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = site(&origin, "- buffer: { max: 1KiB }").start();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    assert_eq!(client.read_response().status, 100);
    client.send("hi");
    assert_eq!(client.read_response().text(), "hi");
    assert_eq!(origin.next_request().header("expect"), None);
}
