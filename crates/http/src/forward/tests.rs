//! Tables for identity, hop-by-hop fields and what is added.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use portcullis_filter::Connection;

use super::first_hop::{eight_digits, uuid};
use super::*;
use crate::framing::Framing;
use crate::head::{RequestHead, Status, Target};
use crate::normalize;
use crate::testing::unix_context;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Instant {
        unreachable!("forwarding has no use for it")
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn date(&self) -> [u8; 29] {
        *b"Thu, 01 Jan 1970 00:00:00 GMT"
    }
}

#[allow(clippy::disallowed_methods)] // a test needs some instant, whichever
fn context(peer: &str) -> Context {
    let peer: SocketAddr = SocketAddr::new(peer.parse().unwrap(), 4000);
    let connection = Connection {
        listener: "web".into(),
        peer: Some(peer),
        local: None,
        client: Some(peer),
        secure: false,
        tls: None,
        accepted_at: Instant::now(),
        id: 1,
    };
    Context::new(Rc::new(connection), Instant::now())
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        fields.append(*name, value.as_bytes());
    }
    fields
}

fn request(pairs: &[(&str, &str)]) -> Request {
    let head = RequestHead {
        method: Method::Get,
        target: Target::origin(Bytes::from_static(b"/")),
        version: Version::Http11,
        fields: fields(pairs),
    };
    let mut request = Request::new(head, Framing::None, false);
    normalize::settle(&mut request, &normalize::NormalizeConfig::default()).unwrap();
    request
}

fn text(fields: &Fields) -> Vec<String> {
    fields
        .iter()
        .map(|field| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(field.name),
                String::from_utf8_lossy(field.value)
            )
        })
        .collect()
}

fn trusting(networks: &[&str]) -> ForwardConfig {
    ForwardConfig {
        trusted_proxies: networks.iter().map(|text| text.parse().unwrap()).collect(),
        ..ForwardConfig::default()
    }
}

#[test]
fn h16_clients_are_found_behind_trusted_proxies() {
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str], &'a str);
    let rows: &[Row<'_>] = &[
        (
            "nobody trusted",
            "192.0.2.1",
            &[],
            &["203.0.113.9"],
            "192.0.2.1",
        ),
        (
            "other trusted",
            "192.0.2.1",
            &["10.0.0.0/8"],
            &["203.0.113.9"],
            "192.0.2.1",
        ),
        (
            "trusted",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["203.0.113.9"],
            "203.0.113.9",
        ),
        (
            "spoofed on the left",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["1.1.1.1, 203.0.113.9"],
            "203.0.113.9",
        ),
        (
            "two proxies",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["1.1.1.1, 203.0.113.9, 10.0.0.2"],
            "203.0.113.9",
        ),
        (
            "two lines",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["203.0.113.9", "10.0.0.2"],
            "203.0.113.9",
        ),
        (
            "all trusted",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["10.0.0.3, 10.0.0.2"],
            "10.0.0.3",
        ),
        ("nothing said", "10.0.0.1", &["10.0.0.0/8"], &[], "10.0.0.1"),
        (
            "garbage",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["203.0.113.9, unknown"],
            "10.0.0.1",
        ),
        (
            "garbage on the left",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["unknown, 10.0.0.2"],
            "10.0.0.2",
        ),
        (
            "with port",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["203.0.113.9:1234"],
            "203.0.113.9",
        ),
        (
            "bracketed",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["[2001:db8::1]:1234"],
            "2001:db8::1",
        ),
        (
            "mapped",
            "10.0.0.1",
            &["10.0.0.0/8"],
            &["::ffff:203.0.113.9"],
            "203.0.113.9",
        ),
        (
            "version 6 proxy",
            "2001:db8::2",
            &["2001:db8::/32"],
            &["203.0.113.9"],
            "203.0.113.9",
        ),
    ];
    for (name, peer, trusted, said, expected) in rows {
        let mut pairs = vec![("host", "a")];
        pairs.extend(said.iter().map(|value| ("x-forwarded-for", *value)));
        let mut request = request(&pairs);
        let client = identify(&mut request, &context(peer), &trusting(trusted));
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{name}");
    }
}

#[test]
fn h16_untrusted_peers_do_not_speak_for_others() {
    let pairs = [
        ("host", "a.example"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-client-cert", "Subject=root"),
        ("forwarded", "for=1.1.1.1"),
        ("x-request-id", "chosen"),
        ("x-kept", "1"),
    ];
    let rows: [(&str, ForwardConfig, &[&str]); 2] = [
        (
            "untrusted",
            ForwardConfig {
                request_id: false,
                ..ForwardConfig::default()
            },
            &[
                "host: a.example",
                "x-kept: 1",
                "x-forwarded-for: 10.0.0.1",
                "x-forwarded-proto: http",
                "x-forwarded-host: a.example",
                "via: 1.1 portcullis",
            ],
        ),
        (
            "trusted",
            ForwardConfig {
                forwarded: true,
                ..trusting(&["10.0.0.1"])
            },
            &[
                "host: a.example",
                "x-forwarded-for: 1.1.1.1, 10.0.0.1",
                "x-forwarded-proto: https",
                "x-forwarded-host: evil",
                "x-forwarded-client-cert: Subject=root",
                "forwarded: for=1.1.1.1, for=10.0.0.1;host=\"a.example\";proto=https",
                "x-request-id: chosen",
                "x-kept: 1",
                "via: 1.1 portcullis",
            ],
        ),
    ];
    for (name, config, expected) in rows {
        let mut request = request(&pairs);
        let cx = context("10.0.0.1");
        identify(&mut request, &cx, &config);
        prepare_request(&mut request, &cx, &config, &Random::new(1));
        assert_eq!(text(&request.head.fields), expected, "{name}");
    }
}

/// Nobody on a Unix socket has an address: nothing is made up.
#[test]
fn a_unix_socket_adds_no_address() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        (
            "said by a stranger",
            &[],
            &[
                "host: a.example",
                "x-forwarded-proto: http",
                "x-forwarded-host: a.example",
                "forwarded: for=unknown;host=\"a.example\";proto=http",
            ],
        ),
        (
            "said by a proxy",
            &["0.0.0.0"],
            &[
                "host: a.example",
                "x-forwarded-for: 1.1.1.1",
                "x-forwarded-proto: http",
                "x-forwarded-host: a.example",
                "forwarded: for=unknown;host=\"a.example\";proto=http",
            ],
        ),
    ];
    for (name, trusted, expected) in rows {
        let mut request = request(&[("host", "a.example"), ("x-forwarded-for", "1.1.1.1")]);
        normalize::settle(&mut request, &normalize::NormalizeConfig::default()).unwrap();
        let config = ForwardConfig {
            forwarded: true,
            request_id: false,
            via: ViaName::new(Token::new("off").unwrap()),
            ..trusting(trusted)
        };
        let cx = unix_context();
        let client = identify(&mut request, &cx, &config);
        assert_eq!(
            client.to_string() == "1.1.1.1",
            !trusted.is_empty(),
            "{name}"
        );
        prepare_request(&mut request, &cx, &config, &Random::new(1));
        assert_eq!(text(&request.head.fields), *expected, "{name}");
    }
}

#[test]
fn h16_hop_by_hop_fields_go() {
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        ("nothing", &[("accept", "*/*")], &["accept: */*"]),
        (
            "the usual",
            &[
                ("connection", "keep-alive, upgrade"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic x"),
                ("http2-settings", "AAMAAABk"),
                ("upgrade", "h2c"),
                ("accept", "*/*"),
            ],
            &["accept: */*"],
        ),
        (
            "named",
            &[
                ("x-auth", "1"),
                ("connection", "close, X-Auth"),
                ("x-b", "2"),
            ],
            &["x-b: 2"],
        ),
        (
            "named but protected",
            &[
                (
                    "connection",
                    "host, x-forwarded-for, content-length, cookie",
                ),
                ("cookie", "a"),
            ],
            &["cookie: a"],
        ),
        (
            "trailers",
            &[("te", "gzip, Trailers"), ("connection", "te")],
            &["te: trailers"],
        ),
        ("no trailers", &[("te", "gzip")], &[]),
        (
            "trailer passes",
            &[("trailer", "x-sum")],
            &["trailer: x-sum"],
        ),
    ];
    for (name, pairs, expected) in rows {
        let mut fields = fields(pairs);
        strip_hop_by_hop(&mut fields, Direction::Request);
        assert_eq!(text(&fields), *expected, "{name}");
    }
}

#[test]
fn h16_a_field_set_here_outlives_connection() {
    let mut request = request(&[("host", "a"), ("connection", "x-user"), ("x-user", "root")]);
    let cx = context("192.0.2.1");
    let config = ForwardConfig::default();
    identify(&mut request, &cx, &config);
    request.head.fields.set("x-user", b"nobody");
    prepare_request(&mut request, &cx, &config, &Random::new(1));
    assert_eq!(
        request.head.fields.get_named("x-user"),
        Some(&b"nobody"[..])
    );
}

#[test]
fn an_accepted_upgrade_is_asked_for_again() {
    let pairs = [
        ("host", "a"),
        ("connection", "upgrade"),
        ("upgrade", "websocket, x"),
    ];
    for (name, upgrade, expected) in [
        (
            "accepted",
            Some(Bytes::from_static(b"websocket")),
            Some(&b"websocket"[..]),
        ),
        ("not accepted", None, None),
    ] {
        let mut request = request(&pairs);
        let cx = context("192.0.2.1");
        identify(&mut request, &cx, &ForwardConfig::default());
        request.upgrade = upgrade;
        prepare_request(
            &mut request,
            &cx,
            &ForwardConfig::default(),
            &Random::new(1),
        );
        assert_eq!(
            request.head.fields.get(KnownField::Upgrade),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_usual_way_adds_what_the_rules_add() {
    let with = |change: fn(&mut ForwardConfig)| {
        let mut config = ForwardConfig::default();
        change(&mut config);
        config
    };
    let rows = [
        ("default", "192.0.2.255", vec![], with(|_| {}), true),
        ("short", "8.0.0.8", vec![], with(|_| {}), true),
        (
            "no id",
            "192.0.2.1",
            vec![],
            with(|config| config.request_id = false),
            true,
        ),
        (
            "a via",
            "192.0.2.1",
            vec![("via", "1.0 a")],
            with(|_| {}),
            true,
        ),
        (
            "an id",
            "192.0.2.1",
            vec![("x-request-id", "a")],
            with(|_| {}),
            false,
        ),
        (
            "a hop",
            "192.0.2.1",
            vec![("x-forwarded-for", "a")],
            with(|_| {}),
            false,
        ),
        ("IPv6", "2001:db8::1", vec![], with(|_| {}), false),
        (
            "forwarded",
            "192.0.2.1",
            vec![],
            with(|config| config.forwarded = true),
            false,
        ),
    ];
    for (name, peer, pairs, config, is_usual) in rows {
        for secure in [false, true] {
            let make = || {
                let host = [("host", "a.test:8080")];
                let mut request = request(&[&host[..], &pairs].concat());
                request.scheme = if secure { Scheme::Https } else { Scheme::Http };
                request
            };
            let cx = context(peer);
            let (mut usual, mut by_rule) = (make(), make());
            let was_usual = first_hop::append(&mut usual, &cx, &config, &Random::new(1));
            assert_eq!(was_usual, is_usual, "{name}");
            append_hop(&mut by_rule, &cx, &config, &Random::new(1));
            if is_usual {
                assert_eq!(usual.head.fields, by_rule.head.fields, "{name}");
                assert_eq!(
                    runs(&usual.head.fields),
                    runs(&by_rule.head.fields),
                    "{name}"
                );
            }
        }
    }
}

/// The fields as they are written.
fn runs(fields: &Fields) -> Vec<u8> {
    let mut written = Vec::new();
    let all: Result<(), ()> = fields.try_for_each_run(0, |run| {
        match run {
            crate::Run::Lines(lines) => written.extend_from_slice(lines),
            crate::Run::Field(field) => panic!("{field:?}"),
        }
        Ok(())
    });
    all.unwrap();
    written
}

#[test]
fn request_ids_have_the_shape_of_a_uuid() {
    assert_eq!(&uuid(0, 0), b"00000000-0000-4000-8000-000000000000");
    assert_eq!(
        &uuid(u64::MAX, u64::MAX),
        b"ffffffff-ffff-4fff-bfff-ffffffffffff"
    );
    for bits in 0..=u64::from(u16::MAX) {
        let bits = bits << 16 | bits.reverse_bits() >> 48;
        let digits = eight_digits(bits).to_be_bytes();
        assert_eq!(digits[..], *format!("{bits:08x}").as_bytes(), "{bits:#x}");
    }
    assert_eq!(
        &uuid(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef),
        b"01234567-89ab-4def-8123-456789abcdef"
    );
    let rows = [
        ("none", vec![], false),
        ("sane", vec![("x-request-id", "abc-1")], true),
        (
            "two",
            vec![("x-request-id", "a"), ("x-request-id", "b")],
            false,
        ),
        ("space", vec![("x-request-id", "a b")], false),
        ("empty", vec![("x-request-id", "")], false),
    ];
    for (name, pairs, expected) in rows {
        assert_eq!(has_sane_id(&fields(&pairs)), expected, "{name}");
    }
}

#[test]
fn responses_are_cleaned_and_dated() {
    let pairs = [
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("server", "origin"),
        ("via", "1.0 inner"),
    ];
    let date = "date: Thu, 01 Jan 1970 00:00:00 GMT";
    let rows: [(&str, ServerField, &[&str]); 3] = [
        (
            "keep",
            ServerField::Keep,
            &["server: origin", "via: 1.0 inner, 1.1 portcullis", date],
        ),
        (
            "remove",
            ServerField::Remove,
            &["via: 1.0 inner, 1.1 portcullis", date],
        ),
        (
            "replace",
            ServerField::Replace,
            &["server: portcullis", "via: 1.0 inner, 1.1 portcullis", date],
        ),
    ];
    for (name, server, expected) in rows {
        let mut head = ResponseHead::new(Status::OK);
        head.fields = fields(&pairs);
        let config = ForwardConfig {
            server,
            ..ForwardConfig::default()
        };
        prepare_response(&mut head, &config, &FixedClock);
        assert_eq!(text(&head.fields), expected, "{name}");
    }
}

#[test]
fn a_date_is_not_replaced() {
    let mut head = ResponseHead::new(Status::OK);
    head.fields = fields(&[("date", "Fri, 02 Jan 1970 00:00:00 GMT")]);
    date_response(&mut head, &FixedClock);
    assert_eq!(text(&head.fields), ["date: Fri, 02 Jan 1970 00:00:00 GMT"]);
}

#[test]
fn hops_are_counted_down() {
    let rows = [
        ("get", Method::Get, Some("0"), MaxForwards::Go, Some("0")),
        (
            "last",
            Method::Trace,
            Some("0"),
            MaxForwards::Last,
            Some("0"),
        ),
        (
            "options",
            Method::Options,
            Some("10"),
            MaxForwards::Go,
            Some("9"),
        ),
        (
            "garbage",
            Method::Options,
            Some("x"),
            MaxForwards::Go,
            Some("x"),
        ),
        ("none", Method::Options, None, MaxForwards::Go, None),
    ];
    for (name, method, sent, expected, left) in rows {
        let mut pairs = vec![("host", "a")];
        pairs.extend(sent.map(|value| ("max-forwards", value)));
        let mut request = request(&pairs);
        request.head.method = method;
        assert_eq!(count_hop(&mut request), expected, "{name}");
        let found = request.head.fields.get(KnownField::MaxForwards);
        assert_eq!(found, left.map(str::as_bytes), "{name}");
    }
}
