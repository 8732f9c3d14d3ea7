//! Tables for what may pass between the forms, and what must not.

use crate::head::{Method, ResponseHead, Status, Target, TargetForm, Version};
use crate::{Fields, Framing, KnownField, RequestHead, Scheme};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const BOUNDS: HeadBounds = HeadBounds {
    bytes: 2048,
    fields: 8,
    path: 64,
};

fn came(ended: bool) -> Came {
    Came {
        version: Version::Http2,
        ended,
        extended: false,
    }
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn parts(method: &str, uri: &str, pairs: Pairs<'_>) -> http::request::Parts {
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in pairs {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn text(fields: &Fields) -> String {
    fields.iter().fold(String::new(), |text, field| {
        let name = String::from_utf8_lossy(field.name);
        let value = String::from_utf8_lossy(field.value);
        format!("{text}{name}={value};")
    })
}

#[test]
fn requests_come_in() {
    type Row<'a> = (&'a str, &'a str, &'a str, Pairs<'a>, bool, &'a str, Framing);
    let rows: &[Row<'_>] = &[
        (
            "plain",
            "GET",
            "http://a.test/x?y",
            &[("x-a", "1")],
            true,
            "x-a=1;",
            Framing::None,
        ),
        (
            "cookie crumbs are one",
            "GET",
            "http://a.test/",
            &[
                ("cookie", "a=1"),
                ("x-a", ""),
                ("cookie", "b=2"),
                ("cookie", "c"),
            ],
            true,
            "cookie=a=1; b=2; c;x-a=;",
            Framing::None,
        ),
        (
            "repeated fields stay apart",
            "GET",
            "http://a.test/",
            &[("x-a", "1"), ("x-a", "2")],
            true,
            "x-a=1;x-a=2;",
            Framing::None,
        ),
        (
            "length",
            "POST",
            "http://a.test/",
            &[("content-length", "3")],
            false,
            "content-length=3;",
            Framing::Length(3),
        ),
        (
            "no length",
            "POST",
            "http://a.test/",
            &[],
            false,
            "",
            Framing::Chunked,
        ),
        (
            "te trailers",
            "POST",
            "http://a.test/",
            &[("te", "trailers")],
            true,
            "te=trailers;",
            Framing::None,
        ),
        (
            "empty body of stated length",
            "POST",
            "http://a.test/",
            &[("content-length", "0")],
            true,
            "content-length=0;",
            Framing::Length(0),
        ),
    ];
    for (name, method, uri, pairs, ended, fields, framing) in rows {
        let (head, found) = request_head(&parts(method, uri, pairs), came(*ended), BOUNDS).unwrap();
        assert_eq!(
            (text(&head.fields).as_str(), found),
            (*fields, *framing),
            "{name}"
        );
        assert_eq!(
            head.target.authority.as_deref(),
            Some(&b"a.test"[..]),
            "{name}"
        );
        assert_eq!(head.version, Version::Http2, "{name}");
    }
}

#[test]
fn targets_come_in() {
    let rows = [
        (
            "origin",
            "GET",
            "http://a.test/x?y",
            TargetForm::Origin,
            "/x?y",
        ),
        (
            "connect",
            "CONNECT",
            "a.test:443",
            TargetForm::Authority,
            "",
        ),
        ("no authority", "GET", "/x", TargetForm::Origin, "/x"),
        ("asterisk", "OPTIONS", "*", TargetForm::Asterisk, "*"),
    ];
    for (name, method, uri, form, path) in rows {
        let (head, _) = request_head(&parts(method, uri, &[]), came(true), BOUNDS).unwrap();
        assert_eq!(head.target.form, form, "{name}");
        assert_eq!(head.target.path_and_query, path.as_bytes(), "{name}");
    }
}

#[test]
fn t9_malformed_requests_are_refused() {
    use FieldError as E;
    let long = "x".repeat(2048);
    let path = format!("http://a.test/{}", "p".repeat(64));
    let many: Vec<(&str, &str)> = (0..9).map(|_| ("cookie", "a")).collect();
    type Row<'a> = (&'a str, &'a str, &'a str, Pairs<'a>, bool, FieldError);
    let root = "http://a.test/";
    let rows: &[Row<'_>] = &[
        (
            "connection",
            "GET",
            root,
            &[("connection", "x")],
            true,
            E::Connection,
        ),
        (
            "keep-alive",
            "GET",
            root,
            &[("keep-alive", "x")],
            true,
            E::Connection,
        ),
        (
            "upgrade",
            "GET",
            root,
            &[("upgrade", "websocket")],
            true,
            E::Connection,
        ),
        (
            "proxy",
            "GET",
            root,
            &[("proxy-connection", "x")],
            true,
            E::Connection,
        ),
        (
            "coding",
            "GET",
            root,
            &[("transfer-encoding", "chunked")],
            true,
            E::Connection,
        ),
        ("te", "GET", root, &[("te", "gzip")], true, E::Te),
        (
            "space before",
            "GET",
            root,
            &[("x-a", " b")],
            true,
            E::Value,
        ),
        ("tab behind", "GET", root, &[("x-a", "b\t")], true, E::Value),
        (
            "length of nothing",
            "POST",
            root,
            &[("content-length", "3")],
            true,
            E::Length,
        ),
        (
            "two lengths",
            "POST",
            root,
            &[("content-length", "3"), ("content-length", "3")],
            false,
            E::Length,
        ),
        (
            "signed length",
            "POST",
            root,
            &[("content-length", "+3")],
            false,
            E::Length,
        ),
        (
            "connect with length",
            "CONNECT",
            "a.test:1",
            &[("content-length", "3")],
            false,
            E::Length,
        ),
        ("scheme", "GET", "ftp://a.test/", &[], true, E::Pseudo),
        ("many", "GET", root, &many, true, E::TooMany),
        ("large", "GET", root, &[("x-a", &long)], true, E::TooLarge),
        ("long path", "GET", &path, &[], true, E::PathTooLong),
    ];
    for (name, method, uri, pairs, ended, expected) in rows {
        let found = request_head(&parts(method, uri, pairs), came(*ended), BOUNDS).map(|_| ());
        assert_eq!(found, Err(*expected), "{name}");
    }
}

#[test]
fn t4_each_field_counts_with_its_overhead() {
    let bounds = |bytes| HeadBounds { bytes, ..BOUNDS };
    // Method, path and authority with four times the overhead, then one field.
    let exact = 3 + 1 + 6 + 4 * 32 + (3 + 1 + 32);
    let parts = parts("GET", "http://a.test/", &[("x-a", "1")]);
    assert!(request_head(&parts, came(true), bounds(exact)).is_ok());
    assert_eq!(
        request_head(&parts, came(true), bounds(exact - 1)).map(|_| ()),
        Err(FieldError::TooLarge)
    );
}

#[test]
fn trailers_say_nothing_about_the_message() {
    let mut map = HeaderMap::new();
    map.append("grpc-status", HeaderValue::from_static("0"));
    map.append("x-sum", HeaderValue::from_static("1"));
    assert_eq!(
        text(&trailers(&map, BOUNDS).unwrap()),
        "grpc-status=0;x-sum=1;"
    );
    for name in [
        "content-length",
        "host",
        "te",
        "authorization",
        "transfer-encoding",
    ] {
        let mut map = HeaderMap::new();
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_static("trailers"),
        );
        assert!(trailers(&map, BOUNDS).is_err(), "{name}");
    }
}

#[test]
fn responses_go_out() {
    let mut head = ResponseHead::new(Status::OK);
    for (name, value) in [
        ("Content-Length", "7"),
        ("X-Mixed", "a"),
        ("connection", "x"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
    ] {
        head.fields.append(name, value.as_bytes());
    }
    let sent = response(&head, Framing::Length(3)).unwrap();
    let all: Vec<_> = sent
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        all,
        [
            ("x-mixed", "a"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("content-length", "3")
        ]
    );
    let sent = response(&head, Framing::Chunked).unwrap();
    assert!(!sent.headers().contains_key("content-length"));
}

fn outgoing(method: Method, form: TargetForm, path: &'static str, host: &[u8]) -> RequestHead {
    let mut fields = Fields::new();
    fields.append(KnownField::Host, host);
    fields.append(KnownField::Te, b"trailers");
    fields.append(KnownField::Upgrade, b"websocket");
    RequestHead {
        method,
        target: Target {
            form,
            ..Target::origin(bytes::Bytes::from_static(path.as_bytes()))
        },
        version: Version::Http11,
        fields,
    }
}

#[test]
fn requests_go_out() {
    type Row<'a> = (
        &'a str,
        Method,
        TargetForm,
        &'static str,
        &'a str,
        Option<&'a str>,
    );
    let rows: &[Row<'_>] = &[
        (
            "plain",
            Method::Get,
            TargetForm::Origin,
            "/x?y",
            "a.test:1",
            Some("https://a.test:1/x?y"),
        ),
        (
            "connect",
            Method::Connect,
            TargetForm::Authority,
            "",
            "a.test:1",
            Some("a.test:1"),
        ),
        ("no host", Method::Get, TargetForm::Origin, "/", "", None),
        (
            "fragment",
            Method::Get,
            TargetForm::Origin,
            "/a#b",
            "a.test",
            None,
        ),
        (
            "space",
            Method::Get,
            TargetForm::Origin,
            "/a b",
            "a.test",
            None,
        ),
    ];
    for (name, method, form, path, host, expected) in rows {
        let head = outgoing(method.clone(), *form, path, host.as_bytes());
        let sent = request(&head, Framing::None, Scheme::Https, Version::Http2);
        let uri = sent.as_ref().ok().map(|sent| sent.uri().to_string());
        assert_eq!(uri.as_deref(), *expected, "{name}");
        if let Ok(sent) = sent {
            assert_eq!(sent.headers().len(), 1, "{name}: {:?}", sent.headers());
        }
    }
}

proptest! {
    /// Whatever was let in can be said in HTTP/1: no control byte, no field that speaks of framing or the connection.
    #[test]
    fn what_comes_in_is_clean(
        pairs in proptest::collection::vec(("[a-z:_-]{1,12}", proptest::collection::vec(any::<u8>(), 0..12)), 0..10),
        ended in any::<bool>(),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &pairs {
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) else {
                continue;
            };
            map.append(name, value);
        }
        let mut parts = parts("POST", "http://a.test/", &[]);
        parts.headers = map;
        if let Ok((head, framing)) = request_head(&parts, came(ended), BOUNDS) {
            prop_assert!(!ended || framing.is_empty());
            for field in head.fields.iter() {
                prop_assert!(crate::fields::is_field_value(field.value));
                prop_assert!(!field.known.is_some_and(is_connection_specific));
            }
            let passed = header_map(&head.fields);
            prop_assert!(passed.is_ok());
        }
    }
}
