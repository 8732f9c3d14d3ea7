use super::*;
use crate::framing::Framing;
use crate::head::{RequestHead, Target, Version};

fn request(accept: Option<&str>) -> Request {
    let mut fields = Fields::new();
    if let Some(accept) = accept {
        fields.append(KnownField::Accept, accept.as_bytes());
    }
    let head = RequestHead {
        method: Method::Get,
        target: Target::origin(Bytes::from_static(b"/")),
        version: Version::Http11,
        fields,
    };
    Request::new(head, Framing::None, false)
}

fn body(response: &Response) -> &str {
    let ResponseBody::Local(body) = &response.body else {
        panic!("not made here");
    };
    std::str::from_utf8(body).unwrap()
}

#[test]
fn bodies_follow_accept() {
    let text = "404 Not Found: no_route\n";
    let json = "{\"status\":404,\"reason\":\"no_route\",\"message\":\"Not Found\"}\n";
    let rows = [
        ("none", None, text),
        ("anything", Some("*/*"), text),
        (
            "browser",
            Some("text/html,application/xml;q=0.9,*/*;q=0.8"),
            text,
        ),
        ("json", Some("application/json"), json),
        (
            "json in another case",
            Some("Application/JSON; charset=utf-8"),
            json,
        ),
        (
            "json first",
            Some("application/json, text/plain, */*"),
            json,
        ),
        (
            "text preferred",
            Some("application/json;q=0.5, text/plain"),
            text,
        ),
        (
            "json preferred",
            Some("text/*;q=0.5, application/json;q=0.51"),
            json,
        ),
        ("json refused", Some("application/json;q=0"), text),
        ("garbage", Some(";q=,,;/"), text),
    ];
    for (name, accept, expected) in rows {
        let reply = reply(
            Status::NOT_FOUND,
            "no_route",
            &request(accept),
            &LocalReplyConfig::default(),
        );
        assert_eq!(body(&reply), expected, "{name}");
        assert_eq!(reply.reason, Some("no_route"), "{name}");
    }
}

#[test]
fn a_405_says_what_is_allowed() {
    let all = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";
    let rows = [
        (405, Method::Trace, Some(all)),
        (405, Method::Connect, Some(all)),
        (
            405,
            Method::Put,
            Some("GET, HEAD, POST, DELETE, OPTIONS, PATCH"),
        ),
        (404, Method::Put, None),
    ];
    for (code, method, expected) in rows {
        let mut request = request(None);
        request.head.method = method.clone();
        let status = Status::from_code(code).unwrap();
        let config = LocalReplyConfig::default();
        let mut bare = bare(status, "denied");
        complete(&mut bare, &request, &config);
        for reply in [bare, reply(status, "denied", &request, &config)] {
            let found = reply.head.fields.get(KnownField::Allow);
            assert_eq!(found, expected.map(str::as_bytes), "{code} {method:?}");
        }
    }
}

#[test]
fn the_reason_can_be_kept_back() {
    for (name, reason_header, header, expected) in [
        (
            "shown",
            true,
            Some(&b"no_route"[..]),
            "404 Not Found: no_route\n",
        ),
        ("kept back", false, None, "404 Not Found\n"),
    ] {
        let config = LocalReplyConfig { reason_header };
        let reply = reply(Status::NOT_FOUND, "no_route", &request(None), &config);
        let found = reply.head.fields.get(KnownField::XPortcullisReason);
        assert_eq!(found, header, "{name}");
        assert_eq!(body(&reply), expected, "{name}");
    }
}

#[test]
fn rejections_have_their_statuses() {
    let limited = |retry_after, period| RejectionKind::RateLimited {
        retry_after: Duration::from_millis(retry_after),
        limit: 100,
        period: Duration::from_millis(period),
    };
    type Row<'a> = (&'a str, RejectionKind, u16, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        ("denied", RejectionKind::Denied, 403, &[]),
        ("overloaded", RejectionKind::Overloaded, 503, &[]),
        (
            "limited",
            limited(1500, 60_000),
            429,
            &["2", "\"r\";r=0;t=2", "\"r\";q=100;w=60"],
        ),
        (
            "at once",
            limited(0, 1000),
            429,
            &["1", "\"r\";r=0;t=1", "\"r\";q=100;w=1"],
        ),
        (
            "short period",
            limited(10, 100),
            429,
            &["1", "\"r\";r=0;t=1", "\"r\";q=1000;w=1"],
        ),
    ];
    for (name, kind, status, expected) in rows {
        let rejection = Rejection {
            reason: "r",
            kind: *kind,
        };
        let reply = reject(&rejection, &request(None), &LocalReplyConfig::default());
        assert_eq!(reply.head.status.code(), *status, "{name}");
        let found: Vec<&str> = [
            KnownField::RetryAfter,
            KnownField::RateLimit,
            KnownField::RateLimitPolicy,
        ]
        .into_iter()
        .filter_map(|field| reply.head.fields.get(field))
        .map(|value| std::str::from_utf8(value).unwrap())
        .collect();
        assert_eq!(found, *expected, "{name}");
    }
}

#[test]
fn bare_errors_are_given_words() {
    let mut with_field = bare(Status::FORBIDDEN, "denied");
    with_field.head.fields.append("x-a", b"1");
    let rows = [
        (
            "bare",
            bare(Status::FORBIDDEN, "denied"),
            "403 Forbidden: denied\n",
        ),
        ("no error", bare(Status::OK, "direct_response"), ""),
        ("with a field", with_field, ""),
    ];
    for (name, mut response, expected) in rows {
        complete(&mut response, &request(None), &LocalReplyConfig::default());
        assert_eq!(body(&response), expected, "{name}");
    }
}

#[test]
fn calls_are_answered_in_their_own_words() {
    let rows: &[(&str, u16, &str, &str)] = &[
        (
            "application/grpc",
            503,
            "application/grpc",
            "14 Service Unavailable: r",
        ),
        (
            "application/grpc+proto",
            504,
            "application/grpc+proto",
            "4 Gateway Timeout: r",
        ),
        (
            "application/grpc",
            413,
            "application/grpc",
            "8 Content Too Large: r",
        ),
        (
            "application/grpc",
            404,
            "application/grpc",
            "12 Not Found: r",
        ),
        (
            "application/grpc-web",
            429,
            "application/grpc-web",
            "8 Too Many Requests: r",
        ),
        (
            "application/grpc-web-text+proto",
            403,
            "application/grpc-web-text+proto",
            "7 Forbidden: r",
        ),
    ];
    for (asked, code, content_type, expected) in rows {
        let mut request = request(Some("application/json"));
        request
            .head
            .fields
            .append(KnownField::ContentType, asked.as_bytes());
        let status = Status::from_code(*code).unwrap();
        let mut reply = bare(status, "r");
        complete(&mut reply, &request, &LocalReplyConfig::default());
        assert_eq!(reply.head.status, Status::OK, "{asked} {code}");
        assert_eq!(body(&reply), "");
        let field = |name: &str| {
            let value = reply.head.fields.get_named(name).unwrap();
            std::str::from_utf8(value).unwrap()
        };
        assert_eq!(field("content-type"), *content_type);
        let said = format!("{} {}", field("grpc-status"), field("grpc-message"));
        assert_eq!(said, *expected, "{asked} {code}");
        assert_eq!(reply.reason, Some("r"));
    }
}

#[test]
fn statuses_without_body_have_none() {
    let reply = reply(
        Status::NO_CONTENT,
        "preflight",
        &request(None),
        &LocalReplyConfig::default(),
    );
    assert_eq!(body(&reply), "");
    assert!(!reply.head.fields.contains(KnownField::ContentType));
}
