//! Tables for filters, run through chains as they are configured, without sockets.

use std::collections::HashSet;

use bytes::Bytes;
use portcullis_filter::facts::{Descriptor, Facts as _};
use portcullis_filter::{RejectionKind, Stop};
use portcullis_limit::Seed;

use crate::framing::Framing;
use crate::head::Status;
use crate::message::{Http, Request, Response};
use crate::name::KnownField;
use crate::testing::{Built, NoTimer, context, millis, now, read, request};

fn built(filter: &str) -> Built {
    Built::new(&format!("cluster: a\nfilters: [{filter}]"))
}

/// How a request that was stopped is answered, in short.
fn outcome(result: Result<(), Stop<Http>>) -> String {
    match result {
        Ok(()) => "passes".to_owned(),
        Err(Stop::Reply(response)) => {
            format!(
                "{} {}",
                response.head.status.code(),
                response.reason.unwrap_or("-")
            )
        }
        Err(Stop::Reject(rejection)) => format!("rejected {}", rejection.reason),
        Err(Stop::Close(reason)) => format!("closed {reason}"),
    }
}

#[test]
fn access_rules() {
    type Row<'a> = (
        &'a str,
        &'a str,
        &'a str,
        (&'a str, &'a str, &'a str),
        &'a str,
    );
    let rows: &[Row<'_>] = &[
        (
            "deny a network",
            "deny: { client: [10.0.0.0/8] }",
            "10.1.1.1",
            ("GET", "x", "/"),
            "rejected denied",
        ),
        (
            "deny another",
            "deny: { client: [10.0.0.0/8] }",
            "11.1.1.1",
            ("GET", "x", "/"),
            "passes",
        ),
        (
            "allow a network",
            "allow: { client: [10.0.0.0/8] }",
            "10.1.1.1",
            ("GET", "x", "/"),
            "passes",
        ),
        (
            "allow nobody else",
            "allow: { client: [10.0.0.0/8] }",
            "11.1.1.1",
            ("GET", "x", "/"),
            "rejected denied",
        ),
        (
            "deny a path",
            "deny: { match: { path: /admin/* } }",
            "10.1.1.1",
            ("GET", "x", "/admin/a"),
            "rejected denied",
        ),
        (
            "deny an escaped path",
            "deny: { match: { path: /admin/* } }",
            "10.1.1.1",
            ("GET", "x", "/%61dmin/a"),
            "rejected denied",
        ),
        (
            "deny a path behind dots",
            "deny: { match: { path: /admin/* } }",
            "10.1.1.1",
            ("GET", "x", "/x/%2e%2e/admin"),
            "rejected denied",
        ),
        (
            "deny another path",
            "deny: { match: { path: /admin/* } }",
            "10.1.1.1",
            ("GET", "x", "/public"),
            "passes",
        ),
        (
            "deny a host",
            "deny: { match: { host: '*.bad.test' } }",
            "10.1.1.1",
            ("GET", "a.bad.test", "/"),
            "rejected denied",
        ),
        (
            "deny a CONNECT by host",
            "deny: { match: { host: '*.bad.test' } }",
            "10.1.1.1",
            ("CONNECT", "a.bad.test:443", ""),
            "rejected denied",
        ),
        (
            "both must hold",
            "deny: { client: [10.0.0.0/8], match: { method: DELETE } }",
            "10.1.1.1",
            ("GET", "x", "/"),
            "passes",
        ),
        (
            "both hold",
            "deny: { client: [10.0.0.0/8], match: { method: DELETE } }",
            "10.1.1.1",
            ("DELETE", "x", "/"),
            "rejected denied",
        ),
        (
            "status",
            "deny: { match: { method: [TRACE] }, status: 405 }",
            "10.1.1.1",
            ("TRACE", "x", "/"),
            "405 denied",
        ),
        (
            "no such client",
            "allow: { client: [192.0.2.0/24] }",
            "10.1.1.1",
            ("GET", "x", "/"),
            "rejected denied",
        ),
    ];
    for (name, filter, client, (method, host, path), expected) in rows {
        let built = built(filter);
        let mut request = request(method, host, path, &[]);
        let found = outcome(built.ask(&mut request, &mut context(client)));
        assert_eq!(found, *expected, "{name}");
        let refused = built.snapshot().counter(
            "portcullis_access_denied_total",
            &[
                ("filter", "listeners.web.filters[0]"),
                ("rule", filter.split(':').next().unwrap()),
            ],
        );
        assert_eq!(refused, u64::from(*expected != "passes"), "{name}: counted");
    }
}

#[test]
fn rate_limits_are_counted_by_facts() {
    let built = built("rate_limit: { per: [http.header.x-tenant, http.host], rate: 1/m }");
    let rows = [
        ("first", "a", Some("t1"), true),
        ("second", "a", Some("t1"), false),
        ("other tenant", "a", Some("t2"), true),
        ("other host", "b", Some("t1"), true),
        ("no tenant", "a", None, true),
        ("no tenant again", "a", None, false),
    ];
    for (name, host, tenant, passes) in rows {
        let fields: Vec<_> = tenant
            .map(|tenant| ("X-Tenant", tenant))
            .into_iter()
            .collect();
        let result = built.ask(
            &mut request("GET", host, "/", &fields),
            &mut context("10.0.0.1"),
        );
        assert_eq!(result.is_ok(), passes, "{name}");
        if let Err(Stop::Reject(rejection)) = result {
            assert!(
                matches!(rejection.kind, RejectionKind::RateLimited { limit: 1, .. }),
                "{name}"
            );
        }
    }
}

#[test]
fn facts_tell_requests_apart() {
    let key = |fact: &str, request: &Request| {
        let descriptor: Descriptor<Http> = Descriptor::new([fact], Seed::fixed(1)).unwrap();
        descriptor.key(request, &context("10.0.0.1"))
    };
    let plain = request("GET", "a.test:80", "/p?q=1", &[("cookie", "s=1; t=2")]);
    let rows = [
        (
            "http.host",
            request("GET", "b.test:80", "/p?q=1", &[]),
            false,
        ),
        ("http.host", request("GET", "A.test:81", "/x", &[]), true),
        ("http.path", request("GET", "a.test", "/p?q=2", &[]), true),
        ("http.path", request("GET", "a.test", "/P", &[]), false),
        ("http.method", request("POST", "a.test", "/", &[]), false),
        ("http.scheme", request("POST", "a.test", "/", &[]), true),
        (
            "http.query.q",
            request("GET", "a.test", "/?x=2&%71=%31", &[]),
            true,
        ),
        (
            "http.query.q",
            request("GET", "a.test", "/?x=2", &[]),
            false,
        ),
        (
            "http.cookie.t",
            request("GET", "a.test", "/", &[("cookie", "t=2")]),
            true,
        ),
        (
            "http.cookie.t",
            request("GET", "a.test", "/", &[("cookie", "tt=2")]),
            false,
        ),
        (
            "http.header.cookie",
            request("GET", "a.test", "/", &[("Cookie", "s=1; t=2")]),
            true,
        ),
    ];
    for (fact, other, same) in rows {
        assert_eq!(
            key(fact, &plain) == key(fact, &other),
            same,
            "{fact} {other:?}"
        );
    }
    let known: HashSet<_> = Http::FACTS.iter().collect();
    assert_eq!(known.len(), Http::FACTS.len());
    for name in [
        "http.header.",
        "http.header.a b",
        "http.nothing",
        "header.x",
        "http.query.",
    ] {
        assert!(Http::fact(name).is_none(), "{name}");
    }
}

/// A call's name is a fact of calls only: the same path in another request has none.
#[test]
fn facts_of_calls() {
    let key = |fact: &str, path: &str, content_type: &str| {
        let descriptor: Descriptor<Http> = Descriptor::new([fact], Seed::fixed(1)).unwrap();
        let fields = [("content-type", content_type)];
        let call = request("POST", "a.test", path, &fields);
        descriptor.key(&call, &context("10.0.0.1"))
    };
    let grpc = "application/grpc";
    let rows = [
        ("grpc.service", "/a.B/D", grpc, true),
        ("grpc.service", "/a.C/D", grpc, false),
        ("grpc.method", "/x.Y/C", grpc, true),
        ("grpc.method", "/a.B/D", grpc, false),
        ("grpc.method", "/a.B/C?q", "application/grpc-web-text", true),
        ("grpc.method", "/a.B/C", "application/json", false),
        ("grpc.service", "/a.B", grpc, false),
    ];
    for (fact, path, content_type, same) in rows {
        let is_same = key(fact, "/a.B/C", grpc) == key(fact, path, content_type);
        assert_eq!(is_same, same, "{fact} {path} {content_type}");
    }
    assert!(Http::fact("grpc.path").is_none() && Http::fact("grpc.").is_none());
}

#[test]
fn headers_are_edited_both_ways() {
    let built = built(
        "headers: { request: { set: { x-a: '1' } }, response: { remove: [server], add: { x-b: '2' } } }",
    );
    let mut cx = context("10.0.0.1");
    let mut request = request("GET", "x", "/", &[("x-a", "0")]);
    assert!(built.ask(&mut request, &mut cx).is_ok());
    assert_eq!(request.head.fields.get_named("x-a"), Some(&b"1"[..]));
    let mut response = Response::local(Status::OK, "test", Bytes::new());
    response.head.fields.append("server", b"x");
    built.answer(&mut response, &mut cx);
    assert!(!response.head.fields.contains(KnownField::Server));
    assert_eq!(response.head.fields.get_named("x-b"), Some(&b"2"[..]));
}

#[test]
fn bodies_are_buffered_up_to_a_bound() {
    let built = built("buffer: { max: 100B }");
    let rows = [
        ("short", Framing::Length(100), "passes", Some(100)),
        ("long", Framing::Length(101), "413 body_too_large", None),
        ("unknown", Framing::Chunked, "passes", Some(100)),
        ("none", Framing::None, "passes", Some(100)),
    ];
    for (name, framing, expected, collect) in rows {
        let mut request = request("POST", "x", "/", &[]);
        request.framing = framing;
        assert_eq!(
            outcome(built.ask(&mut request, &mut context("10.0.0.1"))),
            expected,
            "{name}"
        );
        assert_eq!(request.collect_body, collect, "{name}");
    }
}

#[test]
fn faults_strike_their_share() {
    let rows = [
        ("fault: { abort: { status: 503 } }", 100, 0),
        ("fault: { abort: { status: 503, percent: 0% } }", 0, 0),
        ("fault: { delay: { time: 50ms } }", 0, 100),
        (
            "fault: { abort: { status: 500, percent: 50% }, delay: { time: 50ms } }",
            50,
            50,
        ),
    ];
    for (filter, aborts, delays) in rows {
        let built = built(filter);
        let (mut aborted, mut delayed) = (0, 0);
        for _ in 0..100 {
            let mut cx = context("10.0.0.1");
            cx.now = built.now;
            let timer = NoTimer::default();
            let mut request = request("GET", "x", "/", &[]);
            let asked = now(built.chain().on_request(&mut request, &mut cx, &timer));
            aborted += i32::from(asked.is_err());
            let waits = timer.0.borrow();
            assert!(
                waits.iter().all(|at| *at == built.now + millis(50)),
                "{filter}"
            );
            delayed += i32::try_from(waits.len()).unwrap();
        }
        let near =
            |found: i32, expected: i32| (found - expected).abs() <= 20 * i32::from(expected == 50);
        assert!(
            near(aborted, aborts) && near(delayed, delays),
            "{filter}: {aborted} {delayed}"
        );
    }
}

const CORS: &str = "cors: { origins: ['https://a.test', 'https://*.b.test'], methods: [GET, PUT], headers: [x-a], expose: [x-b], credentials: true, max_age: 1m }";

fn values(response: &Response, fields: &[KnownField]) -> Vec<String> {
    fields
        .iter()
        .map(|field| {
            let value = response.head.fields.get(*field).unwrap_or(b"-");
            String::from_utf8_lossy(value).into_owned()
        })
        .collect()
}

#[test]
fn cors_preflights_are_answered_here() {
    use KnownField as F;
    let rows = [
        (
            "allowed",
            CORS,
            "https://a.test",
            "204 cors_preflight",
            "https://a.test",
            "true",
            "GET, PUT",
        ),
        (
            "below",
            CORS,
            "https://x.b.test",
            "204 cors_preflight",
            "https://x.b.test",
            "true",
            "GET, PUT",
        ),
        (
            "other",
            CORS,
            "https://evil.test",
            "403 cors_origin",
            "-",
            "-",
            "-",
        ),
        (
            "any",
            "cors: { origins: ['*'] }",
            "https://c.test",
            "204 cors_preflight",
            "*",
            "-",
            "GET, HEAD, POST",
        ),
    ];
    for (name, filter, origin, expected, allowed, credentials, methods) in rows {
        let built = built(filter);
        let fields = [("origin", origin), ("access-control-request-method", "PUT")];
        let mut request = request("OPTIONS", "x", "/", &fields);
        let Err(Stop::Reply(response)) = built.ask(&mut request, &mut context("10.0.0.1")) else {
            panic!("{name}: not answered");
        };
        let found = values(
            &response,
            &[
                F::AccessControlAllowOrigin,
                F::AccessControlAllowCredentials,
                F::AccessControlAllowMethods,
            ],
        );
        assert_eq!(found, [allowed, credentials, methods], "{name}");
        assert_eq!(outcome(Err(Stop::Reply(response))), expected, "{name}");
    }
}

#[test]
fn cors_responses_may_be_read_by_those_allowed() {
    use KnownField as F;
    let rows = [
        (
            "allowed",
            CORS,
            Some("https://a.test"),
            ["https://a.test", "true", "x-b", "origin"],
        ),
        (
            "not allowed",
            CORS,
            Some("https://evil.test"),
            ["-", "-", "-", "origin"],
        ),
        ("same origin", CORS, None, ["-", "-", "-", "origin"]),
        (
            "any",
            "cors: { origins: ['*'] }",
            Some("https://c.test"),
            ["*", "-", "-", "-"],
        ),
    ];
    for (name, filter, origin, expected) in rows {
        let built = built(filter);
        let mut cx = context("10.0.0.1");
        let fields: Vec<_> = origin
            .map(|origin| ("origin", origin))
            .into_iter()
            .collect();
        let mut request = request("GET", "x", "/", &fields);
        assert!(built.ask(&mut request, &mut cx).is_ok(), "{name}");
        let mut response = Response::local(Status::OK, "test", Bytes::new());
        response
            .head
            .fields
            .append(F::AccessControlAllowOrigin, b"https://upstream.test");
        built.answer(&mut response, &mut cx);
        let found = values(
            &response,
            &[
                F::AccessControlAllowOrigin,
                F::AccessControlAllowCredentials,
                F::AccessControlExposeHeaders,
                F::Vary,
            ],
        );
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn mistakes_are_found_when_read() {
    let rows = [
        ("deny: {}", "does not say which requests it means"),
        ("allow: { client: [] }", "`client` lists nothing"),
        (
            "deny: { san: [], match: { path: /a } }",
            "`san` lists nothing",
        ),
        (
            "deny: { client: [10.0.0.0/8], status: 200 }",
            "200 is not an error",
        ),
        ("fault: {}", "the fault does nothing"),
        ("fault: { abort: { status: 200 } }", "200 is not an error"),
        ("cors: { origins: [] }", "there are no origins"),
        (
            "cors: { origins: ['*'], credentials: true }",
            "credentials for every origin",
        ),
        ("cors: { origins: ['a.test'] }", "not an origin"),
        (
            "cors: { origins: ['https://a.test'], methods: ['G T'] }",
            "expected a token",
        ),
        (
            "rate_limit: { rate: 1/s, per: [http.headr.x] }",
            "unknown fact 'http.headr.x'",
        ),
        (
            "rate_limit: { rate: 1/s, cost: 0 }",
            "a cost of 0 limits nothing",
        ),
        (
            "rate_limit: { rate: 1/s, per: [client.ip], max_keys: 0 }",
            "forgets at once",
        ),
        ("rate_limit: { rate: 1/s, max_keys: 9 }", "no keys"),
        (
            "headers: { request: { set: { content-length: '1' } } }",
            "written by the gateway",
        ),
        (
            "headers: { request: { set: { x-a: \"a\\nb\" } } }",
            "not a field value",
        ),
        ("headers: {}", "nothing is edited"),
        ("headers: { response: { set: {} } }", "nothing is edited"),
        ("buffer: {}", "max"),
        (
            "access_log: { text: '%REQ(A)%', format: json }",
            "the line is said twice",
        ),
        (
            "access_log: { text: '%RESPONSE_CDE%' }",
            "did you mean 'RESPONSE_CODE'?",
        ),
        ("access_log: { json: { a: 1 } }", "is not text"),
    ];
    for (filter, expected) in rows {
        let (_, found) = read(&format!("cluster: a\nfilters: [{{ {filter} }}]"));
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{filter}: {found:?}"
        );
    }
}
