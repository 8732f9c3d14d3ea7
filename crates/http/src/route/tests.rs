//! Tables for routes: which rule takes what, what it does, and what is refused when it is read.

use super::*;
use crate::head::{ResponseHead, Status};
use crate::message::ResponseBody;
use crate::name::KnownField;
use crate::testing::{Built, millis, read, request, start};

const ROUTES: &str = r#"
routes:
  - { name: health, match: { path: /healthz, method: [GET, HEAD] }, respond: { status: 200, body: ok } }
  - { name: v1, match: { host: api.example.com, path: /v1/* }, cluster: a }
  - { name: tenant, match: { host: "*.example.com", headers: { X-Tenant: "gold*" } }, cluster: a }
  - { name: query, match: { query: { debug: "1", "a b": "*" } }, cluster: a }
  - { name: paths, match: { path: [/x, "/y/**/z", "~^/r[0-9]+$"] }, cluster: a }
  - { name: absent, match: { path: /q/*, headers: { authorization: "!" } }, cluster: b }
  - { name: tunnel, connect: ["*.example.com:443", "git.internal:*"], cluster: b }
  - { name: hosts, match: { host: [one.test, two.test] }, cluster: b }
"#;

#[test]
fn the_first_rule_that_matches_decides() {
    let built = Built::new(ROUTES);
    type Row<'a> = (
        &'a str,
        &'a str,
        &'a str,
        &'a str,
        &'a [(&'a str, &'a str)],
        Option<&'a str>,
    );
    let rows: &[Row<'_>] = &[
        ("method", "GET", "x", "/healthz", &[], Some("health")),
        ("other method", "POST", "x", "/healthz", &[], None),
        (
            "host and prefix",
            "GET",
            "api.example.com",
            "/v1/a",
            &[],
            Some("v1"),
        ),
        (
            "host in another case",
            "GET",
            "API.Example.COM",
            "/v1",
            &[],
            Some("v1"),
        ),
        (
            "host with port",
            "GET",
            "api.example.com:8080",
            "/v1/",
            &[],
            Some("v1"),
        ),
        (
            "no segment prefix",
            "GET",
            "api.example.com",
            "/v12",
            &[],
            None,
        ),
        (
            "escaped path",
            "GET",
            "api.example.com",
            "/%76%31/a",
            &[],
            Some("v1"),
        ),
        (
            "dots",
            "GET",
            "api.example.com",
            "/x/../v1/a",
            &[],
            Some("v1"),
        ),
        (
            "field",
            "GET",
            "b.example.com",
            "/",
            &[("x-tenant", "golden")],
            Some("tenant"),
        ),
        (
            "second of two fields",
            "GET",
            "b.example.com",
            "/",
            &[("x-tenant", "a"), ("X-Tenant", "gold")],
            Some("tenant"),
        ),
        (
            "other field",
            "GET",
            "b.example.com",
            "/",
            &[("x-tenant", "silver")],
            None,
        ),
        ("query", "GET", "x", "/p?debug=1&a+b=", &[], Some("query")),
        (
            "escaped query",
            "GET",
            "x",
            "/p?%64ebug=%31&a%20b=2",
            &[],
            Some("query"),
        ),
        ("half a query", "GET", "x", "/p?debug=1", &[], None),
        ("path with query", "GET", "x", "/x?y=1", &[], Some("paths")),
        ("glob", "GET", "x", "/y/1/2/z", &[], Some("paths")),
        ("regex", "GET", "x", "/r12", &[], Some("paths")),
        ("absent", "GET", "x", "/q/1", &[], Some("absent")),
        (
            "not absent",
            "GET",
            "x",
            "/q/1",
            &[("authorization", "x")],
            None,
        ),
        (
            "connect",
            "CONNECT",
            "a.example.com:443",
            "",
            &[],
            Some("tunnel"),
        ),
        (
            "connect to any port",
            "CONNECT",
            "git.internal:22",
            "",
            &[],
            Some("tunnel"),
        ),
        (
            "h17 connect elsewhere",
            "CONNECT",
            "a.example.com:22",
            "",
            &[],
            None,
        ),
        (
            "h17 connect to a route's host",
            "CONNECT",
            "one.test:443",
            "",
            &[],
            None,
        ),
        (
            "h17 connect to an address",
            "CONNECT",
            "169.254.169.254:80",
            "",
            &[],
            None,
        ),
        (
            "get where connect is allowed",
            "GET",
            "git.internal:22",
            "/",
            &[],
            None,
        ),
        ("second host", "GET", "two.test", "/", &[], Some("hosts")),
        ("final dot", "GET", "two.test.", "/", &[], Some("hosts")),
    ];
    for (name, method, host, path, fields, expected) in rows {
        let request = request(method, host, path, fields);
        assert_eq!(built.route_of(&request).as_deref(), *expected, "{name}");
    }
    assert_eq!(&*built.routes.fallback().name, "no_route");
}

#[test]
fn one_cluster_is_one_route() {
    let built = Built::new("cluster: a");
    assert_eq!(
        built.route_of(&request("GET", "x", "/", &[])).as_deref(),
        Some("default")
    );
    let route = built.routes.iter().next().unwrap();
    let Action::Forward(forward) = &route.action else {
        panic!("it forwards");
    };
    assert_eq!(forward.choose(0).unwrap().cluster.name(), "a");
    assert!(route.allows_upgrade(b"websocket"));
    assert!(!route.allows_upgrade(b"h2c"));
    assert!(route.retry.covers(RetryOn::ConnectFailure));
    assert!(!route.retry.covers(RetryOn::Reset));
}

#[test]
fn weights_share_and_budgets_are_shared() {
    let built = Built::new(
        "routes: [{ clusters: [{ cluster: a, weight: 1 }, { cluster: b, weight: 3 }], match: { path: /w } }, { cluster: b }]",
    );
    let routes: Vec<_> = built.routes.iter().collect();
    let (Action::Forward(weighted), Action::Forward(single)) =
        (&routes[0].action, &routes[1].action)
    else {
        panic!("both forward");
    };
    let quarters = [0, 1, 2, 3].map(|quarter| {
        let random = u64::MAX / 4 * quarter + 1;
        weighted.choose(random).unwrap().cluster.name().to_owned()
    });
    assert_eq!(quarters, ["a", "b", "b", "b"]);
    assert!(Rc::ptr_eq(
        &weighted.targets()[1].budget,
        &single.targets()[0].budget
    ));
    assert!(!Rc::ptr_eq(
        &weighted.targets()[0].budget,
        &single.targets()[0].budget
    ));
}

fn first_route(yaml: &str) -> (Built, Rc<Route>) {
    let built = Built::new(yaml);
    let route = Rc::clone(built.routes.iter().next().unwrap());
    (built, route)
}

#[test]
fn rewrites_change_what_upstream_sees() {
    let rows = [
        (
            "prefix",
            "/v1/*",
            "{ prefix: /v2 }",
            "/v1/a?b=c",
            Ok("/v2/a?b=c"),
        ),
        ("prefix alone", "/v1/*", "{ prefix: /v2 }", "/v1", Ok("/v2")),
        (
            "prefix to root",
            "/v1/*",
            "{ prefix: / }",
            "/v1/a",
            Ok("/a"),
        ),
        (
            "prefix alone to root",
            "/v1/*",
            "{ prefix: / }",
            "/v1",
            Ok("/"),
        ),
        (
            "prefix with a slash",
            "/v1/*",
            "{ prefix: /v2/ }",
            "/v1/a",
            Ok("/v2/a"),
        ),
        (
            "prefix of all",
            "/*",
            "{ prefix: /app }",
            "/a",
            Ok("/app/a"),
        ),
        ("path", "/v1/*", "{ path: /x }", "/v1/a?b", Ok("/x?b")),
        (
            "regex",
            "/*",
            "{ regex: '^/u/([0-9]+)$', replacement: '/users/$1' }",
            "/u/12",
            Ok("/users/12"),
        ),
        (
            "regex that does not match",
            "/*",
            "{ regex: '^/u$', replacement: /users }",
            "/x",
            Ok("/x"),
        ),
        (
            "traversal",
            "/*",
            "{ regex: '^/a(.*)$', replacement: '/b/$1' }",
            "/a../secret",
            Err(()),
        ),
        (
            "cut escape",
            "/*",
            "{ regex: '%2', replacement: '%' }",
            "/a%2F",
            Err(()),
        ),
        (
            "no slash",
            "/*",
            "{ regex: '^/', replacement: '' }",
            "/a",
            Err(()),
        ),
    ];
    for (name, path, rewrite, target, expected) in rows {
        let yaml =
            format!("routes: [{{ match: {{ path: '{path}' }}, cluster: a, rewrite: {rewrite} }}]");
        let (_, route) = first_route(&yaml);
        let mut request = request("GET", "x", target, &[]);
        let result = route.edit_request(&mut request).map_err(|_| ());
        let found = result
            .map(|()| String::from_utf8(request.head.target.path_and_query.to_vec()).unwrap());
        assert_eq!(
            found.as_deref(),
            expected.as_ref().map(|text| &**text),
            "{name}"
        );
    }
}

#[test]
fn host_rewrites_and_edits() {
    let (_, route) = first_route(
        "routes: [{ cluster: a, rewrite: { host: Inner.test:81 }, request_headers: { set: { x-a: '1' }, remove: [x-b] }, \
         response_headers: { add: { x-c: [y, z] }, remove: [server] } }]",
    );
    let mut request = request("GET", "outer.test", "/", &[("x-b", "2")]);
    route.edit_request(&mut request).unwrap();
    assert_eq!(&*request.authority, b"inner.test:81");
    assert_eq!(
        request.head.fields.get(KnownField::Host),
        Some(&b"inner.test:81"[..])
    );
    assert_eq!(request.head.fields.get_named("x-a"), Some(&b"1"[..]));
    assert_eq!(request.head.fields.get_named("x-b"), None);
    let mut response = crate::message::Response::local(Status::OK, "test", bytes::Bytes::new());
    response.head.fields.append("server", b"s");
    route.edit_response(&mut response.head);
    assert_eq!(response.head.fields.len(), 2);
}

#[test]
fn redirects_lead_where_they_say() {
    let rows = [
        (
            "to",
            "{ to: 'https://new.test/' }",
            "a.test",
            "/x?y",
            302,
            "https://new.test/",
        ),
        (
            "to a path",
            "{ to: /login, status: 303 }",
            "a.test",
            "/x",
            303,
            "/login",
        ),
        (
            "scheme",
            "{ scheme: https, status: 301 }",
            "a.test:8080",
            "/x?y=1",
            301,
            "https://a.test/x?y=1",
        ),
        (
            "same scheme keeps port",
            "{ path: /n }",
            "a.test:8080",
            "/x?y",
            302,
            "http://a.test:8080/n?y",
        ),
        (
            "host",
            "{ host: b.test }",
            "a.test:8080",
            "/x",
            302,
            "http://b.test/x",
        ),
        (
            "port",
            "{ port: 8443, scheme: https }",
            "a.test",
            "/x",
            302,
            "https://a.test:8443/x",
        ),
        (
            "default port",
            "{ port: 443, scheme: https }",
            "a.test:80",
            "/x",
            302,
            "https://a.test/x",
        ),
        (
            "prefix",
            "{ prefix: /new, status: 308 }",
            "a.test",
            "/old/a",
            308,
            "http://a.test/new/a",
        ),
        (
            "strip query",
            "{ scheme: https, strip_query: true }",
            "a.test",
            "/x?y",
            302,
            "https://a.test/x",
        ),
        (
            "literal",
            "{ scheme: https }",
            "[::1]:80",
            "/x",
            302,
            "https://[::1]/x",
        ),
    ];
    for (name, redirect, host, path, status, expected) in rows {
        let yaml = format!("routes: [{{ match: {{ path: [/old/*, /*] }}, redirect: {redirect} }}]");
        let (_, route) = first_route(&yaml);
        let Action::Reply(action) = &route.action else {
            panic!("it answers");
        };
        let response = action.reply(&request("GET", host, path, &[]));
        let location = response.head.fields.get(KnownField::Location).unwrap();
        assert_eq!(String::from_utf8_lossy(location), expected, "{name}");
        assert_eq!(response.head.status.code(), status, "{name}");
    }
}

#[test]
fn a_redirect_without_host_names_none() {
    let (_, route) = first_route("routes: [{ redirect: { strip_query: true } }]");
    let Action::Reply(action) = &route.action else {
        panic!("it answers");
    };
    let mut request = request("GET", "a", "//evil.test/x", &[]);
    request.authority = bytes::Bytes::new();
    let response = action.reply(&request);
    assert_eq!(
        response.head.fields.get(KnownField::Location),
        Some(&b"/evil.test/x"[..])
    );
}

#[test]
fn fixed_responses() {
    let (_, route) =
        first_route("routes: [{ respond: { status: 410, body: gone, headers: { x-a: b } } }]");
    let Action::Reply(action) = &route.action else {
        panic!("it answers");
    };
    let response = action.reply(&request("GET", "a", "/", &[]));
    assert_eq!(response.head.status.code(), 410);
    assert!(matches!(&response.body, ResponseBody::Local(body) if body == "gone"));
    let fields: Vec<_> = response
        .head
        .fields
        .iter()
        .map(|field| field.name)
        .collect();
    assert_eq!(fields, [&b"content-type"[..], b"x-a"]);
}

#[test]
fn retries_cover_what_is_listed() {
    let (_, route) = first_route(
        "routes: [{ cluster: a, retry: { attempts: 3, on: [reset, 503, gateway_error], per_try_timeout: 1s, backoff: 10ms } }]",
    );
    let retry = &route.retry;
    assert_eq!(retry.attempts, 3);
    assert_eq!(retry.per_try_timeout, Some(millis(1000)));
    let rows = [
        (500, false),
        (502, true),
        (503, true),
        (504, true),
        (505, false),
        (404, false),
        (999, false),
    ];
    for (code, expected) in rows {
        assert_eq!(
            retry.covers_status(Status::from_code(code).unwrap()),
            expected,
            "{code}"
        );
    }
    assert!(retry.covers(RetryOn::Reset) && !retry.covers(RetryOn::Timeout));
    let rows = [
        (1, 0, millis(5)),
        (1, u64::MAX, millis(10)),
        (2, 0, millis(10)),
        (4, u64::MAX, millis(80)),
        (9, 0, millis(50)),
    ];
    for (repetition, random, expected) in rows {
        let pause = retry.pause(repetition, random);
        assert!(
            pause <= expected && pause + millis(1) >= expected,
            "{repetition}: {pause:?}"
        );
    }
}

#[test]
fn grpc_statuses_are_causes_of_retries() {
    let words = "[unavailable, resource_exhausted, cancelled, deadline_exceeded, internal]";
    let built = Built::new(&format!(
        "routes: [{{ cluster: a, retry: {{ on: {words} }} }}]"
    ));
    let route = built.routes.iter().next().unwrap();
    let mut head = ResponseHead::new(Status::OK);
    assert!(!route.retry.covers_call(&head), "no status at all");
    for (value, expected) in [
        ("14", true),
        ("8", true),
        ("1", true),
        ("4", true),
        ("13", true),
        ("0", false),
        ("2", false),
        ("5", false),
        ("99", false),
        ("x", false),
    ] {
        head.fields.set(KnownField::GrpcStatus, value.as_bytes());
        assert_eq!(route.retry.covers_call(&head), expected, "{value}");
    }
    head.fields.set(KnownField::GrpcStatus, b"14");
    head.status = Status::SERVICE_UNAVAILABLE;
    assert!(!route.retry.covers_call(&head), "no gRPC");
    let plain = Built::new("routes: [{ cluster: a, retry: { on: [5xx] } }]");
    head.status = Status::OK;
    let plain = plain.routes.iter().next().unwrap();
    assert!(!plain.retry.covers_call(&head), "not listed");
}

#[test]
fn rules_know_the_calls_that_they_cover() {
    let rules = |first: &str, second: &str| {
        let yaml = format!(
            "routes: [{{ match: {first}, cluster: a }}, {{ match: {second}, cluster: a }}]"
        );
        read(&yaml).1.len()
    };
    for (first, second, mistakes) in [
        ("{ grpc: s.S }", "{ grpc: s.S/M }", 1),
        ("{ grpc: [s.T, s.S/*] }", "{ grpc: s.S }", 1),
        ("{}", "{ grpc: s.S }", 1),
        ("{ grpc: s.S/M }", "{ grpc: s.S }", 0),
        ("{ grpc: s.S }", "{ path: /s.S/M }", 0),
        ("{ grpc: s.S, host: a }", "{ grpc: s.S/M }", 0),
    ] {
        assert_eq!(rules(first, second), mistakes, "{first} before {second}");
    }
}

#[test]
fn timeouts_fall_back_to_the_listeners() {
    let built = Built::new(
        "routes: [{ match: { path: /a }, cluster: a, timeout: 5s, idle_timeout: 1m }, \
         { match: { path: /b }, cluster: a, timeout: off }, { cluster: a }]",
    );
    let found: Vec<_> = built
        .routes
        .iter()
        .map(|route| {
            (
                route.timeout_or(Some(millis(1))),
                route.idle_timeout_or(millis(2)),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (Some(millis(5000)), millis(60_000)),
            (None, millis(2)),
            (Some(millis(1)), millis(2)),
        ]
    );
}

#[test]
fn chains_leave_out_and_add() {
    let built = Built::new(
        "filters: [{ deny: { client: [10.0.0.0/8] } }, { rate_limit: { rate: 5/s } }, access_log]\n\
         routes:\n\
         \x20 - { match: { path: /a }, cluster: a, without: [rate_limit], filters: [{ buffer: { max: 1KiB } }] }\n\
         \x20 - cluster: a\n",
    );
    let chains: Vec<String> = built
        .routes
        .iter()
        .chain([built.routes.fallback()])
        .map(|route| format!("{:?}", route.chain))
        .collect();
    assert_eq!(
        chains,
        [
            r#"["access_log", "deny", "buffer"]"#,
            r#"["access_log", "deny", "rate_limit"]"#,
            r#"["access_log", "deny", "rate_limit"]"#,
        ]
    );
}

#[test]
fn budgets_begin_with_the_first_request() {
    let budget = Budget::new(20, 1);
    let now = start();
    budget.on_request(now);
    let taken = (0..100).filter(|_| budget.try_retry(now)).count();
    assert_eq!(taken, 10);
}

#[test]
fn mistakes_are_all_found_at_their_lines() {
    let yaml = r#"routes:
  - { match: { path: /a/* }, cluster: aa }
  - { match: { path: /a/b } }
  - { match: { path: /c }, cluster: a, respond: { status: 200 } }
  - { match: { path: /a/b }, cluster: a }
  - { name: x, match: { path: /d }, cluster: a }
  - { name: x, match: { path: /e }, redirect: { status: 200, to: /x } }
  - { match: { path: /f }, redirect: { to: /x, host: b } }
  - { match: { path: /g }, redirect: { to: "javascript:x" } }
  - { match: { path: /h }, respond: { status: 204, body: x } }
  - { match: { path: /i }, cluster: a, rewrite: { prefix: /x } }
  - { match: { path: /j/* }, cluster: a, rewrite: { prefix: x } }
  - { match: { path: /k }, cluster: a, rewrite: { regex: "(", replacement: x } }
  - { match: { path: /l }, cluster: a, rewrite: { regex: "a", replacement: $1 } }
  - { match: { path: /m }, cluster: a, retry: { on: [sometimes] } }
  - { match: { path: /n }, cluster: a, without: [rate_limt] }
  - { match: { path: /o }, cluster: a, upgrade: h2c }
  - { match: { path: /p }, cluster: a, request_headers: { set: { host: x } } }
  - { match: { path: /q }, clusters: [{ cluster: b, weight: 0 }] }
  - { match: { path: /r }, cluster: a, rewrite: { host: "a b" } }
  - { match: { path: /s }, cluster: a, filters: [{ bufer: { max: 1KiB } }] }
  - { match: { path: s }, cluster: a }
  - { match: { path: /t }, redirect: { status: 301 } }
  - { connect: [a], cluster: a }
  - { connect: ["a:443"], respond: { status: 200 } }
  - { match: { grpc: s.S/ }, cluster: a }
  - { match: { path: /u }, redirect: { port: 0 } }
filters:
  - rate_limit: { rate: 1/s }
"#;
    let (_, found) = read(yaml);
    let lines: Vec<(u32, &str)> = found
        .iter()
        .map(|message| {
            let (line, text) = message.split_once(": ").unwrap();
            (line.parse().unwrap(), text)
        })
        .collect();
    let expected: &[(u32, &str)] = &[
        (2, "unknown cluster 'aa'"),
        (3, "does not say what happens"),
        (4, "says twice what happens"),
        (5, "can never match: 'routes[0]'"),
        (7, "200 is not the status of a redirect"),
        (8, "`to` is the whole target"),
        (9, "not a place to redirect to"),
        (10, "status 204 has no body"),
        (11, "no prefix to replace"),
        (12, "not a path to send"),
        (13, "not a regular expression"),
        (14, "has no group '1'"),
        (15, "'sometimes' is no cause"),
        (16, "no filter 'rate_limt' to switch off"),
        (17, "h2c is not allowed"),
        (18, "host is not edited as a field"),
        (19, "no cluster has a weight"),
        (20, "'a b' is not a host"),
        (21, "no filter 'bufer'"),
        (22, "must start with `/`"),
        (23, "the request's own target"),
        (24, "'a' has no port"),
        (25, "needs a cluster to connect to"),
        (26, "'s.S/' names no gRPC method"),
        (27, "0 is out of range"),
    ];
    for ((line, text), (expected_line, part)) in lines.iter().zip(expected) {
        assert!(
            line == expected_line && text.contains(part),
            "line {line}: {text}, expected {expected_line}: {part}"
        );
    }
    assert_eq!(lines.len(), expected.len(), "{found:#?}");
}

#[test]
fn names_are_unique() {
    let (_, found) = read(
        "routes:\n  - { name: x, match: { path: /a }, cluster: a }\n  - { name: x, cluster: a }\n",
    );
    assert_eq!(found, ["3: two routes are named 'x'"]);
}
